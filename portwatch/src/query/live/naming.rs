//! What engines and `ip netns` add: names of containers and namespaces, and where forwarders lead.

use std::{collections::HashSet, fmt::Write as _, net::IpAddr, sync::Arc, time::Duration};

use super::Live;
use crate::{
    engine::Report,
    model::{Container, Engine, Netns, Port, Process, ProcessId, Protocol, SocketKey, Timestamp, Unproven},
    query::{
        Asked, Holding, KnownSocket, Space, TargetAnswer,
        forward::{self, Surroundings},
    },
};

/// An engine lists a container a moment after its first process runs.
pub(super) const TRIES: u8 = 4;
/// So many processes are waited for to get the name of their container.
const UNNAMED: usize = 4096;
/// Time between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// An engine that answers could tell the name of its container, or whether it is in that container at all.
pub(super) fn is_unnamed(process: &Process) -> bool {
    let unproven = || process.unproven.as_ref().map(|unproven| &unproven.container);
    let container = process.container.as_ref().or_else(unproven);
    container
        .is_some_and(|c| c.name.is_none() && matches!(c.engine, None | Some(Engine::Docker | Engine::Podman)))
}

/// What the engines say of a process in a group with a container's name that others than the system can have made.
enum Said {
    /// None of them runs that container.
    Nothing,
    /// It is in that container.
    There(Container),
    /// The container is another's, or it is not known whose.
    Elsewhere,
}

fn placed(report: &Report, unproven: &Unproven, groups: impl Fn() -> Option<String>) -> Said {
    let mut any = false;
    for running in report.of_id(&unproven.container.id) {
        if running.vouches(unproven.maker, || running.first.clone(), &groups) {
            return Said::There(running.complete(&unproven.container));
        }
        any = true;
    }
    if any { Said::Elsewhere } else { Said::Nothing }
}

impl Live {
    /// A process, its container completed by what its engine said last. Never waits.
    pub(super) fn named(&mut self, id: ProcessId) -> Option<Arc<Process>> {
        let process = self.attributor.of(id)?;
        if !is_unnamed(&process) {
            return Some(process);
        }
        if self.unnamed.len() >= UNNAMED {
            self.unnamed.pop_first();
        }
        self.unnamed.insert(id);
        let (report, _) = self.engines.known();
        if let Some(unproven) = &process.unproven {
            self.engines.doubt(&unproven.container.id);
            return match placed(&report, unproven, || self.attributor.groups(id)) {
                Said::Nothing => Some(process),
                Said::There(container) => self.attributor.place(id, Some(container)),
                Said::Elsewhere => self.attributor.place(id, None),
            };
        }
        let systems = |c: &Container| report.of_id(&c.id).find(|r| r.is_systems()).map(|r| r.complete(c));
        match process.container.as_ref().and_then(systems) {
            Some(container) => self.attributor.place(id, Some(container)),
            None => Some(process),
        }
    }

    /// Asks the engines without waiting, as long as containers that were met have no name.
    pub(super) fn ask_again(&mut self, now: Timestamp) {
        let Some((due, left)) = self.naming else { return };
        if due <= now {
            self.engines.ask(AGAIN, Duration::ZERO);
            self.naming = (left > 1).then(|| (now.saturating_add(AGAIN).unwrap_or(now), left - 1));
        }
    }

    /// Processes that were met without the name of their container, and got it since the last call; `None` when the engines said
    /// nothing new.
    pub fn news(&mut self) -> Option<Vec<Arc<Process>>> {
        let (_, edition) = self.engines.known();
        if std::mem::replace(&mut self.edition, edition) == edition {
            return None;
        }
        // Those that still have no name are noted anew.
        let ids = std::mem::take(&mut self.unnamed);
        Some(ids.into_iter().filter_map(|id| self.named(id)).filter(|p| !is_unnamed(p)).collect())
    }

    /// Whether an answer would be better for what engines know: a container without a name, a forwarder, or a port that
    /// nothing holds and that may be published all the same.
    pub fn wants_engines(&mut self, asked: &[Asked], space: Space) -> bool {
        let inner = self.inner_ports(asked);
        self.has_doubtful(&inner);
        // Many may ask about one port, or about processes that share their sockets.
        let (mut ports, mut met) = (HashSet::new(), HashSet::new());
        asked.iter().any(|asked| {
            let (mut sockets, is_held): (Vec<_>, _) = match asked {
                Asked::Port { port, protocol, .. } => {
                    if !ports.insert((*port, *protocol)) {
                        return false;
                    }
                    let on_port = || self.table.on_port(*port, *protocol);
                    let is_held = on_port().any(|s| space.holds(s.seen.endpoint.netns, self.own));
                    (on_port().map(|s| s.seen.key).collect(), is_held)
                }
                Asked::Pid(pid) => (self.table.of_process(*pid).map(|s| s.seen.key).collect(), true),
                Asked::Claim(_) => return false,
            };
            sockets.retain(|&key| met.insert(key));
            !is_held || self.any_process(&sockets, |p| is_unnamed(p) || forward::may_forward(p))
        })
    }

