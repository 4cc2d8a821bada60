//! How holders of ports end, and who ended them, as the kernel programs tell it.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::Child,
};

use nix::{
    libc,
    sys::signal::{SigHandler, Signal, kill, signal},
    unistd::Pid,
};
use portwatch::model::{ExitStatus, Exited, Seen, SignalOrigin, SignalSent};

use crate::support::{self, CHILD, Watch, child, me};

/// Whether this is a process that a test started; else its test has nothing to do.
fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Holds a port.
fn hold() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

#[test]
fn hold_until_killed() {
    if is_child() {
        let _port = hold();
        sleep_for_ever();
    }
}

extern "C" fn leave(_: libc::c_int) {
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(3) }
}

#[test]
fn hold_and_leave_when_asked() {
    if is_child() {
        // SAFETY: the handler calls nothing but _exit.
        unsafe { signal(Signal::SIGTERM, SigHandler::Handler(leave)) }.unwrap();
        let _port = hold();
        sleep_for_ever();
    }
}

#[test]
fn hold_and_read_from_nowhere() {
    if is_child() {
        let _port = hold();
        // SAFETY: the kernel answers with SIGSEGV, as a fault would be answered.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), 0) };
        // SAFETY: nothing is mapped there; ending of it is the purpose.
        unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() };
    }
}

#[test]
fn hold_and_abort() {
    if is_child() {
        let _port = hold();
        std::process::abort();
    }
}

/// Waits until a child holds a port.
fn bound(watch: &mut Watch, child: &Child) {
    let pid = child.id();
    watch.until(|s| matches!(s, Seen::Listening(l) if l.by.is_some_and(|p| p.pid == pid)));
}

