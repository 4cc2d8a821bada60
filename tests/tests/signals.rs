//! The daemon can be asked to end, whoever started it.

use nix::sys::signal::{SigSet, Signal};
use portwatch_tests::Portwatch;

#[test]
fn a_daemon_whose_starter_had_signals_blocked_ends_in_order_when_asked() {
    let blocked = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    // A program that is started has the mask of the thread that started it.
    blocked.thread_block().unwrap();
    let started = Portwatch::started(&["--source", "scan"]);
    blocked.thread_unblock().unwrap();
    let mut portwatch = started.unwrap();
    assert!(portwatch.stop().unwrap().success(), "{}", portwatch.log());
    let log = portwatch.run(&["--no-daemon", "log", "--type", "stop"]).unwrap();
    assert_eq!(log.code, Some(0), "{log:?}");
}
