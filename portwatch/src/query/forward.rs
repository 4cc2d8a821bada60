//! Ports that lead elsewhere: forwarders of container engines, and ports published without any socket.
//!
//! What the kernel says stays as it is: the forwarder holds the socket. Where it leads is told beside it, with the
//! evidence for that.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::KnownSocket;
use crate::{
    engine::{Report, Running},
    model::{
        Container, Engine, Evidence, Maker, Netns, Port, Process, ProcessId, Protocol, Sight, Unproven,
        Viewer, addresses_overlap,
    },
};

/// Where a port leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// The forwarding program, or the engine whose rule in the kernel's NAT forwards.
    pub forwarder: String,
    /// Address inside.
    pub address: Option<IpAddr>,
    /// Port inside.
    pub port: Option<Port>,
    /// The container.
    pub container: Option<Container>,
    /// The socket inside that is listened on; `None` when none was found there.
    pub inside: Option<Box<KnownSocket>>,
    /// `Inferred` where one container fits, `Ambiguous` where several do, `Unknown` where nobody could be asked.
    pub evidence: Evidence,
}

impl Forward {
    /// The process inside.
    pub fn process(&self) -> Option<&Process> {
        let inside = self.inside.as_deref()?;
        inside.process(inside.first()?)
    }

    /// Whether a viewer is shown what the engine says of the container: that is for those who see all of the process inside,
    /// and without one for those who see everything.
    pub fn is_open_to(&self, viewer: Viewer) -> bool {
        match self.process() {
            Some(process) => viewer.sight(process) == Sight::Full,
            None => matches!(viewer, Viewer::Unrestricted | Viewer::User { uid: 0, .. }),
        }
    }
}

/// A published port.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedPort {
    /// Address of the machine; `None` when all.
    pub address: Option<IpAddr>,
    /// Port of the machine.
    pub port: Port,
    /// Protocol.
    pub protocol: Protocol,
    /// Where it leads.
    pub to: Forward,
}

/// Programs whose every port leads into a container. Names as in comm, at most 15 bytes.
const FORWARDERS: [&str; 11] = [
    "docker-proxy",
    "rootlesskit-doc",
    "rootlessport",
    "rootlessport-ch",
    "rootlesskit",
    "slirp4netns",
    "pasta",
    "pasta.avx2",
    "vpnkit",
    "gvproxy",
    "com.docker.back",
];

/// Engines, which hold published ports themselves where no proxy does (dockerd without userland proxy, podman by conmon),
/// beside ports of their own.
const ENGINES: [&str; 3] = ["dockerd", "conmon", "podman"];

/// What the command line of a proxy says (docker-proxy and its rootless kin).
fn arguments(process: &Process) -> Option<(IpAddr, Port)> {
    let args = &process.command.as_ref()?.args;
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg.trim_start_matches('-') == name && arg.starts_with('-'))?;
        args.get(at + 1)
    };
    Some((value("container-ip")?.parse().ok()?, value("container-port")?.parse().ok()?))
}

/// The port inside, where the command line tells it.
pub(super) fn inner_port(process: &Process) -> Option<Port> {
    arguments(process).filter(|_| may_forward(process)).map(|(_, port)| port)
}

/// Whether every port of a program with this name (comm) leads into a container.
pub fn is_forwarder(comm: &str) -> bool {
    FORWARDERS.contains(&comm)
}

/// Whether a program with this name (comm) is an engine, which may hold ports of its containers beside its own.
pub fn is_engine(comm: &str) -> bool {
    ENGINES.contains(&comm)
}

/// Whether a socket of this process may lead elsewhere.
pub(super) fn may_forward(process: &Process) -> bool {
    is_forwarder(&process.comm) || is_engine(&process.comm)
}

/// What forwarders were resolved with, and to, while nothing happened: a program can call itself one, and hold thousands of sockets.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// Of the engines' report.
    edition: u64,
    on_ports: HashMap<(Port, Protocol), Arc<[KnownSocket]>>,
    inside: HashMap<(ProcessId, Inner, Option<String>), Inside>,
}

impl Memo {
    /// The engines' report has this edition.
    pub(super) fn is_of(&mut self, edition: u64) {
        if self.edition != edition {
            *self = Self { edition, ..Self::default() };
        }
    }

    /// Something happened.
    pub(super) fn forget(&mut self) {
        if !self.on_ports.is_empty() {
            *self = Self { edition: self.edition, ..Self::default() };
        }
    }
}

