//! Real programs that a test starts, talks to and reaps.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket},
    },
    unistd::Pid,
};

use crate::{DEADLINE, wait_until};

/// Where [`free_port`] looks: above what portwatch gives out by itself, below where the kernel chooses (32768 and up unless
/// `ip_local_port_range` says otherwise). Nobody comes to a port of these who does not name it.
const QUIET: std::ops::Range<u16> = 12_000..32_000;

/// A TCP port that nobody has on any address, not in TIME_WAIT either, and that the kernel gives to nobody who asks for
/// any: a test may leave it and come back.
pub fn free_port() -> anyhow::Result<u16> {
    static ASKED: AtomicU16 = AtomicU16::new(0);
    // Each test is a process of its own: they begin apart.
    let start = u64::from(std::process::id()) * 7919;
    for _ in QUIET {
        let offset = (start + u64::from(ASKED.fetch_add(1, Ordering::Relaxed))) % QUIET.len() as u64;
        let port = QUIET.start + u16::try_from(offset)?;
        if nobody_has(port)? {
            return Ok(port);
        }
    }
    bail!("no port of {QUIET:?} is free")
}

/// Binds it on every address, without SO_REUSEADDR, which the standard library's listener sets.
fn nobody_has(port: u16) -> anyhow::Result<bool> {
    let (socket, any) = match socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None) {
        Ok(socket) => (socket, SockaddrStorage::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))),
        Err(_) => (
            socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?,
            SockaddrStorage::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        ),
    };
    Ok(bind(socket.as_raw_fd(), &any).is_ok())
}

/// A program under a test's control. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Actor {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Actor {
    /// Starts a program. What it prints is read line by line.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no output")?;
        let (sender, lines) = channel();
        // Ends with the program's output.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    /// Starts a Python program; `arguments` are its `sys.argv[1:]`.
    pub fn python(program: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        // -S: the site module reads files and takes as long as the rest of the start.
        Self::start(Command::new("python3").args(["-S", "-u", "-c", program]).args(arguments))
    }

    /// Binds a TCP address and listens until its input ends; gives the port, which matters where 0 was asked: one of
    /// [`free_port`], to which a test may come back.
    pub fn listener(address: &str, port: u16) -> anyhow::Result<(Self, u16)> {
        let program = "
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen()
print(s.getsockname()[1])
sys.stdin.read()
";
        let port = if port == 0 { free_port()? } else { port };
        let mut actor = Self::python(program, &[address, &port.to_string()])?;
        let port = actor.line()?.parse()?;
        Ok((actor, port))
    }

    /// Tries to bind a TCP address, closes it again if that worked, and gives the errno, 0 for success.
    pub fn bind(address: &str, port: u16) -> anyhow::Result<(Self, i32)> {
        let program = "
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM)
try:
    s.bind((sys.argv[1], int(sys.argv[2])))
    print(0)
except OSError as error:
    print(error.errno)
s.close()
sys.stdin.read()
";
        let mut actor = Self::python(program, &[address, &port.to_string()])?;
        let errno = actor.line()?.parse()?;
        Ok((actor, errno))
    }

    /// Its pid, which stays its own until it is waited for.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it prints.
    pub fn line(&mut self) -> anyhow::Result<String> {
        self.line_within(DEADLINE)
    }

    /// The next line it prints, of work that takes its time.
    pub fn line_within(&mut self, deadline: Duration) -> anyhow::Result<String> {
        match self.lines.recv_timeout(deadline) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => bail!("process {} printed nothing in {deadline:?}", self.pid()),
            Err(RecvTimeoutError::Disconnected) => bail!("process {} ended its output", self.pid()),
        }
    }

    /// Gives it a line to read.
    pub fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("its input has ended")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// Ends its input and waits until it ends by itself.
    pub fn finish(mut self) -> anyhow::Result<ExitStatus> {
        self.input = None;
        wait_for(&mut self.child)
    }

    /// Waits until it ends by itself, while its input stays open: whatever ended it, it was not that.
    pub fn end(mut self) -> anyhow::Result<ExitStatus> {
        wait_for(&mut self.child)
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill(pid_of(&self.child)?, signal)?)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Both fail only where it was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn pid_of(child: &Child) -> anyhow::Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(child.id())?))
}

pub(crate) fn wait_for(child: &mut Child) -> anyhow::Result<ExitStatus> {
    wait_for_within(DEADLINE, child)
}

pub(crate) fn wait_for_within(deadline: Duration, child: &mut Child) -> anyhow::Result<ExitStatus> {
    let pid = child.id();
    wait_until(&format!("the end of process {pid}"), deadline, || child.try_wait().transpose())?
        .with_context(|| format!("waiting for process {pid}"))
}
