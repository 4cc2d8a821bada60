//! `portwatch lock`, `unlock`, `locks`, `with-lock`

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{args, back, backend, exit::Exit, failure::Failure, hand_over::HandOver, session::Session};
use crate::{
    access::AccessError,
    api::ANSWER,
    coordinate::DEFAULT_TTL,
    model::EventKind,
    registry::duration,
    render,
    resolve::run::{Signals, supervised},
    wire::{
        LogQuery,
        coordinate::{
            ExtendRequest, HandOverRequest, LeaveRequest, LockRequest, LockState, LocksQuery, UnlockRequest,
        },
    },
};

/// A wait without a limit.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// The first request waits no longer than this: its answer tells the place in the line, which outlives the daemon that gave it.
const FIRST: Duration = Duration::from_millis(1);
/// Who waits for longer is told for whom.
const PATIENT: Duration = Duration::from_secs(1);
/// A daemon may answer so much later than the time to wait ends.
const SLACK: Duration = Duration::from_secs(5);
/// Requests in a row that may come to nothing while a daemon is there.
const TRIES: u32 = 3;

pub(super) fn run(args: &args::Lock, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let ttl = args.ttl.as_deref().map(duration).transpose()?;
    let ttl_ms = millis(ttl.unwrap_or(DEFAULT_TTL));
    let answer = if args.extend {
        session.order(&ExtendRequest {
            name: args.name.clone(),
            agent: args.whose.agent.clone(),
            session: args.whose.session.clone(),
            pid: args.pid,
            ttl_ms,
        })?
    } else {
        let request = LockRequest {
            name: args.name.clone(),
            agent: args.whose.agent.clone(),
            session: args.whose.session.clone(),
            own_process: false,
            pid: args.pid,
            ttl_ms: Some(ttl_ms),
            wait_ms: 0,
            ticket: None,
        };
        take(request, wait(args.wait.as_deref())?, session)?
    };
    session.answer(&answer, render::lock)?;
    Ok(Exit::Yes)
}

pub(super) fn unlock(args: &args::Unlock, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let freed = session.order(&UnlockRequest {
        name: args.name.clone(),
        agent: args.whose.agent.clone(),
        session: args.whose.session.clone(),
        own_process: false,
        pid: args.pid,
        force: args.force,
    })?;
    session.answer(&freed, render::unlocked)?;
    Ok(Exit::Yes)
}

pub(super) fn list(args: &args::Locks, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let answer = session.order(&LocksQuery { limit: args.most.limit })?;
    session.answer(&answer, render::locks)?;
    Ok(if answer.locks.is_empty() { Exit::No } else { Exit::Yes })
}

/// `0s` is no wait.
fn wait(text: Option<&str>) -> Result<Duration, Failure> {
    match text {
        None | Some("0" | "0s" | "0ms") => Ok(Duration::ZERO),
        Some(text) => Ok(duration(text)?),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How long a daemon may take to answer who waits until then: as long as for any answer, but no longer than he has time.
fn patience(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).saturating_add(SLACK).min(ANSWER)
}

/// Takes it, or waits for it at most so long, in as many requests as it takes. Where the daemon ends meanwhile, whoever keeps the
/// same database is asked with the same place in the line; to ask again is the same order, and not a second one.
fn take(request: LockRequest, wait: Duration, session: &mut Session<'_>) -> Result<LockState, Failure> {
    let until = Instant::now() + wait;
    let mut request = LockRequest { wait_ms: millis(wait.min(FIRST)), ..request };
    let mut office: Option<Office> = None;
    let mut asked_in_vain = 0;
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        if office.is_none() && !wait.is_zero() {
            office = session.access()?.socket().map(|socket| Office::Socket(socket.to_owned()));
        }
        let asked = if wait.is_zero() {
            session.order(&request)
        } else {
            session.order_within(&request, patience(until))
        };
        let answer = match (asked, &office) {
            (Ok(answer), _) => answer,
            // It is there and says nothing.
            (Err(error), _) if !wait.is_zero() && Instant::now() >= until + SLACK => return Err(error),
            (Err(error), Some(office)) if is_loss(&error) && asked_in_vain < TRIES => {
                asked_in_vain += 1;
                again(&request, until, office, session)?;
                continue;
            }
            (Err(error), _) => return Err(error),
        };
        if answer.state != "waiting" {
            return Ok(answer);
        }
        asked_in_vain = 0;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Whoever is behind need not wait for this place to grow old.
            if let Some(ticket) = answer.ticket {
                let _ = session.order_within(&LeaveRequest { ticket }, SLACK);
            }
            return Err(late(&request.name, wait, &answer).into());
        }
        let of_ours = std::env::var_os("PORTWATCH_LOCK").is_some_and(|name| *name == *request.name);
        if !is_told && (of_ours || begun.elapsed() >= PATIENT) {
            is_told = true;
            session.warn(&waiting(&answer, &request.name, of_ours));
        }
        let next = if is_told { left } else { left.min(PATIENT) };
        request = LockRequest { wait_ms: millis(next).max(1), ticket: answer.ticket, ..request };
        office = Some(Office::Database(answer.database));
    }
}

