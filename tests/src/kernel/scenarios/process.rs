//! Processes behind sockets.
#![expect(clippy::unwrap_used, reason = "a scenario asserts")]

use std::process::Stdio;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portwatch::model::{ExitStatus, Seen, SignalOrigin, SignalSent};

use crate::kernel::{Outcome, Watch, child::Role, watch::me};

pub(super) fn a_process_that_is_gone_at_once_is_known_with_its_command_line_and_exit_code(
    watch: &mut Watch,
) -> Outcome {
    let mut gone = Role::BindAndExit7.start().unwrap();
    let pid = gone.id();
    gone.wait().unwrap();
    let process = watch.find(|s| match s {
        Seen::Process(p) if p.id.pid == pid => Some(p.clone()),
        _ => None,
    });
    let command = process.command.unwrap();
    assert!(command.args.iter().any(|a| a == Role::BindAndExit7.as_str()), "{command:?}");
    assert_eq!(process.parent_pid, me());
    assert!(process.id.start_ticks > 0);
    let exit = watch.find(|s| match s {
        Seen::Exited(e) if e.process == process.id => Some(*e),
        _ => None,
    });
    assert_eq!(exit.status, Some(ExitStatus { code: Some(7), signal: None, core_dumped: false, sent: None }));
    let position = |wanted: &dyn Fn(&Seen) -> bool| watch.seen.iter().position(wanted).unwrap();
    let by = |s: &Seen| matches!(s, Seen::Bound(b) if b.by == Some(process.id));
    assert!(position(&|s| matches!(s, Seen::Process(p) if p.id == process.id)) < position(&by));
    Outcome::Held
}

pub(super) fn a_signal_that_is_raised_again_is_told_with_its_first_sender(watch: &mut Watch) -> Outcome {
    let mut server = Role::RaiseAgain.command(0).unwrap().stdin(Stdio::piped()).spawn().unwrap();
    // Ends with this function, however that does; waiting for a child would end it before.
    let _input = server.stdin.take();
    let pid = server.id();
    watch.until(|s| matches!(s, Seen::Listening(l) if l.by.is_some_and(|p| p.pid == pid)));
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
    server.wait().unwrap();
    let exit = watch.find(|s| match s {
        Seen::Exited(e) if e.process.pid == pid => Some(*e),
        _ => None,
    });
    let sent = Some(SignalSent { signal: 15, by: SignalOrigin::Process, again: true });
    assert_eq!(exit.status, Some(ExitStatus { code: None, signal: Some(15), core_dumped: false, sent }));
    assert_eq!(exit.sender.map(|s| s.pid), Some(me()));
    Outcome::Held
}
