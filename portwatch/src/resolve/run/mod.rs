//! `run`: a program on a port, started again where its bind was refused, and nowhere else.

mod child;
mod family;
mod life;
mod ready;
mod signals;
mod take;

use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

pub use child::End;
use child::Program;
use life::Life;
pub use ready::Ready;
pub use signals::Signals;
pub use take::{concluded, waiting};

use super::{Condition, Place, ResolveError, Stir, StirKind, Stirs, WaitRequest, free::How, wait};
use crate::model::{Port, Timestamp};

/// The first pause before a restart; each further one is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest pause before a restart.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// A program that ran so long has started well: what follows is a new failure, not the same one again.
const STEADY: Duration = Duration::from_mins(1);
/// EADDRINUSE of Linux.
const IN_USE: i32 = 98;

/// What to run, and where.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// Program and arguments; `{port}` and `{host}` in them are filled in.
    pub words: Vec<OsString>,
    /// Variables that carry the port.
    pub port_variables: Vec<String>,
    /// Other variables to set.
    pub variables: Vec<(String, String)>,
    /// The place it is to have.
    pub place: Place,
    /// How often it is started again after a refused bind.
    pub retries: u32,
    /// How long to wait for the port before each.
    pub delay: Duration,
    /// How often in a row it is started again when it fails otherwise.
    pub restarts: u32,
    /// On a refused bind, end a leftover of the same project, once.
    pub take: Option<How>,
    /// It is to be ready in time.
    pub ready: Option<Ready>,
}

impl RunRequest {
    fn program(&self) -> Program {
        let port = self.place.port.to_string();
        let ports = self.port_variables.iter().map(|name| (name.clone(), port.clone()));
        Program {
            words: self.words.iter().map(|word| self.word(word)).collect(),
            variables: self.variables.iter().cloned().chain(ports).collect(),
            // Ctrl-C ends the restarts too.
            lends_terminal: self.restarts == 0,
            ends_with_us: true,
        }
    }

    fn word(&self, word: &OsStr) -> OsString {
        let host = self.place.hosts.first().map_or_else(|| "localhost".to_owned(), ToString::to_string);
        match word.to_str() {
            Some(text) => {
                text.replace("{port}", &self.place.port.to_string()).replace("{host}", &host).into()
            }
            // One that is not UTF-8 is left as it is.
            None => word.to_owned(),
        }
    }
}

/// A refused bind of the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Who had the port, where that is known.
    pub holder: Option<String>,
    /// Connections in TIME_WAIT on the port, where nobody holds it: they refuse a bind without SO_REUSEADDR.
    pub waiting: u64,
    /// The kernel told; otherwise it was concluded from the port being held.
    pub certain: bool,
}

/// What became of the claim when the program went to another port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// There is no claim: the port was named.
    NoClaim,
    /// This claim has the new port now.
    Claim(String),
    /// The claim stays as it is, and why.
    Stays(String),
}

/// Whoever runs it: what they know, and what they are told.
pub trait Caller {
    /// The latest refused bind of `child` or a descendant since `since`, with EADDRINUSE.
    fn refused(&self, place: &Place, child: u32, since: Timestamp) -> Option<Refused>;
    /// The program runs, for the first time or again.
    fn started(&mut self);
    /// The program listens on this port instead.
    fn moves_to(&mut self, port: Port) -> Moved;
    /// Something is to be said.
    fn told(&mut self, note: Note);
}

/// What the caller is told while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It is started again after a refused bind: which time, of how many.
    Retry(u32, u32, Refused),
    /// A leftover was ended.
    Took(String),
    /// Whoever holds the port was not ended, and why.
    NotTaken(String),
    /// It failed on the refused bind for good.
    Refused(Refused),
    /// It listens on the second port instead of the first.
    Elsewhere(Port, Port, Moved),
    /// It listens on these ports and not on the one it was given.
    Several(Vec<Port>),
    /// It is started again after a failure, so much later.
    Restart(u32, u32, Duration),
    /// It is not ready yet, so long after its start: how it stands.
    Waiting(Duration, String),
    /// It was ready so long after its start.
    Ready(Duration, String),
    /// It was not ready in time, and is ended.
    NotReady(Duration, String),
}

