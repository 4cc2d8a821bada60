//! What is asked, on its way in.

use std::str::FromStr;

use super::super::{ListQuery, LogQuery, Target};
use crate::{
    model::{self, Port, Protocol},
    query::{Asked, ListFilter, Sort, Space, Viewer},
};

/// A question that cannot be asked; the sentence says how it is asked rightly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// A protocol that is none.
    #[error("'{0}' is not a protocol; say tcp or udp")]
    Protocol(String),
    /// A sort key that is none.
    #[error("'{0}' is not a sort key; say port, process, project or since")]
    Sort(String),
    /// An interface by its name, which means one only where it is asked from.
    #[error("'{0}' is not the number of an interface; ip link shows them")]
    Zone(String),
    /// A port that is none.
    #[error(transparent)]
    Port(#[from] model::ParsePortError),
    /// A pid that is none.
    #[error("'{0}' is not a pid; pids are whole numbers from 1")]
    Pid(String),
    /// An event type that is none.
    #[error("'{given}' is not an event type; types are {known}")]
    Kind {
        /// What was given.
        given: String,
        /// Every type.
        known: String,
    },
    /// Connections in TIME_WAIT of many network namespaces.
    #[error(
        "connections in TIME_WAIT are looked at in one network namespace; name that of the container instead (netns)"
    )]
    TimeWait,
    /// A range that ends before it begins.
    #[error("the range {from}-{to} ends before it begins")]
    Range {
        /// First port.
        from: u16,
        /// Last port.
        to: u16,
    },
}

/// What `who` is asked, for the query stage.
pub fn asked(target: &Target) -> Result<Asked, BadQuery> {
    Ok(match target {
        Target::Port { address, localhost, zone, port, protocol } => {
            let number = |zone: &String| {
                let digits = zone.bytes().all(|byte| byte.is_ascii_digit());
                let number = zone.parse().ok().filter(|_| digits).and_then(model::Zone::new);
                number.ok_or_else(|| BadQuery::Zone(zone.clone()))
            };
            let zone = zone.as_ref().map(number).transpose()?;
            let address = address.map(|address| model::Local { address, zone });
            Asked::Port { address, localhost: *localhost, port: *port, protocol: *protocol }
        }
        Target::Pid(pid) => Asked::Pid(*pid),
        Target::Claim(name) => Asked::Claim(name.clone()),
    })
}

/// What `ls` is asked, and by whom, for the query stage. `uid` is that of the user's name, where there is one.
pub fn list_filter(query: &ListQuery, uid: Option<u32>, viewer: Viewer) -> Result<ListFilter, BadQuery> {
    let sort = match query.sort.as_deref() {
        None | Some("port") => Sort::Port,
        Some("process") => Sort::Process,
        Some("project") => Sort::Project,
        Some("since") => Sort::Since,
        Some(other) => return Err(BadQuery::Sort(other.to_owned())),
    };
    if query.time_wait && (query.container.is_some() || query.all_namespaces) {
        return Err(BadQuery::TimeWait);
    }
    if let (Some(from), Some(to)) = (query.from, query.to)
        && to < from
    {
        return Err(BadQuery::Range { from, to });
    }
    Ok(ListFilter {
        protocol: query.protocol.as_deref().map(protocol).transpose()?,
        project: query.project.clone(),
        user: query.user.clone(),
        uid,
        from: query.from,
        to: query.to,
        sort,
        all: query.all,
        time_wait: query.time_wait,
        container: query.container.clone(),
        space: space(query.netns, query.all_namespaces),
        viewer,
    })
}

/// Which network namespaces a question means.
pub fn space(netns: Option<u32>, all: bool) -> Space {
    match (all, netns) {
        (true, from) => Space::All { from: from.map(model::Netns) },
        (false, Some(inode)) => Space::One(model::Netns(inode)),
        (false, None) => Space::Own,
    }
}

/// Events answered when the asker names no limit.
pub const DEFAULT_LIMIT: u64 = 1000;

/// What `log` is asked, and by whom, for the query stage.
pub fn event_filter(query: &LogQuery, viewer: Viewer) -> Result<model::EventFilter, BadQuery> {
    Ok(model::EventFilter {
        since: query.since,
        until: query.until,
        kinds: parts(query.kinds.as_deref()).map(kind).collect::<Result<_, _>>()?,
        ports: parts(query.port.as_deref()).map(Port::from_str).collect::<Result<_, _>>()?,
        protocol: None,
        pids: parts(query.pid.as_deref()).map(pid).collect::<Result<_, _>>()?,
        after_id: query.after_id,
        before_id: query.before_id,
        bytes: None,
        pattern: query.filter.clone().filter(|p| !p.is_empty()),
        viewer,
        limit: match query.limit {
            None => Some(DEFAULT_LIMIT),
            Some(0) => None,
            some => some,
        },
        order: if query.newest_first { model::Order::NewestFirst } else { model::Order::OldestFirst },
    })
}

fn parts(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn protocol(word: &str) -> Result<Protocol, BadQuery> {
    Protocol::from_word(word).ok_or_else(|| BadQuery::Protocol(word.to_owned()))
}

fn kind(word: &str) -> Result<model::EventKind, BadQuery> {
    model::EventKind::from_word(word).ok_or_else(|| BadQuery::Kind {
        given: word.to_owned(),
        known: model::EventKind::ALL.map(model::EventKind::as_str).join(", "),
    })
}

fn pid(word: &str) -> Result<u32, BadQuery> {
    word.parse().ok().filter(|&pid| pid > 0).ok_or_else(|| BadQuery::Pid(word.to_owned()))
}
