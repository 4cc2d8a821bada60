//! Agents.

use std::time::Duration;

use super::{Serve, cut, given, rows, session::session};
use crate::{
    coordinate as inner,
    model::Timestamp,
    query::{
        claims::OfficeError,
        coordinate::{Asker, Bureau, Introduction},
    },
    wire::{
        SCHEMA,
        coordinate::{
            Agent, AgentState, Agents, AgentsQuery, DeadAgent, HeartbeatRequest, RegisterRequest, Salvage,
            SalvageQuery, SalvageRequest, Salvaged, UnregisterRequest, Wreck,
        },
    },
};

/// Dead for longer than this, an agent is shown on request only.
const LONG_DEAD: Duration = Duration::from_hours(24);

fn agent(agent: &inner::Agent, sessions: Vec<String>, now: Timestamp) -> Agent {
    Agent {
        name: agent.name.clone(),
        uid: agent.user.uid,
        user: agent.user.name.clone(),
        state: agent.vitality(now).as_str().to_owned(),
        purpose: agent.purpose.clone(),
        identity: agent.identity.clone(),
        pid: agent.process.map(|process| process.pid),
        registered: agent.registered,
        seen: agent.seen,
        died: agent.died,
        cause: agent.cause.clone(),
        ended: agent.ended,
        sessions,
        salvaged_by: agent.salvaged_by.clone(),
        salvaged: agent.salvaged,
    }
}

fn state(found: &inner::Agent) -> AgentState {
    let time = Timestamp::now();
    AgentState { schema: SCHEMA, time, agent: agent(found, Vec::new(), time) }
}

impl Serve for AgentsQuery {
    fn serve(&self, bureau: &Bureau, _: &Asker) -> Result<Agents, OfficeError> {
        let all = bureau.agents()?;
        let time = Timestamp::now();
        let count = all.len();
        let long = i64::try_from(LONG_DEAD.as_millis()).unwrap_or(i64::MAX);
        let shown = |agent: &inner::Agent| {
            let dead = agent.vitality(time) == inner::Vitality::Dead;
            let gone = agent.ended.is_some() || (dead && agent.salvaged.is_some());
            self.all || !(gone || (dead && agent.silent_ms(time) > long))
        };
        let agents: Vec<_> = all.into_iter().filter(|(a, _)| shown(a)).collect();
        let hidden = u64::try_from(count - agents.len()).unwrap_or(0);
        let (agents, truncated, total) = cut(agents, self.limit);
        let agents = agents.into_iter().map(|(a, sessions)| agent(&a, sessions, time)).collect();
        Ok(Agents { schema: SCHEMA, time, agents, hidden, truncated, total })
    }
}

impl Serve for RegisterRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<AgentState, OfficeError> {
        let who = Introduction {
            name: self.name.clone(),
            purpose: given(self.purpose.as_ref()),
            identity: given(self.identity.as_ref()),
            pid: self.pid,
        };
        Ok(state(&bureau.register(&who, asker)?))
    }
}

impl Serve for HeartbeatRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<AgentState, OfficeError> {
        Ok(state(&bureau.heartbeat(&self.name, asker)?))
    }
}

impl Serve for UnregisterRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<AgentState, OfficeError> {
        Ok(state(&bureau.unregister(&self.name, asker)?))
    }
}

impl Serve for SalvageQuery {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Salvage, OfficeError> {
        let (remains, total) = bureau.remains(rows(self.limit), asker)?;
        let truncated = u64::try_from(remains.len()).is_ok_and(|shown| shown < total);
        let time = Timestamp::now();
        let dead = remains.into_iter().map(|found| {
            let sessions = found.sessions.iter().map(|(s, _)| s.id.clone()).collect();
            let wreck = |(s, note): (inner::Session, Option<inner::Note>)| Wreck {
                session: session(&s),
                last_note: note.map(|note| note.text),
            };
            DeadAgent {
                agent: agent(&found.agent, sessions, time),
                sessions: found.sessions.into_iter().map(wreck).collect(),
            }
        });
        Ok(Salvage { schema: SCHEMA, time, dead: dead.collect(), truncated, total })
    }
}

impl Serve for SalvageRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Salvaged, OfficeError> {
        let by = given(self.agent.as_ref());
        let (dead, moved) = bureau.salvage(&self.name, by.as_deref(), asker)?;
        let time = Timestamp::now();
        let sessions = moved.iter().map(session).collect();
        Ok(Salvaged { schema: SCHEMA, time, agent: agent(&dead, Vec::new(), time), sessions })
    }
}
