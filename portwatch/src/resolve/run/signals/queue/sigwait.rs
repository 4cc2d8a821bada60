//! By a thread that takes them (`sigwait`) and writes them to a pair of sockets.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    thread,
};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Signals that wait to be read.
#[derive(Debug)]
pub(in super::super) struct Queue(UnixStream);

impl Queue {
    /// Of these, which are blocked.
    pub(in super::super) fn open(signals: &[Signal]) -> io::Result<Self> {
        if signals.contains(&Signal::SIGCHLD) {
            // By default it is ignored, and what is ignored need not be kept for `sigwait` (POSIX, "Signal Concepts"): XNU drops it. The
            // handler never runs here, where the signal is blocked, and a program that is started does not inherit it.
            let handler = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
            // SAFETY: the handler does nothing at all.
            unsafe { sigaction(Signal::SIGCHLD, &handler) }?;
        }
        let (mut told, heard) = UnixStream::pair()?;
        heard.set_nonblocking(true)?;
        let set: SigSet = signals.iter().copied().collect();
        // Ends with the process, or when nobody reads any more.
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while let Ok(signal) = set.wait() {
                let Ok(number) = u8::try_from(signal as i32) else { continue };
                if told.write_all(&[number]).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self(heard))
    }

    /// The next one that came.
    pub(in super::super) fn read(&self) -> Option<Signal> {
        let mut number = [0];
        let read = (&self.0).read(&mut number).ok()?;
        (read == 1).then(|| Signal::try_from(i32::from(number[0])).ok())?
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

extern "C" fn nothing(_: i32) {}

#[cfg(test)]
mod tests {
    use std::{
        env,
        os::{fd::AsFd as _, unix::process::CommandExt as _},
        process::Command,
    };

    use nix::{
        poll::{PollFd, PollFlags, PollTimeout, poll},
        sys::signal::{SigSet, Signal, kill},
        unistd::getpid,
    };

    use super::Queue;

    const NAME: &str =
        "resolve::run::signals::queue::sigwait::tests::blocked_signals_are_polled_for_and_each_is_read_once";
    const ALONE: &str = "PORTWATCH_TEST_SIGWAIT";

    const SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGCONT];

    fn next(queue: &Queue) -> Signal {
        let mut fds = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)), Ok(1), "a signal came");
        queue.read().unwrap()
    }

    #[test]
    fn blocked_signals_are_polled_for_and_each_is_read_once() {
        if env::var_os(ALONE).is_none() {
            // In a process that has them blocked from its first moment on, as `portwatch run` has before it starts a thread.
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(["--exact", NAME]).env(ALONE, "1");
            // SAFETY: sigprocmask is async-signal-safe, and nothing is allocated.
            unsafe { command.pre_exec(|| Ok(SigSet::from_iter(SIGNALS).thread_block()?)) };
            let ran = command.output().unwrap();
            let said = String::from_utf8_lossy(&ran.stdout);
            assert!(ran.status.success() && said.contains("1 passed"), "{ran:?}");
            return;
        }
        let queue = Queue::open(&SIGNALS).unwrap();
        assert_eq!(queue.read(), None);
        kill(getpid(), Signal::SIGTERM).unwrap();
        assert_eq!(next(&queue), Signal::SIGTERM);
        kill(getpid(), Signal::SIGCONT).unwrap();
        assert_eq!(next(&queue), Signal::SIGCONT);
        let mut child = Command::new("true").spawn().unwrap();
        assert_eq!(next(&queue), Signal::SIGCHLD);
        assert!(child.wait().unwrap().success());
        assert_eq!(queue.read(), None, "each is read once");
    }
}
