//! Sockets on their way out, with the processes behind them and where their ports lead.

use super::{
    super::{Forward, Holder, Published, Socket, View},
    process::{container, facts, process},
};
use crate::{
    model::{AskedPort, Owner, Port, SocketKey},
    query::{self, KnownSocket},
    registry::Standing,
};

/// A socket with the processes behind it.
pub fn socket<'a>(known: &KnownSocket, view: impl Into<View<'a>>) -> Socket {
    let view = view.into();
    let inner = &known.socket;
    let seen = &inner.seen;
    let (asked_port, random) = asked_port(seen.asked);
    Socket {
        protocol: seen.endpoint.protocol.as_str().to_owned(),
        address: seen.endpoint.address.to_string(),
        port: seen.endpoint.port.get(),
        netns: seen.endpoint.netns.map(|n| n.0),
        state: seen.phase.as_str().to_owned(),
        asked_port,
        random,
        reuse_addr: seen.options.reuse_addr,
        reuse_port: seen.options.reuse_port,
        v6_only: seen.options.v6_only,
        cookie: cookie(seen.key),
        inode: seen.inode.or(match seen.key {
            SocketKey::Inode { inode, .. } => Some(inode),
            SocketKey::Cookie(_) | SocketKey::Numbered(_) => None,
        }),
        uid: seen.uid,
        user: known.user.clone(),
        since: inner.since,
        listening_since: inner.listening_since,
        creator: inner.creator.map(|id| facts(id, known.process(id), view)),
        holders: inner
            .holders
            .iter()
            .enumerate()
            // The first of each is named in any case.
            .filter(|(number, _)| *number == 0 || view.names())
            .map(|(_, holder)| Holder {
                process: facts(holder.process, known.process(holder.process), view),
                evidence: holder.evidence.as_str().to_owned(),
            })
            .collect(),
        owner: inner.owner.as_str().to_owned(),
        device: match inner.owner {
            Owner::Kernel(Some(tunnel)) => Some(format!("{} {}", tunnel.kind, tunnel.name())),
            _ => None,
        },
        netns_name: known.netns_name.clone(),
        forwards_to: known.forward.as_ref().map(|f| forward(f, view)),
        claim: known.standing.as_ref().and_then(claim_of),
        standing: known.standing.as_ref().map(|s| s.as_str().to_owned()),
        explained_by: known.standing.as_ref().and_then(explained_by),
        evidence: inner.evidence.as_str().to_owned(),
        interface: seen.attached.name(),
        interface_index: seen.attached.index(),
    }
}

fn claim_of(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Claim { name, .. } | Standing::Conflict { name } => Some(name.clone()),
        _ => None,
    }
}

fn explained_by(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Container(name)
        | Standing::Unit(name)
        | Standing::Project(name)
        | Standing::Allowed(name) => Some(name.clone()),
        _ => None,
    }
}

fn forward(forward: &query::Forward, view: View<'_>) -> Forward {
    let (first, full) = (forward.process(), forward.is_open_to(view.viewer));
    Forward {
        forwarder: forward.forwarder.clone(),
        address: forward.address.map(|a| a.to_string()),
        port: forward.port.map(Port::get),
        container: forward.container.as_ref().map(|c| container(c, full)),
        netns: forward.inside.as_ref().and_then(|known| known.socket.seen.endpoint.netns).map(|n| n.0),
        process: first.map(|p| process(p, view)),
        evidence: forward.evidence.as_str().to_owned(),
    }
}

pub(super) fn published(published: &query::PublishedPort, view: View<'_>) -> Published {
    Published {
        address: published.address.map(|a| a.to_string()),
        port: published.port.get(),
        protocol: published.protocol.as_str().to_owned(),
        to: forward(&published.to, view),
    }
}

pub(super) fn asked_port(asked: AskedPort) -> (Option<u16>, Option<bool>) {
    match asked {
        AskedPort::Explicit(port) => (Some(port.get()), Some(false)),
        AskedPort::KernelChosen => (Some(0), Some(true)),
        AskedPort::Unknown => (None, None),
    }
}

pub(super) fn cookie(key: SocketKey) -> Option<u64> {
    match key {
        SocketKey::Cookie(cookie) => Some(cookie),
        SocketKey::Inode { .. } | SocketKey::Numbered(_) => None,
    }
}