/// A place in a container.
type Inner = (IpAddr, Port, Protocol);

/// The socket there, and how it is known.
type Inside = (Option<KnownSocket>, Evidence);

/// What a forwarder is resolved with.
pub(super) struct Surroundings<'a> {
    /// What the engines say.
    pub(super) report: &'a Report,
    /// Sockets on a port, in every namespace.
    pub(super) on_port: &'a mut dyn FnMut(Port, Protocol) -> Vec<KnownSocket>,
    /// What was found before.
    pub(super) memo: &'a mut Memo,
    /// Local addresses in the namespace of a process.
    pub(super) addresses: &'a dyn Fn(&Process) -> Vec<IpAddr>,
}

impl Surroundings<'_> {
    fn on_port(&mut self, port: Port, protocol: Protocol) -> Arc<[KnownSocket]> {
        let known = self.memo.on_ports.entry((port, protocol));
        Arc::clone(known.or_insert_with(|| (self.on_port)(port, protocol).into()))
    }
}

/// Where a socket leads; `None` for one that leads nowhere.
pub(super) fn of_socket(known: &KnownSocket, around: &mut Surroundings<'_>) -> Option<Forward> {
    let process = known.processes.iter().find(|p| may_forward(p))?;
    let forwarder = process.comm.clone();
    let endpoint = known.socket.seen.endpoint;
    let running = match published(known, process, around.report) {
        Fit::One(running, inner) => Some((running.clone(), inner)),
        Fit::None => None,
        Fit::Several => {
            let evidence = Evidence::Ambiguous;
            return Some(Forward {
                forwarder,
                address: None,
                port: None,
                container: None,
                inside: None,
                evidence,
            });
        }
    };
    match (arguments(process), running) {
        (Some((address, port)), running) => {
            let engine = running
                .map(|(running, _)| running)
                .or_else(|| around.report.by_address(endpoint.netns, address, process.uid).cloned());
            let (inside, evidence) =
                inside((address, port, endpoint.protocol), process, engine.as_ref(), around);
            let container =
                engine.map(|running| running.container).or_else(|| container_of(inside.as_ref()?));
            Some(Forward {
                forwarder,
                address: Some(address),
                port: Some(port),
                container,
                inside: inside.map(Box::new),
                evidence,
            })
        }
        (None, Some((running, port))) => {
            let address = reachable(&running, known);
            Some(to(forwarder, &running, address, port, endpoint.protocol, around))
        }
        (None, None) if FORWARDERS.contains(&process.comm.as_str()) => Some(Forward {
            forwarder,
            address: None,
            port: None,
            container: None,
            inside: None,
            evidence: Evidence::Unknown,
        }),
        (None, None) => None,
    }
}

/// Ports that engines publish in `netns` and that no socket holds. A user's own engine publishes by sockets only.
pub(super) fn without_socket(
    (address, port, protocol): (Option<IpAddr>, Port, Option<Protocol>),
    netns: Option<Netns>,
    held: &[Protocol],
    around: &mut Surroundings<'_>,
) -> Vec<PublishedPort> {
    let mut ports = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        if held.contains(&protocol) {
            continue;
        }
        let found: Vec<_> =
            around.report.behind(netns, port, protocol).map(|(r, p)| (r.clone(), p)).collect();
        ports.extend(found.into_iter().filter(|(running, _)| running.is_systems()));
    }
    ports
        .into_iter()
        .filter(|(_, p)| protocol.is_none_or(|wanted| wanted == p.protocol))
        .filter(|(_, p)| match (address, p.address) {
            (Some(asked), Some(there)) => addresses_overlap((asked, None), (there, None)),
            _ => true,
        })
        .map(|(running, published)| {
            let forwarder = running.container.engine.map_or("engine", Engine::as_str).to_owned();
            let inner = running.addresses.first().copied();
            PublishedPort {
                address: published.address.filter(|a| !a.is_unspecified()),
                port: published.port,
                protocol: published.protocol,
                to: to(forwarder, &running, inner, published.inner, published.protocol, around),
            }
        })
        .collect()
}

