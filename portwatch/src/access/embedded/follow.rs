//! What happens, as it happens: events of a source that this process starts, and messages that others write to the database.

use std::time::Duration;

use super::{Embedded, asker, event_filter, no_wake};
use crate::{
    access::{AccessError, note},
    model::{EventFilter, Order, Timestamp},
    query::{self, About, Live, Viewer},
    source::{
        Progress, Wake,
        ebpf::{HookChoice, LoadOptions},
        negotiate::{self, SourceChoice},
    },
    state::Policy,
    wire::{
        Event, LogQuery, SourceInfo, convert,
        coordinate::{FollowQuery, Followed},
    },
};

/// How often somebody who follows messages looks whether the database was written.
const MESSAGE_LOOK: Duration = Duration::from_millis(50);

/// Events, after those in the journal if `backlog` is set.
pub(super) fn events(
    embedded: &Embedded,
    query: &LogQuery,
    backlog: bool,
    about: Option<&mut dyn FnMut(SourceInfo)>,
    each: &mut dyn FnMut(Event) -> bool,
) -> Result<(), AccessError> {
    let filter = event_filter(query)?;
    let choice: SourceChoice = embedded.source.parse().map_err(|e| AccessError::Usage(format!("{e}")))?;
    let hooks = HookChoice::from_word(&embedded.hooks).ok_or_else(|| {
        AccessError::Usage(format!(
            "hooks '{}' are not part of this build; say one of {}",
            embedded.hooks,
            HookChoice::WORDS.join(", ")
        ))
    })?;
    let wake = Wake::new().map_err(|error| no_wake(&error))?;
    let options = LoadOptions { hooks, ..LoadOptions::default() };
    let mut source =
        negotiate::start(&choice, &options, None, wake).map_err(|error| AccessError::NoDaemon {
            what: error.to_string(),
            remedy: "portwatch doctor says what works here".to_owned(),
        })?;
    if let Some(about) = about {
        let mut found = convert::source(&About {
            source: source.kind(),
            daemon: false,
            note: None,
            coverage: Vec::new(),
            degradations: source.degradations(),
        });
        note::follow(&mut found, Some(&embedded.absence));
        about(found);
    }
    if backlog && let Some(reader) = embedded.journal()? {
        let (records, _) = query::log(&reader, &EventFilter { order: Order::OldestFirst, ..filter.clone() })?;
        if !records.iter().all(|record| each(convert::event(record, Viewer::Unrestricted))) {
            return Ok(());
        }
    }
    let mut live = Live::new(Policy::default(), embedded.attributor(), None);
    let (mut seen, mut records) = (Vec::new(), Vec::new());
    loop {
        let due = live.next_tick().map(|due| due.duration_since(Timestamp::now()));
        let wait = due.map_or(Duration::from_hours(1), |due| {
            Duration::try_from(due).unwrap_or_default() + Duration::from_millis(1)
        });
        let progress = source.poll(wait, &mut seen)?;
        for observation in seen.drain(..) {
            live.take(observation, &mut records);
        }
        live.tick(Timestamp::now(), &mut records);
        for record in records.drain(..).filter(|record| query::matches(record, &filter)) {
            if !each(convert::event(&record, Viewer::Unrestricted)) {
                return Ok(());
            }
        }
        if progress == Progress::Ended {
            return Ok(());
        }
    }
}

/// Messages of a channel.
pub(super) fn messages(
    embedded: &Embedded,
    query: &FollowQuery,
    each: &mut dyn FnMut(Followed) -> bool,
) -> Result<(), AccessError> {
    let bureau = embedded.bureau()?;
    let mut follower = bureau.follow(&query.channel, query.after, &asker())?;
    loop {
        let version = bureau.version()?;
        loop {
            let heard = follower.hear(bureau)?;
            if heard.is_empty() {
                break;
            }
            if !heard.into_iter().all(|heard| each(heard.into())) {
                return Ok(());
            }
        }
        // The number stays while nobody else writes: looking at it reads no table.
        while bureau.version()? == version {
            std::thread::sleep(MESSAGE_LOOK);
        }
    }
}
