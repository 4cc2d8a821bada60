//! The first file system of a guest: an archive in cpio's "newc" form (the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// An archive that is being made. Names go from the guest's root.
pub(super) struct Archive {
    out: Vec<u8>,
    inode: u32,
    folders: Vec<String>,
}

impl Archive {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self { out: Vec::new(), inode: 0, folders: Vec::new() }
    }

    /// Adds folders, each after the one that it is in.
    pub(super) fn folders(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            self.folder(name)?;
        }
        Ok(())
    }

    /// Adds something that can be run.
    pub(super) fn program(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, PROGRAM, content)
    }

    /// Adds a file.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, FILE, content)
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.entry(name, LINK, target.as_bytes())
    }

    /// The whole.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.add("TRAILER!!!", 0, &[])?;
        Ok(self.out)
    }

    fn folder(&mut self, name: &str) -> Result<()> {
        if self.folders.iter().any(|known| known == name) {
            return Ok(());
        }
        self.folders.push(name.to_owned());
        self.entry(name, DIRECTORY, &[])
    }

    /// The kernel makes no folder that has no entry of its own.
    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        let name = name.trim_start_matches('/');
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.folder(folder)?;
        }
        self.add(name, mode, data)
    }

    /// Magic and thirteen numbers of eight hex digits, then name and data, each filled up to four bytes.
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(data.len()).context("a file of more than 4 GB")?;
        let name_size = u32::try_from(name.len() + 1)?;
        let numbers = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.out.extend_from_slice(b"070701");
        for number in numbers {
            self.out.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
        self.fill();
        self.out.extend_from_slice(data);
        self.fill();
        Ok(())
    }

    fn fill(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_made_of_aligned_entries_and_ends_with_the_trailer() {
        let mut archive = Archive::new();
        archive.folders(&["bin", "dev"]).unwrap();
        archive.program("bin/guest", b"12345").unwrap();
        archive.link("init", "bin/guest").unwrap();
        archive.program("/lib/x86_64-linux-gnu/libc.so.6", b"ELF").unwrap();
        archive.program("/lib/x86_64-linux-gnu/libm.so.6", b"ELF").unwrap();
        let archive = archive.finish().unwrap();
        let mut at = 0;
        let mut names = Vec::new();
        while at < archive.len() {
            assert_eq!(&archive[at..at + 6], b"070701");
            let number = |index: usize| {
                let from = at + 6 + index * 8;
                usize::from_str_radix(std::str::from_utf8(&archive[from..from + 8]).unwrap(), 16).unwrap()
            };
            let (size, name_size) = (number(6), number(11));
            let name = at + 110;
            names.push(String::from_utf8(archive[name..name + name_size - 1].to_vec()).unwrap());
            let data = (name + name_size).next_multiple_of(4);
            if names.last().is_some_and(|name| name == "bin/guest") {
                assert_eq!(&archive[data..data + size], b"12345");
            }
            at = (data + size).next_multiple_of(4);
        }
        let files = [
            "bin",
            "dev",
            "bin/guest",
            "init",
            "lib",
            "lib/x86_64-linux-gnu",
            "lib/x86_64-linux-gnu/libc.so.6",
            "lib/x86_64-linux-gnu/libm.so.6",
            "TRAILER!!!",
        ];
        assert_eq!(names, files);
    }
}
