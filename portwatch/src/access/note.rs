//! The one line that says what an answer lacks, and what would restore it.

use crate::{api::Silence, model::Degradation, wire::SourceInfo};

/// Why no daemon answers.
#[derive(Debug, Clone)]
pub(super) enum Absence {
    /// None runs.
    None,
    /// None is to be asked.
    Unwanted,
    /// There is one, or was, and it cannot be asked, for this reason.
    Unreachable(String),
    /// There is one, and it does not answer.
    Silent(Unanswered),
}

/// A daemon that does not answer.
#[derive(Debug, Clone)]
pub(super) struct Unanswered {
    /// How that was found out.
    pub(super) silence: Silence,
    /// What to do.
    pub(super) remedy: String,
    /// The database is the daemon's.
    pub(super) is_own: bool,
}

impl Unanswered {
    /// What the answer lacks, for whoever reads it as data.
    pub(super) fn degradation(&self) -> Degradation {
        Degradation { name: "daemon-silent", what: self.silence.to_string(), remedy: self.remedy.clone() }
    }
}

impl Absence {
    /// What a snapshot lacks.
    pub(super) fn snapshot(&self) -> String {
        match self {
            Self::None => {
                "no daemon runs: a snapshot of now, without refused binds, short-lived sockets and new \
                           history (portwatch start)"
                    .to_owned()
            }
            Self::Unwanted => {
                "a snapshot of now (--no-daemon): no refused binds, no short-lived sockets".to_owned()
            }
            Self::Unreachable(why) => {
                format!("{why}: this is a snapshot of now, without history (portwatch start)")
            }
            Self::Silent(Unanswered { silence, .. }) => format!(
                "{} does not answer: this is a snapshot of now, without refused binds, short-lived sockets and new history",
                silence.daemon()
            ),
        }
    }

    /// What a journal lacks that was read here.
    pub(super) fn recorded(&self) -> String {
        match self {
            Self::Silent(Unanswered { silence, .. }) => {
                format!("{} does not answer: this is what it has recorded until now", silence.daemon())
            }
            _ => "no daemon runs: this is what was recorded until the last one ended (portwatch start)"
                .to_owned(),
        }
    }

    /// The daemon that does not answer.
    pub(super) const fn unanswered(&self) -> Option<&Unanswered> {
        match self {
            Self::Silent(unanswered) => Some(unanswered),
            _ => None,
        }
    }

    /// What is not there when this process itself sees what happens.
    fn follow(&self) -> String {
        match self {
            Self::None => "no daemon runs: events are shown, and not recorded (portwatch start)".to_owned(),
            Self::Unwanted => "events are shown, and not recorded (--no-daemon)".to_owned(),
            Self::Unreachable(why) => format!("{why}: events are shown, and not recorded (portwatch start)"),
            Self::Silent(Unanswered { silence, .. }) => format!(
                "{} does not answer: events are seen by this process, and whether they are recorded is not known",
                silence.daemon()
            ),
        }
    }
}

/// Gives `source` the note for who follows events: of a daemon, or in this process because of `absence`. A recording
/// lacks nothing.
pub(super) fn follow(source: &mut SourceInfo, absence: Option<&Absence>) {
    if matches!(source.source.as_str(), "replay" | "fake") {
        return;
    }
    let mut sentences: Vec<String> = absence.map(Absence::follow).into_iter().collect();
    if matches!(source.source.as_str(), "scan" | "lsof" | "netstat") {
        sentences.push(
            "it is looked again and again: refused binds, and sockets that live shorter than that, are not seen"
                .to_owned(),
        );
        sentences.extend(source.degradations.first().map(|why| why.remedy.clone()));
    }
    sentences.extend(source.note.take());
    if !sentences.is_empty() {
        source.note = Some(sentences.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use super::{Absence, follow};
    use crate::wire::{Degradation, SourceInfo};

    fn source(word: &str) -> SourceInfo {
        let refused = Degradation {
            name: "no-bpf-permission".to_owned(),
            what: "kernel programs cannot be loaded".to_owned(),
            remedy: "run the daemon as root".to_owned(),
        };
        let degradations = if word == "ebpf" { Vec::new() } else { vec![refused] };
        SourceInfo { source: word.to_owned(), daemon: false, note: None, degradations }
    }

    fn said(word: &str, absence: Option<&Absence>) -> Option<String> {
        let mut source = source(word);
        follow(&mut source, absence);
        source.note
    }

    #[test]
    fn who_follows_is_told_what_is_not_seen_and_what_would_restore_it() {
        let scan = said("scan", Some(&Absence::None)).unwrap();
        for words in ["no daemon runs", "not recorded", "refused binds", "run the daemon as root"] {
            assert!(scan.contains(words), "{words}: {scan}");
        }
        let daemon = said("scan", None).unwrap();
        assert!(daemon.contains("refused binds") && !daemon.contains("no daemon runs"), "{daemon}");
        let kernel = said("ebpf", Some(&Absence::None)).unwrap();
        assert!(kernel.contains("not recorded") && !kernel.contains("refused binds"), "{kernel}");
    }

    #[test]
    fn where_nothing_is_lacking_nothing_is_said() {
        assert_eq!(said("ebpf", None), None);
        assert_eq!(said("replay", Some(&Absence::None)), None);
    }
}
