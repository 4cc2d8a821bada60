//! One process's directory in /proc, pinned.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use super::project::read_up_to;
use nix::{
    fcntl::{OFlag, open, openat, readlinkat},
    sys::stat::Mode,
};

/// An open `/proc/PID`. The kernel ties the handle to the process, not to the number: once the process is
/// reaped every read through it fails with ESRCH, also when the pid is in use again (proc(5) inodes hold a
/// `struct pid`). So a start time checked once holds for everything read afterwards.
#[derive(Debug)]
pub(super) struct PidDir(OwnedFd);

impl PidDir {
    /// Opens `proc/PID`; `NotFound` when there is no such process.
    pub(super) fn open(proc: &Path, pid: u32) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open(&proc.join(pid.to_string()), flags, Mode::empty())?))
    }

    /// Up to `limit` bytes of a file, and whether there was more.
    pub(super) fn read(&self, name: &str, limit: usize) -> io::Result<(Vec<u8>, bool)> {
        let fd = openat(&self.0, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        read_up_to(File::from(fd), limit)
    }

    /// Where a symbolic link (`exe`, `cwd`) leads.
    pub(super) fn link(&self, name: &str) -> io::Result<PathBuf> {
        readlinkat(&self.0, name).map(|target: OsString| PathBuf::from(target)).map_err(Into::into)
    }

    /// The directory behind a link, e.g. what the process sees as `/`.
    pub(super) fn directory(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(openat(self.0.as_fd(), name, flags, Mode::empty())?)
    }

    /// `stat`, parsed.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        let (bytes, _) = self.read("stat", STAT_LIMIT)?;
        Stat::parse(&bytes).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// 52 numbers of at most 20 digits, and a name of at most 64 bytes.
const STAT_LIMIT: usize = 2048;

/// What is used of `/proc/PID/stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) comm: String,
    /// A zombie's memory is gone: its empty command line says nothing.
    pub(super) zombie: bool,
    pub(super) parent: u32,
    pub(super) session: u32,
    pub(super) start_ticks: u64,
}

impl Stat {
    /// The name stands in brackets and may itself hold brackets, blanks and newlines; nothing after the last
    /// bracket can.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let open = bytes.iter().position(|&b| b == b'(')?;
        let close = bytes.iter().rposition(|&b| b == b')')?;
        let comm = String::from_utf8_lossy(bytes.get(open + 1..close)?).into_owned();
        let rest = str::from_utf8(bytes.get(close + 1..)?).ok()?;
        // proc_pid_stat(5) counts from 1; the state is field 3.
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().unwrap_or(0);
        let start_ticks = fields.nth(15)?.parse().ok()?;
        Some(Self { comm, zombie: matches!(state, "Z" | "X" | "x"), parent, session, start_ticks })
    }
}

/// The real uid of `/proc/PID/status`. The name in its first line is escaped by the kernel, so that it cannot
/// hold a line of its own.
pub(super) fn real_uid(status: &[u8]) -> Option<u32> {
    let line = status.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_blanks_and_a_newline_does_not_move_the_fields() {
        let line =
            b"4242 (a) S 9\n(b) R 17 4242 42 34816 4242 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.comm, "a) S 9\n(b");
        assert_eq!((stat.parent, stat.session, stat.start_ticks, stat.zombie), (17, 42, 987_654, false));
    }

    #[test]
    fn a_stat_cut_short_is_refused() {
        let whole = b"1 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 77";
        assert_eq!(Stat::parse(whole).unwrap().start_ticks, 77);
        for end in 0..whole.len() - 2 {
            assert_eq!(Stat::parse(&whole[..end]), None, "{end}");
        }
    }

    #[test]
    fn the_real_uid_is_the_first_of_four() {
        assert_eq!(real_uid(b"Name:\tx\\nUid:\t0\nUid:\t1000\t0\t0\t0\n"), Some(1000));
        assert_eq!(real_uid(b"Name:\tx\n"), None);
    }

    #[test]
    fn a_handle_to_a_process_that_was_reaped_reads_nothing() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat starts");
        let dir = PidDir::open(Path::new("/proc"), child.id()).unwrap();
        assert!(dir.stat().is_ok());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(dir.stat().is_err());
    }
}