/// Where a lock is kept, and is to be asked for again.
pub(super) enum Office {
    /// The database of this name: it has answered.
    Database(String),
    /// That of the daemon at this socket: its first answer never came.
    Socket(PathBuf),
}

impl Office {
    /// Whether it is this that is asked now.
    pub(super) fn is_asked(&self, within: Duration, session: &mut Session<'_>) -> Result<bool, Failure> {
        let query = LocksQuery { limit: Some(1) };
        match self {
            Self::Database(name) => Ok(session.order_within(&query, within)?.database == *name),
            Self::Socket(socket) => {
                let is_this = if let Some(other) = session.access()?.socket() {
                    other == socket
                } else {
                    // The database is that daemon's, unless its socket alone was named.
                    let settings = &session.settings;
                    let both = settings.socket.value.is_none() || settings.state.value.is_some();
                    both && backend::places(settings).0 == *socket
                };
                Ok(is_this && session.order_within(&query, within).map(|_| true)?)
            }
        }
    }
}

/// Whether nobody answered, or nobody who could see.
const fn is_loss(error: &Failure) -> bool {
    matches!(
        error,
        Failure::Access(
            AccessError::NotSeen { .. } | AccessError::Silent { .. } | AccessError::NoDaemon { .. }
        )
    )
}

/// The daemon ended while it was asked. Waits, as long as there is time, for another one or the database itself.
fn again(
    request: &LockRequest,
    until: Instant,
    office: &Office,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let gone = back::Gone {
        what: &format!("the daemon ended while {} was waited for", request.name),
        // It may have given the lock in the moment before, and its answer was lost.
        remedy: if request.own_process {
            "nothing was run; start it again: portwatch start"
        } else {
            "start it again (portwatch start), and portwatch locks tells whether the lock was given at the last moment"
        },
        until: until.min(Instant::now() + back::BACK),
    };
    back::wait(&gone, session, &mut |session, _| office.is_asked(patience(until), session)).map(drop)
}

/// `deploy is waited for: agent-db has it, 2 go first`
fn waiting(answer: &LockState, name: &str, of_ours: bool) -> String {
    let first = match (&answer.lock, answer.ahead) {
        (Some(_), ahead @ 1..) => format!(", {ahead} go first"),
        _ => String::new(),
    };
    let words = format!("{name} is waited for: {}{first}", holder(answer));
    if of_ours {
        return format!(
            "{words}; this command was started while `portwatch with-lock {name}` held it: if that waits for this one, both wait for ever"
        );
    }
    words
}

fn holder(answer: &LockState) -> String {
    match &answer.lock {
        Some(lock) => format!("{} has it", lock.owner),
        None => format!("{} go first", answer.ahead),
    }
}

