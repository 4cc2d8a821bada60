//! By `/proc` and control groups.

use std::{net::IpAddr, num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use super::{
    PROJECT_FILE_LIMIT, REMEMBERED, Redaction, Roots, addresses, adds_nothing, bound,
    cgroup::{Cgroups, Group},
    command,
    lineage::{Ancestors, Reading},
    own::Own,
    pid::{self, PidDir, Stat},
    project::{Projects, Question, Tree},
    user::Users,
};
use crate::model::{
    Cgroup, Container, Evidence, Placement, Process, ProcessId, ProcessSeen, Project, Timestamp,
};

/// Longest `/proc/PID/status` and `/proc/PID/cgroup` that are read.
const FILE_LIMIT: usize = 16 * 1024;

/// Finds out who is behind a pid, and remembers it.
#[derive(Debug)]
pub struct Attributor {
    roots: Roots,
    redaction: Redaction,
    known: LruCache<ProcessId, Arc<Process>>,
    own: Own,
    ancestors: Ancestors,
    cgroups: Cgroups,
    users: Users,
    projects: Projects,
}

impl Attributor {
    /// One with nothing remembered, which hides what is a secret by default.
    pub fn new(roots: Roots) -> Self {
        Self::with_redaction(roots, Redaction::default())
    }

    /// One with nothing remembered.
    pub fn with_redaction(roots: Roots, redaction: Redaction) -> Self {
        Self {
            redaction,
            known: LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN)),
            own: Own::new(&roots.proc),
            ancestors: Ancestors::new(),
            cgroups: Cgroups::new(&roots.cgroup),
            users: Users::default(),
            projects: Projects::new(),
            roots,
        }
    }

    /// The process an event told of: what the event carried, and what /proc still says. Where the process is
    /// gone, or its pid is another's by now, the facts of the event stand with the event's evidence.
    pub fn learn(&mut self, seen: &ProcessSeen) -> Arc<Process> {
        // Before anything else sees it. What is compared below is redacted on both sides.
        let seen = &ProcessSeen {
            command: seen.command.clone().map(|command| bound::command(command, &self.redaction)),
            ..seen.clone()
        };
        if let Some(known) = self.known.get(&seen.id)
            && adds_nothing(seen, known)
        {
            return Arc::clone(known);
        }
        let process = Arc::new(match self.open(seen.id) {
            Some((directory, stat)) => self.living(seen.id, &directory, &stat, Some(seen)),
            None => self.gone(seen),
        });
        self.known.put(seen.id, Arc::clone(&process));
        process
    }

    /// A process by its identity: as remembered, else from /proc. `None` when it is not remembered and gone.
    pub fn of(&mut self, id: ProcessId) -> Option<Arc<Process>> {
        if let Some(known) = self.known.get(&id) {
            return Some(Arc::clone(known));
        }
        self.look(id)
    }

    /// Looks at a process again: it may have called `exec`, changed its title, moved. What was remembered
    /// stays when it is gone.
    pub fn refresh(&mut self, id: ProcessId) -> Option<Arc<Process>> {
        self.ancestors.forget(id);
        self.look(id).or_else(|| self.known.get(&id).map(Arc::clone))
    }

    /// Whether it runs this very program: portwatch's own probes are not news.
    pub fn is_own(&mut self, id: ProcessId) -> bool {
        self.own.contains(id)
    }

    /// The project of a process's working directory, and nothing else of it: no command line, ancestors, control group.
    pub fn project_of(&mut self, id: ProcessId) -> Option<Project> {
        let (directory, _) = self.open(id)?;
        let tree = directory.directory("root").ok().and_then(Tree::new)?;
        let cwd = directory.link("cwd").ok()?;
        let account = uid_of(&directory).and_then(|uid| self.users.account(uid));
        self.projects.of(&Question {
            tree: &tree,
            cwd: Some(&cwd),
            command: None,
            exe: None,
            home: account.as_ref().map(|account| account.home.as_path()),
        })
    }

    /// A regular file by its path as this process sees it, read with the care that others' files need: no links, a
    /// bound. `None` when there is none, or the process is gone.
    pub fn text_of(&self, id: ProcessId, path: &std::path::Path) -> Option<String> {
        let (directory, _) = self.open(id)?;
        let tree = directory.directory("root").ok().and_then(Tree::new)?;
        String::from_utf8(tree.text(path, PROJECT_FILE_LIMIT)?.bytes?).ok()
    }

    /// A file of a user's own, by its path below the home directory, as a process of that user sees it and with the same
    /// care. A file that lies there and is another's is not that user's word.
    pub fn text_at_home(&mut self, id: ProcessId, uid: u32, path: &std::path::Path) -> Option<String> {
        let home = self.users.account(uid)?.home.clone();
        let (directory, _) = self.open(id)?;
        let tree = directory.directory("root").ok().and_then(Tree::new)?;
        let text = tree.text(&home.join(path), PROJECT_FILE_LIMIT).filter(|text| text.uid == uid)?;
        String::from_utf8(text.bytes?).ok()
    }

    /// Drops what is remembered of a process. One that ended may be kept: nobody else can have its identity,
    /// and those that are not asked for fall out first.
    pub fn forget(&mut self, id: ProcessId) {
        self.known.pop(&id);
        self.ancestors.forget(id);
    }

    /// Completes what is known of a process's container by what its engine says, or takes it back where that says otherwise.
    /// Of a process that is not remembered nothing is kept.
    pub fn place(&mut self, id: ProcessId, container: Option<Container>) -> Option<Arc<Process>> {
        let container = container.and_then(bound::container);
        let known = self.known.peek_mut(&id)?;
        if known.container != container {
            let known = Arc::make_mut(known);
            if let Some(unproven) = &known.unproven {
                known.unit = unproven.unit.clone().filter(|_| container.is_some());
            }
            known.container = container;
        }
        Some(Arc::clone(known))
    }

    /// The control groups of a process, as `/proc/PID/cgroup` has them now.
    pub fn groups(&self, id: ProcessId) -> Option<String> {
        let (directory, _) = self.open(id)?;
        let (bytes, _) = directory.read("cgroup", FILE_LIMIT).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Local addresses in the network namespace of a process; empty where they cannot be read.
    pub fn addresses(&self, id: ProcessId) -> Vec<IpAddr> {
        self.open(id).map(|(directory, _)| addresses::of(&directory)).unwrap_or_default()
    }

    fn look(&mut self, id: ProcessId) -> Option<Arc<Process>> {
        let (directory, stat) = self.open(id)?;
        let process = Arc::new(self.living(id, &directory, &stat, None));
        self.known.put(id, Arc::clone(&process));
        Some(process)
    }

    /// The directory of exactly this process, not of another that has its pid now.
    fn open(&self, id: ProcessId) -> Option<(PidDir, Stat)> {
        let directory = PidDir::open(&self.roots.proc, id.pid).ok()?;
        let stat = directory.stat().ok()?;
        (stat.start_ticks == id.start_ticks).then_some((directory, stat))
    }

    fn living(
        &mut self,
        id: ProcessId,
        directory: &PidDir,
        stat: &Stat,
        seen: Option<&ProcessSeen>,
    ) -> Process {
        let told = seen.and_then(|seen| seen.command.as_ref());
        let now = command::read(directory, stat, &self.redaction);
        // Another name and another command line than at the event: it has called exec since, and the program
        // it runs now is not the one that acted.
        let changed = seen.is_some_and(|seen| seen.comm != stat.comm)
            && matches!((told, &now), (Some(told), Some(now)) if !command::continues(told, now));
        let command = command::settle(told, now);
        let exe = if changed { None } else { directory.link("exe").ok() };
        self.own.look(id, &self.roots.proc, exe.as_deref());
        let cwd = directory.link("cwd").ok();
        let uid = seen.and_then(|seen| seen.uid).or_else(|| uid_of(directory));
        let account = uid.and_then(|uid| self.users.account(uid));
        let cgroup_id = seen.and_then(|seen| seen.cgroup_id);
        let (cgroup, placement) = split(match directory.read("cgroup", FILE_LIMIT) {
            Ok((bytes, _)) => self.cgroups.of(&bytes, cgroup_id),
            Err(_) => cgroup_id.map(|id| self.cgroups.by_id(id)),
        });
        let tree = directory.directory("root").ok().and_then(Tree::new);
        let project = tree.and_then(|tree| {
            self.projects.of(&Question {
                tree: &tree,
                cwd: cwd.as_deref(),
                command: command.as_ref(),
                exe: exe.as_deref(),
                home: account.as_ref().map(|account| account.home.as_path()),
            })
        });
        bound::process(Process {
            id,
            started: started(id),
            comm: seen.map_or_else(|| stat.comm.clone(), |seen| seen.comm.clone()),
            command,
            exe,
            cwd,
            uid,
            user: account.map(|account| account.name.clone()),
            cgroup,
            unit: placement.unit,
            container: placement.container,
            unproven: placement.unproven,
            lineage: self.ancestors.of(
                &Reading { proc: &self.roots.proc, redaction: &self.redaction },
                id,
                Some(stat),
                seen,
            ),
            project,
            evidence: Evidence::Scan,
        })
    }

    fn gone(&mut self, seen: &ProcessSeen) -> Process {
        let lineage = self.ancestors.of(
            &Reading { proc: &self.roots.proc, redaction: &self.redaction },
            seen.id,
            None,
            Some(seen),
        );
        let (cgroup, placement) =
            split(seen.cgroup_id.map(|id| self.cgroup_of_the_gone(id, seen.parent_pid)));
        bound::process(Process {
            id: seen.id,
            started: started(seen.id),
            comm: seen.comm.clone(),
            command: command::settle(seen.command.as_ref(), None),
            exe: None,
            cwd: None,
            uid: seen.uid,
            user: seen.uid.and_then(|uid| self.users.account(uid)).map(|account| account.name.clone()),
            cgroup,
            unit: placement.unit,
            container: placement.container,
            unproven: placement.unproven,
            lineage,
            project: None,
            evidence: seen.evidence,
        })
    }

    /// The path of a group that is known by id only. A parent is mostly in the same one; its id proves it.
    fn cgroup_of_the_gone(&mut self, id: u64, parent: u32) -> Group {
        if !self.cgroups.knows(id)
            && let Ok((bytes, _)) =
                PidDir::open(&self.roots.proc, parent).and_then(|d| d.read("cgroup", FILE_LIMIT))
        {
            let _ = self.cgroups.of(&bytes, None);
        }
        self.cgroups.by_id(id)
    }
}

fn uid_of(directory: &PidDir) -> Option<u32> {
    let (status, _) = directory.read("status", FILE_LIMIT).ok()?;
    pid::real_uid(&status)
}

fn split(group: Option<Group>) -> (Option<Cgroup>, Placement) {
    group.map_or_else(Default::default, |(cgroup, placement)| (Some(cgroup), placement))
}

/// Start as a moment. The kernel counts from boot, time asleep included.
fn started(id: ProcessId) -> Option<Timestamp> {
    use nix::time::{ClockId, clock_gettime};
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let since_boot = i128::from(boot.tv_sec()) * 1_000_000_000 + i128::from(boot.tv_nsec());
    let start = Timestamp::now().as_nanosecond() - since_boot + i128::from(id.start_ticks) * 10_000_000;
    // A tick is 10 ms; more digits would be noise.
    Timestamp::from_nanosecond(start - start.rem_euclid(10_000_000)).ok()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
