//! `ls`: every socket that matches, noise counted apart.

use std::cmp::Ordering;

use super::{
    KnownSocket, ListFilter, Sort, Traffic,
    rows::{MOST, Rows},
};
use crate::model::{Connection, Owner, Process, Protocol, Sight, Socket, Viewer};

/// What a list comes to.
#[derive(Debug, Default)]
pub(super) struct Found {
    shown: Rows,
    /// How many that match were left out as noise.
    pub(super) hidden: u64,
    /// How many could match by their processes, which the asker is not shown.
    pub(super) concealed: usize,
    /// How many could match by their processes, which nobody has found.
    pub(super) unowned: usize,
}

impl Found {
    /// Takes in one that is where the filter looks. One that would be shown is so if it is wanted.
    pub(super) fn take(
        &mut self,
        mut socket: KnownSocket,
        filter: &ListFilter,
        wanted: &mut dyn FnMut(&mut KnownSocket) -> bool,
    ) {
        let left_out = socket.noise && !filter.all;
        match (is_theirs(&socket, filter), left_out) {
            (true, false) if wanted(&mut socket) => self.shown.push(socket, order(filter)),
            (true, true) => self.hidden += 1,
            // What would be left out is not missed.
            (true, false) | (false, true) => {}
            (false, false) if socket.socket.owner == Owner::Unknown => self.unowned += 1,
            (false, false) => self.concealed += usize::from(conceals(&socket, filter)),
        }
    }

    /// Those that are shown, in order, and how many there is no room for.
    pub(super) fn finish(self, filter: &ListFilter) -> (Vec<KnownSocket>, u64) {
        self.shown.finish(order(filter))
    }
}

/// Whether one that is where the filter looks matches, and is no noise.
pub(super) fn serves(socket: &KnownSocket, filter: &ListFilter) -> bool {
    !socket.noise && is_theirs(socket, filter)
}

fn order(filter: &ListFilter) -> impl Fn(&KnownSocket, &KnownSocket) -> Ordering {
    |a, b| compare(a, b, filter).then_with(|| place(a).cmp(&place(b)))
}

/// It matches by where it is.
pub(super) fn is_there(socket: &Socket, filter: &ListFilter) -> bool {
    let seen = &socket.seen;
    let port = seen.endpoint.port.get();
    filter.protocol.is_none_or(|p| p == seen.endpoint.protocol)
        && filter.from.is_none_or(|from| port >= from)
        && filter.to.is_none_or(|to| port <= to)
}

/// It matches by whose it is, as far as the asker is shown that.
fn is_theirs(known: &KnownSocket, filter: &ListFilter) -> bool {
    filter.user.as_ref().is_none_or(|user| of_user(known, user, filter.uid))
        && filter.container.as_ref().is_none_or(|container| of_container(known, container, filter.viewer))
        && filter
            .project
            .as_ref()
            .is_none_or(|name| known.processes.iter().any(|p| project(p, filter.viewer) == Some(name)))
}

/// One that does not match by whose it is might do so for somebody who is shown more.
fn conceals(known: &KnownSocket, filter: &ListFilter) -> bool {
    let viewer = filter.viewer;
    let mut holders = known.socket.holders.iter().filter_map(|holder| known.process(holder.process));
    let by_process = |p: &Process| {
        let sight = viewer.sight(p);
        let project = filter.project.is_some() && conceals_project(p, viewer);
        let container = filter.container.is_some() && conceals_container(p, sight);
        project || container
    };
    let behind = known.forward.iter().any(|f| f.container.is_some() && !f.is_open_to(viewer));
    known.socket.owner == Owner::NotPermitted
        || holders.any(by_process)
        || (filter.container.is_some() && behind)
}

/// Of whom the directory is not known the project is not.
fn conceals_project(process: &Process, viewer: Viewer) -> bool {
    viewer.sight(process) < Sight::Full || (process.cwd.is_none() && process.project.is_none())
}

/// Of a container that names itself nothing is kept back but from whom the process is.
fn conceals_container(process: &Process, sight: Sight) -> bool {
    let named = process.container.as_ref().is_some_and(|container| !container.names_itself());
    sight < Sight::Public || (sight < Sight::Full && named)
}

/// Keeps the connections that match, by port and then by time left. How many could match by who left them, which the asker
/// cannot know; and how many more match than there is room for.
pub(super) fn time_wait(traffic: &mut Traffic, filter: &ListFilter) -> (usize, u64) {
    let mut rows = std::mem::take(&mut traffic.rows);
    let mut concealed = 0;
    rows.retain(|row| {
        let port = row.local.port.get();
        let process = left_by(row, traffic);
        let is_there = filter.protocol.is_none_or(|p| p == Protocol::Tcp)
            && filter.from.is_none_or(|from| port >= from)
            && filter.to.is_none_or(|to| port <= to);
        let is_theirs = filter.user.as_ref().is_none_or(|user| {
            process.is_some_and(|p| p.user.as_ref() == Some(user) || user.parse().ok() == p.uid)
        }) && filter
            .project
            .as_ref()
            .is_none_or(|name| process.and_then(|p| project(p, filter.viewer)) == Some(name));
        let shown = process.is_some_and(|p| filter.project.is_none() || !conceals_project(p, filter.viewer));
        concealed += usize::from(is_there && !is_theirs && !shown);
        is_there && is_theirs
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
    let left_out = keyed.len().saturating_sub(MOST) as u64;
    traffic.rows = keyed.into_iter().map(|(_, row)| row).take(MOST).collect();
    (concealed, left_out)
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
fn of_user(known: &KnownSocket, user: &str, uid: Option<u32>) -> bool {
    let uid = user.parse::<u32>().ok().or(uid);
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
    (endpoint.port, endpoint.protocol, endpoint.address, seen.attached.index(), endpoint.netns, seen.key)
}
