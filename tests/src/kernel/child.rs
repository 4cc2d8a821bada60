//! Programs that a scenario starts: this very program again, in a role. A guest has no other.

use std::{
    env,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};
use nix::{
    libc,
    sys::signal::{SigHandler, Signal, raise, signal},
};

use super::{compat, sockets};

/// Names the role.
const ROLE: &str = "PORTWATCH_TEST_ROLE";
/// The cgroup to enter first.
const CGROUP: &str = "PORTWATCH_TEST_CGROUP";
/// The port a role is about.
const PORT: &str = "PORTWATCH_TEST_PORT";

/// Binds of [`Role::BindOften`].
pub const TURNS: u64 = 2000;

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Listens for a moment and exits with 7.
    BindAndExit7,
    /// Binds, listens and closes [`TURNS`] times.
    BindOften,
    /// Listens until its input ends; says its port.
    Listen,
    /// The same by system calls of the 32-bit convention; says the errno, less than 0, where there are none.
    ListenBy32Bits,
    /// Tries to bind until its input ends; says the errno, 0 for none.
    Bind,
    /// Listens until its input ends. Asked to end by SIGTERM, it takes its handler away and raises that again.
    RaiseAgain,
}

impl Role {
    const ALL: [Self; 6] = [
        Self::BindAndExit7,
        Self::BindOften,
        Self::Listen,
        Self::ListenBy32Bits,
        Self::Bind,
        Self::RaiseAgain,
    ];

    /// Its name, an argument of the child too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BindAndExit7 => "bind-and-exit-7",
            Self::BindOften => "bind-often",
            Self::Listen => "listen",
            Self::ListenBy32Bits => "listen-by-32-bits",
            Self::Bind => "bind",
            Self::RaiseAgain => "raise-again",
        }
    }

    /// A command that plays it. A test binary takes the arguments as names of tests: the one named `role` is to
    /// call [`play`].
    pub fn command(self, port: u16) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args(["--exact", "role", self.as_str()])
            .env(ROLE, self.as_str())
            .env(PORT, port.to_string())
            .stdout(Stdio::null());
        Ok(command)
    }

    /// Starts a child that says nothing.
    pub fn start(self) -> io::Result<Child> {
        self.command(0)?.spawn()
    }

    /// As [`Role::start`], inside a cgroup.
    pub fn start_in(self, cgroup: &Path) -> io::Result<Child> {
        self.command(0)?.env(CGROUP, cgroup).spawn()
    }
}

/// Plays the role that this process was started for. `None` when it was started for none.
pub fn play() -> Option<anyhow::Result<i32>> {
    let name = env::var_os(ROLE)?;
    let role = Role::ALL.into_iter().find(|role| name == role.as_str());
    Some(role.context("an unknown role").and_then(act))
}

fn act(role: Role) -> anyhow::Result<i32> {
    if let Some(cgroup) = env::var_os(CGROUP) {
        std::fs::write(PathBuf::from(cgroup).join("cgroup.procs"), "0")?;
    }
    let port = env::var(PORT)?.parse()?;
    let mut code = 0;
    match role {
        Role::BindAndExit7 => {
            drop(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
            code = 7;
        }
        Role::BindOften => {
            for _ in 0..TURNS {
                drop(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
            }
        }
        Role::Listen | Role::RaiseAgain => {
            if role == Role::RaiseAgain {
                // SAFETY: the handler calls nothing but signal(2) and raise(3), which are async-signal-safe.
                unsafe { signal(Signal::SIGTERM, SigHandler::Handler(end_as_asked)) }?;
            }
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
            say(listener.local_addr()?.port().into())?;
        }
        Role::ListenBy32Bits => match compat::listener(Ipv4Addr::LOCALHOST) {
            Ok(listener) => say(sockets::port_of(&listener).into())?,
            Err(error) => say(-error.raw_os_error().unwrap_or(1))?,
        },
        Role::Bind => match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => say(0)?,
            Err(error) => say(error.raw_os_error().unwrap_or(-1))?,
        },
    }
    Ok(code)
}

extern "C" fn end_as_asked(_: libc::c_int) {
    // SAFETY: the default action is no handler. Were one of the two to fail, the child would live on and its test say so.
    let _ = unsafe { signal(Signal::SIGTERM, SigHandler::SigDfl) };
    let _ = raise(Signal::SIGTERM);
}

/// Tells the parent a number and waits until it ends our input.
fn say(number: i32) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{SAYS}{number}")?;
    out.flush()?;
    drop(out);
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Marks what a child says: a test binary prints other lines too.
const SAYS: &str = "portwatch child says: ";

/// The number in a line that a child printed.
pub fn heard(line: &str) -> anyhow::Result<Option<i32>> {
    match line.strip_prefix(SAYS) {
        None => Ok(None),
        Some(number) => match number.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => bail!("a child said '{number}'"),
        },
    }
}
