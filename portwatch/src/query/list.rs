//! `ls`: every socket that matches, noise counted apart.

use std::cmp::Ordering;

use super::{KnownSocket, ListFilter, Sort, Traffic};
use crate::model::{Connection, Process, Protocol, Sight, Viewer};

/// The sockets that match, in order, and how many matching ones were left out as noise.
pub(super) fn list(
    sockets: impl IntoIterator<Item = KnownSocket>,
    filter: &ListFilter,
) -> (Vec<KnownSocket>, u64) {
    let mut hidden = 0;
    let mut shown: Vec<_> = sockets
        .into_iter()
        .filter(|socket| matches(socket, filter))
        .filter(|socket| {
            let left_out = socket.noise && !filter.all;
            hidden += u64::from(left_out);
            !left_out
        })
        .collect();
    shown.sort_by(|a, b| compare(a, b, filter).then_with(|| place(a).cmp(&place(b))));
    (shown, hidden)
}

fn matches(known: &KnownSocket, filter: &ListFilter) -> bool {
    let seen = &known.socket.seen;
    let port = seen.endpoint.port.get();
    filter.protocol.is_none_or(|p| p == seen.endpoint.protocol)
        && filter.from.is_none_or(|from| port >= from)
        && filter.to.is_none_or(|to| port <= to)
        && filter.user.as_ref().is_none_or(|user| of_user(known, user))
        && filter.container.as_ref().is_none_or(|container| of_container(known, container, filter.viewer))
        && filter
            .project
            .as_ref()
            .is_none_or(|name| known.processes.iter().any(|p| project(p, filter.viewer) == Some(name)))
}

/// Keeps the connections that match, by port and then by time left.
pub(super) fn time_wait(traffic: &mut Traffic, filter: &ListFilter) {
    let mut rows = std::mem::take(&mut traffic.rows);
    rows.retain(|row| {
        let port = row.local.port.get();
        let process = left_by(row, traffic);
        filter.protocol.is_none_or(|p| p == Protocol::Tcp)
            && filter.from.is_none_or(|from| port >= from)
            && filter.to.is_none_or(|to| port <= to)
            && filter.user.as_ref().is_none_or(|user| {
                process.is_some_and(|p| p.user.as_ref() == Some(user) || user.parse().ok() == p.uid)
            })
            && filter
                .project
                .as_ref()
                .is_none_or(|name| process.and_then(|p| project(p, filter.viewer)) == Some(name))
    });
    let name = |row: &Connection| match filter.sort {
        Sort::Process => left_by(row, traffic).map(|p| p.comm.clone()),
        Sort::Project => left_by(row, traffic).and_then(|p| project(p, filter.viewer)).cloned(),
        Sort::Port | Sort::Since => None,
    };
    let mut keyed: Vec<_> = rows.into_iter().map(|row| (name(&row), row)).collect();
    keyed.sort_by(|(a, x), (b, y)| {
        let key = |row: &Connection| (row.local.port, row.local.address, row.peer, row.peer_port);
        let age = match filter.sort {
            Sort::Since => x.expires.cmp(&y.expires),
            _ => Ordering::Equal,
        };
        absent_last(a.as_ref(), b.as_ref()).then(age).then_with(|| key(x).cmp(&key(y)))
    });
    traffic.rows = keyed.into_iter().map(|(_, row)| row).collect();
}

fn left_by<'a>(row: &Connection, traffic: &'a Traffic) -> Option<&'a Process> {
    traffic.process(row.holders.first()?.process)
}

/// A container's own sockets and those that lead to it, by its name or the beginning of its id.
fn of_container(known: &KnownSocket, wanted: &str, viewer: Viewer) -> bool {
    let own = known.processes.iter().filter_map(|p| {
        let sight = viewer.sight(p);
        Some((p.container.as_ref().filter(|_| sight >= Sight::Public)?, sight == Sight::Full))
    });
    let behind = known.forward.iter().filter_map(|f| Some((f.container.as_ref()?, f.is_open_to(viewer))));
    own.chain(behind).any(|(container, full)| {
        (container.name.as_deref() == Some(wanted) && (full || container.names_itself()))
            || container.id == wanted
            // As engines take them: four digits tell containers apart mostly, and names are longer.
            || (wanted.len() >= 4 && container.id.len() == 64 && container.id.starts_with(wanted))
    })
}

/// By the socket's owner or by that of any process behind it, as name or as number.
fn of_user(known: &KnownSocket, user: &str) -> bool {
    let uid = user.parse::<u32>().ok();
    let named = |uid_of: Option<u32>, name_of: Option<&str>| {
        name_of == Some(user) || (uid.is_some() && uid_of == uid)
    };
    named(known.socket.seen.uid, known.user.as_deref())
        || known.processes.iter().any(|p| named(p.uid, p.user.as_deref()))
}

fn compare(a: &KnownSocket, b: &KnownSocket, filter: &ListFilter) -> Ordering {
    let in_project = |known| first(known).and_then(|p| project(p, filter.viewer));
    match filter.sort {
        Sort::Port => Ordering::Equal,
        Sort::Process => absent_last(first(a).map(|p| &p.comm), first(b).map(|p| &p.comm)),
        Sort::Project => absent_last(in_project(a), in_project(b)),
        Sort::Since => a.socket.since.cmp(&b.socket.since),
    }
}

fn absent_last<T: Ord + ?Sized>(a: Option<&T>, b: Option<&T>) -> Ordering {
    a.is_none().cmp(&b.is_none()).then_with(|| a.cmp(&b))
}

fn first(known: &KnownSocket) -> Option<&Process> {
    known.process(known.first()?)
}

/// A process's project, where the viewer is shown it.
fn project(process: &Process, viewer: Viewer) -> Option<&String> {
    let project = process.project.as_ref().filter(|_| viewer.sight(process) == Sight::Full)?;
    Some(&project.name)
}

fn place(known: &KnownSocket) -> impl Ord + use<> {
    let seen = &known.socket.seen;
    let endpoint = seen.endpoint;
    (endpoint.port, endpoint.protocol, endpoint.address, endpoint.netns, seen.key)
}
