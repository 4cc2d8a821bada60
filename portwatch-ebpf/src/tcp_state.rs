//! TCP state transitions, for what the cgroup hooks do not say: a listener that stops listening without
//! being closed, and sockets that the kernel made itself and never releases through a descriptor. Who leaves
//! connections is told here too ([`crate::time_wait`]).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use portwatch_common::{layout as place, serves as word};

use crate::{layout, maps::serves, refused, time_wait, told};

/// `TCP_CLOSE`
const CLOSE: i32 = 7;
/// `TCP_FIN_WAIT1`
const FIN_WAIT1: i32 = 4;
/// `TCP_LISTEN`
const LISTEN: i32 = 10;

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn listen_end(ctx: BtfTracePointContext) -> i32 {
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let sock: *const u8 = ctx.arg(0);
    let sock = sock.expose_provenance() as u64;
    // One program serves all these facts: a second one would be run at each of the ten transitions of a connection.
    // A close after a shutdown sets the state again that it has.
    if new == FIN_WAIT1 {
        if old != new && serves(word::LEFT_BY_STATE) {
            time_wait::leaving(sock);
        }
        return 0;
    }
    // CLOSE → CLOSE is the end of a bound TCP socket that never listened.
    if new != CLOSE || (old != LISTEN && old != CLOSE) {
        return 0;
    }
    let closes = serves(word::CLOSE_BY_STATE);
    if !closes && (old != LISTEN || !serves(word::REFUSED_BY_STATE)) {
        return 0;
    }
    let cookie = layout::load(sock, place::SOCK_COOKIE, 0);
    // An ordinary close has been through `told::released` before. Not told by `sk_shutdown`, which a program may set before it listens.
    let Some(listens) = told::listens(cookie) else { return 0 };
    if old == LISTEN && !listens {
        if serves(word::REFUSED_BY_STATE) {
            refused::to_listen(sock);
        }
    } else if closes && layout::made_by_kernel(sock) && !(old == LISTEN && layout::is_shut_down_only(sock)) {
        told::ended(cookie);
    } else if closes && old == LISTEN {
        told::unlistened(cookie);
    }
    0
}
