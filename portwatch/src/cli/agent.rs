//! `portwatch agent`, `agents`, `salvage`

use super::{args, exit::Exit, failure::Failure, session::Session};
use crate::{
    platform::user::own_uid,
    render,
    wire::coordinate::{
        AgentsQuery, HeartbeatRequest, RegisterRequest, SalvageQuery, SalvageRequest, UnregisterRequest,
    },
};

pub(super) fn run(args: &args::Agent, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (verb, answer) = match &args.what {
        args::AgentWhat::Register(register) => {
            let request = RegisterRequest {
                name: register.named.name.clone(),
                purpose: register.purpose.clone(),
                identity: register.identity.clone(),
                pid: register.pid,
            };
            ("Registered", session.order(&request)?)
        }
        args::AgentWhat::Heartbeat(named) => {
            ("Heartbeat of", session.order(&HeartbeatRequest { name: named.name.clone() })?)
        }
        args::AgentWhat::Unregister(named) => {
            ("Unregistered", session.order(&UnregisterRequest { name: named.name.clone() })?)
        }
    };
    session.answer(&answer, |out, answer, look| render::agent(out, verb, answer, look))?;
    Ok(Exit::Yes)
}

pub(super) fn list(args: &args::Agents, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let answer = session.order(&AgentsQuery { all: args.all, limit: args.most.limit })?;
    session.answer(&answer, render::agents)?;
    Ok(if answer.agents.is_empty() { Exit::No } else { Exit::Yes })
}

pub(super) fn salvage(args: &args::Salvage, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let Some(args::SalvageWhat::Claim(claim)) = &args.what else {
        let answer = session.order(&SalvageQuery { limit: args.most.limit })?;
        let own = own_uid();
        session.answer(&answer, |out, answer, look| render::salvage(out, answer, own, look))?;
        return Ok(if answer.dead.is_empty() { Exit::No } else { Exit::Yes });
    };
    let request = SalvageRequest { name: claim.name.clone(), agent: claim.who.agent.clone() };
    let answer = session.order(&request)?;
    session.answer(&answer, render::salvaged)?;
    Ok(Exit::Yes)
}
