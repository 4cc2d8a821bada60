//! Who is in the way of a program that was refused its port, and the leftover of one's own project.

use std::path::{Path, PathBuf};

use super::Refused;
use crate::{
    attribute::{Attributor, Roots},
    model::{Process, ProcessId},
    platform::user,
    resolve::{
        Place, ResolveError,
        free::{self, How, Plan},
    },
    source::process::Processes,
};

/// Ends whoever holds the place, if it is a leftover of this directory's project.
pub(super) fn take(place: &Place, how: &How) -> Result<Result<String, String>, ResolveError> {
    let Some(plan) = free::plan(std::slice::from_ref(place), &how.scope)?.pop() else {
        return Ok(Err("nobody holds it any more".to_owned()));
    };
    if let Some(refusal) = plan.refusals.first() {
        return Ok(Err(format!("{}; {}", refusal.why, refusal.instead)));
    }
    if plan.members.is_empty() || !plan.units.is_empty() || !plan.containers.is_empty() {
        return Ok(Err(format!("no process of this project holds it; portwatch who {place}")));
    }
    if let Some(why) = stranger(&plan, own_project().as_deref(), user::own_uid()) {
        return Ok(Err(format!("{why}; portwatch free {place} would end it")));
    }
    let done = free::act(&plan, how, None, &|_| {})?;
    Ok(if done.freed { Ok(done.words) } else { Err(done.words) })
}

/// Why a holder is no leftover of one's own: it is not of the project of this directory (without one everybody is a
/// stranger), or of another user, also where root asks.
fn stranger(plan: &Plan, project: Option<&Path>, uid: u32) -> Option<String> {
    plan.members.iter().map(|member| &member.process).find_map(|process| {
        let name = format!("{} ({})", process.comm, process.id.pid);
        let root = process.project.as_ref().map(|project| project.root.as_path());
        match process.uid {
            _ if root.is_none() || root != project => Some(format!("{name} is not of this project")),
            Some(theirs) if theirs == uid => None,
            Some(theirs) => {
                let whose = process.user.clone().unwrap_or_else(|| format!("uid {theirs}"));
                Some(format!("{name} is of this project and belongs to {whose}, not to you"))
            }
            None => Some(format!("{name} is of this project, and whose it is is not known")),
        }
    })
}

fn own_project() -> Option<PathBuf> {
    let id: ProcessId = Processes::open().ok()?.identify(std::process::id()).ok()?;
    Some(Attributor::new(Roots::default()).of(id)?.project.as_ref()?.root.clone())
}

/// Where no daemon tells: the child failed, and somebody else holds the place.
pub fn concluded(place: &Place, how: &How, child: u32) -> Option<Refused> {
    let plan = free::plan(std::slice::from_ref(place), &how.scope).ok()?.pop()?;
    let other = |process: &Process| !is_of(process, child);
    let holder = plan.members.iter().map(|m| &m.process).find(|p| other(p));
    let unseen = plan.refusals.iter().find(|r| r.process.as_deref().is_none_or(other));
    let waiting = u64::try_from(plan.time_wait.len()).unwrap_or(u64::MAX);
    let held = holder.is_some() || unseen.is_some() || !plan.units.is_empty() || !plan.containers.is_empty();
    if !held && waiting == 0 {
        return None;
    }
    let refused = unseen.and_then(|refusal| refusal.process.as_ref());
    let holder = holder.or(refused).map(|p| named(p)).or_else(|| held.then(|| "somebody".to_owned()));
    Some(Refused { waiting: if held { 0 } else { waiting }, holder, certain: false })
}

/// How many connections in TIME_WAIT are on the port.
pub fn waiting(place: &Place, how: &How) -> u64 {
    let plan = free::plan(std::slice::from_ref(place), &how.scope).ok().and_then(|mut plans| plans.pop());
    plan.map_or(0, |plan| u64::try_from(plan.time_wait.len()).unwrap_or(u64::MAX))
}

/// `node (812)`, and the runner that started it, if one did.
fn named(process: &Process) -> String {
    let runner = process.lineage.iter().find(|above| {
        let args = above.command.as_ref().map_or(&[][..], |command| command.args.as_slice());
        above.comm.trim_end_matches(".exe") == "portwatch" && args.get(1).is_some_and(|word| word == "run")
    });
    let by = runner.map_or_else(String::new, |r| format!(", started by portwatch run ({})", r.pid));
    format!("{} ({}){by}", process.comm, process.id.pid)
}

/// Left behind by the child itself: whoever is of its process group.
#[cfg(unix)]
fn is_of(process: &Process, child: u32) -> bool {
    use nix::unistd::{Pid, getpgid};
    let pid = i32::try_from(process.id.pid);
    let group = pid.ok().and_then(|pid| getpgid(Some(Pid::from_raw(pid))).ok());
    group.and_then(|group| u32::try_from(group.as_raw()).ok()) == Some(child)
}

/// The child itself, or below it.
#[cfg(not(unix))]
fn is_of(process: &Process, child: u32) -> bool {
    process.id.pid == child || process.lineage.iter().any(|above| above.pid == child)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::stranger;
    use crate::{
        model::{Evidence, Process, ProcessId, Project, ProjectKind},
        resolve::free::{Image, Member, Plan, Role},
    };

    fn held_by(uid: u32, root: &str) -> Plan {
        let project = Project {
            root: root.into(),
            name: "shop".to_owned(),
            kind: ProjectKind::Node,
            worktree: None,
            evidence: Evidence::Scan,
        };
        let process = Process {
            id: ProcessId { pid: 50, start_ticks: 7 },
            started: None,
            comm: "node".to_owned(),
            command: None,
            exe: None,
            cwd: None,
            uid: Some(uid),
            user: Some("erich".to_owned()).filter(|_| uid == 1000),
            cgroup: None,
            unit: None,
            container: None,
            unproven: None,
            lineage: Vec::new(),
            project: Some(project),
            evidence: Evidence::Scan,
        };
        let process = Arc::new(process);
        let member = Member {
            process,
            inodes: Vec::new(),
            sockets: Vec::new(),
            image: Image::default(),
            role: Role::Alone,
            note: None,
        };
        Plan { members: vec![member], ..Plan::of("3100".parse().unwrap()) }
    }

    #[test]
    fn a_leftover_is_of_the_same_project_and_the_same_user_also_for_root() {
        let shop = Some(Path::new("/shop"));
        assert_eq!(stranger(&held_by(1000, "/shop"), shop, 1000), None);
        let root = stranger(&held_by(1000, "/shop"), shop, 0).unwrap();
        assert_eq!(root, "node (50) is of this project and belongs to erich, not to you");
        assert!(stranger(&held_by(1001, "/shop"), shop, 1000).unwrap().contains("uid 1001"));
        for other in [Some(Path::new("/other")), None] {
            let words = stranger(&held_by(1000, "/shop"), other, 1000).unwrap();
            assert_eq!(words, "node (50) is not of this project");
        }
    }
}