fn exit_of(watch: &mut Watch, child: &mut Child) -> (Exited, ExitStatus) {
    let pid = child.id();
    child.wait().unwrap();
    let exited = watch.find(|s| match s {
        Seen::Exited(e) if e.process.pid == pid => Some(*e),
        _ => None,
    });
    (exited, exited.status.unwrap())
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn the_sender_of_a_deadly_signal_is_known_with_its_command_line() {
    let Some(mut watch) = Watch::start() else { return };
    let mut victim = child("ends::hold_until_killed");
    bound(&mut watch, &victim);
    send(&victim, Signal::SIGKILL);
    let (exited, status) = exit_of(&mut watch, &mut victim);
    assert_eq!(status.signal, Some(9));
    assert_eq!(status.sent, Some(SignalSent { signal: 9, by: SignalOrigin::Process, again: false }));
    assert_eq!(exited.sender.map(|s| s.pid), Some(me()));
    let told = watch.before.iter().chain(&watch.seen).find_map(|s| match s {
        Seen::Process(p) if Some(p.id) == exited.sender => Some(p.clone()),
        _ => None,
    });
    assert!(
        told.unwrap().command.unwrap().args.iter().any(|arg| arg.contains("the_sender_of_a_deadly_signal"))
    );
}

#[test]
fn an_orderly_exit_names_who_had_asked_for_it() {
    let Some(mut watch) = Watch::start() else { return };
    let mut victim = child("ends::hold_and_leave_when_asked");
    bound(&mut watch, &victim);
    send(&victim, Signal::SIGTERM);
    let (exited, status) = exit_of(&mut watch, &mut victim);
    assert_eq!((status.code, status.signal), (Some(3), None));
    assert_eq!(status.sent, Some(SignalSent { signal: 15, by: SignalOrigin::Process, again: false }));
    assert_eq!(exited.sender.map(|s| s.pid), Some(me()));
}

#[test]
fn a_fault_comes_from_the_kernel_and_an_abort_from_the_process_itself() {
    let Some(mut watch) = Watch::start() else { return };
    let mut faulty = child("ends::hold_and_read_from_nowhere");
    let (exited, status) = exit_of(&mut watch, &mut faulty);
    assert_eq!(status.signal, Some(11));
    assert_eq!((status.sent.map(|s| s.by), exited.sender), (Some(SignalOrigin::Kernel), None));
    let mut quitter = child("ends::hold_and_abort");
    let (exited, status) = exit_of(&mut watch, &mut quitter);
    assert_eq!(status.signal, Some(6));
    assert_eq!(exited.sender, Some(exited.process));
}

#[test]
fn signals_that_end_nothing_and_bystanders_are_no_news() {
    let Some(mut watch) = Watch::start() else { return };
    let mut victim = child("ends::hold_until_killed");
    bound(&mut watch, &victim);
    let bystander = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let mut bystander = support::Reaped(bystander);
    // Until its exec it is a child of this process, which is none.
    let pid = bystander.0.id();
    watch.until(|s| matches!(s, Seen::Execed(e) if e.process.pid == pid));
    let received = watch.source_received();
    for _ in 0..200 {
        send(&victim, Signal::SIGCONT);
        send(&bystander.0, Signal::SIGCONT);
    }
    send(&bystander.0, Signal::SIGKILL);
    bystander.0.wait().unwrap();
    send(&victim, Signal::SIGKILL);
    exit_of(&mut watch, &mut victim);
    // The end of the victim, and this process as its killer; other tests' processes bind and end meanwhile.
    let about =
        |pid: u32| watch.seen.iter().filter(|s| matches!(s, Seen::Exited(e) if e.process.pid == pid)).count();
    assert_eq!((about(victim.id()), about(bystander.0.id())), (1, 0));
    assert!(watch.source_received() - received < 200, "400 harmless signals made no record each");
}

/// A memory group of this test's own, of either version; removed when it is dropped.
struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    fn new() -> std::io::Result<Self> {
        let name = format!("portwatch-oom-{}", me());
        let (v1, v2) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        let first = std::path::Path::new(v1).join("memory.limit_in_bytes").exists();
        let group = Self(std::path::Path::new(if first { v1 } else { v2 }).join(name));
        std::fs::create_dir(&group.0)?;
        let limit = if first { "memory.limit_in_bytes" } else { "memory.max" };
        std::fs::write(group.0.join(limit), "33554432")?;
        // Without this the group swaps instead, where there is swap.
        let _ = std::fs::write(group.0.join("memory.swap.max"), "0");
        let _ = std::fs::write(group.0.join("memory.swappiness"), "0");
        Ok(group)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn hold_and_eat() {
    if is_child() {
        let group = std::env::var("PORTWATCH_TEST_MEMORY").unwrap();
        std::fs::write(std::path::Path::new(&group).join("cgroup.procs"), "0").unwrap();
        let _port = hold();
        let mut eaten: Vec<Vec<u8>> = Vec::new();
        loop {
            eaten.push(vec![1; 1 << 20]);
        }
    }
}

#[test]
fn a_process_that_ate_its_memory_was_ended_by_the_oom_killer() {
    let Some(mut watch) = Watch::start() else { return };
    let group = match MemoryGroup::new() {
        Ok(group) => group,
        Err(error) => {
            support::skip(&format!("no memory cgroup: {error}"));
            return;
        }
    };
    let mut eater =
        support::child_with("ends::hold_and_eat", "PORTWATCH_TEST_MEMORY", group.0.to_str().unwrap());
    let (exited, status) = exit_of(&mut watch, &mut eater);
    assert_eq!(status.signal, Some(9), "{status:?}");
    assert_eq!(status.sent, Some(SignalSent { signal: 9, by: SignalOrigin::OutOfMemory, again: false }));
    assert_eq!(exited.sender, None);
}

#[test]
fn children_and_execs_of_a_holder_are_told_and_those_of_others_are_not() {
    let Some(mut watch) = Watch::start() else { return };
    let _port = hold();
    let mut other = std::process::Command::new("sh").args(["-c", "sh -c true; true"]).spawn().unwrap();
    other.wait().unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    let forked = watch.find(|s| match s {
        Seen::Forked(f) if f.child.pid == pid => Some(*f),
        _ => None,
    });
    assert_eq!(forked.parent.pid, me());
    watch.until(|s| matches!(s, Seen::Execed(e) if e.process == forked.child));
    // After its exec a child is followed only where it is found to hold something.
    assert!(!watch.seen.iter().any(|s| matches!(s, Seen::Forked(f) if f.parent.pid == other.id())));
}
