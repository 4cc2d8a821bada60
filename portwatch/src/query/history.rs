//! What the journal tells.

use super::{History, QueryError, Record, Sight, Viewer};
use crate::{
    journal::{JournalError, Reader, Summary},
    model::{EventFilter, EventKind, Netns, Order, Port, Protocol},
};

/// Refused binds shown with a port.
const REFUSED: u64 = 5;
/// The newest refused binds among which those of one namespace are looked for.
const LOOKED_BACK: u64 = 64;

impl From<JournalError> for QueryError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error.to_string())
    }
}

/// Events that match, and whether more do beyond the limit.
pub fn log(reader: &Reader, filter: &EventFilter) -> Result<(Vec<Record>, bool), QueryError> {
    let page = reader.events(filter)?;
    Ok((page.events.into_iter().map(Record::from).collect(), page.truncated))
}

/// The numbers.
pub fn summary(reader: &Reader, filter: &EventFilter) -> Result<Summary, QueryError> {
    Ok(reader.summary(filter)?)
}

/// What is known of a port's past: its last holder's end and the binds refused on it. `netns`: in that namespace, else in any.
pub fn of_port(
    reader: &Reader,
    port: Port,
    protocol: Option<Protocol>,
    netns: Option<Netns>,
) -> Result<History, QueryError> {
    let last = reader.last_of_port(port, protocol, netns)?;
    let (refused, refused_before) = if last.iter().any(|l| l.event.kind == EventKind::Refused) {
        let filter = EventFilter {
            kinds: vec![EventKind::Refused],
            ports: vec![port],
            protocol,
            // Namespaces are in no index: those of the one that is meant are among the newest of all, as far back as is looked.
            limit: Some(if netns.is_some() { LOOKED_BACK } else { REFUSED }),
            order: Order::NewestFirst,
            ..EventFilter::default()
        };
        let page = reader.events(&filter)?;
        let mut events = page.events;
        events.retain(|l| netns.is_none() || l.event.netns.is_none() || l.event.netns == netns);
        let shown = usize::try_from(REFUSED).unwrap_or(usize::MAX);
        // Those beyond what was looked at may be of another namespace: that there are more is said of these alone.
        let before = events.len() > shown || (page.truncated && netns.is_none());
        events.truncate(shown);
        (events, before)
    } else {
        (Vec::new(), false)
    };
    Ok(History {
        last: last.into_iter().filter(|l| l.event.kind != EventKind::Refused).map(Record::from).collect(),
        refused: refused.into_iter().map(Record::from).collect(),
        refused_before,
    })
}

/// Whether a live record is one that `filter` asks for, by the same rules as the journal's. Row ids play no part:
/// a live record has none.
pub fn matches(record: &Record, filter: &EventFilter) -> bool {
    let event = &record.event;
    filter.since.is_none_or(|since| event.at >= since)
        && filter.until.is_none_or(|until| event.at < until)
        && (filter.kinds.is_empty() || filter.kinds.contains(&event.kind))
        && (filter.ports.is_empty() || event.port.is_some_and(|p| filter.ports.contains(&p)))
        && filter.protocol.is_none_or(|p| event.protocol == Some(p))
        && (filter.pids.is_empty()
            || [event.process, event.other].into_iter().flatten().any(|id| filter.pids.contains(&id.pid)))
        && filter.pattern.as_ref().is_none_or(|pattern| {
            let pattern = pattern.to_lowercase();
            texts(record, filter.viewer).any(|text| contains(&text.to_lowercase(), &pattern))
        })
}

fn texts(record: &Record, viewer: Viewer) -> impl Iterator<Item = String> {
    let of_process = record.process.iter().chain(&record.other).flat_map(move |p| {
        let sight = viewer.sight(p);
        [
            Some(p.comm.clone()),
            p.command.as_ref().filter(|_| sight >= Sight::Public).map(ToString::to_string),
            p.project.as_ref().filter(|_| sight >= Sight::Full).map(|p| p.name.clone()),
        ]
    });
    of_process
        .chain([record.event.message.clone(), record.event.claim.clone(), record.event.subject.clone()])
        .flatten()
}

/// Whether `pattern`, in which `*` stands for any text, is found in `text`.
fn contains(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = rest.get(at + part.len()..).unwrap_or_default();
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_anywhere_and_its_star_stands_for_any_text() {
        for (text, pattern, expected) in [
            ("node server.js", "server", true),
            ("node server.js", "node*js", true),
            ("node server.js", "js*node", false),
            ("node server.js", "*", true),
            ("", "", true),
            ("aba", "ab*ba", false),
        ] {
            assert_eq!(contains(text, pattern), expected, "{text:?} {pattern:?}");
        }
    }
}
