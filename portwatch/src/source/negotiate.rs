//! Which source serves: the best that really starts, and the reasons when it is not the best there is.
//!
//! `auto` tries kernel programs and falls to the scan, whose degradations then tell why. A source that was asked for
//! by name and cannot start is an error with its reasons, never a silent fallback.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    Source, SourceError, Wake,
    ebpf::{EbpfSource, LoadOptions},
    replay::ReplaySource,
    scan::{self, Look, Roots, ScanSource},
};
use crate::model::Degradation;

/// What `--source` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SourceChoice {
    /// The best that starts.
    #[default]
    Auto,
    /// Kernel programs or nothing.
    Ebpf,
    /// The tables of the kernel, polled.
    Scan,
    /// lsof, polled.
    Lsof,
    /// netstat, polled.
    Netstat,
    /// A recording.
    Replay(PathBuf),
}

/// Why a text names no source of this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSourceError {
    /// `replay` without a file.
    #[error("a recording is named as replay:FILE")]
    NoFile,
    /// Anything else.
    #[error("'{0}' is not a source; use auto, ebpf, scan, lsof, netstat or replay:FILE")]
    Unknown(String),
}

impl FromStr for SourceChoice {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "ebpf" => Ok(Self::Ebpf),
            "scan" => Ok(Self::Scan),
            "lsof" => Ok(Self::Lsof),
            "netstat" => Ok(Self::Netstat),
            "replay" | "replay:" => Err(ParseSourceError::NoFile),
            other => match other.strip_prefix("replay:") {
                Some(file) => Ok(Self::Replay(PathBuf::from(file))),
                None => Err(ParseSourceError::Unknown(other.to_owned())),
            },
        }
    }
}

impl SourceChoice {
    /// What looks again and again when this is asked for.
    const fn polled_name(&self) -> &'static str {
        match self {
            Self::Lsof => "lsof",
            Self::Netstat => "netstat",
            Self::Ebpf if !cfg!(target_os = "linux") => "ebpf",
            Self::Auto | Self::Ebpf | Self::Scan | Self::Replay(_) => "scan",
        }
    }
}

impl fmt::Display for SourceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Ebpf => f.write_str("ebpf"),
            Self::Scan => f.write_str("scan"),
            Self::Lsof => f.write_str("lsof"),
            Self::Netstat => f.write_str("netstat"),
            Self::Replay(file) => write!(f, "replay:{}", file.display()),
        }
    }
}

/// Why no source could be started.
#[derive(Debug, thiserror::Error)]
pub enum NegotiateError {
    /// Kernel programs were asked for by name.
    #[error("source 'ebpf' cannot start: {}; {}", .0.what, .0.remedy)]
    Ebpf(Degradation),
    /// The scan, or the recording, cannot be read.
    #[error("source '{source_name}' cannot start: {error}{}", also(.why))]
    Failed {
        /// Which.
        source_name: &'static str,
        /// Why.
        error: SourceError,
        /// What was tried before.
        why: Vec<Degradation>,
    },
    /// A recording was asked for, and no kernel program serves.
    #[error("source '{source_name}' has nothing to record{}; leave --record out", also(.why))]
    NothingToRecord {
        /// Which.
        source_name: &'static str,
        /// What was tried before.
        why: Vec<Degradation>,
    },
}

fn also(why: &[Degradation]) -> String {
    why.iter().fold(String::new(), |text, degradation| text + "; before that: " + &degradation.what)
}

/// Starts what `choice` asks for. `wake` ends a waiting `poll` of the source. What kernel programs say is written to
/// `record` too.
pub fn start(
    choice: &SourceChoice,
    options: &LoadOptions,
    record: Option<&Path>,
    wake: Wake,
) -> Result<Box<dyn Source>, NegotiateError> {
    let nothing = |source_name, why| Err(NegotiateError::NothingToRecord { source_name, why });
    match choice {
        SourceChoice::Ebpf => match EbpfSource::start(options, wake) {
            Ok(source) => recorded(source, record),
            Err(degradation) => Err(NegotiateError::Ebpf(degradation)),
        },
        SourceChoice::Scan | SourceChoice::Lsof | SourceChoice::Netstat if record.is_some() => {
            nothing(choice.polled_name(), Vec::new())
        }
        SourceChoice::Scan | SourceChoice::Lsof | SourceChoice::Netstat => {
            polled(choice, options, wake, Vec::new())
        }
        SourceChoice::Auto => match EbpfSource::start(options, wake.clone()) {
            Ok(source) => recorded(source, record),
            Err(degradation) if record.is_some() => nothing("scan", vec![degradation]),
            Err(degradation) => {
                tracing::info!(why = degradation.what, "no kernel programs, polling instead");
                polled(choice, options, wake, vec![degradation])
            }
        },
        SourceChoice::Replay(_) if record.is_some() => nothing("replay", Vec::new()),
        SourceChoice::Replay(file) => match ReplaySource::open(file) {
            Ok(source) => Ok(Box::new(source)),
            Err(error) => Err(NegotiateError::Failed { source_name: "replay", error, why: Vec::new() }),
        },
    }
}

fn recorded(mut source: EbpfSource, record: Option<&Path>) -> Result<Box<dyn Source>, NegotiateError> {
    match record.map_or(Ok(()), |path| source.record_to(path)) {
        Ok(()) => Ok(Box::new(source)),
        Err(error) => Err(NegotiateError::Failed { source_name: "ebpf", error, why: Vec::new() }),
    }
}

fn polled(
    choice: &SourceChoice,
    options: &LoadOptions,
    wake: Wake,
    why: Vec<Degradation>,
) -> Result<Box<dyn Source>, NegotiateError> {
    match look(choice, &Roots { proc: options.proc.clone() }) {
        Ok(look) => Ok(Box::new(ScanSource::over(look, wake, why))),
        Err((source_name, error)) => Err(NegotiateError::Failed { source_name, error, why }),
    }
}

