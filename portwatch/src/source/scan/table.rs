//! Snapshots from a table that names processes with its sockets: a tool's output, or an API like one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use super::{HolderSearch, Look, Pace, Tables};
use crate::{
    model::{
        AskedPort, Attached, Beyond, BindRules, Completeness, Coverage, Degradation, Endpoint, Evidence,
        Holder, Local, Netns, Owner, Phase, Port, ProcessId, Protocol, Snapshot, SnapshotSocket, SocketKey,
        SocketOptions, SocketSeen, Timestamp,
    },
    source::{
        SourceError, SourceKind,
        process::{self, Absent, Processes},
        row::{Row, State},
    },
};

/// Lists sockets with their processes.
pub trait Table: std::fmt::Debug + Send {
    /// Which source it makes.
    fn kind(&self) -> SourceKind;

    /// How often to read it.
    fn pace(&self) -> Pace;

    /// What serves each fact.
    fn coverage(&self) -> Vec<Coverage>;

    /// Reads it.
    fn read(&mut self) -> Result<Reading, SourceError>;

    /// What decides a bind besides sockets.
    fn bind_rules(&mut self) -> BindRules {
        BindRules::default()
    }
}

/// One reading of a table.
#[derive(Debug)]
pub struct Reading {
    /// The sockets, one entry for each process that holds one.
    pub rows: Vec<Row>,
    /// Entries that could not be understood.
    pub unread: usize,
    /// Why a socket without a process has none.
    pub without_process: Owner,
    /// TCP sockets that are bound and do not listen are among them.
    pub bound_included: bool,
    /// Whether sockets may be missing in it.
    pub completeness: Completeness,
}

/// A [`Table`] to look with.
#[derive(Debug)]
pub struct TableScanner<T> {
    table: T,
    processes: Processes,
    netns: Option<Netns>,
    numbers: Numbers,
    holders: HashMap<SocketKey, Held>,
    completeness: Completeness,
    degradations: Vec<Degradation>,
}

/// Who has each pid of a reading.
type Named = HashMap<u32, Result<ProcessId, Absent>>;

/// Who holds a socket.
#[derive(Debug, Clone, Default)]
struct Held {
    processes: BTreeSet<ProcessId>,
    /// Why there is none.
    owner: Option<Owner>,
}

impl<T: Table> TableScanner<T> {
    /// Looks with `table`, in the network namespace of the calling thread.
    pub fn new(table: T) -> Result<Self, SourceError> {
        Ok(Self {
            table,
            processes: Processes::open()?,
            netns: process::own_netns()?,
            numbers: Numbers::default(),
            holders: HashMap::new(),
            completeness: Completeness::Complete,
            degradations: Vec::new(),
        })
    }

    fn key(&mut self, place: &Place, identity: Option<u64>) -> (SocketKey, Option<u64>) {
        match identity {
            // What tells sockets apart on Linux is the inode itself.
            Some(inode) if cfg!(target_os = "linux") => {
                (SocketKey::Inode { netns: self.netns, inode }, Some(inode))
            }
            identity => (SocketKey::Numbered(self.numbers.of(place, identity)), None),
        }
    }

    /// Reads the table, and who has the pids in it. A process that began while it was read may have the pid of the one that is
    /// meant; then it is read once more, and who is as young again is left out.
    fn read(&mut self) -> Result<(Reading, Named), SourceError> {
        let (reading, named, doubtful) = self.read_once()?;
        if !doubtful {
            return Ok((reading, named));
        }
        let (reading, named, _) = self.read_once()?;
        Ok((reading, named))
    }

    fn read_once(&mut self) -> Result<(Reading, Named, bool), SourceError> {
        let begun = process::now();
        let reading = self.table.read()?;
        self.processes.look_again();
        let pids = reading.rows.iter().filter(|row| row.state != State::Other).filter_map(|row| row.pid);
        let mut named = Named::new();
        for pid in pids {
            named.entry(pid).or_insert_with(|| self.processes.identify(pid));
        }
        let ended = process::now();
        let mut doubtful = false;
        for found in named.values_mut() {
            // Not "later than its begin" alone: a clock that was set back makes everybody so.
            if let (Ok(id), Some(begun), Some(ended)) = (*found, begun, ended)
                && (begun + 1..=ended).contains(&id.start_ticks)
            {
                doubtful = true;
                *found = Err(Absent::Gone);
            }
        }
        Ok((reading, named, doubtful))
    }
}

