//! What `who` is told, and why an empty answer may not be believed.

use std::{
    collections::{HashMap, hash_map::Entry},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{Asked, KnownSocket, Space, TargetAnswer, Traffic, rows, who},
    Around, Live,
    connected::Connected,
    listing,
};
use crate::{
    model::{Beyond, Completeness, Connections, Owner, Port, Protocol, Viewer},
    platform::{
        ending,
        user::{ROOT, is_privileged},
    },
};

/// Sockets told of one thing that was asked about, at most.
const MOST: usize = 1000;
/// No further thing of a question is begun after so long, where everybody else waits for it.
pub const LONGEST: Duration = Duration::from_millis(500);

/// What was made for a target, for the others of one question: hundreds may ask about one port or one process.
#[derive(Default)]
struct Made {
    connected: Option<Connected>,
    on_ports: HashMap<(Port, Option<Protocol>), Rc<[KnownSocket]>>,
    of_ports: HashMap<Port, Arc<Traffic>>,
    of_pids: HashMap<u32, Option<Arc<Traffic>>>,
}

impl Live {
    /// Answers of `who`, without history. What is not begun after `longest` is not known.
    pub fn who(
        &mut self,
        asked: &[Asked],
        space: Space,
        around: &Around,
        longest: Duration,
    ) -> Vec<TargetAnswer> {
        let (begun, mut made) = (Instant::now(), Made::default());
        let most = (rows::MOST / asked.len().max(1)).clamp(1, MOST);
        let target = |asked: &Asked| match begun.elapsed() {
            time if time < longest => self.target(asked, (space, most), around, &mut made),
            _ => who::too_long(asked.clone()),
        };
        let mut answers: Vec<_> = asked.iter().map(target).collect();
        self.complete(
            answers
                .iter_mut()
                .flat_map(|a| a.sockets.iter_mut().chain(&mut a.other_addresses).chain(&mut a.elsewhere)),
        );
        for answer in &mut answers {
            self.publish(answer, space);
        }
        answers
    }

    fn target(
        &mut self,
        asked: &Asked,
        (space, most): (Space, usize),
        around: &Around,
        made: &mut Made,
    ) -> TargetAnswer {
        match asked {
            Asked::Port { address, localhost, port, protocol } => {
                let seen = self.completeness_in(space);
                let there = space.one(self.own).map_or(Space::Own, Space::One);
                let seen_there = self.completeness_in(there);
                // Of another namespace they say nothing.
                let nothing = Around { sharing: around.sharing.clone(), ..Around::default() };
                let around = if around.netns == space.one(self.own) { around } else { &nothing };
                let connections = around.connections.as_ref();
                let sockets = match made.on_ports.entry((*port, *protocol)) {
                    Entry::Occupied(known) => Rc::clone(known.get()),
                    Entry::Vacant(new) => {
                        let of = || connections.map(Connected::of).unwrap_or_default();
                        let connected = made.connected.get_or_insert_with(of);
                        let mut sockets = self.on_port(*port, *protocol);
                        sockets.retain(|known| !connected.has(&known.socket));
                        Rc::clone(new.insert(sockets.into()))
                    }
                };
                let traffic = connections.map(|c| match made.of_ports.entry(*port) {
                    Entry::Occupied(known) => Arc::clone(known.get()),
                    Entry::Vacant(new) => {
                        Arc::clone(new.insert(Arc::new(self.traffic(c, |row| row.local.port == *port))))
                    }
                });
                let place = (*address, *localhost, *port, *protocol);
                who::port(place, (&sockets, most), (space, self.own), (&seen, &seen_there), (traffic, around))
            }
            Asked::Pid(pid) => {
                let of_process = self.table.of_process(*pid);
                let mut sockets: Vec<_> = of_process.map(|socket| socket.seen.key).collect();
                let left_out = sockets.len().saturating_sub(most);
                sockets.truncate(most);
                let traffic = around.of_processes.as_ref().and_then(|found| match made.of_pids.entry(*pid) {
                    Entry::Occupied(known) => known.get().clone(),
                    Entry::Vacant(new) => new.insert(self.of_process(found, *pid).map(Arc::new)).clone(),
                });
                let closed = around.of_processes.is_some() && traffic.is_none();
                let completeness = match self.of_pid() {
                    _ if !sockets.is_empty() => Completeness::Complete,
                    Completeness::Complete if closed => closed_process(*pid),
                    other => other,
                };
                let sockets: Vec<_> =
                    sockets.into_iter().filter_map(|key| self.table.get(key).cloned()).collect();
                let sockets = sockets.into_iter().map(|s| self.know(s)).collect();
                who::pid(*pid, (sockets, left_out as u64, traffic), &completeness, ending::exists(*pid))
            }
            Asked::Claim(name) => who::claim(name),
        }
    }

    /// The connections of a process and, also where it has none, that process; `None` where it could not be looked into.
    fn of_process(&mut self, found: &Connections, pid: u32) -> Option<Traffic> {
        let of = found.of_processes.iter().find(|of| of.process.pid == pid)?;
        if let Some(seen) = found.processes.iter().find(|seen| seen.id == of.process) {
            self.attributor.learn(seen);
        }
        // Who else has them is told of that process, to whom it may be.
        Some(Traffic {
            rows: of.rows.clone(),
            left_out: of.left_out.clone(),
            processes: self.named(of.process).into_iter().collect(),
        })
    }

    /// Whether an empty answer about these namespaces may be believed.
    pub(super) fn completeness_in(&self, space: Space) -> Completeness {
        match space {
            Space::One(netns) if self.own != Some(netns) && !self.looked.contains(&netns) => {
                Completeness::Partial(format!(
                    "network namespace {netns} could not be looked into; ask as {ROOT}, a daemon that runs as {ROOT}, or from \
                     there with --no-daemon"
                ))
            }
            Space::All { .. } if self.beyond == Beyond::Hidden => {
                let what = "network namespaces of processes that may not be looked into here are not known";
                Completeness::Partial(if is_privileged() {
                    what.to_owned()
                } else {
                    format!("{what}; ask as {ROOT}, or a daemon that runs as {ROOT}")
                })
            }
            _ => self.completeness.clone(),
        }
    }

    /// Whether "this process has no socket" may be believed: not while some socket's processes are hidden.
    fn of_pid(&self) -> Completeness {
        let hidden = self.table.sockets().filter(|s| s.owner == Owner::NotPermitted).count();
        if hidden == 0 {
            self.completeness.clone()
        } else {
            Completeness::Partial(listing::hidden(hidden, Viewer::Unrestricted))
        }
    }
}

fn closed_process(pid: u32) -> Completeness {
    let what = format!("what connections process {pid} has could not be looked at");
    Completeness::Partial(if is_privileged() {
        what
    } else {
        format!("{what}; ask as {ROOT}, or a daemon that runs as {ROOT}")
    })
}
