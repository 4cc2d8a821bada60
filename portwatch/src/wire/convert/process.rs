//! Processes on their way out, with the container, unit and project that they are of.

use super::{
    super::{Ancestor, Cgroup, Container, Process, Project, Unit, UnprovenContainer, View, Worktree},
    path,
};
use crate::{
    model::{self, Evidence, ProcessId},
    query::Sight,
};

/// A process, as far as `viewer` may see it.
pub fn process<'a>(process: &model::Process, view: impl Into<View<'a>>) -> Process {
    let sight = view.into().sight(process);
    let public = sight >= Sight::Public;
    let full = sight >= Sight::Full;
    let command = process.command.as_ref().filter(|_| public);
    Process {
        pid: process.id.pid,
        started: process.started,
        comm: process.comm.clone(),
        command: command.map(|c| c.args.clone()),
        command_truncated: command.is_some_and(|c| c.truncated),
        exe: process.exe.as_deref().filter(|_| full).map(path),
        cwd: process.cwd.as_deref().filter(|_| full).map(path),
        uid: process.uid,
        user: process.user.clone(),
        cgroup: process.cgroup.as_ref().filter(|_| public).map(|c| Cgroup { id: c.id, path: c.path.clone() }),
        unit: process.unit.as_ref().filter(|_| public).map(unit),
        container: process.container.as_ref().filter(|_| public).map(|c| container(c, full)),
        unproven_container: process
            .unproven
            .as_ref()
            .filter(|unproven| {
                public && process.container.as_ref().is_none_or(|c| c.id != unproven.container.id)
            })
            .map(unproven),
        lineage: if public { process.lineage.iter().map(ancestor).collect() } else { Vec::new() },
        project: process.project.as_ref().filter(|_| full).map(project),
        evidence: process.evidence.as_str().to_owned(),
    }
}

/// A process of which only the identity is known.
fn bare(id: ProcessId) -> Process {
    Process {
        pid: id.pid,
        started: None,
        comm: String::new(),
        command: None,
        command_truncated: false,
        exe: None,
        cwd: None,
        uid: None,
        user: None,
        cgroup: None,
        unit: None,
        container: None,
        unproven_container: None,
        lineage: Vec::new(),
        project: None,
        evidence: Evidence::Unknown.as_str().to_owned(),
    }
}

fn unit(unit: &model::Unit) -> Unit {
    Unit { name: unit.name.clone(), slice: unit.slice.clone(), manager: unit.manager }
}

/// Anybody may read an id in a control group; what the engine tells comes from a socket that is closed to most, and
/// is passed on to those who see all of the process.
pub(super) fn container(container: &model::Container, full: bool) -> Container {
    let compose = container.compose.as_ref().filter(|_| full);
    Container {
        engine: container.engine.map(|e| e.as_str().to_owned()),
        id: container.id.clone(),
        pod: container.pod.clone(),
        name: container.name.clone().filter(|_| full || container.names_itself()),
        image: container.image.clone().filter(|_| full),
        compose_project: compose.map(|c| c.project.clone()),
        compose_service: compose.map(|c| c.service.clone()),
        owner: container.owner,
    }
}

fn unproven(unproven: &model::Unproven) -> UnprovenContainer {
    UnprovenContainer {
        engine: unproven.container.engine.map(|engine| engine.as_str().to_owned()),
        id: unproven.container.id.clone(),
        uid: match unproven.maker {
            model::Maker::User(uid) => Some(uid),
            _ => None,
        },
    }
}

fn ancestor(ancestor: &model::Ancestor) -> Ancestor {
    Ancestor {
        pid: ancestor.pid,
        comm: ancestor.comm.clone(),
        command: ancestor.command.as_ref().map(|c| c.args.clone()),
        command_truncated: ancestor.command.as_ref().is_some_and(|c| c.truncated),
    }
}

fn project(project: &model::Project) -> Project {
    Project {
        name: project.name.clone(),
        root: path(&project.root),
        kind: project.kind.as_str().to_owned(),
        evidence: project.evidence.as_str().to_owned(),
        worktree: project.worktree.as_ref().map(|w| Worktree {
            name: w.name.clone(),
            root: path(&w.root),
            branch: w.branch.clone(),
        }),
    }
}

pub(super) fn facts(id: ProcessId, known: Option<&model::Process>, view: View<'_>) -> Process {
    known.map_or_else(|| bare(id), |p| process(p, view))
}