/// Where a socket is and whose; without an identity the only way to know it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    protocol: Protocol,
    address: IpAddr,
    port: Port,
    pid: Option<u32>,
    /// Of several that are alike, which.
    ordinal: usize,
}

/// Gives numbers to sockets of which the table says nothing that would tell them apart for good.
#[derive(Debug, Default)]
struct Numbers {
    given: HashMap<(Option<Place>, Option<u64>), u64>,
    used: HashSet<u64>,
    last: u64,
}

impl Numbers {
    fn of(&mut self, place: &Place, identity: Option<u64>) -> u64 {
        let what = (identity.is_none().then_some(*place), identity);
        let number = *self.given.entry(what).or_insert_with(|| {
            self.last += 1;
            self.last
        });
        self.used.insert(number);
        number
    }

    /// Forgets those that were not met since the last call: what comes there later is another socket.
    fn forget_unused(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.given.retain(|_, number| used.contains(number));
    }
}

impl<T: Table> Look for TableScanner<T> {
    fn kind(&self) -> SourceKind {
        self.table.kind()
    }

    fn netns(&self) -> Option<Netns> {
        self.netns
    }

    fn pace(&self) -> Pace {
        self.table.pace()
    }

    fn coverage(&self) -> Vec<Coverage> {
        self.table.coverage()
    }

    fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    fn completeness(&self) -> Completeness {
        self.completeness.clone()
    }

    fn tables(&mut self, ports: &[Port]) -> Result<Tables, SourceError> {
        let begun = Timestamp::now();
        let (reading, named) = self.read()?;
        self.degradations.clear();
        self.completeness = reading.completeness;
        if reading.unread > 0 {
            let what =
                format!("{} entries of {} could not be understood", reading.unread, self.kind().as_str());
            self.degradations.push(Degradation {
                name: "entries-not-understood",
                what: what.clone(),
                remedy: "Use another source (--source), and report what the tool prints".to_owned(),
            });
            self.completeness = Completeness::Partial(what);
        }
        self.holders.clear();
        let mut alike: HashMap<Place, usize> = HashMap::new();
        let mut sockets: BTreeMap<SocketKey, SocketSeen> = BTreeMap::new();
        for row in reading.rows {
            let phase = match row.state {
                State::Listening => Phase::Listening,
                State::Bound => Phase::Bound,
                State::Other => continue,
            };
            let Some(port) = Port::new(row.port) else { continue };
            let mut place =
                Place { protocol: row.protocol, address: row.address, port, pid: row.pid, ordinal: 0 };
            let count = alike.entry(place).or_default();
            place.ordinal = *count;
            *count += 1;
            let (key, inode) = self.key(&place, row.identity);
            let held = match row.pid {
                None => Err(reading.without_process),
                Some(pid) => named.get(&pid).copied().unwrap_or(Err(Absent::Gone)).map_err(Owner::from),
            };
            let entry = self.holders.entry(key).or_default();
            match held {
                Ok(process) => {
                    entry.processes.insert(process);
                }
                Err(owner) => entry.owner = Some(owner),
            }
            let endpoint = Endpoint { netns: self.netns, protocol: row.protocol, address: row.address, port };
            sockets.entry(key).or_insert(SocketSeen {
                key,
                inode,
                endpoint,
                phase,
                asked: AskedPort::Unknown,
                options: SocketOptions { v6_only: row.v6_only, ..SocketOptions::default() },
                uid: row.uid,
                cgroup_id: None,
                attached: Attached::Unknown,
            });
        }
        self.numbers.forget_unused();
        Ok(Tables {
            begun,
            protocols: vec![Protocol::Tcp, Protocol::Udp],
            ports: ports.to_vec(),
            bound_included: reading.bound_included,
            bound_left_out: false,
            namespaces: Vec::new(),
            beyond: Beyond::NotLooked,
            tunnels: HashMap::new(),
            sockets: sockets
                .into_values()
                .filter(|s| ports.is_empty() || ports.contains(&s.endpoint.port))
                .collect(),
        })
    }

