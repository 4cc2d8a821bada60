//! Who asks: a user, and the processes behind the request.

use crate::{
    coordinate::{Denial, User},
    model::ProcessId,
    query::claims::user_name,
};

/// A process and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// It.
    pub id: ProcessId,
    /// Its comm: hostile text.
    pub comm: String,
}

impl Named {
    /// `make (4711)`
    pub fn words(&self) -> String {
        format!("{} ({})", self.comm, self.id.pid)
    }
}

/// Who asks. Uid and pid come from the peer credentials of the connection, or are this process's own; everything else is
/// read of that pid here, so a request cannot choose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// The user.
    pub user: User,
    /// The process that asks.
    pub process: Option<Named>,
    /// Its parent: the shell or program that ran the command.
    pub parent: Option<Named>,
    /// The leader of its session, where that has a terminal: its shell, as a rule.
    pub leader: Option<Named>,
}

impl Asker {
    /// The process with this pid, as the user of this uid.
    pub fn of(uid: u32, pid: Option<u32>) -> Self {
        let user = User { uid, name: user_name(uid) };
        let Some(own) = pid.and_then(kin::of) else {
            return Self { user, process: None, parent: None, leader: None };
        };
        let named = |pid: u32| kin::of(pid).map(|kin| kin.named);
        let leader = own.on_terminal.then(|| named(own.session)).flatten();
        let parent = named(own.parent);
        Self { user, process: Some(own.named), parent, leader }
    }

    /// The terminal that it sits at, as the leader of its session.
    pub fn terminal(&self) -> Option<ProcessId> {
        self.leader.as_ref().map(|leader| leader.id)
    }

    /// A living process of the asker's own user, or a child of the asker; root may name anybody's.
    pub fn own_process(&self, pid: u32) -> Result<Named, Denial> {
        let found = kin::of(pid).ok_or(Denial::Gone { pid })?;
        let child = self.process.as_ref().is_some_and(|own| own.id.pid == found.parent);
        if self.user.uid != 0 && found.uid != Some(self.user.uid) && !child {
            return Err(Denial::ForeignProcess { pid });
        }
        Ok(found.named)
    }
}

/// Tells which processes live, by pid and start time. One for many of them: `/proc` is opened once.
pub fn living() -> impl Fn(ProcessId) -> bool {
    kin::living()
}

/// Whether a process is stopped (SIGSTOP, Ctrl-Z, a debugger), where that can be seen.
pub(super) fn is_stopped(id: ProcessId) -> bool {
    kin::is_stopped(id)
}

/// Whether a process lives.
pub fn alive(id: ProcessId) -> bool {
    living()(id)
}

#[cfg(target_os = "linux")]
mod kin {
    use std::{cell::RefCell, path::Path};

    use super::Named;
    use crate::{model::ProcessId, source::procfs::ProcFs};

    pub(super) struct Found {
        pub(super) named: Named,
        pub(super) parent: u32,
        pub(super) session: u32,
        pub(super) on_terminal: bool,
        pub(super) uid: Option<u32>,
    }

    pub(super) fn of(pid: u32) -> Option<Found> {
        let kin = ProcFs::open(Path::new("/proc")).ok()?.kin(pid)?;
        let named = Named { id: kin.id, comm: kin.comm };
        let (parent, session, uid) = (kin.parent, kin.session, kin.uid);
        Some(Found { named, parent, session, on_terminal: kin.on_terminal, uid })
    }

    pub(super) fn living() -> impl Fn(ProcessId) -> bool {
        let procfs = RefCell::new(ProcFs::open(Path::new("/proc")).ok());
        move |id| procfs.borrow_mut().as_mut().and_then(|procfs| procfs.identify(id.pid)) == Some(id)
    }

    pub(super) fn is_stopped(id: ProcessId) -> bool {
        ProcFs::open(Path::new("/proc")).is_ok_and(|mut procfs| procfs.is_stopped(id))
    }
}

#[cfg(not(target_os = "linux"))]
mod kin {
    use std::cell::RefCell;

    use super::Named;
    use crate::{
        model::ProcessId,
        source::process::{Absent, Processes},
    };

    pub(super) struct Found {
        pub(super) named: Named,
        pub(super) parent: u32,
        pub(super) session: u32,
        pub(super) on_terminal: bool,
        pub(super) uid: Option<u32>,
    }

    pub(super) fn of(pid: u32) -> Option<Found> {
        let mut processes = Processes::open().ok()?;
        let id = processes.identify(pid).ok()?;
        let seen = processes.process(id)?;
        // There are no sessions that a process leads.
        Some(Found {
            named: Named { id, comm: seen.comm },
            parent: seen.parent_pid,
            session: 0,
            on_terminal: false,
            uid: seen.uid,
        })
    }

    /// One that may not be looked into is not dead: nobody's lock goes to another for want of a right.
    pub(super) fn living() -> impl Fn(ProcessId) -> bool {
        let processes = RefCell::new(Processes::open().ok());
        move |id| match processes.borrow_mut().as_mut().map(|processes| processes.identify(id.pid)) {
            Some(Ok(found)) => found == id,
            Some(Err(absent)) => absent != Absent::Gone,
            None => true,
        }
    }

    /// Not looked at: Windows stops no processes, and a stopped one keeps its place on macOS as long as its request is open.
    pub(super) fn is_stopped(_: ProcessId) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_asker_has_a_parent_and_a_session_leader_and_names_own_processes_only() {
        let uid = nix::unistd::getuid().as_raw();
        let asker = Asker::of(uid, Some(std::process::id()));
        let own = asker.process.clone().unwrap();
        assert!(alive(own.id));
        assert!(!alive(ProcessId { start_ticks: own.id.start_ticks + 1, ..own.id }), "another with its pid");
        assert_eq!(asker.parent.unwrap().id.pid, nix::unistd::getppid().as_raw().cast_unsigned());
        let nobody = Asker::of(65_534, None);
        assert!(matches!(nobody.own_process(own.id.pid), Err(Denial::ForeignProcess { .. })));
        assert_eq!(Asker::of(uid, None).own_process(own.id.pid).unwrap().id, own.id);
        assert!(nobody.own_process(u32::MAX).is_err());
    }
}