/// What takes a snapshot when `choice` is asked for and nothing runs all the time: the tool it names, else the best that
/// this system has. With the name of what failed. Kernel programs tell of events; where they could run, the kernel's tables are what a
/// snapshot of theirs is of.
pub fn look(choice: &SourceChoice, roots: &Roots) -> Result<Box<dyn Look>, (&'static str, SourceError)> {
    let look = match choice {
        SourceChoice::Lsof => scan::lsof(None).map(boxed),
        SourceChoice::Netstat => scan::netstat(None).map(boxed),
        SourceChoice::Scan => tables(roots),
        SourceChoice::Ebpf if !cfg!(target_os = "linux") => Err(SourceError::Unsupported("ebpf")),
        SourceChoice::Auto | SourceChoice::Ebpf | SourceChoice::Replay(_) => best(roots),
    };
    look.map_err(|error| (choice.polled_name(), error))
}

/// The kernel's own tables.
#[cfg(target_os = "linux")]
fn tables(roots: &Roots) -> Result<Box<dyn Look>, SourceError> {
    scan::Scanner::new(roots).map(boxed)
}

#[cfg(target_os = "linux")]
fn best(roots: &Roots) -> Result<Box<dyn Look>, SourceError> {
    tables(roots)
}

/// The kernel's own tables.
#[cfg(windows)]
fn tables(_: &Roots) -> Result<Box<dyn Look>, SourceError> {
    scan::iphelper().map(boxed)
}

#[cfg(windows)]
fn best(roots: &Roots) -> Result<Box<dyn Look>, SourceError> {
    // Its first reading tells whether it works.
    let works = |mut look: Box<dyn Look>| look.tables(&[]).map(|_| look);
    tables(roots).and_then(works).or_else(|error| scan::netstat(None).map(boxed).map_err(|_| error))
}

/// The kernel's own tables are read by netstat alone, whose layouts are private to it.
#[cfg(not(any(target_os = "linux", windows)))]
fn tables(_: &Roots) -> Result<Box<dyn Look>, SourceError> {
    Err(SourceError::Unsupported("scan"))
}

/// netstat shows the sockets of all users to everybody, and costs less; lsof shows a plain user their own.
#[cfg(not(any(target_os = "linux", windows)))]
fn best(_: &Roots) -> Result<Box<dyn Look>, SourceError> {
    scan::netstat(None).map(boxed).or_else(|error| scan::lsof(None).map(boxed).map_err(|_| error))
}

fn boxed(look: impl Look + 'static) -> Box<dyn Look> {
    Box::new(look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_a_name_and_a_wrong_one_says_what_is_right() {
        for (text, choice) in [
            ("auto", SourceChoice::Auto),
            ("ebpf", SourceChoice::Ebpf),
            ("scan", SourceChoice::Scan),
            ("lsof", SourceChoice::Lsof),
            ("netstat", SourceChoice::Netstat),
            ("replay:/tmp/a:b", SourceChoice::Replay(PathBuf::from("/tmp/a:b"))),
        ] {
            assert_eq!(text.parse(), Ok(choice.clone()));
            assert_eq!(choice.to_string(), text);
        }
        let wrong = |text: &str| text.parse::<SourceChoice>().unwrap_err().to_string();
        assert!(wrong("replay:").contains("replay:FILE"));
        assert!(wrong("").contains("'' is not a source"));
        assert!(wrong("EBPF").contains("auto, ebpf, scan"));
    }

    #[cfg(not(target_os = "linux"))]
    #[test]
    fn kernel_programs_by_name_are_no_table_of_another_system() {
        let Err((name, error)) = look(&SourceChoice::Ebpf, &Roots::default()) else {
            panic!("something looked")
        };
        assert_eq!((name, error.to_string().as_str()), ("ebpf", "ebpf is not available on this platform"));
    }

    #[cfg(target_os = "linux")]
    mod linux {
        use super::super::*;
        use crate::source::{SourceKind, ebpf::HookChoice};

        fn no_hooks() -> LoadOptions {
            LoadOptions { hooks: HookChoice::None, ..LoadOptions::default() }
        }

        #[test]
        fn auto_falls_to_the_scan_and_names_the_reason() {
            let source = start(&SourceChoice::Auto, &no_hooks(), None, Wake::new().unwrap()).unwrap();
            assert_eq!(source.kind(), SourceKind::Scan);
            let degradations = source.degradations();
            assert_eq!(degradations.len(), 1, "{degradations:?}");
            assert!(!degradations[0].remedy.is_empty());
        }

        #[test]
        fn ebpf_by_name_is_an_error_rather_than_a_fallback() {
            let Err(error) = start(&SourceChoice::Ebpf, &no_hooks(), None, Wake::new().unwrap()) else {
                panic!("a source without any hook started");
            };
            assert!(error.to_string().starts_with("source 'ebpf' cannot start: "), "{error}");
        }

        #[test]
        fn scan_by_name_has_no_degradation_to_tell() {
            let source = start(&SourceChoice::Scan, &no_hooks(), None, Wake::new().unwrap()).unwrap();
            assert_eq!((source.kind(), source.degradations()), (SourceKind::Scan, Vec::new()));
        }

        #[test]
        fn a_recording_that_is_not_there_is_an_error_with_its_path() {
            let choice = SourceChoice::Replay(PathBuf::from("/none/such"));
            let Err(error) = start(&choice, &no_hooks(), None, Wake::new().unwrap()) else {
                panic!("started")
            };
            assert!(error.to_string().contains("/none/such"), "{error}");
        }
    }
}
