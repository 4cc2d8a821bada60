//! Who writes into the database is heard of through inotify(7): a commit writes into the write-ahead log.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};

/// Writes to files in the database's directory.
#[derive(Debug)]
pub(super) struct Writes(OwnedFd);

impl Writes {
    /// From now on. The directory is watched and not the file: a database that was damaged is replaced by another.
    pub(super) fn beside(database: &Path) -> io::Result<Self> {
        let directory = database.parent().ok_or(io::ErrorKind::NotFound)?;
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&inotify, directory, WatchFlags::MODIFY)?;
        Ok(Self(inotify))
    }

    /// Whether there was one since the last call.
    pub(super) fn any(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut any = false;
        loop {
            match rustix::io::read(&self.0, &mut buffer) {
                Ok((read, _)) if !read.is_empty() => any = true,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return any,
            }
        }
    }
}

impl AsFd for Writes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::journal::Claims;

    #[test]
    fn what_another_connection_commits_is_heard_and_reading_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("portwatch.db");
        let (mut one, other) =
            (Claims::open(&database, "boot").unwrap(), Claims::open(&database, "boot").unwrap());
        let writes = Writes::beside(&database).unwrap();
        let before = other.version().unwrap();
        assert!(other.all().unwrap().is_empty());
        assert!(!writes.any());
        one.set_reserved(crate::model::Netns(1), &"3100".parse().unwrap()).unwrap();
        let mut fds = [PollFd::new(writes.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO).unwrap(), 1);
        assert!(writes.any());
        assert_ne!(other.version().unwrap(), before);
        assert!(!writes.any(), "each is told once");
    }
}
