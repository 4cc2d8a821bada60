//! By the table of processes, where there is no `/proc`: what a process is now, its parents as far as they live. There
//! are no control groups, and one root for all.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use lru::LruCache;

use super::{
    PROJECT_FILE_LIMIT, REMEMBERED, Redaction, Roots, adds_nothing, bound, command,
    project::{Projects, Question, Tree},
    user::Users,
};
use crate::{
    model::{Ancestor, Container, Evidence, Process, ProcessId, ProcessSeen, Project, Timestamp},
    source::process::{Extras, Processes},
};

/// Real chains have fewer than ten steps.
const MOST: usize = 16;

/// Finds out who is behind a pid, and remembers it.
#[derive(Debug)]
pub struct Attributor {
    redaction: Redaction,
    known: LruCache<ProcessId, Arc<Process>>,
    /// `None` where the table cannot be had: then the facts of events are all there are.
    processes: Option<Processes>,
    users: Users,
    projects: Projects,
    /// This program's own file.
    own: Option<PathBuf>,
}

impl Attributor {
    /// One with nothing remembered, which hides what is a secret by default.
    pub fn new(roots: Roots) -> Self {
        Self::with_redaction(roots, Redaction::default())
    }

    /// One with nothing remembered. There are no trees to look into here.
    pub fn with_redaction(_: Roots, redaction: Redaction) -> Self {
        Self {
            redaction,
            known: LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN)),
            processes: Processes::open().ok(),
            users: Users::default(),
            projects: Projects::new(),
            own: std::env::current_exe().ok(),
        }
    }

    /// The process an event told of: what the event carried, and what the table still says. Where the process is gone,
    /// or its pid is another's by now, the facts of the event stand with the event's evidence.
    pub fn learn(&mut self, seen: &ProcessSeen) -> Arc<Process> {
        // Before anything else sees it. What is compared below is redacted on both sides.
        let seen = self.redacted(seen.clone());
        if let Some(known) = self.known.get(&seen.id)
            && adds_nothing(&seen, known)
        {
            return Arc::clone(known);
        }
        let extras = self.processes.as_mut().and_then(|processes| processes.extras(seen.id));
        let process = Arc::new(self.known_by(&seen, extras));
        self.known.put(seen.id, Arc::clone(&process));
        process
    }

    /// A process by its identity: as remembered, else from the table. `None` when it is not remembered and gone.
    pub fn of(&mut self, id: ProcessId) -> Option<Arc<Process>> {
        if let Some(known) = self.known.get(&id) {
            return Some(Arc::clone(known));
        }
        self.look(id)
    }

    /// Looks at a process again. What was remembered stays when it is gone.
    pub fn refresh(&mut self, id: ProcessId) -> Option<Arc<Process>> {
        self.look(id).or_else(|| self.known.get(&id).map(Arc::clone))
    }

    /// Whether it runs this very program: portwatch's own probes are not news.
    pub fn is_own(&mut self, id: ProcessId) -> bool {
        let known = self.known.get(&id);
        self.own.is_some() && known.is_some_and(|known| known.exe == self.own)
    }

    /// The project of a process's working directory.
    pub fn project_of(&mut self, id: ProcessId) -> Option<Project> {
        self.of(id)?.project.clone().filter(|project| project.evidence == Evidence::Scan)
    }

    /// A regular file of this machine, read with the care that others' files need: no links, a bound. `None` when
    /// there is none, or the process is gone.
    pub fn text_of(&self, id: ProcessId, path: &Path) -> Option<String> {
        self.known.peek(&id)?;
        String::from_utf8(Tree::own()?.text(path, PROJECT_FILE_LIMIT)?.bytes?).ok()
    }

    /// A file of a user's own, by its path below the home directory. A file that lies there and is another's is not
    /// that user's word.
    pub fn text_at_home(&mut self, id: ProcessId, uid: u32, path: &Path) -> Option<String> {
        self.known.peek(&id)?;
        let home = crate::platform::user::account(uid).ok()??.home;
        let text = Tree::own()?.text(&home.join(path), PROJECT_FILE_LIMIT).filter(|text| text.uid == uid)?;
        String::from_utf8(text.bytes?).ok()
    }

    /// Drops what is remembered of a process.
    pub fn forget(&mut self, id: ProcessId) {
        self.known.pop(&id);
    }

    /// Completes what is known of a process's container by what its engine says. Of a process that is not remembered
    /// nothing is kept.
    pub fn place(&mut self, id: ProcessId, container: Option<Container>) -> Option<Arc<Process>> {
        let container = container.and_then(bound::container);
        let known = self.known.peek_mut(&id)?;
        if known.container != container {
            Arc::make_mut(known).container = container;
        }
        Some(Arc::clone(known))
    }

    /// The control groups of a process: there are none here.
    pub fn groups(&self, _: ProcessId) -> Option<String> {
        None
    }

    /// Local addresses in the network namespace of a process: there are no namespaces here.
    pub fn addresses(&self, _: ProcessId) -> Vec<IpAddr> {
        Vec::new()
    }

    fn redacted(&self, seen: ProcessSeen) -> ProcessSeen {
        ProcessSeen { command: seen.command.map(|command| bound::command(command, &self.redaction)), ..seen }
    }

    fn look(&mut self, id: ProcessId) -> Option<Arc<Process>> {
        let processes = self.processes.as_mut()?;
        let seen = processes.process(id)?;
        let extras = processes.extras(id);
        let seen = self.redacted(seen);
        let process = Arc::new(self.known_by(&seen, extras));
        self.known.put(id, Arc::clone(&process));
        Some(process)
    }

    /// `extras` are there for a process that lives.
    fn known_by(&mut self, seen: &ProcessSeen, extras: Option<Extras>) -> Process {
        let lives = extras.is_some();
        let Extras { exe, cwd, user } = extras.unwrap_or_default();
        let account = seen.uid.and_then(|uid| self.users.account(uid));
        let command = command::settle(seen.command.as_ref(), None);
        let tree = Tree::own().filter(|_| lives);
        let project = tree.and_then(|tree| {
            self.projects.of(&Question {
                tree: &tree,
                cwd: cwd.as_deref(),
                command: command.as_ref(),
                exe: exe.as_deref(),
                home: account.as_ref().map(|a| a.home.as_path()).filter(|home| !home.as_os_str().is_empty()),
            })
        });
        bound::process(Process {
            id: seen.id,
            started: started(seen.id),
            comm: seen.comm.clone(),
            command,
            exe,
            cwd,
            uid: seen.uid,
            user: user.or_else(|| account.map(|account| account.name.clone())),
            cgroup: None,
            unit: None,
            container: None,
            unproven: None,
            lineage: bound::lineage(self.lineage(seen)),
            project,
            evidence: if lives { Evidence::Scan } else { seen.evidence },
        })
    }

    /// Parent by parent. A process that started after its child is another one under a used-again pid: there the chain
    /// ends.
    fn lineage(&mut self, of: &ProcessSeen) -> Vec<Ancestor> {
        let mut up: Vec<Ancestor> = Vec::new();
        let (mut pid, mut born) = (of.parent_pid, of.id.start_ticks);
        while pid != 0 && up.len() < MOST && up.iter().all(|above| above.pid != pid) {
            let Some(seen) = self.parent(pid, born) else { break };
            up.push(Ancestor {
                pid,
                start_ticks: Some(seen.id.start_ticks),
                comm: seen.comm,
                command: seen
                    .command
                    .map(|command| bound::of_ancestor(bound::command(command, &self.redaction))),
            });
            (pid, born) = (seen.parent_pid, seen.id.start_ticks);
        }
        if let (true, Some(comm)) = (up.is_empty(), &of.parent_comm) {
            up.push(Ancestor { pid: of.parent_pid, start_ticks: None, comm: comm.clone(), command: None });
        }
        up
    }

    fn parent(&mut self, pid: u32, born: u64) -> Option<ProcessSeen> {
        let processes = self.processes.as_mut()?;
        let id = processes.identify(pid).ok()?;
        (id.start_ticks <= born).then(|| processes.process(id))?
    }
}

/// Start as a moment: counted from 1970 here, in hundredths of a second.
fn started(id: ProcessId) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(id.start_ticks).ok()?.checked_mul(10)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known_with_its_file_its_directory_its_parents_and_when_it_began() {
        let mut attributor = Attributor::new(Roots::default());
        let id = Processes::open().unwrap().identify(std::process::id()).unwrap();
        let own = attributor.of(id).unwrap();
        assert_eq!(own.exe, std::env::current_exe().ok());
        assert_eq!(own.cwd, std::env::current_dir().ok());
        assert!(own.user.is_some() && own.uid == Some(crate::platform::user::own_uid()));
        assert!(attributor.is_own(id));
        let age = Timestamp::now().duration_since(own.started.unwrap());
        assert!(age.as_secs() < 3600 && !age.is_negative(), "{age:?}");
    }
}