    /// The table has named every holder already; `mode` and `asked` only choose which are told.
    fn with_holders(
        &mut self,
        tables: Tables,
        mode: HolderSearch,
        asked: &dyn Fn(&SocketSeen) -> bool,
    ) -> Result<Snapshot, SourceError> {
        let mut named = BTreeSet::new();
        let sockets = tables.sockets.into_iter().map(|socket| {
            let held = self.holders.get(&socket.key).filter(|_| mode != HolderSearch::None && asked(&socket));
            let Some(held) = held else {
                return SnapshotSocket { socket, holders: Vec::new(), owner: Owner::Unknown };
            };
            named.extend(held.processes.iter().copied());
            let holders: Vec<_> =
                held.processes.iter().map(|&process| Holder { process, evidence: Evidence::Scan }).collect();
            let owner = match held.owner {
                _ if !holders.is_empty() => Owner::Known,
                Some(owner) => owner,
                None => Owner::Unknown,
            };
            SnapshotSocket { socket, holders, owner }
        });
        let sockets = sockets.collect();
        let processes = named.into_iter().filter_map(|id| self.processes.process(id)).collect();
        Ok(Snapshot {
            begun: tables.begun,
            ended: Timestamp::now(),
            namespaces: self.netns.into_iter().collect(),
            beyond: tables.beyond,
            protocols: tables.protocols,
            ports: tables.ports,
            bound_included: tables.bound_included,
            bound_left_out: tables.bound_left_out,
            connected: HashSet::new(),
            sockets,
            processes,
        })
    }

    fn bind_rules(&mut self, _: &[Local], _: Option<Netns>) -> BindRules {
        self.table.bind_rules()
    }

    fn known_holders(&self) -> BTreeSet<ProcessId> {
        self.holders.values().flat_map(|held| held.processes.iter().copied()).collect()
    }

    fn without_living_holder(&mut self) -> HashSet<u64> {
        HashSet::new()
    }

    fn lives(&mut self, process: ProcessId) -> bool {
        self.processes.identify(process.pid) == Ok(process)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A table whose holder is gone when it is read, and somebody else has its pid since.
    #[derive(Debug)]
    struct Late {
        readings: usize,
        /// In so many readings the socket is there.
        held: usize,
        heirs: Vec<Child>,
    }

    impl Table for Late {
        fn kind(&self) -> SourceKind {
            SourceKind::Lsof
        }

        fn pace(&self) -> Pace {
            Pace { fastest: std::time::Duration::ZERO, slowest: std::time::Duration::ZERO, rest: 0 }
        }

        fn coverage(&self) -> Vec<Coverage> {
            Vec::new()
        }

        fn read(&mut self) -> Result<Reading, SourceError> {
            let begun = process::now();
            while process::now() == begun {
                std::hint::spin_loop();
            }
            self.readings += 1;
            let mut rows = Vec::new();
            if self.readings <= self.held {
                let heir = Command::new("sleep").arg("60").spawn().unwrap();
                rows.push(Row {
                    protocol: Protocol::Tcp,
                    address: IpAddr::from([127, 0, 0, 1]),
                    port: 80,
                    state: State::Listening,
                    pid: Some(heir.id()),
                    uid: None,
                    identity: Some(7),
                    v6_only: None,
                });
                self.heirs.push(heir);
            }
            Ok(Reading {
                rows,
                unread: 0,
                without_process: Owner::NoProcess,
                bound_included: false,
                completeness: Completeness::Complete,
            })
        }
    }

    impl Drop for Late {
        fn drop(&mut self) {
            for heir in &mut self.heirs {
                let _ = heir.kill();
                let _ = heir.wait();
            }
        }
    }

    fn look(held: usize) -> (usize, Vec<SnapshotSocket>) {
        let mut scanner = TableScanner::new(Late { readings: 0, held, heirs: Vec::new() }).unwrap();
        let tables = scanner.tables(&[]).unwrap();
        let sockets = scanner.with_holders(tables, HolderSearch::All, &|_| true).unwrap().sockets;
        (scanner.table.readings, sockets)
    }

    #[test]
    fn who_got_the_pid_while_the_table_was_read_is_not_taken_for_the_holder() {
        // The second reading tells that nobody has it any more.
        assert_eq!(look(1), (2, Vec::new()));
        // And where that is as doubtful, the holder is not known; two readings are the most.
        let (readings, sockets) = look(9);
        let [socket] = &sockets[..] else { panic!("{sockets:?}") };
        assert_eq!((readings, socket.holders.len(), socket.owner), (2, 0, Owner::Unknown));
    }
}
