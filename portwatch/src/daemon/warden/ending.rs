//! How a process ended that is not a child: the kernel keeps its status in the pidfd once it is reaped (6.15), and in
//! `/proc/PID/stat` until then.

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    time::Instant,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};

use crate::model::ProcessId;

/// What is known of the end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// As wait(2) has it.
    Status(i32),
    /// Its parent has not reaped it, and this process may not look into it: after that it may be told.
    Later,
    /// It is gone, and the kernel keeps nothing of it.
    Never,
}

/// `its process 4711 was killed by SIGKILL`, as far as it can be known until `deadline`. Of one that nobody watched, and that
/// was reaped, nothing is known.
pub(super) fn words(process: ProcessId, pidfd: Option<BorrowedFd<'_>>, deadline: Instant) -> Option<String> {
    let pid = process.pid;
    let known = match (end(process, pidfd), pidfd) {
        (End::Later, Some(pidfd)) => {
            until_reaped(pidfd, deadline);
            end(process, Some(pidfd))
        }
        (known, _) => known,
    };
    match known {
        End::Status(status) => Some(sentence(pid, status)),
        End::Later | End::Never => pidfd.map(|_| format!("its process {pid} has ended")),
    }
}

/// Waits until a process that has ended is reaped: its pidfd hangs up then (`pidfd_poll` in fs/pidfs.c, Linux 6.9; an older
/// kernel does not tell, and keeps no status that would be worth it).
fn until_reaped(pidfd: BorrowedFd<'_>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
    // Nothing is asked for: a hang-up is told anyway, and that it has ended would be told at once. After a signal or an error
    // less is known, no more.
    let _ = poll(&mut [PollFd::new(pidfd, PollFlags::empty())], timeout);
}

fn end(process: ProcessId, pidfd: Option<BorrowedFd<'_>>) -> End {
    match zombie(process) {
        // It is taken out of /proc after the kernel has put its status into the pidfd (release_task in kernel/exit.c).
        End::Never => pidfd.and_then(reaped).map_or(End::Never, End::Status),
        known => known,
    }
}

/// As wait(2) has it: the signal in the low seven bits, else the exit code in the next byte.
fn sentence(pid: u32, status: i32) -> String {
    let signal = status & 0x7f;
    if signal == 0 {
        return format!("its process {pid} ended with exit code {}", (status >> 8) & 0xff);
    }
    let name =
        Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned());
    format!("its process {pid} was killed by {name}")
}

/// Field 52 of its `/proc/PID/stat` while it waits to be reaped (proc(5): `exit_code`, for those who may trace it; others
/// read 0, which says nothing).
fn zombie(process: ProcessId) -> End {
    let directory = format!("/proc/{}", process.pid);
    let Ok(line) = std::fs::read_to_string(format!("{directory}/stat")) else { return End::Never };
    match fields(&line) {
        Some((_, start, _)) if start != process.start_ticks => End::Never,
        Some(("Z" | "X", _, status)) if status != 0 || may_trace(&directory) => End::Status(status),
        Some(_) | None => End::Later,
    }
}

/// State, start and exit code.
fn fields(line: &str) -> Option<(&str, u64, i32)> {
    let mut fields = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    // Counted from 1: state is 3, starttime 22, exit_code 52.
    let start = fields.nth(18)?.parse().ok()?;
    let status = fields.nth(29)?.parse().ok()?;
    Some((state, start, status))
}

/// Root and its own user may look into a process that has no memory any more.
fn may_trace(directory: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let own = nix::unistd::geteuid().as_raw();
    own == 0 || std::fs::metadata(directory).is_ok_and(|found| found.uid() == own)
}

