//! By paths on this machine's own drives.
//!
//! A path to another machine is never opened: it would send this process's credentials there. Each part of a path is
//! seen to be no link (junction, symbolic link, mount point) before the next is looked at, and a file is opened without
//! following one. Between look and opening a part could be replaced; what that could reach is a project file's name.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    os::windows::{
        fs::{MetadataExt, OpenOptionsExt},
        io::AsRawHandle,
    },
    path::{Component, Path, PathBuf, Prefix},
};

use windows_sys::Win32::{
    Foundation::HANDLE,
    Security::Authorization::SE_FILE_OBJECT,
    Storage::FileSystem::{
        FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, GetDriveTypeW,
    },
    System::WindowsProgramming::{DRIVE_FIXED, DRIVE_RAMDISK, DRIVE_REMOVABLE},
};

use super::{Text, read_up_to};
use crate::platform::windows::{owner_of, wide};

/// The drives of this machine.
#[derive(Debug)]
pub(in crate::attribute) struct Tree {
    /// There is one root only.
    pub(in crate::attribute) identity: (u64, u64),
}

/// A directory of a [`Tree`].
#[derive(Debug)]
pub(in crate::attribute) struct Directory(PathBuf);

impl Tree {
    /// The tree of this process itself.
    #[expect(clippy::unnecessary_wraps, reason = "other systems have to open it")]
    pub(in crate::attribute) fn own() -> Option<Self> {
        Some(Self { identity: (0, 0) })
    }

    /// A directory by its absolute path; `None` when there is none or a link is on the way.
    #[expect(clippy::unused_self, reason = "other systems have several roots")]
    pub(in crate::attribute) fn directory(&self, path: &Path) -> Option<Directory> {
        let mut parts = path.components();
        let Component::Prefix(prefix) = parts.next()? else { return None };
        let (Prefix::Disk(letter) | Prefix::VerbatimDisk(letter)) = prefix.kind() else { return None };
        if !is_of_this_machine(letter) || parts.next()? != Component::RootDir {
            return None;
        }
        let mut here = PathBuf::from(format!("{}:\\", char::from(letter)));
        for part in parts {
            let Component::Normal(name) = part else { return None };
            here.push(name);
            directory(&here)?;
        }
        Some(Directory(here))
    }

    /// A file by its absolute path.
    pub(in crate::attribute) fn text(&self, path: &Path, limit: usize) -> Option<Text> {
        self.directory(path.parent()?)?.text(Path::new(path.file_name()?), limit)
    }
}

impl Directory {
    /// A regular file in this directory; `None` when there is none, or what is there is not a regular file.
    pub(in crate::attribute) fn text(&self, name: &Path, limit: usize) -> Option<Text> {
        // Backup semantics: a directory can be opened and seen to be one. No device has a name with a dot in it.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS)
            .open(self.0.join(name))
            .ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || is_link(&metadata) {
            return None;
        }
        let uid = owner(&file)?;
        let bytes = read_up_to(file, limit).ok().filter(|(_, more)| !more).map(|(bytes, _)| bytes);
        Some(Text { bytes, uid })
    }

    /// A directory in this directory.
    pub(in crate::attribute) fn directory(&self, name: &str) -> Option<Self> {
        let path = self.0.join(name);
        directory(&path)?;
        Some(Self(path))
    }
}

fn directory(path: &Path) -> Option<()> {
    let metadata = fs::symlink_metadata(path).ok()?;
    (metadata.is_dir() && !is_link(&metadata)).then_some(())
}

fn is_link(metadata: &fs::Metadata) -> bool {
    metadata.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0
}

fn owner(file: &File) -> Option<u32> {
    owner_of(file.as_raw_handle() as HANDLE, SE_FILE_OBJECT).ok()
}

/// A drive letter may stand for a directory of another machine.
fn is_of_this_machine(letter: u8) -> bool {
    let root = wide(OsStr::new(&format!("{}:\\", char::from(letter))));
    // SAFETY: the text ends with a NUL.
    let kind = unsafe { GetDriveTypeW(root.as_ptr()) };
    matches!(kind, DRIVE_FIXED | DRIVE_REMOVABLE | DRIVE_RAMDISK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_this_machine_are_read_and_paths_elsewhere_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("package.json"), "{}").unwrap();
        let tree = Tree::own().unwrap();
        let text = tree.text(&folder.path().join("package.json"), 10).unwrap();
        assert_eq!(text.bytes.as_deref(), Some(&b"{}"[..]));
        assert_eq!(tree.text(&folder.path().join("package.json"), 1).unwrap().bytes, None, "too long");
        assert!(tree.text(folder.path(), 10).is_none(), "a directory");
        for elsewhere in [r"\\server\share", r"\\?\UNC\server\share", r"\\.\pipe", r"C:relative", r"\rooted"]
        {
            assert!(tree.directory(Path::new(elsewhere)).is_none(), "{elsewhere}");
        }
    }
}
