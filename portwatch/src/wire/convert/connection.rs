//! Connections on their way out.

use std::{cmp::Reverse, time::Duration};

use super::{
    super::{View, connection},
    process,
};
use crate::{
    model::{self, Holder, TcpState},
    query,
};

/// Connections of one port or process.
pub(super) fn traffic(traffic: &query::Traffic, asked: &query::Asked, view: View<'_>) -> connection::Traffic {
    let mut rows: Vec<&model::Connection> = traffic.rows_of(asked).collect();
    rows.sort_by_key(|row| row.order());
    let in_state = |state: TcpState| {
        let left_out = traffic.left_out.get(&state).copied().unwrap_or_default();
        rows.iter().filter(|row| row.state == state).count() + left_out
    };
    let (established, time_wait) = (in_state(TcpState::Established), in_state(TcpState::TimeWait));
    let all = rows.len() + traffic.left_out.values().sum::<usize>();
    let living = rows.iter().filter(|row| row.inode.is_some()).flat_map(|row| &row.holders);
    let mut processes: Vec<_> = living.filter_map(|holder| traffic.process(holder.process)).collect();
    processes.sort_by_key(|process| process.id);
    processes.dedup_by_key(|process| process.id);
    connection::Traffic {
        established: count(established),
        time_wait: count(time_wait),
        other: count(all - established - time_wait),
        time_wait_at_least: rows
            .iter()
            .any(|row| row.state == TcpState::TimeWait && row.local.address.to_canonical().is_loopback()),
        time_wait_owners: owners(&rows, traffic),
        connections: rows.iter().take(model::Connection::LISTED).map(|row| one(row, traffic)).collect(),
        connections_left_out: count(all.saturating_sub(model::Connection::LISTED)),
        processes: processes.into_iter().map(|p| process(p, view)).collect(),
    }
}

/// Every connection of `ls --time-wait`.
pub(super) fn connections(traffic: &query::Traffic) -> Vec<connection::Connection> {
    traffic.rows.iter().map(|row| one(row, traffic)).collect()
}

fn owners(rows: &[&model::Connection], traffic: &query::Traffic) -> Vec<connection::TimeWaitOwner> {
    let mut owners: Vec<(Option<Holder>, u64, Option<Duration>)> = Vec::new();
    for row in rows.iter().filter(|row| row.state == TcpState::TimeWait) {
        let holder = row.holders.first().copied();
        match owners.iter_mut().find(|(known, ..)| known.map(|h| h.process) == holder.map(|h| h.process)) {
            Some((_, connections, expires)) => {
                *connections += 1;
                *expires = (*expires).max(row.expires);
            }
            None => owners.push((holder, 1, row.expires)),
        }
    }
    owners.sort_by_key(|(holder, connections, _)| (Reverse(*connections), holder.map(|h| h.process)));
    owners
        .into_iter()
        .map(|(holder, connections, expires)| connection::TimeWaitOwner {
            process: holder.map(|holder| name(holder, traffic)),
            connections,
            expires_in_ms: expires.map(milliseconds),
        })
        .collect()
}

fn one(row: &model::Connection, traffic: &query::Traffic) -> connection::Connection {
    connection::Connection {
        address: row.local.address.to_string(),
        port: row.local.port.get(),
        netns: row.local.netns.map(|n| n.0),
        peer_address: row.peer.to_string(),
        peer_port: row.peer_port.map(model::Port::get),
        state: row.state.as_str().to_owned(),
        expires_in_ms: row.expires.map(milliseconds),
        inode: row.inode,
        reuse_addr: row.options.reuse_addr,
        process: row.holders.first().map(|&holder| name(holder, traffic)),
        owner: row.owner.as_str().to_owned(),
    }
}

/// Pid, comm and user are what everybody may see of a process.
fn name(holder: Holder, traffic: &query::Traffic) -> connection::ProcessName {
    let process = traffic.process(holder.process);
    connection::ProcessName {
        pid: holder.process.pid,
        started: process.and_then(|p| p.started),
        comm: process.map(|p| p.comm.clone()).unwrap_or_default(),
        user: process.and_then(|p| p.user.clone()),
        evidence: holder.evidence.as_str().to_owned(),
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
