//! Real programs that a test starts, talks to and reaps.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{DEADLINE, wait_until};

/// A TCP port that nobody has at an address, as the kernel says. Somebody else may take it: addresses of a test's own
/// (127.a.b.c) make that unlikely.
pub fn free_port(address: &str) -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind((address, 0))?.local_addr()?.port())
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

    /// Binds a TCP address and listens until its input ends; gives the port, which matters where 0 was asked.
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
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => bail!("process {} printed nothing in {DEADLINE:?}", self.pid()),
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
    let pid = child.id();
    wait_until(&format!("the end of process {pid}"), DEADLINE, || child.try_wait().transpose())?
        .with_context(|| format!("waiting for process {pid}"))
}
