//! What is too much for one request or for one answer: many targets, and the log.

use std::time::Duration;

use super::{
    Remote,
    request::{escape, path},
};
use crate::{
    access::AccessError,
    api::{MAX_HEAD, MAX_TARGETS},
    wire::{Log, LogQuery, Who, WhoQuery, convert::DEFAULT_LIMIT},
};

/// Events asked for at once.
const PAGE: u64 = 10_000;
/// Bytes of targets of `who` that are asked for at once. The rest is for what else is in a head.
const BYTES: usize = MAX_HEAD - 4 * 1024;

impl Remote {
    pub(super) fn ask_who(&self, query: &WhoQuery) -> Result<Who, AccessError> {
        let mut rest = query.netns.map(|inode| format!("&netns={inode}")).unwrap_or_default();
        if query.all_namespaces {
            rest.push_str("&all_namespaces=true");
        }
        let words = query.targets.iter().map(|t| format!("target={}", escape(&t.to_string())));
        let mut whole: Option<Who> = None;
        for portion in portions(words) {
            let who: Who = self.client.get(&format!("/v1/who?{portion}{rest}"))?;
            match &mut whole {
                None => whole = Some(who),
                Some(whole) => join(whole, who),
            }
        }
        whole.ok_or_else(|| AccessError::Usage("nothing was asked".to_owned()))
    }

    pub(super) fn ask_log(&self, query: &LogQuery) -> Result<Log, AccessError> {
        let wanted = match query.limit {
            None => DEFAULT_LIMIT,
            Some(0) => u64::MAX,
            Some(limit) => limit,
        };
        self.pages(query, wanted)
    }

    /// Events page by page from the newest: no answer has to fit the daemon's memory, which gives as many as it has room for.
    fn pages(&self, query: &LogQuery, wanted: u64) -> Result<Log, AccessError> {
        let mut page = LogQuery { newest_first: true, ..query.clone() };
        let mut all: Option<Log> = None;
        loop {
            let have = all.as_ref().map_or(0, |log| log.events.len() as u64);
            page.limit = Some((wanted - have).min(PAGE));
            let mut log: Log = self.client.get(&path("/v1/log", &page)?)?;
            let more = log.truncated && !log.events.is_empty();
            let all = match &mut all {
                None => all.insert(log),
                Some(all) => {
                    all.events.append(&mut log.events);
                    all.truncated = log.truncated;
                    all
                }
            };
            let Some(oldest) = all.events.last().filter(|_| more && (all.events.len() as u64) < wanted)
            else {
                break;
            };
            // What comes next is older, or as old and before it.
            page.until = oldest.time.checked_add(Duration::from_nanos(1)).ok();
            page.before_id = oldest.id;
        }
        let mut log = all.ok_or_else(|| AccessError::Internal("no page of the log came".to_owned()))?;
        if !query.newest_first {
            log.events.reverse();
        }
        Ok(log)
    }
}

/// Words joined to as few queries as a daemon takes them in: each of so many targets and so many bytes.
fn portions(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut portions: Vec<(usize, String)> = Vec::new();
    for word in words {
        match portions.last_mut() {
            Some((count, portion)) if *count < MAX_TARGETS && portion.len() + word.len() < BYTES => {
                *count += 1;
                portion.push('&');
                portion.push_str(&word);
            }
            _ => portions.push((1, word)),
        }
    }
    portions.into_iter().map(|(_, portion)| portion).collect()
}

/// Adds a later portion of the same answer. Each tells what could not be seen for itself.
fn join(whole: &mut Who, later: Who) {
    whole.targets.extend(later.targets);
    let (known, new) = (&mut whole.source, later.source);
    if let Some(note) = new.note {
        known.note = Some(match known.note.take() {
            Some(before) if !before.contains(&note) => format!("{before}; {note}"),
            Some(before) => before,
            None => note,
        });
    }
    let degradations = new.degradations.into_iter().filter(|one| !known.degradations.contains(one));
    let degradations: Vec<_> = degradations.collect();
    known.degradations.extend(degradations);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Degradation, SourceInfo};

    #[test]
    fn many_targets_are_asked_for_in_portions_that_a_daemon_takes() {
        for (length, all) in [(8, 5000), (200, 100), (20_000, 2), (8, 256), (8, 257)] {
            let words: Vec<_> = (0..all).map(|n| format!("{n:0length$}")).collect();
            let portions = portions(words.iter().cloned());
            assert_eq!(portions.join("&"), words.join("&"), "none is lost, and the order stays");
            for portion in &portions {
                let count = portion.split('&').count();
                assert!(count == 1 || (count <= MAX_TARGETS && portion.len() <= BYTES), "{count}, {length}");
            }
            assert!(portions.len() <= all / MAX_TARGETS + 2, "{}", portions.len());
        }
    }

    #[test]
    fn what_a_later_portion_says_of_itself_is_not_lost() {
        let part = |note: Option<&str>, missing: &[&str]| Who {
            schema: 1,
            time: jiff::Timestamp::UNIX_EPOCH,
            source: SourceInfo {
                source: "scan".to_owned(),
                daemon: true,
                note: note.map(str::to_owned),
                degradations: missing
                    .iter()
                    .map(|name| Degradation {
                        name: (*name).to_owned(),
                        what: String::new(),
                        remedy: String::new(),
                    })
                    .collect(),
            },
            netns: None,
            targets: Vec::new(),
        };
        for (notes, together) in [
            ([None, Some("late")], Some("late")),
            ([Some("late"), None], Some("late")),
            ([Some("late"), Some("late")], Some("late")),
            ([Some("scan"), Some("late")], Some("scan; late")),
            ([None, None], None),
        ] {
            let mut whole = part(notes[0], &["a", "b"]);
            join(&mut whole, part(notes[1], &["b", "c"]));
            assert_eq!(whole.source.note.as_deref(), together, "{notes:?}");
            let names: Vec<_> = whole.source.degradations.iter().map(|d| d.name.as_str()).collect();
            assert_eq!(names, ["a", "b", "c"]);
        }
    }
}
