//! Ordered indexes of the table: by port and by process.

use std::collections::BTreeSet;

use crate::model::{Netns, Port, ProcessId, Protocol, Socket, SocketKey};

const FIRST: SocketKey = SocketKey::Cookie(0);
const LAST: SocketKey = SocketKey::Numbered(u64::MAX);

/// Keys by place and by process, kept in step with the sockets by [`Index::add`] and [`Index::remove`].
#[derive(Debug, Default)]
pub(super) struct Index {
    places: BTreeSet<(Port, Protocol, Option<Netns>, SocketKey)>,
    processes: BTreeSet<(ProcessId, SocketKey)>,
}

impl Index {
    pub(super) fn add(&mut self, socket: &Socket) {
        let e = &socket.seen.endpoint;
        self.places.insert((e.port, e.protocol, e.netns, socket.seen.key));
        for process in parties(socket) {
            self.processes.insert((process, socket.seen.key));
        }
    }

    pub(super) fn remove(&mut self, socket: &Socket) {
        let e = &socket.seen.endpoint;
        self.places.remove(&(e.port, e.protocol, e.netns, socket.seen.key));
        for process in parties(socket) {
            self.processes.remove(&(process, socket.seen.key));
        }
    }

    /// One more process has or made the socket.
    pub(super) fn join(&mut self, process: ProcessId, key: SocketKey) {
        self.processes.insert((process, key));
    }

    /// A process has the socket no more, and has not made it.
    pub(super) fn leave(&mut self, process: ProcessId, key: SocketKey) {
        self.processes.remove(&(process, key));
    }

    /// Whether a process has or made the socket.
    pub(super) fn knows(&self, process: ProcessId, key: SocketKey) -> bool {
        self.processes.contains(&(process, key))
    }

    pub(super) fn on_port(&self, port: Port) -> impl Iterator<Item = (Protocol, Option<Netns>, SocketKey)> {
        self.places
            .range((port, Protocol::Tcp, None, FIRST)..=(port, Protocol::Udp, Some(Netns(u32::MAX)), LAST))
            .map(|&(_, protocol, netns, key)| (protocol, netns, key))
    }

    pub(super) fn in_order(&self) -> impl Iterator<Item = SocketKey> {
        self.places.iter().map(|place| place.3)
    }

    /// Sockets of every process that has or had this pid.
    pub(super) fn of_pid(&self, pid: u32) -> impl Iterator<Item = (ProcessId, SocketKey)> {
        let (from, to) = (ProcessId { pid, start_ticks: 0 }, ProcessId { pid, start_ticks: u64::MAX });
        self.processes.range((from, FIRST)..=(to, LAST)).copied()
    }

    pub(super) fn of_process(&self, process: ProcessId) -> impl Iterator<Item = SocketKey> {
        self.processes.range((process, FIRST)..=(process, LAST)).map(|&(_, key)| key)
    }

    /// Every process that created or holds a socket, once.
    pub(super) fn processes(&self) -> impl Iterator<Item = ProcessId> {
        let mut last = None;
        self.processes
            .iter()
            .filter_map(move |&(process, _)| (last.replace(process) != Some(process)).then_some(process))
    }
}

fn parties(socket: &Socket) -> impl Iterator<Item = ProcessId> {
    socket.creator.into_iter().chain(socket.holders.iter().map(|h| h.process))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AskedPort, Endpoint, Evidence, Holder, Owner, Phase, SocketOptions, SocketSeen, Timestamp,
    };

    #[test]
    fn sockets_are_found_by_place_and_process_whatever_their_keys_are() {
        let process = ProcessId { pid: u32::MAX, start_ticks: u64::MAX };
        let port = Port::new(u16::MAX).unwrap();
        for netns in [None, Some(Netns(u32::MAX))] {
            for key in [
                SocketKey::Cookie(0),
                SocketKey::Cookie(u64::MAX),
                SocketKey::Inode { netns, inode: u64::MAX },
                SocketKey::Numbered(0),
                SocketKey::Numbered(u64::MAX),
            ] {
                let address = std::net::IpAddr::from([127, 0, 0, 1]);
                let socket = Socket {
                    seen: SocketSeen {
                        key,
                        inode: None,
                        endpoint: Endpoint { netns, protocol: Protocol::Udp, address, port },
                        phase: Phase::Bound,
                        asked: AskedPort::Unknown,
                        options: SocketOptions::default(),
                        uid: None,
                        cgroup_id: None,
                        attached: crate::model::Attached::Unknown,
                    },
                    creator: None,
                    holders: vec![Holder { process, evidence: Evidence::Scan }],
                    owner: Owner::Known,
                    since: Timestamp::UNIX_EPOCH,
                    listening_since: None,
                    evidence: Evidence::Scan,
                };
                let mut index = Index::default();
                index.add(&socket);
                assert!(index.of_process(process).eq([key]), "{key:?}");
                assert!(index.of_pid(process.pid).eq([(process, key)]), "{key:?}");
                assert!(index.on_port(port).eq([(Protocol::Udp, netns, key)]), "{key:?}");
                index.remove(&socket);
                assert_eq!((index.of_process(process).count(), index.on_port(port).count()), (0, 0));
            }
        }
    }
}
