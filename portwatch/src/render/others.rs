//! The same port at addresses that were not asked about.

use super::{
    address,
    group::{self, Group},
    process,
};
use crate::wire::WhoTarget;

/// So many are named.
const NAMED: usize = 3;

/// `nothing on 127.0.0.2:3100; 127.0.0.1:3100 is held by node (48291)`. `None` where something is at the address that was asked about: it is the answer.
pub(super) fn words(target: &WhoTarget) -> Option<String> {
    if !target.sockets.is_empty() {
        return None;
    }
    let groups = group::by_program(&target.other_addresses);
    let named: Vec<String> = groups.iter().take(NAMED).map(held).collect();
    if named.is_empty() {
        return None;
    }
    let nothing = match target.state.as_str() {
        "free" => "nothing",
        // By a connection.
        "held" => "no socket",
        _ => "nothing seen",
    };
    let more = groups.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
    Some(format!("{nothing} on {}; {}{rest}", target.asked, named.join(", ")))
}

fn held(group: &Group<'_>) -> String {
    let mut places: Vec<String> = Vec::new();
    for socket in &group.sockets {
        let place = address::with_port(&address::whole(socket), socket.port);
        let place = if socket.protocol == "udp" { format!("{place}/udp") } else { place };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let more = places.len().saturating_sub(NAMED);
    places.truncate(NAMED);
    let mut all = places.join(" and ");
    if more > 0 {
        all = format!("{all} and {more} more");
    }
    let verb = if places.len() + more > 1 { "are" } else { "is" };
    let who = match (group.main, group.first().map(|socket| socket.owner.as_str())) {
        (Some(main), _) => process::name(main),
        (None, Some("kernel")) => "the kernel".to_owned(),
        (None, Some("not-permitted")) => "a process that you may not look into".to_owned(),
        (None, _) => "a process that was not found".to_owned(),
    };
    format!("{all} {verb} held by {who}")
}
