//! By descriptors, each opened below another.

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::{Mode, fstat},
};

use super::{Text, is_planted, read_up_to};

/// What a process sees as `/`.
#[derive(Debug)]
pub(in crate::attribute) struct Tree {
    root: OwnedFd,
    /// Device and inode of the root: the same path under another root is another directory.
    pub(in crate::attribute) identity: (u64, u64),
}

/// A directory of a [`Tree`].
#[derive(Debug)]
pub(in crate::attribute) struct Directory(OwnedFd);

impl Tree {
    /// The tree of this process itself.
    pub(in crate::attribute) fn own() -> Option<Self> {
        Self::new(File::open("/").ok()?.into())
    }

    /// The tree whose root is an open directory.
    pub(in crate::attribute) fn new(root: OwnedFd) -> Option<Self> {
        let root = File::from(root);
        let metadata = root.metadata().ok()?;
        Some(Self { identity: (metadata.dev(), metadata.ino()), root: root.into() })
    }

    /// A directory by its absolute path; `None` when there is none or a link is on the way.
    #[cfg(target_os = "linux")]
    pub(in crate::attribute) fn directory(&self, path: &Path) -> Option<Directory> {
        use nix::fcntl::{OpenHow, ResolveFlag, openat2};
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(&self.root, path, how).ok().map(Directory)
    }

    /// A directory by its absolute path; `None` when there is none or a link is on the way.
    #[cfg(not(target_os = "linux"))]
    pub(in crate::attribute) fn directory(&self, path: &Path) -> Option<Directory> {
        // In place of O_NOFOLLOW, which is about the last part only (open(2), macOS 11).
        let no_links = OFlag::from_bits_retain(nix::libc::O_NOFOLLOW_ANY);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | no_links;
        openat(&self.root, path, flags, Mode::empty()).ok().map(Directory)
    }

    /// A file by its absolute path.
    pub(in crate::attribute) fn text(&self, path: &Path, limit: usize) -> Option<Text> {
        self.directory(path.parent()?)?.text(Path::new(path.file_name()?), limit)
    }
}

impl Directory {
    /// A regular file in this directory; `None` when there is none, or what is there is not a regular file, or anybody may
    /// have put it there.
    pub(in crate::attribute) fn text(&self, name: &Path, limit: usize) -> Option<Text> {
        // O_NONBLOCK: opening a FIFO returns at once, with a reader or without.
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = File::from(openat(self.0.as_fd(), name, flags, Mode::empty()).ok()?);
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let here = fstat(&self.0).ok()?;
        let open = Mode::from_bits_truncate(here.st_mode).contains(Mode::S_IWOTH);
        if is_planted(open, here.st_uid, metadata.uid()) {
            return None;
        }
        let bytes = read_up_to(file, limit).ok().filter(|(_, more)| !more).map(|(bytes, _)| bytes);
        Some(Text { bytes, uid: metadata.uid() })
    }

    /// A directory in this directory.
    pub(in crate::attribute) fn directory(&self, name: &str) -> Option<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(self.0.as_fd(), name, flags, Mode::empty()).ok().map(Self)
    }
}
