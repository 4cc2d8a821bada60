//! What goes in, observations and time, and the records that come of it.

use std::collections::HashSet;

use super::{
    super::{Record, forward},
    Live, naming,
};
use crate::model::{Beyond, Change, Event, EventKind, Observation, Phase, Port, ProcessId, Seen, Timestamp};

impl Live {
    /// Takes in an observation and appends the records it makes, with the processes they name.
    pub fn take(&mut self, observation: Observation, out: &mut Vec<Record>) {
        self.forwards.forget();
        match &observation.seen {
            Seen::Process(seen) => {
                self.attributor.learn(seen);
            }
            Seen::Snapshot(snapshot) => {
                for seen in &snapshot.processes {
                    self.attributor.learn(seen);
                }
                if snapshot.beyond != Beyond::NotLooked {
                    self.looked = snapshot.namespaces.iter().copied().collect();
                    self.beyond = snapshot.beyond;
                }
            }
            Seen::ConnectionsLeft(left) => {
                if let Some(process) = &left.process {
                    self.attributor.learn(process);
                }
            }
            Seen::Forked(forked) => self.stir(forked.parent),
            Seen::Execed(execed) => {
                // One that acted is shown as it was then; of any other only what it is now is of use.
                let acted =
                    self.table.of_process(execed.process.pid).any(|s| s.creator == Some(execed.process));
                if !acted {
                    self.attributor.forget(execed.process);
                }
                self.stir(execed.process);
            }
            _ => {}
        }
        let mut changes = std::mem::take(&mut self.changes);
        self.table.apply(observation, &mut changes);
        self.join(&mut changes, out);
        self.changes = changes;
    }

    fn stir(&mut self, holder: ProcessId) {
        let held =
            self.table.of_process(holder.pid).filter(|s| s.holders.iter().any(|h| h.process == holder));
        self.stirred.extend(held.map(|socket| socket.seen.endpoint.port));
    }

    /// Ports whose holders may be others than the table says: who forked is known, and not what was closed after.
    pub fn take_stirred(&mut self) -> Vec<Port> {
        self.stirred.drain().collect()
    }

    /// Whether there are such ports.
    pub fn is_stirred(&self) -> bool {
        !self.stirred.is_empty()
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Record>) {
        self.forwards.forget();
        let mut changes = std::mem::take(&mut self.changes);
        self.table.tick(now, &mut changes);
        self.ask_again(now);
        self.join(&mut changes, out);
        self.changes = changes;
    }

    /// Tells what is still pending, for an orderly stop.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<Record>) {
        let mut changes = std::mem::take(&mut self.changes);
        self.table.finish(now, &mut changes);
        self.join(&mut changes, out);
        self.changes = changes;
    }

    /// When [`Live::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.table.next_tick().into_iter().chain(self.naming.map(|(due, _)| due)).min()
    }

    fn join(&mut self, changes: &mut Vec<Change>, out: &mut Vec<Record>) {
        for change in changes.drain(..) {
            let mut record = self.record(change.event);
            if self.is_self(&record.event) {
                if !self.policy.keep_noise {
                    continue;
                }
                record.event.message = Some("self: portwatch's own probe".to_owned());
            }
            out.push(record);
        }
    }

    /// What portwatch does by itself to look: binds that are refused or never listen, the connections of its health
    /// checks, and its end after that. A listener is never hidden.
    fn is_self(&mut self, event: &Event) -> bool {
        let probes = match event.kind {
            EventKind::Refused | EventKind::Noise | EventKind::Timewait | EventKind::Exit => true,
            EventKind::Bind | EventKind::Close => event.phase == Some(Phase::Bound),
            _ => false,
        };
        probes && event.process.is_some_and(|id| self.attributor.is_own(id))
    }

    /// An event with the facts of its processes.
    pub fn record(&mut self, event: Event) -> Record {
        let process = event.process.and_then(|id| self.named(id));
        let other = event.other.and_then(|id| self.named(id));
        // A container is listed a moment after its forwarder listens.
        let forwards =
            event.kind == EventKind::Listen && process.as_deref().is_some_and(forward::may_forward);
        let unnamed = process.iter().chain(&other).any(|p| naming::is_unnamed(p));
        if (forwards || unnamed) && self.naming.is_none() {
            self.naming = Some((event.at, naming::TRIES));
        }
        Record { id: None, event, process, other }
    }

    /// Ports of the sockets whose listener left without a close, in `records`: to be looked at again.
    pub fn unsettled(records: &[Record]) -> Vec<Port> {
        let ports: HashSet<Port> = records
            .iter()
            .filter(|r| r.event.kind == EventKind::Unlisten)
            .filter_map(|r| r.event.port)
            .collect();
        ports.into_iter().collect()
    }
}
