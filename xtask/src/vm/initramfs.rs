//! The first file system of a guest: an archive in cpio's "newc" form (the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst), with folders, one program and a link to it.

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// Folders of the guest.
const FOLDERS: [&str; 6] = ["bin", "dev", "modules", "proc", "sys", "tmp"];

/// The archive with `program` as `/bin/guest` and `/init`, and modules to load, numbered in order.
pub(super) fn archive(program: &[u8], modules: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(program.len() + 4096);
    let mut inode = 0;
    let mut add = |name: &str, mode: u32, data: &[u8]| {
        inode += 1;
        entry(&mut out, inode, name, mode, data)
    };
    for folder in FOLDERS {
        add(folder, DIRECTORY, &[])?;
    }
    add("bin/guest", PROGRAM, program)?;
    add("init", LINK, b"bin/guest")?;
    for (number, (name, content)) in modules.iter().enumerate() {
        add(&format!("modules/{number}-{name}"), FILE, content)?;
    }
    add("TRAILER!!!", 0, &[])?;
    Ok(out)
}

/// Magic and thirteen numbers of eight hex digits, then name and data, each filled up to four bytes.
fn entry(out: &mut Vec<u8>, inode: u32, name: &str, mode: u32, data: &[u8]) -> Result<()> {
    let size = u32::try_from(data.len()).context("a file of more than 4 GB")?;
    let name_size = u32::try_from(name.len() + 1)?;
    let numbers = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    out.extend_from_slice(b"070701");
    for number in numbers {
        out.extend_from_slice(format!("{number:08x}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    fill(out);
    out.extend_from_slice(data);
    fill(out);
    Ok(())
}

fn fill(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_made_of_aligned_entries_and_ends_with_the_trailer() {
        let archive = archive(b"12345", &[("udp_diag", b"ELF".to_vec())]).unwrap();
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
        let files = ["bin/guest", "init", "modules/0-udp_diag", "TRAILER!!!"];
        assert_eq!(names, [FOLDERS.as_slice(), &files].concat());
    }
}
