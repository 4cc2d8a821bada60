//! Agents and what they leave behind.

use super::{Asker, Bureau, OfficeError};
use crate::{
    coordinate::{Agent, Note, Session, Vitality, label, text},
    journal::{Heir, Register, Salvaged},
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
    /// A command in the name of an agent: a sign of life.
    pub(super) fn present(&self, name: &str, asker: &Asker) -> Result<(), OfficeError> {
        let name = label(name, "an agent")?;
        let (_, told) = self.store().present(&name, &asker.user, Timestamp::now())?;
        self.tell(told);
        Ok(())
    }

    /// Every agent with its active sessions, by name. Those whose process is gone were found dead just before.
    pub fn agents(&self) -> Result<Vec<(Agent, Vec<Session>)>, OfficeError> {
        self.sweep()?;
        let store = self.store();
        let agents = store.agents()?;
        let sessions = store.sessions(Timestamp::MAX)?;
        drop(store);
        let of = |agent: Agent| {
            let own = |s: &&Session| s.user.uid == agent.user.uid && s.agent.as_ref() == Some(&agent.name);
            let own = sessions.iter().filter(own).cloned().collect();
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

    /// What dead agents worked on and nobody has taken over: those that said what they do, or have a session. Last notes are
    /// for their user and root.
    pub fn remains(&self, asker: &Asker) -> Result<Vec<Remains>, OfficeError> {
        let now = Timestamp::now();
        let mut found = Vec::new();
        for (agent, sessions) in self.agents()? {
            if !agent.can_be_salvaged(now) || (agent.purpose.is_none() && sessions.is_empty()) {
                continue;
            }
            let reads = crate::coordinate::may_act(agent.user.uid, asker.user.uid);
            let store = self.store();
            let mut with_notes = Vec::new();
            for session in sessions {
                let note = if reads { store.notes(&session.id, None, 1)?.0.pop() } else { None };
                with_notes.push((session, note));
            }
            drop(store);
            found.push(Remains { agent, sessions: with_notes });
        }
        Ok(found)
    }

    /// Takes over what a dead agent worked on: for an agent of the asker, else for the asker's terminal.
    pub fn salvage(&self, dead: &str, agent: Option<&str>, asker: &Asker) -> Result<Salvaged, OfficeError> {
        let dead = label(dead, "an agent")?;
        self.sweep()?;
        let agent = agent.map(|name| label(name, "an agent")).transpose()?;
        if agent.as_deref() == Some(&dead) {
            // Its own voice is a sign of life, which would end what there is to salvage.
            let own = self.store().agent(&dead, asker.user.uid)?;
            if own.is_some_and(|a| a.vitality(Timestamp::now()) == Vitality::Dead) {
                return Err(OfficeError::Refused {
                    what: format!("{dead} cannot take over its own work"),
                    remedy: format!(
                        "it lives again: portwatch agent heartbeat {dead}; or name another agent: --agent"
                    ),
                });
            }
        }
        let terminal = asker.terminal();
        if agent.is_none() && terminal.is_none() {
            return Err(OfficeError::Refused {
                what: "nobody was named who takes it over, and there is no terminal".to_owned(),
                remedy: "name an agent: --agent, PORTWATCH_AGENT".to_owned(),
            });
        }
        let heir = Heir { user: &asker.user, agent: agent.as_deref(), terminal };
        let (salvaged, told) = self.store().salvage(&dead, &heir, Timestamp::now())?;
        self.tell(told);
        if let Some(agent) = &agent {
            self.present(agent, asker)?;
        }
        Ok(salvaged)
    }
}
