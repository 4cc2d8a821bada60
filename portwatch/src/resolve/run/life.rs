//! What is known of one life of the program: whether it listens where it should, elsewhere, or not at all.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{
    RunRequest,
    family::{Family, Served},
    is_refusal,
    ready::{Readiness, Ready},
};
use crate::{
    model::{Port, Protocol, SocketSeen},
    registry::Asked,
    resolve::{Place, ResolveError, Stir, StirKind, terms},
    source::Wake,
};

/// The first look at what it listens on, where nobody waits for that.
const FIRST_LOOK: Duration = Duration::from_millis(500);
/// While somebody waits.
const EAGER: Duration = Duration::from_millis(50);
/// The longest pause between two looks.
const LONGEST: Duration = Duration::from_secs(30);
/// A port that it has for so long, while it has not the one it was given, is the one it chose.
const SETTLED: Duration = Duration::from_secs(3);

/// What is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// It was given the first port and listens on the second instead (they are one when it is back on it).
    Elsewhere(Port, Port),
    /// It listens on these and not on the one it was given; which is the one is not known.
    Several(Vec<Port>),
    /// How it stands while it is not ready.
    Waiting(String),
    /// It is ready.
    Ready(String),
    /// The time to be ready is over.
    NotReady(Duration, String),
}

/// One life.
#[derive(Debug)]
pub(super) struct Life<'a> {
    place: &'a Place,
    child: u32,
    family: Family,
    /// The kernel refused it the place.
    refused: bool,
    /// Ports it began to listen on after that.
    since_refused: Vec<Port>,
    /// Where it is served: on the place, or elsewhere.
    at: Option<Port>,
    /// It has these ports and not its own, since then.
    others: Option<(Vec<Port>, Instant)>,
    told_several: bool,
    readiness: Option<Readiness>,
    next: Instant,
    pause: Duration,
}

impl<'a> Life<'a> {
    pub(super) fn new(request: &'a RunRequest, child: u32) -> Result<Self, ResolveError> {
        let begun = Instant::now();
        let readiness =
            request.ready.as_ref().map(|ready: &Ready| Readiness::new(ready, begun)).transpose()?;
        let pause = if readiness.is_some() { EAGER } else { FIRST_LOOK };
        Ok(Self {
            place: &request.place,
            child,
            family: Family::new(child),
            refused: false,
            since_refused: Vec::new(),
            at: None,
            others: None,
            told_several: false,
            readiness,
            next: begun + pause,
            pause,
        })
    }

    /// It listened somewhere.
    pub(super) fn listened(&self) -> bool {
        self.at.is_some() || self.others.is_some()
    }

    /// An event; those of other programs are none of it.
    pub(super) fn hear(&mut self, stir: &Stir) {
        if !stir.pids.contains(&self.child) {
            return;
        }
        if is_refusal(stir, self.place, self.child) {
            self.refused = true;
            self.since_refused.clear();
        } else if stir.kind == StirKind::Listen {
            if let Some(port) = stir.port.filter(|_| self.refused) {
                self.since_refused.push(port);
            }
            if stir.port == Some(self.place.port) {
                // Even if it is gone before somebody looks.
                self.at = Some(self.place.port);
            }
            self.next = Instant::now();
        }
    }

    /// When to look next; `None` when there is nothing left to find out.
    pub(super) fn due(&self) -> Option<Instant> {
        let deadline = self.readiness.as_ref().and_then(Readiness::deadline);
        let look = (self.at.is_none() || deadline.is_some()).then_some(self.next);
        look.into_iter().chain(deadline).min()
    }

    /// Readable when the one who asks for its health has news.
    pub(super) fn wake(&self) -> Option<&Wake> {
        self.readiness.as_ref().map(Readiness::wake)
    }

    /// Looks, if it is time.
    pub(super) fn look(&mut self) -> Result<Vec<News>, ResolveError> {
        let mut news = Vec::new();
        let waits = self.readiness.as_ref().is_some_and(|r| r.deadline().is_some());
        if (self.at.is_none() || waits) && Instant::now() >= self.next {
            let sockets = self.family.sockets(self.place.protocol)?;
            let here: Vec<&SocketSeen> = sockets.iter().filter(|s| self.place.meets(s)).collect();
            let before = self.at;
            if !here.is_empty() {
                self.at = Some(self.place.port);
                if before.is_some_and(|port| port != self.place.port) {
                    news.push(News::Elsewhere(self.place.port, self.place.port));
                }
            } else if self.at.is_none() {
                news.extend(self.elsewhere(&sockets));
            }
            let serving = sockets.iter().find(|s| Some(s.endpoint.port) == self.at).map(served);
            if let Some(readiness) = &mut self.readiness {
                readiness.serve(serving);
            }
            let longest = if waits || self.others.is_some() { EAGER * 2 } else { LONGEST };
            self.pause = (self.pause * 2).min(longest);
            self.next = Instant::now() + self.pause;
        }
        if let Some(readiness) = &mut self.readiness {
            news.extend(readiness.stands(self.place));
        }
        Ok(news)
    }

    /// It is not on its place: is it anywhere else for good?
    fn elsewhere(&mut self, sockets: &[SocketSeen]) -> Option<News> {
        if self.place.protocol == Protocol::Udp {
            // Each question that a program asks a name server binds a port.
            return None;
        }
        let chosen = terms(&Asked::default(), Path::new("/proc")).ephemeral;
        let mut ports: Vec<Port> = sockets.iter().map(|s| s.endpoint.port).collect();
        // What the kernel chooses is for its own parts to talk to each other.
        let chosen = |port: Port| chosen.as_ref().is_some_and(|range| range.contains(&port.get()));
        ports.retain(|&port| port != self.place.port && !chosen(port));
        ports.sort_unstable();
        ports.dedup();
        if self.refused {
            let after: Vec<Port> =
                ports.iter().copied().filter(|port| self.since_refused.contains(port)).collect();
            if let Some(port) = nearest(&after, self.place.port) {
                self.at = Some(port);
                return Some(News::Elsewhere(self.place.port, port));
            }
        }
        if ports.is_empty() {
            self.others = None;
            return None;
        }
        match &self.others {
            Some((before, since)) if *before == ports => {
                if since.elapsed() < SETTLED {
                    return None;
                }
            }
            _ => {
                self.others = Some((ports, Instant::now()));
                return None;
            }
        }
        match ports.as_slice() {
            &[port] => {
                self.at = Some(port);
                Some(News::Elsewhere(self.place.port, port))
            }
            _ if self.told_several => None,
            _ => {
                self.told_several = true;
                Some(News::Several(ports))
            }
        }
    }
}

/// What a program tries next when its port is taken: the next one above.
fn nearest(ports: &[Port], given: Port) -> Option<Port> {
    let above = ports.iter().copied().filter(|&port| port > given).min();
    above.or_else(|| ports.iter().copied().min())
}

fn served(socket: &SocketSeen) -> Served {
    Served {
        address: socket.endpoint.address,
        port: socket.endpoint.port,
        v6_only: socket.options.v6_only == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;
    use crate::model::Port;

    #[test]
    fn the_port_that_was_chosen_instead_is_the_next_above() {
        let ports = |numbers: &[u16]| numbers.iter().filter_map(|&n| Port::new(n)).collect::<Vec<_>>();
        let of = |numbers: &[u16]| nearest(&ports(numbers), Port::new(3100).unwrap()).map(Port::get);
        assert_eq!(of(&[9229, 3101]), Some(3101));
        assert_eq!(of(&[3099]), Some(3099));
        assert_eq!(of(&[]), None);
    }
}
