//! Sockets that are one thing to a reader: the same port, state and program. nginx on `0.0.0.0:80` and `[::]:80`, or
//! sixteen `SO_REUSEPORT` workers, are one row. Two programs that only look alike are two.

use std::collections::HashMap;

use crate::wire::{Process, Socket};

/// Sockets shown as one.
pub(super) struct Group<'a> {
    pub(super) sockets: Vec<&'a Socket>,
    /// The process that speaks for it, if one is known.
    pub(super) main: Option<&'a Process>,
    /// Evidence that `main` holds it.
    pub(super) evidence: &'a str,
    /// Every other holder, by pid.
    pub(super) others: Vec<&'a Process>,
}

impl<'a> Group<'a> {
    /// A socket of it; they agree in port, protocol and state.
    pub(super) fn first(&self) -> Option<&'a Socket> {
        self.sockets.first().copied()
    }

    /// The creator, when it is not among the holders.
    pub(super) fn departed_creator(&self) -> Option<&'a Process> {
        let holds = |pid: u32| self.sockets.iter().any(|s| s.holders.iter().any(|h| h.process.pid == pid));
        let mut creators = self.sockets.iter().filter_map(|s| s.creator.as_ref());
        creators.find(|creator| !holds(creator.pid))
    }
}

/// Groups in the order in which their first sockets come.
pub(super) fn by_program(sockets: &[Socket]) -> Vec<Group<'_>> {
    let mut groups: Vec<(Key<'_>, Vec<&Socket>)> = Vec::new();
    for socket in sockets {
        let key = Key::of(socket);
        let joins = |members: &[&Socket]| members.iter().any(|member| related(member, socket));
        match groups.iter_mut().find(|(k, members)| *k == key && joins(members)) {
            Some((_, members)) => members.push(socket),
            None => groups.push((key, vec![socket])),
        }
    }
    groups.into_iter().map(|(_, members)| finish(members)).collect()
}

/// One program made both: a process holds both, descends from a holder of the other, or they share the port by consent.
/// Where nobody knows the holders, nothing sets the two apart.
fn related(a: &Socket, b: &Socket) -> bool {
    let descends = |a: &Socket, b: &Socket| {
        a.holders.iter().any(|one| {
            b.holders.iter().any(|other| {
                let process = &one.process;
                process.pid == other.process.pid
                    || process.lineage.iter().any(|ancestor| ancestor.pid == other.process.pid)
            })
        })
    };
    let consent = a.reuse_port == Some(true) && b.reuse_port == Some(true);
    consent || a.holders.is_empty() || b.holders.is_empty() || descends(a, b) || descends(b, a)
}

#[derive(PartialEq)]
struct Key<'a> {
    netns: Option<u32>,
    protocol: &'a str,
    port: u16,
    state: &'a str,
    owner: &'a str,
    program: Option<(&'a str, Option<&'a str>, Option<u32>)>,
    claim: Option<&'a str>,
    random: Option<bool>,
}

impl<'a> Key<'a> {
    fn of(socket: &'a Socket) -> Self {
        let program = main_holder(&[socket]).map(|(p, _)| (p.comm.as_str(), p.exe.as_deref(), p.uid));
        Self {
            netns: socket.netns,
            protocol: &socket.protocol,
            port: socket.port,
            state: &socket.state,
            owner: &socket.owner,
            program,
            claim: socket.claim.as_deref(),
            random: socket.random,
        }
    }
}

fn finish(sockets: Vec<&Socket>) -> Group<'_> {
    let chosen = main_holder(&sockets);
    let main = chosen.map(|(process, _)| process);
    let mut others: Vec<&Process> = sockets
        .iter()
        .flat_map(|s| &s.holders)
        .map(|h| &h.process)
        .filter(|p| main.is_none_or(|m| m.pid != p.pid))
        .collect();
    others.sort_by_key(|p| p.pid);
    others.dedup_by_key(|p| p.pid);
    Group { sockets, main, evidence: chosen.map_or("unknown", |(_, evidence)| evidence), others }
}

/// Who speaks for the sockets: the creator while it holds one, else a holder from whom the others descend, else the
/// holder that started first.
fn main_holder<'a>(sockets: &[&'a Socket]) -> Option<(&'a Process, &'a str)> {
    let holders: Vec<_> = sockets.iter().flat_map(|s| &s.holders).collect();
    let is_creator = |pid| sockets.iter().any(|s| s.creator.as_ref().is_some_and(|c| c.pid == pid));
    let mut descendants: HashMap<u32, usize> = HashMap::new();
    for ancestor in holders.iter().flat_map(|h| &h.process.lineage) {
        *descendants.entry(ancestor.pid).or_default() += 1;
    }
    holders
        .iter()
        .max_by_key(|h| {
            let started = h.process.started.map_or(i64::MAX, jiff::Timestamp::as_second);
            let (pid, first) = (h.process.pid, std::cmp::Reverse(started));
            (is_creator(pid), descendants.get(&pid).copied().unwrap_or(0), first, std::cmp::Reverse(pid))
        })
        .map(|h| (&h.process, h.evidence.as_str()))
}
