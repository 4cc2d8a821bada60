//! Agents and what they leave behind.

use std::collections::HashMap;

use super::{Asker, Bureau, OfficeError};
use crate::{
    coordinate::{Agent, Note, Session, label, may_act, text},
    journal::{Heir, Register, Salvaged, Voice},
    model::Timestamp,
};

/// Longest purpose or identity, bytes.
pub(super) const LONGEST_PURPOSE: usize = 500;

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Introduction {
    /// Its name.
    pub name: String,
    /// What it works on.
    pub purpose: Option<String>,
    /// What it is.
    pub identity: Option<String>,
    /// It dies with this process.
    pub pid: Option<u32>,
}

/// A dead agent, and what it worked on.
#[derive(Debug, Clone, PartialEq)]
pub struct Remains {
    /// It.
    pub agent: Agent,
    /// Its active sessions, each with its last note.
    pub sessions: Vec<(Session, Option<Note>)>,
}

impl Bureau {
    /// A question in the name of an agent was answered: a sign of life. Orders bring theirs along.
    pub(super) fn present(&self, agent: &str, asker: &Asker) -> Result<(), OfficeError> {
        let told = self.store().present(Voice { agent, user: &asker.user }, Timestamp::now())?;
        self.tell(told);
        Ok(())
    }

    /// Every agent with the ids of its active sessions, by name. Those whose process is gone were found dead just before.
    pub fn agents(&self) -> Result<Vec<(Agent, Vec<String>)>, OfficeError> {
        self.sweep()?;
        let store = self.store();
        let agents = store.agents()?;
        let mut sessions: HashMap<(u32, String), Vec<String>> = HashMap::new();
        for (uid, agent, id) in store.agents_sessions()? {
            sessions.entry((uid, agent)).or_default().push(id);
        }
        drop(store);
        let of = |agent: Agent| {
            let own = sessions.remove(&(agent.user.uid, agent.name.clone())).unwrap_or_default();
            (agent, own)
        };
        Ok(agents.into_iter().map(of).collect())
    }

    /// Registers an agent of the asker's user, or tells more of it.
    pub fn register(&self, who: &Introduction, asker: &Asker) -> Result<Agent, OfficeError> {
        let name = label(&who.name, "an agent")?;
        let purpose = who.purpose.as_deref().map(|p| text(p, "a purpose", LONGEST_PURPOSE)).transpose()?;
        let identity =
            who.identity.as_deref().map(|i| text(i, "an identity", LONGEST_PURPOSE)).transpose()?;
        let process = who.pid.map(|pid| asker.own_process(pid)).transpose()?.map(|named| named.id);
        let register =
            Register { name: &name, purpose: purpose.as_deref(), identity: identity.as_deref(), process };
        let (agent, told) = self.store().register(&register, &asker.user, Timestamp::now())?;
        self.tell(told);
        Ok(agent)
    }

    /// A sign of life.
    pub fn heartbeat(&self, name: &str, asker: &Asker) -> Result<Agent, OfficeError> {
        let name = label(name, "an agent")?;
        self.sweep()?;
        let (agent, told) = self.store().heartbeat(&name, &asker.user, Timestamp::now())?;
        self.tell(told);
        Ok(agent)
    }

    /// Ends an agent.
    pub fn unregister(&self, name: &str, asker: &Asker) -> Result<Agent, OfficeError> {
        let name = label(name, "an agent")?;
        let (agent, told) = self.store().unregister(&name, &asker.user, Timestamp::now())?;
        self.tell(told);
        Ok(agent)
    }

    /// What dead agents worked on and nobody has taken over: those that said what they do, or have a session; at most so many,
    /// and how many there are. Last notes are for their user and root.
    pub fn remains(&self, most: u32, asker: &Asker) -> Result<(Vec<Remains>, u64), OfficeError> {
        let now = Timestamp::now();
        let mut dead = self.agents()?;
        dead.retain(|(agent, sessions)| {
            agent.can_be_salvaged(now) && (agent.purpose.is_some() || !sessions.is_empty())
        });
        let count = u64::try_from(dead.len()).unwrap_or(u64::MAX);
        let mut found = Vec::new();
        for (agent, _) in dead.into_iter().take(most as usize) {
            let reads = may_act(agent.user.uid, asker.user.uid);
            let store = self.store();
            let mut sessions = Vec::new();
            for session in store.sessions_of(&agent)? {
                let note = if reads { store.notes(&session.id, None, 1)?.0.pop() } else { None };
                sessions.push((session, note));
            }
            drop(store);
            found.push(Remains { agent, sessions });
        }
        Ok((found, count))
    }

    /// Takes over what a dead agent worked on: for an agent of the asker, else for the asker's terminal.
    pub fn salvage(
        &self,
        dead: &str,
        agent: Option<&str>,
        asker: &Asker,
    ) -> Result<(Agent, Vec<Session>), OfficeError> {
        let dead = label(dead, "an agent")?;
        self.sweep()?;
        let agent = agent.map(|name| label(name, "an agent")).transpose()?;
        let terminal = asker.terminal();
        if agent.is_none() && terminal.is_none() {
            return Err(OfficeError::Refused {
                what: "nobody was named who takes it over, and there is no terminal".to_owned(),
                remedy: "name an agent: --agent, PORTWATCH_AGENT".to_owned(),
            });
        }
        let heir = Heir { user: &asker.user, agent: agent.as_deref(), terminal };
        let (Salvaged { agent, sessions }, told) = self.store().salvage(&dead, &heir, Timestamp::now())?;
        self.tell(told);
        let mut moved = Vec::new();
        for id in sessions {
            moved.extend(self.store().session(&id)?);
        }
        Ok((agent, moved))
    }
}
