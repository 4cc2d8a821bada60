//! The project that the caller stands in, and what its `.portwatch.toml` says. Read with the caller's own rights.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{backend, failure::Failure};
use crate::{
    attribute::{PROJECT_FILE_LIMIT, is_planted, is_shared, text_of_another},
    model::Port,
    platform::files,
    registry::{FOREIGN, Name, ProjectConfig, Stack, UserPolicy, WHOLE, slug},
    wire::claims::ClaimRequest,
};

/// The first that is there holds.
const FILES: [&str; 4] = [".portwatch.toml", FOREIGN[0], FOREIGN[1], FOREIGN[2]];

/// Where the caller stands.
#[derive(Debug, Default)]
pub(super) struct Here {
    /// First part of the names of its claims.
    pub(super) name: Option<String>,
    /// Its directory.
    pub(super) root: Option<PathBuf>,
    /// The linked git worktree it lies in; `None` for the main one.
    pub(super) worktree: Option<String>,
    /// Its rules; those of no file are the defaults.
    pub(super) config: ProjectConfig,
    /// The file they are from.
    pub(super) file: Option<PathBuf>,
}

impl Here {
    /// Looks around from the working directory.
    pub(super) fn find() -> Result<Self, Failure> {
        let project = backend::project();
        let mut here = Self::default();
        if let Some(project) = project {
            here.name = slug(&project.name);
            here.worktree = project.worktree.map(|w| w.name).filter(|name| name != "main");
            here.root = Some(project.root);
        }
        let from = std::env::current_dir().unwrap_or_default();
        // What lies in a directory of everybody's, such as /tmp, may be anybody's.
        for directory in from.ancestors().filter(|directory| !is_shared(directory)) {
            if let Some((file, config)) = in_directory(directory)? {
                here.name = config
                    .project
                    .clone()
                    .or_else(|| directory.file_name().and_then(|name| slug(&name.to_string_lossy())));
                here.root = Some(directory.to_owned());
                here.config = config;
                here.file = Some(directory.join(file));
                break;
            }
        }
        Ok(here)
    }

    /// The rules in a directory; the defaults where there is no file.
    pub(super) fn config_in(root: &Path) -> Result<ProjectConfig, Failure> {
        Ok(in_directory(root)?.map(|(_, config)| config).unwrap_or_default())
    }

    /// The rules in a directory that another user names. Whoever asks may be root: nothing there is trusted, and what is wrong
    /// says nothing.
    pub(super) fn config_of_another(root: &Path, owner: u32) -> ProjectConfig {
        let found = FILES.iter().find_map(|file| Some((file, text_of_another(&root.join(file), owner)?)));
        found.and_then(|(file, text)| ProjectConfig::read(file, &text).ok()).unwrap_or_default()
    }

    /// The wish for a name: what the project says of it, then what the user says of all.
    pub(super) fn wish(&self, name: &Name, user: &UserPolicy) -> ClaimRequest {
        let stack = self.stack(name).cloned().unwrap_or_default();
        let own = self.is_own(name);
        let project = self.config.exclude.ranges().iter().filter(|_| own);
        let range = stack.range.or_else(|| user.range_of(name.stack()));
        let pair = stack.pair.then_some("udp");
        ClaimRequest {
            name: name.to_string(),
            // There is one such port, and it is the main worktree's.
            port: stack.port.filter(|_| name.context().is_none()).map(Port::get),
            range: range.map(|range| range.to_string()),
            exclude: project.chain(user.exclude.ranges()).map(ToString::to_string).collect(),
            protocols: std::iter::once("tcp").chain(pair).map(str::to_owned).collect(),
            ports: stack.ports.unwrap_or(1),
            // A name of another project says nothing of this directory.
            root: self.root.as_ref().filter(|_| own).map(|root| root.to_string_lossy().into_owned()),
            worktree: self.worktree.clone().filter(|_| own),
            ..ClaimRequest::default()
        }
    }

    /// Third part of the names of its claims.
    pub(super) fn context(&self) -> Option<&str> {
        self.worktree.as_deref().filter(|_| self.config.worktree_context)
    }

    /// The name that a word on the command line means: a whole name, or a stack of this project.
    pub(super) fn named(&self, word: &str) -> Result<Name, Failure> {
        match (&self.name, word.contains(':')) {
            (Some(project), false) if !word.is_empty() => {
                let name = format!("{project}:{word}");
                let name = self.context().map_or(name.clone(), |context| {
                    format!("{name}:{}", slug(context).unwrap_or_else(|| context.to_owned()))
                });
                Ok(name.parse()?)
            }
            _ => Ok(word.parse()?),
        }
    }

    /// Every name that the project file speaks of; one for the whole where it speaks of none.
    pub(super) fn names(&self) -> Result<Vec<Name>, Failure> {
        if self.name.is_none() {
            return Err(Failure::NoProject);
        }
        if self.config.stacks.is_empty() {
            return Ok(vec![self.named(WHOLE)?]);
        }
        self.config.stacks.keys().map(|stack| self.named(stack)).collect()
    }

    /// What the project file says of a name, if it is one of this project's.
    pub(super) fn stack(&self, name: &Name) -> Option<&Stack> {
        self.is_own(name).then(|| self.config.stacks.get(name.stack())).flatten()
    }

    /// Whether a name is one of this project's.
    pub(super) fn is_own(&self, name: &Name) -> bool {
        self.name.as_deref() == Some(name.project())
    }
}

/// The project file in a directory: its name, and what it says.
fn in_directory(directory: &Path) -> Result<Option<(&'static str, ProjectConfig)>, Failure> {
    for file in FILES {
        let path = directory.join(file);
        if is_planted(&path) {
            continue;
        }
        if let Some(config) = read(&path, file)? {
            return Ok(Some((file, config)));
        }
    }
    Ok(None)
}

fn read(path: &Path, file: &str) -> Result<Option<ProjectConfig>, Failure> {
    match text(path) {
        Ok(text) => ProjectConfig::read(file, &text)
            .map(Some)
            .map_err(|error| Failure::ProjectFile { path: path.to_owned(), message: error.to_string() }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        // A directory above that may not be entered is not the caller's project. A file that is there and cannot be read may
        // be.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && fs::metadata(path).is_err() => {
            Ok(None)
        }
        Err(error) => Err(Failure::ProjectFile { path: path.to_owned(), message: error.to_string() }),
    }
}

/// The daemon reads no more than that either.
fn text(path: &Path) -> io::Result<String> {
    files::text(path, u64::try_from(PROJECT_FILE_LIMIT).unwrap_or(u64::MAX))
}
