//! One life of the program: it is started, what happens to it is heard and told, what asks this process to end reaches it.

#[cfg(unix)]
mod terminal;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use std::{ffi::OsString, io, time::Duration};

pub(super) use self::system::supervise;
use super::{
    Caller, Moved, Note,
    life::{Life, News},
};
use crate::{
    model::Port,
    resolve::{ResolveError, Stirs},
};

/// What is started.
#[derive(Debug)]
pub(super) struct Program {
    /// The program and its arguments.
    pub(super) words: Vec<OsString>,
    /// Variables to set.
    pub(super) variables: Vec<(String, String)>,
    /// It is to have the terminal, where there is one. Without it, Ctrl-C is seen here.
    #[cfg_attr(windows, expect(dead_code, reason = "there every program of a console hears Ctrl-C"))]
    pub(super) lends_terminal: bool,
    /// It is told to end (SIGTERM; on Windows it is ended) when this process is killed. On macOS nothing does that.
    #[cfg_attr(target_os = "macos", expect(dead_code, reason = "no kernel but Linux sees to it"))]
    pub(super) ends_with_us: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// By Ctrl-C (SIGINT) at the terminal, which was lent to it.
    Interrupted,
    /// By us: it was not ready in time.
    NotReady,
}

impl End {
    /// As a shell has it.
    pub const fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::Interrupted => 130,
            Self::NotReady => 1,
        }
    }
}

/// A life that is over.
#[derive(Debug)]
pub(super) struct Lived {
    pub(super) child: u32,
    pub(super) end: End,
    /// It listened somewhere.
    pub(super) listened: bool,
    /// It listened on this port instead of the one it was given, and the claim went with it.
    pub(super) moved: Option<Port>,
    pub(super) took: Duration,
    /// Somebody at the terminal ended it.
    pub(super) was_asked_to_end: bool,
}

/// Hears what the daemon tells.
fn hear(life: &mut Option<Life<'_>>, stirs: Option<&Stirs>) {
    for stir in stirs.map(Stirs::take).unwrap_or_default() {
        if let Some(life) = life {
            life.hear(&stir);
        }
    }
}

/// Tells the caller what a look has found; `true` when the time to be ready is over. `moved` becomes the port that the
/// claim went to.
fn look(
    life: &mut Option<Life<'_>>,
    took: Duration,
    caller: &mut dyn Caller,
    moved: &mut Option<Port>,
) -> Result<bool, ResolveError> {
    let mut late = false;
    let news = life.as_mut().map_or_else(|| Ok(Vec::new()), Life::look)?;
    for news in news {
        match news {
            News::Elsewhere(given, port) => {
                let went = caller.moves_to(port);
                if matches!(went, Moved::Claim(_)) {
                    *moved = Some(port);
                }
                caller.told(Note::Elsewhere(given, port, went));
            }
            News::Several(ports) => caller.told(Note::Several(ports)),
            News::Waiting(words) => caller.told(Note::Waiting(took, words)),
            News::Ready(words) => caller.told(Note::Ready(took, words)),
            News::NotReady(after, words) => {
                caller.told(Note::NotReady(after, words));
                late = true;
            }
        }
    }
    Ok(late)
}

fn failed(operation: &str, error: io::Error) -> ResolveError {
    ResolveError::Io { operation: operation.to_owned(), error }
}
