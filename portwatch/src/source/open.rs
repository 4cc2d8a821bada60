//! From the word of `--source` to a running source.

use std::path::Path;

use super::{
    Source, Wake,
    ebpf::{EbpfSource, HookChoice, LoadOptions},
    replay::ReplaySource,
    scan::{Roots, ScanSource, Scanner},
};
use crate::model::Degradation;

/// Why no source could be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct OpenError {
    /// What failed and why.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl OpenError {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// Opens the source that `word` names (`auto`, `ebpf`, `scan`, `replay:FILE`), with the family of hooks that `hooks`
/// names. Programs are attached when this returns.
///
/// # Errors
/// One sentence on why, and one on what to do.
pub fn open(word: &str, hooks: &str) -> Result<(Box<dyn Source>, Wake), OpenError> {
    let wake = Wake::new().map_err(|error| {
        OpenError::new(format!("cannot make an eventfd: {error}"), "close some files, or raise ulimit -n")
    })?;
    if let Some(file) = word.strip_prefix("replay:") {
        let source = ReplaySource::open(Path::new(file)).map_err(|error| {
            OpenError::new(error.to_string(), "name a recording made by portwatch daemon --record FILE")
        })?;
        return Ok((Box::new(source), wake));
    }
    let Some(hooks) = HookChoice::from_word(hooks) else {
        return Err(OpenError::new(
            format!("hooks of the family '{hooks}' are not part of this build"),
            format!("say one of {}", HookChoice::WORDS.join(", ")),
        ));
    };
    let options = LoadOptions { hooks, ..LoadOptions::default() };
    let ebpf = |wake: Wake| EbpfSource::start(&options, wake);
    match word {
        "ebpf" => match ebpf(wake.clone()) {
            Ok(source) => Ok((Box::new(source), wake)),
            Err(why) => Err(OpenError::new(why.what, why.remedy)),
        },
        "auto" => match ebpf(wake.clone()) {
            Ok(source) => Ok((Box::new(source), wake)),
            Err(why) => scan(wake, vec![why]),
        },
        "scan" => scan(wake, Vec::new()),
        other => Err(OpenError::new(
            format!("there is no source '{other}' on this platform"),
            "say auto, ebpf, scan or replay:FILE",
        )),
    }
}

fn scan(wake: Wake, why: Vec<Degradation>) -> Result<(Box<dyn Source>, Wake), OpenError> {
    let scanner = Scanner::new(&Roots::default()).map_err(|error| {
        OpenError::new(
            format!("the kernel's socket tables: {error}"),
            "mount /proc and allow netlink sockets",
        )
    })?;
    Ok((Box::new(ScanSource::new(scanner, wake.clone(), why)), wake))
}
