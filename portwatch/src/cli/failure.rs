//! Why a command gave no answer, and the exit code of each cause.

use std::{io, path::PathBuf};

use super::{exit::Exit, settings::SettingsError, time::TimeError};
use crate::resolve::{PlaceError, ResolveError};
use crate::{
    access::AccessError,
    model::ParsePortError,
    registry::{DurationError, NameError, PatternError},
    wire::TargetError,
};

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Time(#[from] TimeError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Port(#[from] ParsePortError),
    #[error("'{0}' is not a range of ports; write 3000 or 3000-3999, the smaller first")]
    Range(String),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("{}: {message}", path.display())]
    ProjectFile { path: PathBuf, message: String },
    #[error(
        "there is no project in this directory; name a claim (myapp:api), or make a .portwatch.toml: project = \"myapp\""
    )]
    NoProject,
    #[error(
        "there is nothing to import here: no .portdaddyrc in this directory or above, no design/worktrees/ports.json; name a file"
    )]
    NothingToImport,
    #[error("{}: there is no project to give names to; say --project NAME", path.display())]
    NoProjectFor { path: PathBuf },
    #[error("{0}; write --header 'Name: value'")]
    Header(String),
    #[error("'{0}' is not a path; it begins with / and has no blanks")]
    HttpPath(String),
    #[error("{0} is about one claim; name one")]
    Several(&'static str),
    #[error("this would release every claim; say so with --yes")]
    NeedsYes,
    #[error("the shell put the names of the files here in the place of *; quote it: portwatch {0} '*'")]
    Unquoted(&'static str),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("{error}. Claimed: {done}. Not claimed: {left}")]
    Partly { error: AccessError, done: String, left: String },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error("cannot write the answer: {0}; make room there, or let it go somewhere else")]
    Output(#[from] io::Error),
    #[error("cannot write {}: {error}; choose a directory that exists and is yours", path.display())]
    Page { path: PathBuf, error: io::Error },
}

impl Failure {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Settings(_)
            | Self::Time(_)
            | Self::Target(_)
            | Self::Port(_)
            | Self::Range(_)
            | Self::Name(_)
            | Self::Pattern(_)
            | Self::Duration(_)
            | Self::ProjectFile { .. }
            | Self::NoProject
            | Self::NoProjectFor { .. }
            | Self::Several(_)
            | Self::Header(_)
            | Self::HttpPath(_)
            | Self::NeedsYes
            | Self::Unquoted(_)
            | Self::Place(_) => Exit::Usage,
            Self::Resolve(error) if error.is_usage() => Exit::Usage,
            Self::Resolve(_) | Self::Page { .. } | Self::Output(_) => Exit::NotSeen,
            Self::Access(error) | Self::Partly { error, .. } => error.into(),
            Self::NothingToImport => Exit::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_defect() {
        let failure = Failure::Output(io::ErrorKind::StorageFull.into());
        assert_eq!(failure.exit(), Exit::NotSeen);
        assert!(failure.to_string().contains("make room"), "{failure}");
    }
}
