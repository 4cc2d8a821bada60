//! `portwatch watch`, and the following half of `log --follow`.

use std::{io, thread, time::Instant};

use jiff::Timestamp;

use super::{
    args, back,
    exit::Exit,
    failure::Failure,
    log,
    session::{Session, columns, stderr_look},
};
use crate::{
    render::{self, LogLines, Look},
    wire::{Event, LogQuery, SourceInfo},
};

pub(super) fn run(args: &args::Watch, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let query = log::filter(&args.filter)?;
    follow(&query, false, args.limit, session)
}

/// Writes events as they come, each flushed, until the reader has enough or `limit` are written.
pub(super) fn follow(
    query: &LogQuery,
    backlog: bool,
    limit: Option<u64>,
    session: &mut Session<'_>,
) -> Result<Exit, Failure> {
    follow_some(query, backlog, limit, &|_| true, session)
}

/// The same for events that are wanted. Where the daemon ends, what comes next is waited for as long as it may take to come back.
pub(super) fn follow_some(
    query: &LogQuery,
    backlog: bool,
    limit: Option<u64>,
    is_wanted: &dyn Fn(&Event) -> bool,
    session: &mut Session<'_>,
) -> Result<Exit, Failure> {
    let (json, verbose) = (session.settings.json.value, session.settings.verbose.value);
    let mut look = session.look();
    let mut lines = LogLines::new(std::iter::empty(), &look);
    let mut left = limit.unwrap_or(u64::MAX);
    let mut written: io::Result<()> = Ok(());
    let mut seen = Seen::until(Timestamp::now());
    let (mut query, mut backlog, mut again) = (query.clone(), backlog, false);
    let mut refused: Option<Instant> = None;
    loop {
        let mut about = |source| said(&source, verbose);
        let about: Option<&mut dyn FnMut(SourceInfo)> = if again { None } else { Some(&mut about) };
        let (access, out) = session.parts()?;
        let is_daemon = access.is_daemon();
        let mut enough = false;
        let ended = access.follow(&query, backlog, about, &mut |event| {
            if !is_wanted(&event) || !seen.is_new(&event) {
                return true;
            }
            look.now = Timestamp::now();
            // The terminal may have another size by now.
            look.width = look.width.map(|known| columns().unwrap_or(known));
            written = if json { render::json_line(out, &event) } else { lines.write(out, &event, &look) }
                .and_then(|()| out.flush());
            left -= 1;
            enough = written.is_err() || left == 0;
            !enough
        });
        written?;
        written = Ok(());
        match ended {
            // What was asked wrongly stays wrong; what could not be seen at first, too.
            Err(error) if !again || !is_daemon => return Err(error.into()),
            Err(error) => {
                if refused.get_or_insert_with(Instant::now).elapsed() >= back::REFUSING {
                    return Err(error.into());
                }
                thread::sleep(back::PAUSE);
            }
            Ok(()) if enough || !is_daemon => return Ok(Exit::Yes),
            Ok(()) => refused = None,
        }
        wait_for_daemon(session)?;
        (again, backlog) = (true, true);
        query = LogQuery { since: Some(seen.at), limit: Some(0), newest_first: false, ..query };
    }
}

/// Which events were shown last: a daemon that came back is asked for those since, and tells some of them once more.
struct Seen {
    at: Timestamp,
    events: Vec<Event>,
}

impl Seen {
    const fn until(at: Timestamp) -> Self {
        Self { at, events: Vec::new() }
    }

    fn is_new(&mut self, event: &Event) -> bool {
        // The number of a row is known of those alone that come from the journal.
        let event = Event { id: None, ..event.clone() };
        if event.time > self.at || self.events.is_empty() {
            self.at = event.time;
            self.events = vec![event];
            return true;
        }
        let is_new = !self.events.contains(&event);
        if is_new && event.time == self.at {
            self.events.push(event);
        }
        is_new
    }
}

/// The daemon ended. Says so, and waits until one answers again.
fn wait_for_daemon(session: &mut Session<'_>) -> Result<(), Failure> {
    let gone = back::Gone {
        what: "the daemon ended",
        remedy: "start it again: portwatch start; what it recorded: portwatch log",
        until: Instant::now() + back::BACK,
    };
    let heir = back::wait(&gone, session, &mut |_, is_daemon| Ok(is_daemon))?;
    if !heir.was_told {
        session.warn(gone.what);
    }
    session.warn("the daemon is back; what it has recorded since follows");
    Ok(())
}

/// What is not seen, on stderr: the events are a stream without a place for it. A stderr that is closed changes nothing.
fn said(source: &SourceInfo, verbose: bool) {
    let look = Look { verbose, ..stderr_look() };
    drop(render::following(&mut io::stderr().lock(), source, &look));
}
