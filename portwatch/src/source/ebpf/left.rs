//! Connections that were left to TIME_WAIT, from the maps in which the kernel side remembers who left them. Nothing
//! comes here by itself: the maps are read when somebody asks, and the counts once a minute.

mod ring;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Once,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap as KernelMap, MapData, MapError},
};
use portwatch_common::connection::{
    LISTENED, Listened, OWNER, Owner as Left, PLACE, Place, TALLY, TALLY_KEY, Tally, TallyKey, Tuple, owner,
};

use self::ring::Ring;
use crate::{
    model::{
        Connection, Connections, ConnectionsLeft, Evidence, Holder, Netns, Observation, Owner, Phase, Port,
        ProcessId, ProcessSeen, Protocol, Seen, Snapshot, SocketOptions, Timestamp,
    },
    source::convert::NS_PER_TICK,
};

/// How often the counts are told.
const EVERY: Duration = Duration::from_mins(1);

/// The maps, and what of the counts was told.
pub(super) struct LeftConnections {
    owners: Ring,
    listeners: KernelMap<MapData, [u8; PLACE], [u8; OWNER]>,
    listened: Array<MapData, Listened>,
    counts: KernelMap<MapData, [u8; TALLY_KEY], [u8; TALLY]>,
    told: HashMap<[u8; TALLY_KEY], u64>,
    since: Timestamp,
    due: Instant,
}