    /// The processes that are named with a socket. Of one after the other: there may be many sockets.
    fn processes_of(&mut self, key: SocketKey) -> Vec<Arc<Process>> {
        let socket = self.table.get(key).cloned();
        socket.map(|socket| self.know(socket).processes).unwrap_or_default()
    }

    /// Whether it is true of a process that is named with one of these sockets. All are met: what engines are to say of them is noted.
    fn any_process(&mut self, sockets: &[SocketKey], is_it: impl Fn(&Process) -> bool) -> bool {
        let mut any = false;
        for &key in sockets {
            any |= self.processes_of(key).iter().any(|p| is_it(p));
        }
        any
    }

    /// Whether a process on these ports, in any namespace, is in a group with a container's name that proves nothing until its
    /// engine was asked about that very container.
    pub fn has_doubtful(&mut self, ports: &[Port]) -> bool {
        let on_ports = ports.iter().flat_map(|&port| self.table.on_port(port, None));
        let sockets: Vec<_> = on_ports.map(|socket| socket.seen.key).collect();
        self.any_process(&sockets, |p| p.unproven.is_some() && is_unnamed(p))
    }

    /// Whether some process is in a container without a name, or forwards.
    pub fn has_unnamed(&mut self) -> bool {
        let sockets: Vec<_> = self.table.sockets().map(|socket| socket.seen.key).collect();
        let may_be = |p: &Arc<Process>| is_unnamed(p) || forward::may_forward(p);
        sockets.into_iter().any(|key| self.processes_of(key).iter().any(may_be))
    }

    /// Ports inside containers to which the sockets known now lead, and those published under the ports asked about.
    pub fn inner_ports(&mut self, asked: &[Asked]) -> Vec<Port> {
        let (report, _) = self.engines.known();
        let mut asked: Vec<Port> = asked
            .iter()
            .filter_map(|asked| match asked {
                Asked::Port { port, .. } => Some(*port),
                Asked::Pid(_) | Asked::Claim(_) => None,
            })
            .collect();
        asked.sort_unstable();
        asked.dedup();
        let mut ports: Vec<Port> = Vec::new();
        for port in asked {
            let sockets: Vec<_> = self.table.on_port(port, None).map(|socket| socket.seen.key).collect();
            for key in sockets {
                ports.extend(self.processes_of(key).iter().filter_map(|p| forward::inner_port(p)));
            }
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                ports.extend(report.behind(None, port, protocol).map(|(_, published)| published.inner));
            }
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Adds to sockets what engines and `ip netns` know.
    pub(super) fn complete<'a>(&mut self, sockets: impl Iterator<Item = &'a mut KnownSocket>) {
        let own = self.own;
        let mut names = None;
        let (report, edition) = self.engines.known();
        self.forwards.is_of(edition);
        for known in sockets {
            let netns = known.socket.seen.endpoint.netns;
            if let Some(netns) = netns.filter(|_| netns != own) {
                known.netns_name = names.get_or_insert_with(netns_names).get(&netns).cloned();
            }
            if known.processes.iter().any(|p| forward::may_forward(p)) {
                known.forward = self.around(&report, |around| forward::of_socket(known, around));
            }
        }
    }

    /// Adds ports that engines forward without a socket.
    pub(super) fn publish(&mut self, answer: &mut TargetAnswer, space: Space) {
        let Asked::Port { address, port, protocol, .. } = answer.asked else { return };
        let (report, _) = self.engines.known();
        let netns = space.one(self.own);
        answer.published = self.around(&report, |around| {
            forward::without_socket(
                (address.map(|local| local.address), port, protocol),
                netns,
                &answer.held,
                around,
            )
        });
        if let (Some(first), Some(verdict)) = (answer.published.first(), &mut answer.verdict)
            && answer.sockets.is_empty()
            && verdict.bindable == Some(true)
        {
            let container = first.to.container.as_ref();
            let name = container.map_or("a container", |c| c.name.as_deref().unwrap_or(&c.id));
            let _ = write!(verdict.sentence, " Connections to it would go to container {name} all the same.");
        }
        // A port that forwards is not free, though a bind of it may succeed.
        if answer.state == Holding::Free && !answer.published.is_empty() {
            answer.state = Holding::Held;
        }
    }

    fn around<T>(&mut self, report: &Report, look: impl FnOnce(&mut Surroundings<'_>) -> T) -> T {
        let mut memo = std::mem::take(&mut self.forwards);
        let live = std::cell::RefCell::new(self);
        let addresses = |process: &Process| -> Vec<IpAddr> { live.borrow().attributor.addresses(process.id) };
        let mut on_port = |port, protocol| live.borrow_mut().on_port(port, Some(protocol));
        let found =
            look(&mut Surroundings { report, on_port: &mut on_port, memo: &mut memo, addresses: &addresses });
        live.into_inner().forwards = memo;
        found
    }
}

#[cfg(target_os = "linux")]
fn netns_names() -> std::collections::BTreeMap<Netns, String> {
    use crate::source::netns;
    netns::names(std::path::Path::new(netns::NAMED))
}

#[cfg(not(target_os = "linux"))]
fn netns_names() -> std::collections::BTreeMap<Netns, String> {
    std::collections::BTreeMap::new()
}
