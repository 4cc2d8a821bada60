//! What `ls` shows, and why that may not be all that matches.

use super::super::{KnownSocket, ListFilter, Viewer, list};
use super::Live;
use crate::platform::user::{ROOT, is_privileged};

/// What matches.
#[derive(Debug)]
pub struct Listed {
    /// The sockets, in order.
    pub sockets: Vec<KnownSocket>,
    /// How many there is no room for.
    pub left_out: u64,
    /// How many were left out as noise.
    pub hidden: u64,
    /// How many are in other network namespaces.
    pub elsewhere: u64,
    /// Why others that match may be missing; `None` where none can be.
    pub missing: Option<String>,
}

/// So many sockets are looked into at once.
const SOME: usize = 4096;

impl Live {
    /// Answer of `ls`, of those that are `wanted`, which may note in them what it finds.
    pub fn list(&mut self, filter: &ListFilter, wanted: &mut dyn FnMut(&mut KnownSocket) -> bool) -> Listed {
        let (space, own) = (filter.space(), self.own);
        let there: Vec<_> =
            self.table.sockets().filter(|s| list::is_there(s, filter)).map(|s| s.seen.key).collect();
        let (mut found, mut elsewhere) = (list::Found::default(), 0);
        for keys in there.chunks(SOME) {
            let sockets: Vec<_> = keys.iter().filter_map(|&key| self.table.get(key).cloned()).collect();
            let mut known: Vec<_> = sockets.into_iter().map(|s| self.know(s)).collect();
            self.complete(known.iter_mut());
            for known in known {
                if space.holds(known.socket.seen.endpoint.netns, own) {
                    found.take(known, filter, wanted);
                } else {
                    elsewhere += u64::from(list::serves(&known, filter));
                }
            }
        }
        let seen = self.completeness_in(space);
        let unseen = seen.missing(filter.protocol).map(str::to_owned);
        let reasons = [
            unseen,
            (found.concealed > 0).then(|| hidden(found.concealed, filter.viewer)),
            (found.unowned > 0).then(|| unowned(found.unowned)),
        ];
        let reasons: Vec<String> = reasons.into_iter().flatten().collect();
        let hidden = found.hidden;
        let (sockets, left_out) = found.finish(filter);
        let missing = (!reasons.is_empty()).then(|| reasons.join("; "));
        Listed { sockets, left_out, hidden, elsewhere, missing }
    }
}

/// That there are sockets whose processes are hidden from who asks, and what would show them.
pub(super) fn hidden(count: usize, viewer: Viewer) -> String {
    let sockets = if count == 1 { "1 socket belongs".to_owned() } else { format!("{count} sockets belong") };
    let what = format!("{sockets} to processes that may not be looked into here");
    match (is_privileged(), viewer.is_restricted()) {
        (false, _) => format!("{what}; ask as {ROOT}, or a daemon that runs as {ROOT}"),
        (true, true) => format!("{what}; ask as {ROOT}"),
        // Nobody may do more.
        (true, false) => what,
    }
}

fn unowned(count: usize) -> String {
    if count == 1 {
        "of 1 socket the process is not known".to_owned()
    } else {
        format!("of {count} sockets the process is not known")
    }
}

/// That there are connections of which is not known who left them.
pub(super) fn left_by_nobody(count: usize) -> Option<String> {
    match count {
        0 => None,
        1 => Some("of 1 connection in TIME_WAIT it is not known here who left it".to_owned()),
        _ => Some(format!("of {count} connections in TIME_WAIT it is not known here who left them")),
    }
}
