//! `run`: a program on a port, started again where its bind was refused, and nowhere else.

mod child;
mod signals;

use std::{ffi::OsString, path::PathBuf, thread, time::Duration};

pub use child::End;
use child::Program;
pub use signals::Signals;

use super::{
    Condition, Place, ResolveError, Stir, StirKind, Stirs, WaitRequest,
    free::{self, How, Plan},
    wait,
};
use crate::{
    attribute::{Attributor, Roots},
    model::{ProcessId, Timestamp},
    source::procfs::ProcFs,
};

/// The longest pause before a restart.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// EADDRINUSE of Linux.
const IN_USE: i32 = 98;

/// What to run, and where.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// Program and arguments, with `{port}` and `{host}` replaced.
    pub words: Vec<OsString>,
    /// Variables to set.
    pub variables: Vec<(String, String)>,
    /// The place it is to have.
    pub place: Place,
    /// How often it is started again after a refused bind.
    pub retries: u32,
    /// How long to wait for the port before each.
    pub delay: Duration,
    /// How often it is started again when it fails otherwise.
    pub restarts: u32,
    /// On a refused bind, end a leftover of the same project, once.
    pub take: Option<How>,
}

/// A refused bind of the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Who had the port, where that is known.
    pub holder: Option<String>,
    /// The kernel told; otherwise it was concluded from the port being held.
    pub certain: bool,
}

/// Who can tell whether the child was refused the port.
pub trait Witness {
    /// The latest refused bind of `child` or a descendant since `since`, with EADDRINUSE.
    fn refused(&self, place: &Place, child: u32, since: Timestamp) -> Option<Refused>;
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
    /// It listens on another port than it was given.
    Elsewhere(u16),
    /// It is started again after a failure, so much later.
    Restart(u32, u32, Duration),
}

/// Runs it to its end. Signals must have been blocked before any thread was started: `signals`.
pub fn run(
    request: &RunRequest,
    signals: &Signals,
    witness: &dyn Witness,
    stirs: Option<&Stirs>,
    told: &mut dyn FnMut(Note),
) -> Result<End, ResolveError> {
    let (mut tried, mut restarted, mut taken) = (0, 0, false);
    loop {
        let since = Timestamp::now();
        let mut elsewhere = false;
        let program = Program { words: &request.words, variables: &request.variables };
        let mut other = |stir: &Stir, child| {
            if let Some(port) = other_port(stir, child, request)
                && !elsewhere
            {
                elsewhere = true;
                told(Note::Elsewhere(port));
            }
        };
        let (child, end) = child::supervise(&program, signals, stirs, &mut other, &mut |_| {})?;
        if end == End::Code(0) || signals.was_asked_to_end() {
            return Ok(end);
        }
        if let Some(refused) = witness.refused(&request.place, child, since) {
            if taken {
                told(Note::Refused(refused));
                return Ok(end);
            }
            if let Some(how) = &request.take {
                taken = true;
                match take(&request.place, how)? {
                    Ok(words) => {
                        told(Note::Took(words));
                        continue;
                    }
                    Err(why) => told(Note::NotTaken(why)),
                }
            }
            if tried == request.retries {
                told(Note::Refused(refused));
                return Ok(end);
            }
            tried += 1;
            told(Note::Retry(tried, request.retries, refused));
            let wanted = WaitRequest {
                places: vec![request.place.clone()],
                condition: Condition::Free { strict: false },
                timeout: Some(request.delay),
                names: false,
            };
            // Whether it is free by then decides the next bind, which is the program's own.
            let _ = wait(&wanted, stirs, &mut |_, _| {})?;
        } else if restarted < request.restarts {
            let pause = Duration::from_millis(500)
                .saturating_mul(2_u32.saturating_pow(restarted))
                .min(LONGEST_BACKOFF);
            restarted += 1;
            told(Note::Restart(restarted, request.restarts, pause));
            if signals.wait_for_end(pause)? {
                return Ok(end);
            }
        } else {
            return Ok(end);
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
    let program = Program { words, variables };
    child::supervise(&program, signals, None, &mut |_, _| {}, started).map(|(_, end)| end)
}

fn other_port(stir: &Stir, child: u32, request: &RunRequest) -> Option<u16> {
    let port = stir.port.filter(|&port| port != request.place.port)?;
    (stir.kind == StirKind::Listen && stir.pids.contains(&child)).then(|| port.get())
}

/// Ends whoever holds the place, if it is a leftover of this directory's project.
fn take(place: &Place, how: &How) -> Result<Result<String, String>, ResolveError> {
    let Some(plan) = free::plan(std::slice::from_ref(place), &how.redaction, how.force)?.pop() else {
        return Ok(Err("nobody holds it any more".to_owned()));
    };
    if let Some(refusal) = plan.refusals.first() {
        return Ok(Err(format!("{}; {}", refusal.why, refusal.instead)));
    }
    if !plan.is_possible() || !plan.units.is_empty() {
        return Ok(Err(format!("no process of this project holds it; portwatch who {place}")));
    }
    if let Some(stranger) = stranger(&plan) {
        return Ok(Err(format!("{stranger} is not of this project; portwatch free {place} would end it")));
    }
    let done = free::act(&plan, how, None)?;
    Ok(if done.freed { Ok(done.words) } else { Err(done.words) })
}

/// A holder that is not of the project of this directory. Without a project everybody is a stranger.
fn stranger(plan: &Plan) -> Option<String> {
    let own = own_project();
    let of = |root: &Option<PathBuf>| root.is_some() && *root == own;
    let theirs = |member: &&free::Member| !of(&member.process.project.as_ref().map(|p| p.root.clone()));
    plan.members.iter().find(theirs).map(|m| format!("{} ({})", m.process.comm, m.process.id.pid))
}

fn own_project() -> Option<PathBuf> {
    let pid = std::process::id();
    let id: ProcessId = ProcFs::open("/proc".as_ref()).ok()?.identify(pid)?;
    Some(Attributor::new(Roots::default()).of(id)?.project.as_ref()?.root.clone())
}

/// Where no daemon tells: the child failed, and somebody else holds the place.
pub fn concluded(place: &Place, how: &How) -> Option<Refused> {
    // A holder that is just ending would be taken for the reason.
    thread::yield_now();
    let plan = free::plan(std::slice::from_ref(place), &how.redaction, false).ok()?.pop()?;
    if !plan.held {
        return None;
    }
    let holder = plan.members.first().map(|m| format!("{} ({})", m.process.comm, m.process.id.pid));
    Some(Refused { holder, certain: false })
}

/// Whether an event is the refusal of `child`.
pub fn is_refusal(stir: &Stir, place: &Place, child: u32) -> bool {
    stir.kind == StirKind::Refused(IN_USE) && stir.port == Some(place.port) && stir.pids.contains(&child)
}