fn late(name: &str, waited: Duration, answer: &LockState) -> AccessError {
    let holder = holder(answer);
    AccessError::Refused {
        what: format!("{name} was not to be had within {}: {holder}", crate::coordinate::spell(waited)),
        remedy: "portwatch locks shows all".to_owned(),
    }
}

pub(super) fn with(args: &args::WithLock, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let ttl = args.ttl.as_deref().map(duration).transpose()?;
    let limit = match args.wait.as_deref() {
        None => FOREVER,
        given => wait(given)?,
    };
    let request = LockRequest {
        name: args.name.clone(),
        agent: args.whose.agent.clone(),
        session: args.whose.session.clone(),
        own_process: true,
        pid: None,
        ttl_ms: ttl.map(millis),
        wait_ms: 0,
        ticket: None,
    };
    // A signal while it waits ends it, and with it its place in the line.
    let state = take(request, limit, session)?;
    let (taken, since) = (Instant::now(), jiff::Timestamp::now());
    // Before any thread is started, which would take the signals otherwise.
    let signals = Signals::block()?;
    let mut handing = None;
    let variables = [("PORTWATCH_LOCK".to_owned(), args.name.clone())];
    let ended = supervised(&args.command, &variables, &signals, &mut |pid| {
        let request = HandOverRequest {
            name: args.name.clone(),
            agent: args.whose.agent.clone(),
            session: args.whose.session.clone(),
            pid,
        };
        handing = Some(HandOver::begin(request, Office::Database(state.database.clone()), session));
    });
    let handed = handing.and_then(HandOver::end);
    let until = Instant::now() + SLACK;
    // The lock ended with the program, and whoever looks finds that out: so a look is enough.
    let mut released = release(args, handed.is_some(), until, session);
    if released.is_err() {
        // The daemon it was taken from is gone, or another one is there by now.
        session.reopen();
        released = release(args, handed.is_some(), until, session);
    }
    // A daemon that says nothing does not keep the program's end from whoever waits for it.
    let told = handed.filter(|_| released.is_ok());
    if let Some(lost) = told.and_then(|pid| lost(&args.name, pid, since, session)) {
        session.warn(&format!(
            "{} was taken away while the program ran ({lost}): somebody else may have had it since; \
             portwatch log --type lock,unlock --filter {} tells",
            args.name, args.name
        ));
    } else if let Some(ttl) = ttl.filter(|ttl| taken.elapsed() > *ttl) {
        session.warn(&format!(
            "{} was held for {} and the program ran longer: unless it was extended, somebody else may have had it since; \
             portwatch log --type lock,unlock --filter {} tells",
            args.name,
            crate::coordinate::spell(ttl),
            args.name
        ));
    }
    super::started::exit(ended, session)
}

/// How a lock was freed that its program's end did not free.
fn lost(name: &str, pid: u32, since: jiff::Timestamp, session: &mut Session<'_>) -> Option<String> {
    let query = LogQuery {
        since: Some(since),
        kinds: Some(EventKind::Unlock.as_str().to_owned()),
        filter: Some(name.to_owned()),
        ..LogQuery::default()
    };
    let log = session.access().ok()?.log(&query).ok()?;
    let first = log.events.into_iter().find(|event| event.subject.as_deref() == Some(name))?;
    let words = first.message.unwrap_or_default();
    // However a process ended, the log names it by its pid.
    let own = words.contains(&format!("its process {pid} "));
    (!own).then_some(words)
}

fn release(
    args: &args::WithLock,
    handed: bool,
    until: Instant,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let left = until.saturating_duration_since(Instant::now());
    if handed {
        return session.order_within(&LocksQuery { limit: Some(1) }, left).map(drop);
    }
    let request = UnlockRequest {
        name: args.name.clone(),
        agent: args.whose.agent.clone(),
        session: args.whose.session.clone(),
        own_process: true,
        pid: None,
        force: false,
    };
    session.order_within(&request, left).map(drop)
}
