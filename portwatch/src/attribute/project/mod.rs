//! The project a process works in.

mod git;
mod name;
mod script;
mod tree;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lru::LruCache;

use crate::model::{CommandLine, Evidence, Project, ProjectKind, Worktree};
pub(super) use tree::Tree;
#[cfg(target_os = "linux")]
pub(super) use tree::read_up_to;

/// Project files, the nearest directory first and in this order within one.
const MARKS: [(&str, ProjectKind); 6] = [
    (".portwatch.toml", ProjectKind::Portwatch),
    (".portdaddyrc", ProjectKind::PortDaddy),
    ("package.json", ProjectKind::Node),
    ("Cargo.toml", ProjectKind::Rust),
    ("pyproject.toml", ProjectKind::Python),
    ("go.mod", ProjectKind::Go),
];

/// Larger project files mark their directory and are not read for a name.
const LARGEST: usize = 256 * 1024;
/// How far up.
const DEEPEST: usize = 32;
/// A burst of processes from one directory reads it once; a changed branch shows soon.
const LIFETIME: Duration = Duration::from_secs(5);

/// Directories of the system or of everybody: what lies there says nothing about one process, and in the
/// world-writable ones anybody could put a file that names another's processes.
const SHARED: [&str; 30] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/dev/shm",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/Users",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/usr/src",
    "/var",
    "/var/lib",
    "/var/tmp",
];

/// The same right below the root of a drive of Windows.
const SHARED_ON_A_DRIVE: [&str; 5] =
    ["Windows", "Program Files", "Program Files (x86)", "ProgramData", "Users"];

/// What is asked of a process.
pub(super) struct Question<'a> {
    pub(super) tree: &'a Tree,
    pub(super) cwd: Option<&'a Path>,
    pub(super) command: Option<&'a CommandLine>,
    pub(super) exe: Option<&'a Path>,
    pub(super) home: Option<&'a Path>,
}

/// A directory: its root's device and inode, and its path below.
type Place = ((u64, u64), PathBuf);

/// Projects by directory, for a few seconds.
#[derive(Debug)]
pub(super) struct Projects {
    known: LruCache<Place, (Option<Project>, Instant)>,
}

impl Projects {
    pub(super) fn new() -> Self {
        Self { known: LruCache::new(NonZeroUsize::MIN.saturating_add(511)) }
    }

    /// The project of the working directory; where that says nothing, of the script or program that runs.
    pub(super) fn of(&mut self, question: &Question) -> Option<Project> {
        if let Some(project) = question.cwd.and_then(|cwd| self.above(question, cwd)) {
            return Some(project);
        }
        let script = script::directory(question);
        let program = question.exe.and_then(Path::parent).and_then(script::own_code);
        [script, program]
            .into_iter()
            .flatten()
            .find_map(|directory| self.above(question, &directory))
            .map(|project| Project { evidence: Evidence::Inferred, ..project })
    }

    fn above(&mut self, question: &Question, directory: &Path) -> Option<Project> {
        let key = (question.tree.identity, directory.to_owned());
        if let Some((project, at)) = self.known.get(&key)
            && at.elapsed() < LIFETIME
        {
            return project.clone();
        }
        let project = search(question.tree, directory, question.home);
        self.known.put(key, (project.clone(), Instant::now()));
        project
    }
}

/// Nearest marked directory at or above `from`.
fn search(tree: &Tree, from: &Path, home: Option<&Path>) -> Option<Project> {
    if !from.is_absolute() {
        return None;
    }
    let mut found: Option<(PathBuf, String, ProjectKind)> = None;
    let mut worktree: Option<Worktree> = None;
    for path in from.ancestors().take(DEEPEST).take_while(|path| !is_shared(path)) {
        let at_home = is_home(path, home);
        let Some(directory) = tree.directory(path) else { break };
        if found.is_none() {
            // A file that lies about in a home directory does not make everything below one project.
            let marks = if at_home { MARKS.get(..1).unwrap_or_default() } else { &MARKS };
            found = marks.iter().find_map(|&(file, kind)| {
                let text = directory.text(Path::new(file), LARGEST)?;
                let name = text.bytes.and_then(|bytes| name::in_file(kind, &bytes));
                Some((path.to_owned(), name.or_else(|| own_name(path))?, kind))
            });
        }
        if at_home {
            break;
        }
        if let Some(tree) = git::worktree(tree, &directory, path) {
            if found.is_none() {
                found = own_name(path).map(|name| (path.to_owned(), name, ProjectKind::Git));
            }
            worktree = Some(tree);
            break;
        }
    }
    let (root, name, kind) = found?;
    Some(Project { root, name, kind, worktree, evidence: Evidence::Scan })
}

fn own_name(path: &Path) -> Option<String> {
    name::presentable(&path.file_name()?.to_string_lossy())
}

/// Directories of everybody's, in which a project file is nobody's word. On Windows, of every drive the root and what the system or all users share there.
pub fn is_shared(path: &Path) -> bool {
    if cfg!(windows) {
        let Some(parent) = path.parent() else { return true };
        let name = path.file_name().unwrap_or_default();
        return parent.parent().is_none()
            && SHARED_ON_A_DRIVE.iter().any(|shared| name.eq_ignore_ascii_case(shared));
    }
    SHARED.iter().any(|shared| path == Path::new(shared))
}

/// A file in a directory that `owner` names, read with the care that others' files need: no links, regular only, up to a bound, and
/// only where it is theirs or root's. `None` when there is no such file.
pub fn text_of_another(path: &Path, owner: u32) -> Option<String> {
    let text = Tree::own()?.text(path, super::PROJECT_FILE_LIMIT)?;
    let text = Some(text).filter(|text| text.uid == owner || text.uid == 0)?;
    String::from_utf8(text.bytes?).ok()
}

/// Whether anybody may have put this file where it is: its directory lets all write, and it is neither the directory's
/// owner's nor root's. Such a file is nobody's word.
pub fn is_planted(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let directory = path.parent().and_then(|directory| directory.metadata().ok());
        let both = directory.zip(path.metadata().ok());
        both.is_some_and(|(directory, file)| {
            tree::is_planted(directory.mode() & 0o002 != 0, directory.uid(), file.uid())
        })
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// The user's home, or anybody's: root often works in the directories of others.
fn is_home(path: &Path, home: Option<&Path>) -> bool {
    let of_people = |parent: &Path| {
        let on_a_drive = |name: &std::ffi::OsStr| cfg!(windows) && name.eq_ignore_ascii_case("users");
        parent == Path::new("/home")
            || parent == Path::new("/Users")
            || parent.file_name().is_some_and(on_a_drive)
    };
    home == Some(path) || path == Path::new("/root") || path.parent().is_some_and(of_people)
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