fn to(
    forwarder: String,
    running: &Running,
    address: Option<IpAddr>,
    port: Port,
    protocol: Protocol,
    around: &mut Surroundings<'_>,
) -> Forward {
    let candidates = around.on_port(port, protocol);
    let inside = candidates.iter().find(|known| {
        container_of(known).is_some_and(|c| c.id == running.container.id) && serves(known, address)
    });
    let inside = inside.cloned();
    Forward {
        forwarder,
        address,
        port: Some(port),
        container: Some(running.container.clone()),
        inside: inside.map(Box::new),
        evidence: Evidence::Inferred,
    }
}

enum Fit<'a> {
    None,
    One(&'a Running, Port),
    Several,
}

/// The container to which an engine publishes the port of this socket, by this forwarder.
fn published<'a>(known: &KnownSocket, forwarder: &Process, report: &'a Report) -> Fit<'a> {
    let seen = &known.socket.seen;
    let e = seen.endpoint;
    let its = |(running, _): &(&Running, _)| running.has_helper(forwarder.uid);
    let all: Vec<_> = report.behind(e.netns, e.port, e.protocol).filter(its).collect();
    // Two containers may publish one port on two addresses.
    let here: Vec<_> = all
        .iter()
        .filter(|(_, p)| {
            p.address.is_none_or(|a| addresses_overlap((e.address, seen.options.v6_only), (a, None)))
        })
        .collect();
    match (here.as_slice(), all.as_slice()) {
        ([(running, p)], _) | ([], [(running, p)]) => Fit::One(running, p.inner),
        ([], []) => Fit::None,
        _ => Fit::Several,
    }
}

/// The address of a container that a socket of the same family leads to.
fn reachable(running: &Running, known: &KnownSocket) -> Option<IpAddr> {
    let v4 = known.socket.seen.endpoint.address.is_ipv4();
    let same = running.addresses.iter().find(|a| a.is_ipv4() == v4);
    same.or_else(|| running.addresses.first()).copied()
}

/// The socket on `address:port` in the container: by the engine's word on which container has the address, else by the
/// addresses in the namespaces of those that listen on this port.
fn inside(
    place: Inner,
    forwarder: &Process,
    engine: Option<&Running>,
    around: &mut Surroundings<'_>,
) -> Inside {
    let key = (forwarder.id, place, engine.map(|running| running.container.id.clone()));
    if let Some(known) = around.memo.inside.get(&key) {
        return known.clone();
    }
    let found = find_inside(place, forwarder, engine, around);
    around.memo.inside.insert(key, found.clone());
    found
}

fn find_inside(
    (address, port, protocol): Inner,
    forwarder: &Process,
    engine: Option<&Running>,
    around: &mut Surroundings<'_>,
) -> Inside {
    let candidates = around.on_port(port, protocol);
    let mut fitting = candidates.iter().filter(|known| {
        serves(known, Some(address))
            && match engine {
                Some(running) => container_of(known).is_some_and(|c| running.container.id == c.id),
                None => {
                    group_of(known, forwarder).is_some()
                        && known
                            .first()
                            .and_then(|id| known.process(id))
                            .is_some_and(|process| (around.addresses)(process).contains(&address))
                }
            }
    });
    let first = fitting.next();
    // Two engines, each in its own namespace, give out the same addresses.
    let id = first.and_then(|first| group_of(first, forwarder));
    if fitting.any(|other| group_of(other, forwarder) != id) {
        return (None, Evidence::Ambiguous);
    }
    (first.cloned(), Evidence::Inferred)
}

/// The id of the container that a program of this user may forward to, where no engine says: root's to any; another user's
/// to a group that this very user made, which is named and proves no container.
fn group_of(known: &KnownSocket, forwarder: &Process) -> Option<String> {
    known.processes.iter().find_map(|process| match (&process.container, &process.unproven, forwarder.uid) {
        (Some(container), ..) if container.owner == forwarder.uid.filter(|&uid| uid != 0) => {
            Some(container.id.clone())
        }
        (None, Some(Unproven { container, maker: Maker::User(uid), .. }), Some(forwarder))
            if *uid == forwarder =>
        {
            Some(container.id.clone())
        }
        _ => None,
    })
}

/// What arrives for `address` reaches this socket.
fn serves(known: &KnownSocket, address: Option<IpAddr>) -> bool {
    let seen = &known.socket.seen;
    address.is_none_or(|a| addresses_overlap((seen.endpoint.address, seen.options.v6_only), (a, None)))
}

/// The container that a process of the socket is in, where that is proven.
fn container_of(known: &KnownSocket) -> Option<Container> {
    known.processes.iter().find_map(|process| process.container.clone())
}