/// `PIDFD_GET_INFO` with `PIDFD_INFO_EXIT` (include/uapi/linux/pidfd.h, first version of the structure: 64 bytes).
fn reaped(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const INFO_EXIT: u64 = 1 << 3;
    /// `_IOWR(0xFF, 11, 64 bytes)`
    const GET_INFO: nix::libc::Ioctl = (3 << 30) | (64 << 16) | (0xFF << 8) | 0x0B;
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        /// pid, tgid, ppid and eight user and group ids
        ids: [u32; 11],
        exit_code: i32,
    }
    const { assert!(size_of::<Info>() == 64) };
    let mut info = Info { mask: INFO_EXIT, ..Info::default() };
    // SAFETY: the descriptor is open, and the kernel writes at most the 64 bytes that the number names.
    let result = unsafe { nix::libc::ioctl(pidfd.as_raw_fd(), GET_INFO, std::ptr::from_mut(&mut info)) };
    (result == 0 && info.mask & INFO_EXIT != 0).then_some(info.exit_code)
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd, process::Command, time::Duration};

    use super::*;
    use crate::source::procfs::ProcFs;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn ended(script: &str) -> (String, String) {
        let mut child =
            Command::new("sh").args(["-c", script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut procfs = ProcFs::open("/proc".as_ref()).unwrap();
        let id = procfs.identify(child.id()).unwrap();
        let fd = super::super::pidfds::open(id).unwrap();
        drop(child.stdin.take());
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::MAX).unwrap();
        let before = words(id, Some(fd.as_fd()), soon()).unwrap();
        assert_eq!(words(id, None, soon()).as_ref(), Some(&before), "nobody has reaped it");
        child.wait().unwrap();
        let after = words(id, Some(fd.as_fd()), soon()).unwrap();
        assert_eq!(words(id, None, soon()), None);
        let pid = id.pid.to_string();
        (before.replace(&pid, "PID"), after.replace(&pid, "PID"))
    }

    #[test]
    fn how_a_foreign_process_ended_is_known_before_it_is_reaped_and_on_new_kernels_after() {
        for (script, sentence) in [
            ("read x; exit 7", "its process PID ended with exit code 7"),
            ("read x; kill -KILL $$", "its process PID was killed by SIGKILL"),
        ] {
            let (before, after) = ended(script);
            assert_eq!(before, sentence);
            assert!(after == sentence || after == "its process PID has ended", "{after}");
        }
    }

    #[test]
    fn who_may_not_look_into_it_waits_until_its_parent_has_reaped_it() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let id = ProcFs::open("/proc".as_ref()).unwrap().identify(child.id()).unwrap();
        let fd = super::super::pidfds::open(id).unwrap();
        child.kill().unwrap();
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::MAX).unwrap();
        // Ended and not reaped: nothing comes in time that has passed already.
        until_reaped(fd.as_fd(), Instant::now());
        assert_eq!(end(id, None), End::Status(9));
        let stat = format!("/proc/self/task/{}/stat", nix::unistd::gettid());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let sleeps = || matches!(fields(&std::fs::read_to_string(&stat).unwrap()), Some(("S", ..)));
                let deadline = soon();
                while !sleeps() && Instant::now() < deadline {
                    std::thread::yield_now();
                }
                child.wait().unwrap();
            });
            let deadline = soon();
            until_reaped(fd.as_fd(), deadline);
            let (found, in_time) = (end(id, None), Instant::now() < deadline);
            assert_eq!(found, End::Never);
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::empty())];
            let hangs_up = poll(&mut fds, PollTimeout::ZERO).unwrap() == 1;
            assert_eq!(in_time, hangs_up, "the kernel tells, or does not");
        });
    }

    #[test]
    fn of_a_process_that_is_gone_nothing_is_waited_for() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut procfs = ProcFs::open("/proc".as_ref()).unwrap();
        let id = procfs.identify(child.id()).unwrap();
        assert_eq!(end(id, None), End::Later, "it lives");
        let fd = super::super::pidfds::open(id).unwrap();
        child.kill().unwrap();
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::MAX).unwrap();
        assert_eq!(end(id, None), End::Status(9));
        child.wait().unwrap();
        assert_eq!(end(id, None), End::Never);
        let own = procfs.identify(std::process::id()).unwrap();
        let another = ProcessId { start_ticks: own.start_ticks + 1, ..own };
        assert_eq!(end(another, None), End::Never, "another process that has its pid is another");
    }
}
