//! What one description may take. Most of it is chosen by whoever runs the process, it is stored with every process, and told
//! with every event and socket that names one: all that is larger is cut, or not told, here.

use std::path::PathBuf;

use super::Redaction;
use crate::model::{Ancestor, CommandLine, Container, Process, json_bytes};

/// Of a command line, as JSON. 4096 bytes of ordinary arguments fit.
const COMMAND: usize = 6 * 1024;
/// Of the command line of an ancestor.
const ANCESTOR: usize = 512;
/// Of all command lines of a lineage; the nearest first, and those above are told by pid and comm.
const LINEAGE: usize = 4096;
/// Of a path. One of PATH_MAX (4096) fits unless most of it is escaped.
const PATH: usize = 4096;
/// Of a name or an image that an engine tells.
const NAME: usize = 512;

/// A command line as it is kept: without secrets, and not too large.
pub(super) fn command(line: CommandLine, redaction: &Redaction) -> CommandLine {
    redaction.line(line).within(COMMAND)
}

/// The same of an ancestor.
pub(super) fn of_ancestor(line: CommandLine) -> CommandLine {
    line.within(ANCESTOR)
}

/// A lineage as it is kept.
pub(super) fn lineage(mut up: Vec<Ancestor>) -> Vec<Ancestor> {
    let mut left = LINEAGE;
    for ancestor in &mut up {
        let takes = ancestor.command.as_ref().map_or(0, CommandLine::json_bytes);
        if takes > left {
            ancestor.command = None;
        } else {
            left -= takes;
        }
    }
    up
}

/// The rest of a description: a path that is cut would be another's, so it is left out.
pub(super) fn process(mut process: Process) -> Process {
    let fits = |path: &PathBuf| json_bytes(&path.to_string_lossy()) <= PATH;
    process.exe = process.exe.filter(fits);
    process.cwd = process.cwd.filter(fits);
    process.project = process.project.filter(|project| fits(&project.root));
    if let Some(worktree) = process.project.as_mut().map(|project| &mut project.worktree) {
        *worktree = worktree.take().filter(|worktree| fits(&worktree.root));
    }
    if let Some(group) = process.cgroup.as_mut().filter(|group| json_bytes(&group.path) > PATH) {
        // As of one that is known by its id only.
        group.path.clear();
    }
    process.container = process.container.and_then(container);
    process.unproven = process.unproven.filter(|unproven| unproven.container.json_bytes() <= NAME);
    process
}

/// A container without names that nobody reads to their end.
pub(super) fn container(mut container: Container) -> Option<Container> {
    let fits = |name: &String| json_bytes(name) <= NAME;
    container.name = container.name.filter(fits);
    container.image = container.image.filter(fits);
    container.pod = container.pod.filter(fits);
    container.compose = container.compose.filter(|compose| fits(&compose.project) && fits(&compose.service));
    Some(container).filter(|container| fits(&container.id))
}
