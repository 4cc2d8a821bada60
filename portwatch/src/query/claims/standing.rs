//! What explains a listener: the claims, the allow-list, and what is known of its process.

use std::collections::HashMap;

use super::tie_of;
use crate::{
    journal::Allowed,
    model::{Container, Owner, Port, Process, Protocol},
    query::KnownSocket,
    registry::{Claim, Facts, Rule, Standing, State, Tie, explain},
};

/// Claims and rules, at hand by port.
#[derive(Debug, Default)]
pub struct Known {
    claims: Vec<Claim>,
    by_port: HashMap<(Protocol, Port), usize>,
    rules: Vec<Rule>,
}

impl Known {
    /// From what the database holds.
    pub fn new(claims: Vec<Claim>, allowed: Vec<Allowed>) -> Self {
        let mut by_port = HashMap::new();
        for (index, claim) in claims.iter().enumerate() {
            by_port.extend(claim.ports.iter().map(|p| ((p.protocol, p.port), index)));
        }
        // Root's rules are for everybody.
        let rules = allowed
            .into_iter()
            .map(|a| Rule { text: a.rule, uid: Some(a.owner).filter(|&uid| uid != 0) })
            .collect();
        Self { claims, by_port, rules }
    }

    /// The same with rules out of users' configuration files, by user.
    #[must_use]
    pub fn with_rules<'a>(mut self, rules: impl IntoIterator<Item = (u32, &'a String)>) -> Self {
        let rules = rules.into_iter();
        self.rules.extend(
            rules.map(|(uid, text)| Rule { text: text.clone(), uid: Some(uid).filter(|&uid| uid != 0) }),
        );
        self
    }

    /// The claims.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// The claim on a port.
    pub fn on(&self, protocol: Protocol, port: Port) -> Option<&Claim> {
        self.by_port.get(&(protocol, port)).and_then(|&index| self.claims.get(index))
    }
}

/// What explains a socket of the asker's own namespace.
pub fn standing(known: &Known, socket: &KnownSocket) -> Standing {
    let endpoint = socket.socket.seen.endpoint;
    if let Some(claim) = known.on(endpoint.protocol, endpoint.port) {
        let name = claim.name.to_string();
        return match tie_of(claim, socket) {
            Tie::Own => Standing::Claim { name, state: State::Live },
            Tie::Stranger => Standing::Conflict { name },
        };
    }
    let process = socket.first().and_then(|id| socket.process(id));
    let own = of_process(known, process, Some(endpoint.port), (socket.socket.seen.uid, socket.socket.owner));
    behind(socket, own)
}

/// A forwarder is there for the container behind it.
fn behind(socket: &KnownSocket, standing: Standing) -> Standing {
    let container_behind = socket.forward.as_ref().and_then(|forward| forward.container.as_ref());
    match (standing, container_behind) {
        (Standing::Rogue | Standing::Unit(_), Some(found)) => {
            Standing::Container(container(found).to_owned())
        }
        (standing, _) => standing,
    }
}

/// What explains a listener of which there is no claim; its process may be gone already.
pub(super) fn of_process(
    known: &Known,
    process: Option<&Process>,
    port: Option<Port>,
    (uid, owner): (Option<u32>, Owner),
) -> Standing {
    let command = process.and_then(|p| p.command.as_ref()).map(ToString::to_string);
    let facts = Facts {
        port,
        kernel: matches!(owner, Owner::Kernel(_)),
        pid: process.map(|p| p.id.pid),
        comm: process.map(|p| p.comm.as_str()),
        command: command.as_deref(),
        exe: process.and_then(|p| p.exe.as_deref()),
        uid: process.and_then(|p| p.uid).or(uid),
        unit: process.and_then(|p| p.unit.as_ref()).map(|u| u.name.as_str()),
        container: process.and_then(|p| p.container.as_ref()).map(container),
        project: process.and_then(|p| p.project.as_ref()).map(|p| p.name.as_str()),
        own: process.is_some_and(|p| p.id.pid == std::process::id()),
    };
    explain(&facts, &known.rules)
}

/// A container by its name, where its engine told; else by the beginning of its id.
fn container(container: &Container) -> &str {
    container.name.as_deref().unwrap_or_else(|| container.id.get(..12).unwrap_or(&container.id))
}

/// Says of every socket what explains it. One in another namespace is a container's or a sandbox's: it has no claim
/// here, and is told by its process alone.
pub fn annotate(known: &Known, sockets: &mut [KnownSocket], own: Option<crate::model::Netns>) {
    for socket in sockets {
        let netns = socket.socket.seen.endpoint.netns;
        let here = netns.is_none() || own.is_none() || netns == own;
        socket.standing = Some(if here {
            standing(known, socket)
        } else {
            let process = socket.first().and_then(|id| socket.process(id));
            behind(socket, of_process(known, process, None, (socket.socket.seen.uid, socket.socket.owner)))
        });
    }
}
