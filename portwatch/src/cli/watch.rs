//! `portwatch watch`, and the following half of `log --follow`.

use std::io;

use jiff::Timestamp;

use super::{args, exit::Exit, failure::Failure, log, session::Session};
use crate::{
    render::{self, LogLines},
    wire::{Event, LogQuery},
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
    let json = session.settings.json.value;
    let mut look = session.look();
    let mut lines = LogLines::new(std::iter::empty(), &look);
    let mut left = limit.unwrap_or(u64::MAX);
    let mut written: io::Result<()> = Ok(());
    let (access, out) = session.parts()?;
    access.follow(query, backlog, &mut |event| {
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
