//! More binds than anyone makes: each is in the journal, or a gap accounts for it; afterwards the live table is the
//! kernel's.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portwatch_tests::{Burst, DEADLINE, Netns, Portwatch, Told, require_bpf, told, wait_until};

const BURST: &str = env!("CARGO_BIN_EXE_burst");

/// TCP listeners of the test's own namespace by sock_diag, as `ss` prints it.
fn by_the_kernel() -> BTreeSet<(String, u64)> {
    let output = std::process::Command::new("ss")
        .args(["-Htln"])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output();
    let output = output.expect("ss (package iproute2)");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let (address, port) = line.split_whitespace().nth(3).unwrap().rsplit_once(':').unwrap();
            let address = match address {
                "*" => "::",
                other => other.trim_matches(['[', ']']).split('%').next().unwrap(),
            };
            (address.to_owned(), port.parse().unwrap())
        })
        .collect()
}

/// The same by portwatch's live table, of this namespace.
fn by_portwatch(portwatch: &Portwatch) -> BTreeSet<(String, u64)> {
    let list = portwatch.run(&["ls", "--all", "--tcp", "--json"]).unwrap().json().unwrap();
    let own = Netns::current().unwrap();
    let sockets = list["sockets"].as_array().unwrap().iter();
    sockets
        .filter(|s| s["state"] == "listening" && s["netns"] == own)
        .map(|s| (s["address"].as_str().unwrap().to_owned(), s["port"].as_u64().unwrap()))
        .collect()
}

fn wait_until_settled(portwatch: &Portwatch) {
    // Caught up: what it received stays the same while it answers a question that waits for all that was taken.
    let mut before = None;
    let settled = wait_until("the daemon to have taken in everything", DEADLINE * 3, || {
        portwatch.events(&["--type", "gap"]).ok()?;
        let status = portwatch.status().ok()?;
        let now = (status["received"].as_u64()?, status["events"].as_u64()?);
        (before.replace(now) == Some(now)).then_some(())
    });
    settled.unwrap();
}

/// Others start and end listeners meanwhile; what stands still is the same.
fn assert_the_live_table_is_the_kernels(portwatch: &Portwatch) {
    let same = wait_until("the live table to be the kernel's", DEADLINE * 3, || {
        let (kernel, ours) = (by_the_kernel(), by_portwatch(portwatch));
        (kernel == ours && by_the_kernel() == kernel).then_some(())
    });
    same.unwrap_or_else(|error| {
        panic!("{error}\nkernel {:?}\nours {:?}", by_the_kernel(), by_portwatch(portwatch));
    });
}

/// What was told and what the gaps account for is what was done: exactly, or more where others lost records too.
fn assert_accounts(told: &Told, made: i64) {
    let (binds, listens, closes) = told.lost;
    let sums = [(told.binds, binds), (told.listens, listens), (told.closes, closes)];
    for (rows, lost) in sums {
        assert!(rows <= made && rows + lost >= made, "{made} were made: {told:?}");
        assert!(lost == 0 || told.others > 0 || rows + lost == made, "{made} were made: {told:?}");
    }
}

#[test]
fn two_hundred_thousand_binds_are_told_or_accounted_for() {
    if !require_bpf() {
        return;
    }
    let mut burst = Burst::prepare(BURST, 21, 4, 50_000).unwrap();
    let mut portwatch = Portwatch::started(&[]).unwrap();
    burst.go().unwrap();
    let (places, turns) = burst.finish().unwrap();
    wait_until_settled(&portwatch);
    assert_the_live_table_is_the_kernels(&portwatch);
    assert!(portwatch.stop().unwrap().success(), "{}", portwatch.log());

    let made = turns * 4;
    let told = told(&portwatch, &places).unwrap();
    assert_accounts(&told, made);
}

#[test]
fn what_changed_while_the_daemon_was_stopped_is_told_or_accounted_for() {
    if !require_bpf() {
        return;
    }
    // More records than the buffer holds.
    let mut burst = Burst::prepare(BURST, 22, 2, 60_000).unwrap();
    let portwatch = Portwatch::started(&[]).unwrap();
    let daemon = Pid::from_raw(i32::try_from(portwatch.pid().unwrap()).unwrap());
    kill(daemon, Signal::SIGSTOP).unwrap();
    burst.go().unwrap();
    let (places, turns) = burst.finish().unwrap();
    let (survivor, port) = portwatch_tests::Actor::listener("127.22.1.1", 0).unwrap();
    kill(daemon, Signal::SIGCONT).unwrap();

    let gap = portwatch.wait_for("gap", &[]).unwrap();
    // By how long the records waited.
    let reason = &gap["gap"]["reason"];
    assert!(reason == "buffer-full" || reason == "paused", "{gap:#}");
    wait_until_settled(&portwatch);
    // What began while nobody looked is in the live table nevertheless.
    let target = portwatch.who(&port.to_string()).unwrap();
    assert_eq!(target["sockets"][0]["holders"][0]["process"]["pid"], survivor.pid(), "{target:#}");
    assert_the_live_table_is_the_kernels(&portwatch);

    let told = told(&portwatch, &places).unwrap();
    assert!(told.lost.1 > 0, "the buffer held everything: {told:?}");
    // The survivor's own records may be among the lost.
    assert_accounts(&Told { others: 1, ..told }, turns * 2);
    let text = portwatch.run(&["log", "--type", "gap"]).unwrap().stdout;
    let why = if reason == "paused" { "the observer did not run" } else { "kernel buffer full" };
    assert!(text.contains("records lost in") && text.contains(why), "{text}");
}
