//! Would a bind succeed: the verdict on the binds that a question about a port means, in a sentence.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{KnownSocket, Outlook, Traffic, answer::LOOPBACKS};
use crate::{
    model::{BindRules, Completeness, Endpoint, Interfaces, Local, Netns, Port, Protocol, Sharing},
    verdict::{BindRequest, Cause, Outcome, Party, Verdict, World, would_bind_in},
};

mod words;

/// What was asked about: address, port, protocol; and the namespace that is meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) address: Option<Local>,
    /// Both loopback addresses.
    pub(super) localhost: bool,
    pub(super) port: Port,
    pub(super) protocol: Option<Protocol>,
    pub(super) netns: Option<Netns>,
}

/// Everything a bind may meet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    /// Those on the port, whatever their address and namespace.
    pub(super) sockets: &'a [KnownSocket],
    /// Connections on the port; `None` when nobody looked.
    pub(super) traffic: Option<&'a Traffic>,
    /// Settings and addresses.
    pub(super) rules: &'a BindRules,
    /// Options of sockets as they are now.
    pub(super) sharing: &'a Sharing,
    /// The interfaces that sockets are bound to; `None` when nobody looked.
    pub(super) interfaces: Option<&'a Interfaces>,
    /// Whether `sockets` are all there are.
    pub(super) completeness: &'a Completeness,
    /// Whose the addresses are.
    pub(super) whose: Whose,
}

/// Who has addresses, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// It is asked where the observer is.
    Machine,
    /// Another network namespace, which has addresses of its own.
    Namespace,
}

impl Whose {
    const fn words(self) -> &'static str {
        match self {
            Self::Machine => "this machine",
            Self::Namespace => "the network namespace",
        }
    }
}

impl<'a> Scene<'a> {
    /// Whether it succeeds; `None` also where it does as far as was looked.
    fn certainly(&self, request: &BindRequest) -> Option<bool> {
        let all_seen = self.completeness.missing(Some(request.place.protocol)).is_none();
        let all_looked_at = || self.verdict(request).caveats.is_empty();
        self.fares(request).filter(|&succeeds| !succeeds || (all_seen && all_looked_at()))
    }

    fn verdict(&self, request: &BindRequest) -> Verdict<'a> {
        let connections = self.traffic.map(|t| t.rows.as_slice());
        let world =
            World { connections, rules: self.rules, sharing: self.sharing, interfaces: self.interfaces };
        would_bind_in(request, self.sockets.iter().map(|s| &s.socket), world)
    }

    fn fares(&self, request: &BindRequest) -> Option<bool> {
        match self.verdict(request).outcome {
            Outcome::Succeeds => Some(true),
            Outcome::Fails { .. } => Some(false),
            Outcome::Unknown { .. } => None,
        }
    }
}

pub(super) fn outlook(place: Place, scene: Scene<'_>) -> Outlook {
    let mentioned = |p| scene.sockets.iter().any(|s| s.socket.seen.endpoint.protocol == p);
    match place.protocol {
        Some(protocol) => of_protocol(place, protocol, scene),
        None if mentioned(Protocol::Udp) && !mentioned(Protocol::Tcp) => {
            let udp = of_protocol(place, Protocol::Udp, scene);
            // What is there is of UDP, and says nothing of the other protocol, which most ask about.
            let tcp = of_protocol(place, Protocol::Tcp, scene);
            Outlook { sentence: format!("{} {}", udp.sentence, tcp.sentence), ..udp }
        }
        None => of_protocol(place, Protocol::Tcp, scene),
    }
}

fn of_protocol(place: Place, protocol: Protocol, scene: Scene<'_>) -> Outlook {
    let ask = |Local { address, zone }: Local| BindRequest {
        v6_only: address.is_ipv6() && scene.rules.v6_only == Some(true),
        zone,
        ..BindRequest::plain(Endpoint { netns: place.netns, protocol, address, port: place.port })
    };
    let requests = if let Some(address) = place.address {
        vec![ask(address)]
    } else if place.localhost {
        LOOPBACKS.map(ask).to_vec()
    } else {
        // Most servers bind one of these two; where they fare the same, one is enough.
        let wildcard = |address: IpAddr| ask(address.into());
        let (v4, both) = (wildcard(Ipv4Addr::UNSPECIFIED.into()), wildcard(Ipv6Addr::UNSPECIFIED.into()));
        let fares = |request: BindRequest| {
            (scene.fares(&request), scene.fares(&BindRequest { reuse_addr: true, ..request }))
        };
        if fares(v4) == fares(both) { vec![v4] } else { vec![both, v4] }
    };
    let answers: Vec<_> = requests.iter().map(|request| answer(request, scene)).collect();
    let every = |pick: fn(&Outlook) -> Option<bool>| {
        if answers.iter().any(|a| pick(a) == Some(false)) {
            Some(false)
        } else {
            answers.iter().all(|a| pick(a) == Some(true)).then_some(true)
        }
    };
    let (bindable, with_reuse_addr) = (every(|a| a.bindable), every(|a| a.with_reuse_addr));
    let failing = answers.iter().find(|a| a.bindable == Some(false));
    let mut sentences: Vec<_> = answers.iter().map(|a| a.sentence.clone()).collect();
    if bindable != Some(false) {
        sentences.extend(words::chosen_by_the_kernel(place.port, protocol, scene.rules));
    }
    Outlook {
        bindable,
        with_reuse_addr,
        cause: failing.and_then(|a| a.cause),
        errno: failing.and_then(|a| a.errno),
        free_in: failing.and_then(|a| a.free_in),
        netns: place.netns,
        sentence: sentences.join(" "),
    }
}

fn answer(request: &BindRequest, scene: Scene<'_>) -> Outlook {
    let Verdict { outcome, caveats } = scene.verdict(request);
    let shared = BindRequest { reuse_addr: true, ..*request };
    let bindable = scene.certainly(request);
    let mut outlook = Outlook {
        bindable,
        // What succeeds plainly succeeds with the option too.
        with_reuse_addr: if bindable == Some(true) { bindable } else { scene.certainly(&shared) },
        cause: None,
        errno: None,
        free_in: None,
        netns: request.place.netns,
        sentence: words::sentence(request, &scene, outcome, &caveats),
    };
    if let Outcome::Fails { errno, because } = outcome {
        outlook.errno = Some(errno);
        outlook.cause = Some(cause(because));
        if let Cause::TimeWait { expires, .. } = because {
            outlook.free_in = expires;
        }
    }
    outlook
}

/// The word for scripts.
fn cause(because: Cause<'_>) -> &'static str {
    match because {
        Cause::InUse { blocker: Party::Socket(socket), .. } => socket.seen.phase.as_str(),
        Cause::InUse { blocker: Party::Connection(_), .. } => "connected",
        Cause::TimeWait { .. } => "time-wait",
        Cause::Privileged { .. } => "privileged",
        Cause::Excluded { .. } => "excluded",
        Cause::AddressNotHere => "address-not-here",
        Cause::MappedButV6Only => "v6-only",
        Cause::NeedsInterface => "needs-interface",
        Cause::NoInterface => "no-interface",
        Cause::MulticastOverTcp => "multicast",
    }
}

#[cfg(test)]
mod tests;