/// Runs it to its end. Signals must have been blocked before any thread was started: `signals`.
pub fn run(
    request: &RunRequest,
    signals: &Signals,
    stirs: Option<&Stirs>,
    caller: &mut dyn Caller,
) -> Result<End, ResolveError> {
    let mut request = request.clone();
    let (mut tried, mut restarted, mut taken) = (0, 0, false);
    loop {
        let since = Timestamp::now();
        let lived = child::supervise(&request.program(), signals, stirs, caller, &mut |child| {
            Life::new(&request, child).map(Some)
        })?;
        let end = lived.end;
        if let Some(port) = lived.moved {
            request.place.port = port;
        }
        if end == End::Code(0) || lived.was_asked_to_end || signals.was_asked_to_end() {
            return Ok(end);
        }
        // One that listened was not refused, whatever it ended of.
        let refused = if lived.listened { None } else { caller.refused(&request.place, lived.child, since) };
        if let Some(refused) = refused {
            // Connections that wait may be none of the reason: that is said, and not acted upon.
            if taken || (refused.holder.is_none() && !refused.certain) {
                caller.told(Note::Refused(refused));
                return Ok(end);
            }
            if let Some(how) = &request.take {
                taken = true;
                // Nobody is ended for what is only concluded: the program may have failed of something else.
                let outcome = if refused.certain {
                    take::take(&request.place, how)?
                } else {
                    Err("nobody saw the kernel refuse the port to the program (a daemon sees refused binds)"
                        .to_owned())
                };
                match outcome {
                    Ok(words) => {
                        caller.told(Note::Took(words));
                        continue;
                    }
                    Err(why) => caller.told(Note::NotTaken(why)),
                }
            }
            if tried == request.retries {
                caller.told(Note::Refused(refused));
                return Ok(end);
            }
            tried += 1;
            let strict = refused.holder.is_none();
            caller.told(Note::Retry(tried, request.retries, refused));
            let wanted = WaitRequest {
                places: vec![request.place.clone()],
                condition: Condition::Free { strict },
                timeout: Some(request.delay),
                names: false,
            };
            // Whether it is free by then decides the next bind, which is the program's own.
            let _ = wait(&wanted, stirs, &mut |_, _| {})?;
        } else {
            if lived.took >= STEADY {
                restarted = 0;
            }
            if restarted >= request.restarts {
                return Ok(end);
            }
            let pause = backoff(restarted);
            restarted += 1;
            caller.told(Note::Restart(restarted, request.restarts, pause));
            if signals.wait_for_end(pause)? {
                return Ok(end);
            }
        }
        if signals.wait_for_end(Duration::ZERO)? {
            return Ok(end);
        }
    }
}

/// Runs a program once, with the terminal, and passes signals on to it; `started` is given its pid.
pub fn supervised(
    words: &[OsString],
    variables: &[(String, String)],
    signals: &Signals,
    started: &mut dyn FnMut(u32),
) -> Result<End, ResolveError> {
    let program = Program {
        words: words.to_vec(),
        variables: variables.to_vec(),
        lends_terminal: true,
        ends_with_us: false,
    };
    let lived = child::supervise(&program, signals, None, &mut Nobody, &mut |child| {
        started(child);
        Ok(None)
    })?;
    Ok(lived.end)
}

/// Of a program without a port there is nothing to be known or told.
struct Nobody;

impl Caller for Nobody {
    fn refused(&self, _: &Place, _: u32, _: Timestamp) -> Option<Refused> {
        None
    }

    fn started(&mut self) {}

    fn moves_to(&mut self, _: Port) -> Moved {
        Moved::NoClaim
    }

    fn told(&mut self, _: Note) {}
}

/// The pause before a restart, when so many were in vain.
fn backoff(restarted: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(restarted)).min(LONGEST_BACKOFF)
}

/// Whether an event is the refusal of `child`.
pub fn is_refusal(stir: &Stir, place: &Place, child: u32) -> bool {
    stir.kind == StirKind::Refused(IN_USE) && stir.port == Some(place.port) && stir.pids.contains(&child)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::backoff;

    #[test]
    fn each_restart_comes_later_up_to_half_a_minute() {
        let pauses: Vec<u128> = (0..9).map(|n| backoff(n).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(backoff(u32::MAX), Duration::from_secs(30));
    }
}
