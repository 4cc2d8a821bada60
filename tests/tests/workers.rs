//! A server with thousands of workers that all have its socket: every one of them is told, and what a fork and an end cost does
//! not grow with their number.
//!
//! `PORTWATCH_TORTURE=full` runs with 20,000 workers; without it with a tenth. `cargo xtask test --strict` sets it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, require_bpf, wait_until};
use serde_json::Value;

const HERD: &str = env!("CARGO_BIN_EXE_herd");

/// A server on a port, with so many workers that have its socket.
fn server(netns: &Netns, port: u16, workers: usize) -> Actor {
    let (port, workers) = (port.to_string(), workers.to_string());
    let herd = || Actor::start(Command::new(HERD).args([&port, &workers, &workers]));
    let mut server = netns.enter(herd).unwrap();
    while server.line_within(6 * DEADLINE).unwrap() == "more" {}
    server
}

/// Processor time that a process has used (proc_pid_stat(5)).
fn processor(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// Who holds a port, and the answer; none where a process is told twice.
fn holders(portwatch: &Portwatch, port: u16) -> Option<(BTreeSet<u64>, Value)> {
    let ran = portwatch.run_inside(&["who", &port.to_string(), "--json"]).unwrap();
    let socket = ran.json().unwrap()["targets"][0]["sockets"][0].clone();
    let told = socket["holders"].as_array()?;
    let pids: BTreeSet<u64> = told.iter().map(|h| h["process"]["pid"].as_u64().unwrap()).collect();
    (pids.len() == told.len()).then_some((pids, socket))
}

/// What a thousand forks and ends cost the daemon, and how long it took until it had told of what came after them.
fn thousand(netns: &Netns, portwatch: &Portwatch, server: &mut Actor, next: u16) -> (Duration, Duration) {
    let port = next.to_string();
    // One that waits: to ask again and again would cost more than what is measured.
    let words = ["log", "--follow", "--json", "--type", "listen", "--port", &port];
    let mut follower = Actor::start(&mut portwatch.command(&words)).unwrap();
    let (before, begun) = (processor(portwatch.pid().unwrap()), Instant::now());
    server.say("fork 1000").unwrap();
    assert_eq!(server.line_within(6 * DEADLINE).unwrap(), "done");
    let other = netns.enter(|| Actor::listener("127.0.0.1", next)).unwrap().0;
    let told: Value = serde_json::from_str(&follower.line_within(6 * DEADLINE).unwrap()).unwrap();
    assert_eq!(told["process"]["pid"], other.pid(), "{told:#}");
    (processor(portwatch.pid().unwrap()).saturating_sub(before), begun.elapsed())
}

#[test]
fn thousands_of_workers_are_all_told_and_a_fork_among_them_costs_what_it_costs_among_few() {
    if !require_bpf() {
        return;
    }
    let full = std::env::var("PORTWATCH_TORTURE").is_ok_and(|size| size == "full");
    let count: usize = if full { 20_000 } else { 2000 };
    let netns = Netns::new().unwrap();
    let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
    let mut few = server(&netns, 3100, 4);
    let (base, _) = thousand(&netns, &portwatch, &mut few, 3200);

    let mut many = server(&netns, 3101, count);
    let begun = Instant::now();
    let all = wait_until("every worker", DEADLINE, || {
        holders(&portwatch, 3101).filter(|(pids, _)| pids.len() == count + 1)
    });
    let (all, socket) = all.unwrap();
    println!("told after {:?}", begun.elapsed());
    assert_eq!(socket["creator"]["pid"], many.pid());
    let (cost, took) = thousand(&netns, &portwatch, &mut many, 3201);
    println!(
        "1000 forks and ends: {base:?} of the daemon among 4, {cost:?} within {took:?} among {count} workers"
    );
    let after = wait_until("the children to be gone", DEADLINE, || {
        holders(&portwatch, 3101).filter(|(pids, _)| pids.len() == count + 1)
    });
    assert_eq!(after.unwrap().0, all, "none too many, none too few");
}
