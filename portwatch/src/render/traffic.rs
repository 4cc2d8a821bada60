//! Connections: the traffic of a port, what has a port without a socket, and `ls --time-wait`.

use std::io::{self, Write};

use super::{
    Look, Text, Tone, address, note,
    table::{self, Column},
};
use crate::wire::{Connection, List, ProcessName, TimeWaitOwner, Traffic};

const COLUMNS: [Column; 7] = [
    Column { title: "PORT", priority: 0, least: 0, right: false },
    Column { title: "ADDRESS", priority: 2, least: 9, right: false },
    Column { title: "PEER", priority: 1, least: 12, right: false },
    Column { title: "LEFT BY", priority: 0, least: 12, right: false },
    Column { title: "USER", priority: 4, least: 0, right: false },
    Column { title: "EXPIRES", priority: 0, least: 0, right: true },
    Column { title: "NOTE", priority: 3, least: 6, right: false },
];

/// Owners of TIME_WAIT that are named in one line.
const NAMED: usize = 3;

/// `3 established, 14 in TIME_WAIT (node (48291), last expires in 47s)`; `None` where there is nothing to tell.
pub(super) fn summary(traffic: &Traffic) -> Option<String> {
    let mut words = Vec::new();
    if traffic.established > 0 {
        words.push(format!("{} established", traffic.established));
    }
    if traffic.other > 0 {
        words.push(format!("{} closing or opening", traffic.other));
    }
    if traffic.time_wait > 0 {
        let least = if traffic.time_wait_at_least { "at least " } else { "" };
        words.push(format!("{least}{} in TIME_WAIT ({})", traffic.time_wait, owners(traffic)));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

fn owners(traffic: &Traffic) -> String {
    let ends = |expires: Option<u64>| {
        // It stays for up to 5 s after its time: the kernel's timers of a minute are coarse.
        let last = seconds(expires).map(|s| if s == "0s" { "a few seconds".to_owned() } else { s });
        last.map_or_else(String::new, |last| format!(", last expires in {last}"))
    };
    let latest = traffic.time_wait_owners.iter().filter_map(|o| o.expires_in_ms).max();
    let one = |owner: &TimeWaitOwner| owner.process.as_ref().map_or("nobody saw".to_owned(), name);
    match traffic.time_wait_owners.as_slice() {
        [only] if only.process.is_none() => format!("nobody saw who left them{}", ends(latest)),
        [only] => format!("left by {}{}", one(only), ends(latest)),
        several => {
            let mut words: Vec<String> = several
                .iter()
                .take(NAMED)
                .map(|owner| format!("{}: {}", one(owner), owner.connections))
                .collect();
            if several.len() > NAMED {
                words.push(format!("{} more", several.len() - NAMED));
            }
            format!("left by {}{}", words.join(", "), ends(latest))
        }
    }
}

/// `node (48291)`
pub(super) fn name(process: &ProcessName) -> String {
    if process.comm.is_empty() {
        format!("process {}", process.pid)
    } else {
        format!("{} ({})", process.comm, process.pid)
    }
}

/// `127.0.0.1:3100 to 127.0.0.1:80`
pub(super) fn ends(connection: &Connection) -> String {
    format!("{} to {}", address::with_port(&plain(&connection.address), connection.port), peer(connection))
}

/// One connection in a line.
pub(super) fn line(connection: &Connection) -> String {
    let mut words = format!("{}, {}", ends(connection), connection.state);
    if let Some(left) = seconds(connection.expires_in_ms) {
        words = format!("{words} for {left}");
    }
    match &connection.process {
        Some(process) => format!("{words}, {} [{}]", name(process), process.evidence),
        None => words,
    }
}

fn peer(connection: &Connection) -> String {
    match connection.peer_port {
        Some(port) => address::with_port(&plain(&connection.peer_address), port),
        None => plain(&connection.peer_address),
    }
}

/// An IPv4 address that a socket of both families has is shown as what it is.
fn plain(address: &str) -> String {
    address.parse::<std::net::IpAddr>().map_or_else(|_| address.to_owned(), |a| a.to_canonical().to_string())
}

/// Rounded up, as it is a time after which something is over.
fn seconds(milliseconds: Option<u64>) -> Option<String> {
    Some(format!("{}s", milliseconds?.div_ceil(1000)))
}

/// `9 on its port 3100`, `5 to 10.0.0.7:5432`: where the connections of a process lead, most first. `own` are ports that it listens on.
pub(super) fn by_place(traffic: &Traffic, own: &[u16]) -> Vec<String> {
    let mut places: Vec<(String, usize)> = Vec::new();
    for connection in living(traffic) {
        let place = if own.contains(&connection.port) {
            format!("on its port {}", connection.port)
        } else {
            format!("to {}", peer(connection))
        };
        match places.iter_mut().find(|(known, _)| *known == place) {
            Some((_, count)) => *count += 1,
            None => places.push((place, 1)),
        }
    }
    places.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if traffic.connections_left_out > 0 {
        // Where the others lead is not known here, so neither is how many lead to any one place.
        let all = traffic.established.saturating_add(traffic.other);
        let mut words: Vec<String> = places.into_iter().take(NAMED).map(|(place, _)| place).collect();
        words.push(format!("{all} in all; --verbose shows a hundred of them"));
        return words;
    }
    let rest: usize = places.iter().skip(NAMED).map(|(_, count)| count).sum();
    let mut words: Vec<String> =
        places.iter().take(NAMED).map(|(place, count)| format!("{count} {place}")).collect();
    if rest > 0 {
        words.push(format!("{rest} more; --verbose shows a hundred of them"));
    }
    words
}

/// The connections that a process has.
pub(super) fn living(traffic: &Traffic) -> Vec<&Connection> {
    traffic.connections.iter().filter(|c| c.inode.is_some()).collect()
}

/// Writes the answer of `ls --time-wait`.
pub(super) fn time_wait(
    out: &mut dyn Write,
    answer: &List,
    rows: &[Connection],
    look: &Look,
) -> io::Result<()> {
    if rows.is_empty() {
        let mut line = Text::new(look);
        match &answer.missing {
            None => line.plain("No connection is in TIME_WAIT."),
            Some(why) => line.plain(&format!("Nothing found, and not everything could be seen: {why}.")),
        };
        line.wrapped(out, 2)?;
    } else {
        let cells: Vec<_> = rows.iter().map(|connection| row(connection, look)).collect();
        table::write(out, &COLUMNS, &cells, look)?;
        let mut line = Text::new(look);
        let loopback = rows.iter().any(|c| plain(&c.address).starts_with("127.") || c.address == "::1");
        let why = if loopback {
            "; the kernel ends those of loopback early, so there may have been more"
        } else {
            ""
        };
        let connections = if rows.len() == 1 { "connection" } else { "connections" };
        line.push(Tone::Faint, &format!("{} {connections}{why}", rows.len()));
        line.wrapped(out, 2)?;
        if let Some(why) = &answer.missing {
            let mut line = Text::new(look);
            line.push(Tone::Faint, &format!("not everything could be seen: {why}"));
            line.wrapped(out, 2)?;
        }
    }
    note(out, &answer.source, look)
}

fn row(connection: &Connection, look: &Look) -> Vec<(Tone, String)> {
    let (tone, owner) = match &connection.process {
        Some(process) if process.comm.is_empty() => (Tone::Plain, format!("process {}", process.pid)),
        Some(process) => (Tone::Plain, format!("{} {}", process.comm, process.pid)),
        None => (Tone::Warn, "(nobody saw)".to_owned()),
    };
    let mut notes = Vec::new();
    match connection.reuse_addr {
        Some(true) => notes.push("reusable".to_owned()),
        Some(false) => notes.push("not reusable".to_owned()),
        None => {}
    }
    if look.verbose {
        notes.extend(connection.process.as_ref().map(|p| p.evidence.clone()));
        notes.extend(connection.netns.map(|netns| format!("netns {netns}")));
    }
    vec![
        (Tone::Strong, connection.port.to_string()),
        (Tone::Plain, plain(&connection.address)),
        (Tone::Plain, peer(connection)),
        (tone, owner),
        (Tone::Plain, connection.process.as_ref().and_then(|p| p.user.clone()).unwrap_or_default()),
        (Tone::Plain, seconds(connection.expires_in_ms).unwrap_or_default()),
        (Tone::Faint, notes.join(", ")),
    ]
}

#[cfg(test)]
mod tests;
