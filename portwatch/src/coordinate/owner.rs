//! Whose something is.

use std::fmt;

use crate::model::ProcessId;

/// Start of a process that ran before the machine was started last: no living process has it.
pub const EARLIER_BOOT: u64 = u64::MAX;

/// A user, from the peer credentials of a connection or of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Uid.
    pub uid: u32,
    /// Its name, where the machine knows one.
    pub name: Option<String>,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// What kind of owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerKind {
    /// An agent, by name.
    Agent,
    /// A session, by id.
    Session,
    /// A process.
    Process,
}

impl OwnerKind {
    /// The word used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Session => "session",
            Self::Process => "process",
        }
    }

    /// The inverse of [`OwnerKind::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Agent, Self::Session, Self::Process].into_iter().find(|k| k.as_str() == word)
    }
}

/// Who holds or wants a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// What it is.
    pub kind: OwnerKind,
    /// Name of the agent, id of the session, or `comm (pid)`.
    pub name: String,
    /// The user it belongs to.
    pub user: User,
    /// What it holds ends with this process. Always there for a process.
    pub process: Option<ProcessId>,
}

impl Owner {
    /// It is the very same holder: two processes of one agent exclude each other.
    pub fn is(&self, other: &Self) -> bool {
        self.user.uid == other.user.uid
            && match (self.process, other.process) {
                (None, None) => self.kind == other.kind && self.name == other.name,
                (mine, theirs) => mine == theirs,
            }
    }

    /// It speaks for `holder`: the same process, agent or session, of the same user.
    pub fn speaks_for(&self, holder: &Self) -> bool {
        let same_name = self.kind == holder.kind && self.name == holder.name;
        let same_process = self.process.is_some() && self.process == holder.process;
        let named = self.kind != OwnerKind::Process && same_name;
        self.user.uid == holder.user.uid && (named || same_process)
    }
}

/// Whether a user may change what belongs to `owner`: the owner may, and root.
pub const fn may_act(owner: u32, user: u32) -> bool {
    user == owner || user == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(kind: OwnerKind, name: &str, uid: u32, pid: Option<u32>) -> Owner {
        let process = pid.map(|pid| ProcessId { pid, start_ticks: 7 });
        Owner { kind, name: name.to_owned(), user: User { uid, name: None }, process }
    }

    #[test]
    fn two_processes_of_one_agent_are_two_holders_and_speak_for_each_other() {
        let (one, two) =
            (owner(OwnerKind::Agent, "a", 1, Some(10)), owner(OwnerKind::Agent, "a", 1, Some(11)));
        assert!(one.is(&one) && !one.is(&two));
        assert!(one.speaks_for(&two));
        let plain = owner(OwnerKind::Agent, "a", 1, None);
        assert!(plain.is(&plain) && !plain.is(&one) && plain.speaks_for(&one));
    }

    #[test]
    fn another_users_agent_of_the_same_name_is_another() {
        let (mine, theirs) = (owner(OwnerKind::Agent, "a", 1, None), owner(OwnerKind::Agent, "a", 2, None));
        assert!(!mine.is(&theirs) && !mine.speaks_for(&theirs));
        let (shell, other) = (
            owner(OwnerKind::Process, "sh (5)", 1, Some(5)),
            owner(OwnerKind::Process, "sh (5)", 1, Some(6)),
        );
        assert!(!shell.is(&other) && !shell.speaks_for(&other), "a name of a process says nothing");
    }
}
