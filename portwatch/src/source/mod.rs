//! What the machine says. Every source speaks in `model::Observation`s and is interchangeable: eBPF, scan,
//! replay and fake implement one trait, so the whole product is testable without privileges.
//!
//! Never: know claims, print.

pub mod clock;
pub mod convert;
#[cfg(target_os = "linux")]
pub mod diag;
#[cfg(target_os = "linux")]
pub mod ebpf;
#[cfg(not(target_os = "linux"))]
#[path = "no_ebpf.rs"]
pub mod ebpf;
pub mod excluded;
pub mod fake;
pub mod iphelper;
pub mod lsof;
pub mod negotiate;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod netstat;
pub mod process;
#[cfg(target_os = "linux")]
pub mod procfs;
pub mod replay;
mod row;
#[cfg(target_os = "linux")]
pub mod rules;
pub mod run;
pub mod scan;
pub mod sockstat;
#[cfg(target_os = "linux")]
mod tunnels;
mod wake;

use std::{path::PathBuf, time::Duration};

pub use self::row::{Parse, Parsed, Row, State};
pub use self::wake::Wake;

use crate::model::{
    Attached, BindRules, Completeness, ConnectionScope, Connections, Coverage, Degradation, Local, Netns,
    Observation, Port, ProcessId, Sharing, SocketKey,
};

/// Which source it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Kernel programs.
    Ebpf,
    /// The tables of the kernel, polled: sock_diag and procfs, or on Windows the IP helper.
    Scan,
    /// lsof, polled.
    Lsof,
    /// netstat, polled.
    Netstat,
    /// A recording of raw ring-buffer bytes.
    Replay,
    /// A list of observations, for tests.
    Fake,
}

impl SourceKind {
    /// The word used in JSON and by `--source`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Scan => "scan",
            Self::Lsof => "lsof",
            Self::Netstat => "netstat",
            Self::Replay => "replay",
            Self::Fake => "fake",
        }
    }
}

/// What a call of [`Source::poll`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Something was appended, or the timeout passed with nothing to say.
    Open,
    /// There will be nothing more (end of a recording).
    Ended,
}

/// Which part of the truth to look up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    /// The sockets on these ports and their holders, quickly: known holders are confirmed first, a walk over
    /// all processes happens only for a socket whose known holders are gone.
    Ports(Vec<Port>),
    /// The same for whoever asks about these ports: what the source hears of by itself, it need not look up.
    Asked(Vec<Port>),
    /// As `Ports` in every network namespace that may be entered.
    PortsEverywhere(Vec<Port>),
    /// Every socket, in every network namespace that may be entered; holders of those whose holders are not known.
    All,
}

/// What a source has taken in since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Records received.
    pub received: u64,
    /// Records lost before they were received.
    pub lost: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
}

/// A source of observations.
///
/// A source attaches before it takes its first snapshot, so nothing falls between. The first call of
/// [`Source::poll`] delivers that snapshot. After a loss it delivers a `Gap` and then a fresh `Snapshot`.
pub trait Source: Send {
    /// Which one.
    fn kind(&self) -> SourceKind;

    /// Which hook serves each fact, one entry per `model::Fact`.
    fn coverage(&self) -> Vec<Coverage>;

    /// What does not work here.
    fn degradations(&self) -> Vec<Degradation>;

    /// Whether a port on which the latest snapshot showed nothing is free, as far as this source can tell by itself:
    /// `Complete` when a snapshot shows everything it says it shows.
    fn completeness(&self) -> Completeness {
        Completeness::Complete
    }

    /// Waits until there is something to say, `timeout` has passed or the [`Wake`] of this source was called,
    /// then appends what there is, in order of time as far as the kernel gives one.
    fn poll(&mut self, timeout: Duration, out: &mut Vec<Observation>) -> Result<Progress, SourceError>;

    /// Looks a part of the truth up again and appends what was found, a `Snapshot` last. A source that has
    /// nothing to look into (a recording) appends nothing.
    fn refresh(&mut self, scope: &Refresh, out: &mut Vec<Observation>) -> Result<(), SourceError>;

    /// TCP connections, with who left those in TIME_WAIT as far as that is known. `None` from a source that has
    /// nothing to look into, and of a network namespace that it cannot enter.
    fn connections(&mut self, _scope: &ConnectionScope) -> Result<Option<Connections>, SourceError> {
        Ok(None)
    }

    /// What decides a bind besides sockets, and whether these addresses are the machine's. `netns` is the network namespace
    /// that is meant, the source's own where there is none; of one that it cannot enter nothing is known.
    fn bind_rules(&mut self, _addresses: &[Local], _netns: Option<Netns>) -> BindRules {
        BindRules::default()
    }

    /// The sharing options that these sockets have now: each by a process that has it, and its inode.
    fn sharing(&mut self, _sockets: &[(ProcessId, u64)]) -> Sharing {
        Sharing::AsBound
    }

    /// The interfaces that sockets of the own network namespace are bound to, from a source that does not see them by itself.
    fn attached(&mut self) -> Result<Vec<(SocketKey, Attached)>, SourceError> {
        Ok(Vec::new())
    }

    /// Tells what is counted rather than told one by one and is not due yet, for an orderly stop.
    fn finish(&mut self, _out: &mut Vec<Observation>) {}

    /// What was taken in.
    fn counters(&self) -> Counters;
}

/// Why a source failed while running. (Why one could not start is a [`Degradation`].)
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A table of the kernel could not be read.
    #[error("cannot read {what}: {error}")]
    Read {
        /// Path or table.
        what: String,
        /// errno.
        error: std::io::Error,
    },
    /// A call did not come back in time. What it would have told is unknown, never "free".
    #[error("{what} did not answer within {seconds} s")]
    Timeout {
        /// Which call.
        what: String,
        /// The deadline.
        seconds: u64,
    },
    /// A tool was ended by a signal. What it printed until then is no table.
    #[error("{program} was killed by {signal} before it was done")]
    Killed {
        /// The program.
        program: String,
        /// `SIGKILL`, or `signal 35`.
        signal: String,
    },
    /// A tool ended by itself, without the table that it was to print.
    #[error("{program} ended with exit code {code}, {said}")]
    Useless {
        /// The program.
        program: String,
        /// Its code.
        code: i32,
        /// What it complained of.
        said: String,
    },
    /// A recording is not one, or is damaged.
    #[error("recording {path}: {problem} at byte {offset}")]
    Recording {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// Where.
        offset: u64,
    },
    /// The platform has no such source.
    #[error("{0} is not available on this platform")]
    Unsupported(&'static str),
}
