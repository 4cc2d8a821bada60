//! What the last run's record leaves open: its end is told when the first look does not find it.

use std::path::Path;

use jiff::SignedDuration;

use super::own_netns;
use crate::{
    journal::{JournalError, OpenSocket, Reader, UNKNOWN_BOOT},
    model::{Began, Endpoint, LeftOpen, Timestamp},
    platform::vitals,
    source::SourceKind,
};

/// A clock that is set by less is not told, and two clocks are not read at one moment.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// Sockets that the record leaves open and that this source would show. `last` is when the last run is known to have watched.
pub(super) fn open(database: &Path, boot_id: &str, last: Timestamp, source: SourceKind) -> Vec<LeftOpen> {
    let read = || -> Result<_, JournalError> {
        let reader = Reader::open(database)?;
        Ok((reader.left_open(boot_id)?, reader.last_source()?))
    };
    let (open, before) = match read() {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(%error, "what ended while no daemon was running will not be told");
            return Vec::new();
        }
    };
    let own = own_netns();
    // Where boots have no names, a socket of an earlier one may have the same numbers.
    let is_this_boot = boot_id != UNKNOWN_BOOT;
    let booted = booted();
    open.into_iter()
        .filter(|open| shows(source, open))
        .filter_map(|OpenSocket { event, by, source, began }| {
            let here = event.netns.is_none() || event.netns == own;
            // The last run watched it to its own end; one of another kind may have had other eyes.
            let watched = here && source == before;
            Some(LeftOpen {
                endpoint: Endpoint {
                    netns: event.netns,
                    protocol: event.protocol?,
                    address: event.address?,
                    port: event.port?,
                },
                key: event.socket,
                phase: event.phase?,
                asked: event.asked,
                options: event.options,
                by: by.map(|process| (process, event.evidence)),
                since: if watched { last.max(event.at) } else { event.at },
                began: began.filter(|began| is_this_boot && is_since(booted, began)),
            })
        })
        .collect()
}

/// When this boot began, by the clock as it is; `None` where no clock tells.
fn booted() -> Option<Timestamp> {
    let (_, ahead) = vitals::clocks()?;
    Timestamp::from_nanosecond(i128::from(ahead)).ok()
}

/// Whether the time can be one of this boot: a machine whose clock is put right after its start has rows of the same boot from before it.
fn is_since(booted: Option<Timestamp>, began: &Began) -> bool {
    booted.is_none_or(|booted| began.since.saturating_add(SLACK).is_ok_and(|since| since >= booted))
}

/// The kernel's own tables show every listener. A tool shows what it can, which is known of what it has shown before.
fn shows(source: SourceKind, open: &OpenSocket) -> bool {
    match source {
        SourceKind::Ebpf | SourceKind::Scan => true,
        SourceKind::Lsof | SourceKind::Netstat => open.source.as_deref() == Some(source.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::{Entry, Journal, Options},
        model::{Event, EventKind, Evidence, Phase, Port, Protocol, SocketKey},
    };

    /// Since when a socket is there of which the journal has one row, of this moment.
    fn since(at: Timestamp) -> Option<Timestamp> {
        const BOOT: &str = "11111111-2222-3333-4444-555555555555";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portwatch.db");
        let options = Options {
            boot_id: BOOT.to_owned(),
            retention_age: std::time::Duration::MAX,
            ..Options::default()
        };
        let opened = Journal::open(&path, options).unwrap();
        let mut event = Event::new(at, EventKind::Listen, Evidence::Kernel);
        event.protocol = Some(Protocol::Tcp);
        event.address = Some("127.0.0.1".parse().unwrap());
        event.port = Port::new(3100);
        event.socket = Some(SocketKey::Cookie(7));
        event.phase = Some(Phase::Listening);
        opened.writer.write(Entry::Event(event));
        assert_eq!(opened.writer.close().error, None);
        let mut left = open(&path, BOOT, at, SourceKind::Scan);
        assert_eq!(left.len(), 1, "it is expected, whatever its time is");
        left.remove(0).began.map(|began| began.since)
    }

    #[test]
    fn a_time_before_the_boot_is_none() {
        let second = SignedDuration::from_secs(1);
        let now = Timestamp::now();
        assert_eq!(since(now), Some(now));
        let Some(booted) = booted() else {
            assert_ne!(std::env::consts::OS, "linux", "it tells when it began");
            return;
        };
        assert_eq!(since(booted + second), Some(booted + second));
        assert_eq!(since(booted - second), Some(booted - second), "the clocks are not that exact");
        assert_eq!(since(booted - second * 60), None);
        assert_eq!(since(Timestamp::UNIX_EPOCH + second * 20), None, "a board that has no clock of its own");
    }
}
