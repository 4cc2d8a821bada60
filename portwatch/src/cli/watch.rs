//! `portwatch watch`, and the following half of `log --follow`.

use std::io;

use jiff::Timestamp;

use super::{
    args,
    exit::Exit,
    failure::Failure,
    log,
    session::{Session, stderr_look},
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

/// The same for events that are wanted.
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
    let (access, out) = session.parts()?;
    let about = &mut |source| said(&source, verbose);
    access.follow(query, backlog, Some(about), &mut |event| {
        if !is_wanted(&event) {
            return true;
        }
        look.now = Timestamp::now();
        written = if json { render::json_line(out, &event) } else { lines.write(out, &event, &look) }
            .and_then(|()| out.flush());
        left -= 1;
        written.is_ok() && left > 0
    })?;
    written?;
    Ok(Exit::Yes)
}

/// What is not seen, on stderr: the events are a stream without a place for it. A stderr that is closed changes nothing.
fn said(source: &SourceInfo, verbose: bool) {
    let look = Look { verbose, ..stderr_look() };
    drop(render::following(&mut io::stderr().lock(), source, &look));
}