impl LeftConnections {
    /// Takes the maps out of the object; the error is the name of one that is not there.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, &'static str> {
        let mut take = |name| ebpf.take_map(name).ok_or(name);
        Ok(Self {
            owners: Ring::of(take("LEFT")?).ok_or("LEFT")?,
            listeners: KernelMap::try_from(take("LISTENERS")?).map_err(|_| "LISTENERS")?,
            listened: Array::try_from(take("LISTENED")?).map_err(|_| "LISTENED")?,
            counts: KernelMap::try_from(take("LEFT_COUNT")?).map_err(|_| "LEFT_COUNT")?,
            told: HashMap::new(),
            since: Timestamp::now(),
            due: Instant::now() + EVERY,
        })
    }

    /// Makes listeners that existed before known to the kernel side.
    pub(super) fn adopt(&mut self, snapshot: &Snapshot) {
        /// `BPF_NOEXIST`: what a program wrote meanwhile is newer.
        const NO_EXIST: u64 = 1;
        for found in &snapshot.sockets {
            let seen = &found.socket;
            let (Phase::Listening, Some(netns)) = (seen.phase, seen.endpoint.netns) else { continue };
            let [holder] = found.holders.as_slice() else { continue };
            let Some(facts) = snapshot.processes.iter().find(|p| p.id == holder.process) else { continue };
            let place = Place { netns: netns.0, port: u32::from(seen.endpoint.port.get()) };
            let mut comm = [0; 16];
            comm.iter_mut().zip(facts.comm.bytes().take(15)).for_each(|(to, byte)| *to = byte);
            let listener = Left {
                start_ns: holder.process.start_ticks * NS_PER_TICK,
                when_ticks: 0,
                cgroup_id: 0,
                pid: holder.process.pid,
                uid: facts.uid.unwrap_or(0),
                flags: 0,
                pad: 0,
                comm,
            };
            // Full, or known already: then the kernel side knows better.
            let _ = self.listeners.insert(place.to_bytes(), listener.to_bytes(), NO_EXIST);
            if let Err(error) = self.mark(seen.endpoint.port) {
                tracing::debug!(%error, "a listener that was there before is not looked for");
            }
        }
    }

    /// Has the kernel side look for who listens on this port.
    fn mark(&mut self, port: Port) -> Result<(), MapError> {
        let (entry, place) = (LISTENED + u32::from(port.get() / 64), usize::from(port.get() % 64));
        let mut ports = self.listened.get(&entry, 0)?;
        ports.iter_mut().skip(place).take(1).for_each(|mark| *mark = 1);
        self.listened.set(entry, ports, 0)
    }

    /// Adds to connections that no process has who left them.
    pub(super) fn name(&self, connections: &mut Connections) {
        let key = |row: &Connection| key(row).filter(|_| row.inode.is_none());
        let wanted: HashSet<Tuple> = connections.rows.iter().filter_map(key).collect();
        let owners = self.owners.owners(&wanted).unwrap_or_else(|error| {
            // Once: whoever asks again would fill the log.
            static TOLD: Once = Once::new();
            TOLD.call_once(|| tracing::warn!(%error, "who left connections is not read"));
            HashMap::new()
        });
        let mut processes: HashMap<ProcessId, ProcessSeen> = HashMap::new();
        for row in &mut connections.rows {
            let Some(left) = key(row).and_then(|key| owners.get(&key)) else { continue };
            if left.flags & owner::OPTIONS_KNOWN != 0 {
                row.options = SocketOptions {
                    reuse_addr: Some(left.flags & owner::REUSE_ADDR != 0),
                    reuse_port: Some(left.flags & owner::REUSE_PORT != 0),
                    v6_only: Some(left.flags & owner::V6_ONLY != 0),
                };
            }
            let Some(seen) = process(left) else { continue };
            let inherited = left.flags & owner::INHERITED != 0;
            let evidence = if inherited { Evidence::Inherited } else { Evidence::Kernel };
            row.holders = vec![Holder { process: seen.id, evidence }];
            row.owner = Owner::Known;
            processes.entry(seen.id).or_insert(seen);
        }
        connections.processes.extend(processes.into_values());
    }

    /// How long until the counts are due.
    pub(super) fn due_in(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Tells what was counted since the last time, a row for each owner and port.
    pub(super) fn tell(&mut self, out: &mut Vec<Observation>) {
        self.due = Instant::now() + EVERY;
        let now = Timestamp::now();
        let since = std::mem::replace(&mut self.since, now);
        let mut counted = HashMap::new();
        for entry in &self.counts {
            // An entry that gave way to another while the map was read; its count is lost to the summary.
            let Ok((key, value)) = entry else { continue };
            let tally = Tally::from_bytes(&value);
            // An entry that gave way and came back begins anew.
            let before = self.told.get(&key).copied().filter(|&before| before <= tally.count).unwrap_or(0);
            counted.insert(key, tally.count);
            if tally.count > before {
                let place = TallyKey::from_bytes(&key);
                let left = ConnectionsLeft {
                    netns: (place.netns != 0).then_some(Netns(place.netns)),
                    port: u16::try_from(place.port).ok().and_then(Port::new),
                    process: process(&tally.owner),
                    count: tally.count - before,
                    since,
                };
                out.push(Observation::new(now, Evidence::Kernel, Seen::ConnectionsLeft(Box::new(left))));
            }
        }
        self.told = counted;
    }
}

/// The connection as the kernel side has it.
fn key(row: &Connection) -> Option<Tuple> {
    if row.local.protocol != Protocol::Tcp {
        return None;
    }
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    Some(Tuple {
        netns: row.local.netns?.0,
        local_port: row.local.port.get(),
        peer_port: row.peer_port?.get(),
        local: octets(row.local.address),
        peer: octets(row.peer),
    })
}

/// Who it was; `None` when nobody can be named: a thread of the kernel closed it, or the start of the process was not
/// readable and its pid is no identity.
fn process(left: &Left) -> Option<ProcessSeen> {
    if left.pid == 0 || left.start_ns == 0 {
        return None;
    }
    let comm = left.comm.split(|&byte| byte == 0).next().unwrap_or_default();
    Some(ProcessSeen {
        id: ProcessId { pid: left.pid, start_ticks: left.start_ns / NS_PER_TICK },
        parent_pid: 0,
        parent_comm: None,
        uid: Some(left.uid),
        gid: None,
        comm: String::from_utf8_lossy(comm).into_owned(),
        command: None,
        cgroup_id: (left.cgroup_id != 0).then_some(left.cgroup_id),
        evidence: Evidence::Kernel,
    })
}
