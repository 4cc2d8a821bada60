//! Why a daemon did not answer.

use std::{fmt, io, path::PathBuf, time::Duration};

use crate::{
    platform::{
        standstill::{self, Standstill},
        user::{self, ROOT},
    },
    wire::ErrorDocument,
};

/// What a daemon is asked through, and what it is called that this is not permitted.
const KIND: &str = if cfg!(windows) { "pipe" } else { "socket" };
const DENIED: &str = if cfg!(windows) { "ERROR_ACCESS_DENIED" } else { "EACCES" };

/// `uid 1000`; on Windows, where users have no numbers, by name where it is known.
fn whom(uid: u32) -> String {
    let name = if cfg!(windows) { user::account(uid).ok().flatten() } else { None };
    name.map_or_else(|| format!("uid {uid}"), |account| account.name)
}

/// Why the daemon did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket file.
    #[error("there is no {kind} at {0}", kind = KIND)]
    Absent(PathBuf),
    /// There is a socket file and nobody listens: its daemon is gone.
    #[error("nobody listens at {0} any more")]
    Stale(PathBuf),
    /// Something else is there.
    #[error("{0} is not a {kind}", kind = KIND)]
    NoSocket(PathBuf),
    /// No socket can be there.
    #[error("{path} is too long for the path of a socket: it has {} bytes, and {most} is the most", path.as_os_str().len())]
    TooLong {
        /// What was named.
        path: PathBuf,
        /// The system's limit.
        most: usize,
    },
    /// Not allowed to connect.
    #[error("connecting to {path} is not permitted ({denied})", denied = DENIED)]
    NotPermitted {
        /// The socket.
        path: PathBuf,
    },
    /// The server is neither root's nor the caller's own: it could tell anything.
    #[error("{path} is served by {}, which is neither {root} nor you", whom(*uid), root = ROOT)]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// Uid of the process that listens.
        uid: u32,
    },
    /// It is there, and no answer came in time.
    #[error(transparent)]
    Silent(Box<Silence>),
    /// The connection broke, or what came was no HTTP.
    #[error("{path} broke off: {problem}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        problem: String,
    },
    /// An answer that this build does not understand.
    #[error("{path} answered something this portwatch does not understand ({problem})")]
    Alien {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The daemon said no.
    #[error("{}", .document.error.message)]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        document: Box<ErrorDocument>,
    },
    /// No runtime could be made.
    #[error("cannot start asking: {0}")]
    Start(io::Error),
}

impl ClientError {
    /// The same, where an order was sent.
    pub(super) fn of_order(self) -> Self {
        match self {
            Self::Silent(silence) => Self::Silent(Box::new(Silence { told: Told::Order, ..*silence })),
            other => other,
        }
    }
}

/// What a silent daemon had been told by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A question, or nothing: it has changed nothing.
    Nothing,
    /// An order was to come next. It was not sent.
    NoOrder,
    /// An order: whether it was carried out is not known.
    Order,
}

/// A daemon that accepts, and does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Silence {
    /// Its socket.
    pub path: PathBuf,
    /// Its pid, where the system tells.
    pub pid: Option<u32>,
    /// What keeps it, where that is to be seen.
    pub standstill: Option<Standstill>,
    /// How long it was waited for.
    pub waited: Duration,
    /// It says that it is there: it is this answer that does not come.
    pub is_there: bool,
    /// What it had been told.
    pub told: Told,
}

impl Silence {
    pub(super) fn new(path: PathBuf, pid: Option<u32>, waited: Duration, is_there: bool) -> Self {
        let standstill = pid.and_then(standstill::of);
        Self { path, pid, standstill, waited, is_there, told: Told::Nothing }
    }

    /// `the daemon (pid 812)`
    pub fn daemon(&self) -> String {
        match self.pid {
            Some(pid) => format!("the daemon (pid {pid})"),
            None => format!("the daemon at {}", self.path.display()),
        }
    }

    /// What makes it answer again.
    pub fn remedy(&self) -> String {
        let restart = match self.pid.and_then(standstill::restarted_by) {
            Some(command) => format!("{command} renews it, journalctl -u portwatch tells what it did"),
            None => "portwatch restart renews it, its log tells what it did".to_owned(),
        };
        match (self.standstill, self.pid) {
            (Some(Standstill::Stopped), Some(pid)) => format!("kill -CONT {pid} lets it go on, {restart}"),
            _ => restart,
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.waited.saturating_add(Duration::from_millis(500)).as_secs();
        write!(f, "{} did not answer within {seconds} s", self.daemon())?;
        match self.standstill {
            Some(standstill) => write!(f, ": {standstill}")?,
            None if self.is_there => {
                f.write_str(", and is there: something keeps it, a slow disk perhaps")?;
            }
            None => {}
        }
        f.write_str(match self.told {
            Told::Nothing => "",
            Told::NoOrder => "; nothing was ordered, and nothing has changed",
            Told::Order => "; whether the order was carried out is not known",
        })
    }
}
