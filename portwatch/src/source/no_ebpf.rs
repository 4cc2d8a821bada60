//! Kernel programs, where there are none: the same words, and one answer.

use std::path::PathBuf;

use super::{Counters, Progress, Refresh, Source, SourceError, SourceKind, Wake};
use crate::model::{Coverage, Degradation, Observation};

/// Which hooks may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HookChoice {
    /// The best that attaches.
    #[default]
    Auto,
    /// None.
    None,
}

impl HookChoice {
    /// The words that `--hooks` takes.
    pub const WORDS: [&'static str; 2] = ["auto", "none"];

    /// From a word of [`HookChoice::WORDS`].
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// How programs would be loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Which hooks may be used.
    pub hooks: HookChoice,
    /// Nothing is there.
    pub proc: PathBuf,
}

/// A source that never starts.
#[derive(Debug)]
pub enum EbpfSource {}

impl EbpfSource {
    /// Says why not.
    pub fn start(_: &LoadOptions, _: Wake) -> Result<Self, Degradation> {
        Err(Degradation {
            name: "kernel-programs-absent",
            what: "kernel programs (eBPF) exist on Linux only: sockets that live shorter than a polling interval, \
                   refused binds, asked-for ports and exit codes are not seen"
                .to_owned(),
            remedy: "nothing restores them on this system".to_owned(),
        })
    }

    /// There is nothing to record.
    pub fn record_to(&mut self, _: &std::path::Path) -> Result<(), SourceError> {
        match *self {}
    }
}

impl Source for EbpfSource {
    fn kind(&self) -> SourceKind {
        match *self {}
    }

    fn coverage(&self) -> Vec<Coverage> {
        match *self {}
    }

    fn degradations(&self) -> Vec<Degradation> {
        match *self {}
    }

    fn poll(&mut self, _: std::time::Duration, _: &mut Vec<Observation>) -> Result<Progress, SourceError> {
        match *self {}
    }

    fn refresh(&mut self, _: &Refresh, _: &mut Vec<Observation>) -> Result<(), SourceError> {
        match *self {}
    }

    fn counters(&self) -> Counters {
        match *self {}
    }
}
