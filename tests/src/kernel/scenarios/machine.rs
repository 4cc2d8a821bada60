//! What the daemon says of the machine that it runs on: what its hooks do not see, and that it slept.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a scenario asserts")]

use std::{env, fs, path::Path, time::Duration};

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use portwatch::source::ebpf::{Family, HookChoice};
use serde_json::Value;

use super::{daemon::start, listener::release};
use crate::{
    Portwatch,
    kernel::{Outcome, child::Role},
};

/// Set where the whole machine is ours and may be put to sleep: by the emulator's kernel parameters (`xtask/src/vm/boot.rs`).
const SLEEPS: &str = "PORTWATCH_TEST_SLEEP";

/// Seconds until the alarm. It is the host's clock that counts them, and on a busy host it takes the guest some of them to fall asleep.
const SLEEP: u64 = 20;

const LATE: &str = "made before portwatch started";

/// Facts with words of what is not seen of them, by hand and not from the table of hooks.
fn expected(hooks: HookChoice) -> Vec<(&'static str, &'static str)> {
    // Tracing programs give sockets their cookies since 5.12.
    let early = release() < (5, 12);
    match hooks {
        HookChoice::Only(Family::Kprobe) => late(),
        HookChoice::Only(Family::Fentry) if early => late(),
        HookChoice::Auto if early => vec![("udp-auto-bind", LATE)],
        HookChoice::Auto | HookChoice::Only(Family::Fentry) => Vec::new(),
        HookChoice::Only(Family::Stable) => {
            let late = ("udp-auto-bind", "gone before the next look");
            // Requests of io_uring have had their results since 5.19.
            if release() < (5, 19) {
                vec![("refused", "io_uring"), ("close", "MPTCP"), late]
            } else {
                vec![("refused", "32-bit"), ("listen", "32-bit"), ("close", "ss -K"), late]
            }
        }
        HookChoice::None => ["bind", "listen", "close", "udp-auto-bind"]
            .map(|fact| (fact, "sockets that live shorter can be missed"))
            .into_iter()
            .chain([("exit", "without exit status")])
            .collect(),
    }
}

fn late() -> Vec<(&'static str, &'static str)> {
    ["bind", "listen", "udp-auto-bind", "asked-port"].map(|fact| (fact, LATE)).to_vec()
}

pub(super) fn status_and_doctor_name_what_the_hooks_do_not_see(hooks: HookChoice) -> Outcome {
    let portwatch = Portwatch::started(&["--hooks", hooks.as_str()]).unwrap();
    let status = portwatch.status().unwrap();
    let (shown, doctor) =
        (portwatch.run(&["status"]).unwrap().text(), portwatch.run(&["doctor"]).unwrap().text());
    let (expected, mut unserved) = (expected(hooks), Vec::new());
    let limit = |hook: &str| ["not seen: ", "can be missed", "without exit"].iter().any(|w| hook.contains(w));
    for row in status["coverage"].as_array().unwrap() {
        let fact = row["fact"].as_str().unwrap();
        let Some(hook) = row["hook"].as_str() else {
            unserved.push(fact);
            assert!(line(&shown, fact).contains("not seen"), "{shown}");
            assert!(line(&doctor, fact).contains("degraded"), "{doctor}");
            continue;
        };
        let words = expected.iter().find(|(of, _)| *of == fact).map(|(_, words)| *words);
        assert_eq!(words.is_some(), limit(hook), "{fact}: {hook}");
        assert!(hook.contains(words.unwrap_or_default()), "{fact}: {hook}");
        assert!(line(&shown, fact).contains(hook), "{shown}");
        assert!(line(&doctor, fact).contains(hook), "{doctor}");
    }
    let none = ["refused", "signal-sender", "oom", "asked-port", "time-wait"];
    assert_eq!(unserved, if hooks == HookChoice::None { &none[..] } else { &[] }, "{status:#}");
    Outcome::Held
}

/// The line about a fact.
fn line<'a>(text: &'a str, fact: &str) -> &'a str {
    text.lines().find(|line| line.split_whitespace().any(|word| word == fact)).unwrap_or_default()
}

/// Why this machine is not put to sleep.
fn awake() -> Option<String> {
    if env::var_os(SLEEPS).is_none() {
        return Some(
            "only a guest of `cargo xtask vm` is put to sleep, and none in the fast part of it".to_owned(),
        );
    }
    let kinds = fs::read_to_string("/sys/power/mem_sleep").unwrap_or_default();
    if !kinds.contains("deep") {
        return Some(format!("no suspend to memory: /sys/power/mem_sleep says {:?}", kinds.trim()));
    }
    let alarm = Path::new(ALARM).exists();
    (!alarm).then(|| format!("no alarm to wake up by: {ALARM}"))
}

const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";

/// Puts the machine to sleep until its clock's alarm; gives how long it slept by the kernel's clocks.
fn suspend() -> Duration {
    let asleep = || {
        let read = |clock| Duration::from(clock_gettime(clock).unwrap());
        read(ClockId::CLOCK_BOOTTIME).saturating_sub(read(ClockId::CLOCK_MONOTONIC))
    };
    let before = asleep();
    fs::write("/sys/power/mem_sleep", "deep").unwrap();
    fs::write(ALARM, format!("+{SLEEP}")).unwrap();
    // Comes back when the machine is awake again.
    fs::write("/sys/power/state", "mem").unwrap();
    asleep().saturating_sub(before)
}

fn time(event: &Value, name: &str) -> Timestamp {
    event[name].as_str().unwrap().parse().unwrap()
}

/// The machine sleeps between a listen and its close: the log has a gap there, as long as the kernel says it slept, and what
/// comes after is dated by a clock that went on meanwhile.
pub(super) fn a_machine_that_slept_is_told_as_a_gap(hooks: HookChoice) -> Outcome {
    if let Some(why) = awake() {
        return Outcome::NotHere(why);
    }
    let portwatch = Portwatch::started(&["--hooks", hooks.as_str()]).unwrap();
    let (server, port) = start(Role::Listen, 0);
    let (word, pid) = (port.to_string(), server.pid());
    portwatch.wait_for("listen", &["--port", &word]).unwrap();
    let before = Timestamp::now();
    let slept = suspend();
    let after = Timestamp::now();
    assert!(slept > Duration::from_secs(1), "the kernel's clocks say {slept:?}");
    let told = portwatch.wait_for("gap", &[]).unwrap();
    assert_eq!(told["gap"]["reason"], "paused", "{told:#}");
    assert_eq!(told["message"], format!("the machine slept for {} s", slept.as_secs()), "{told:#}");
    assert!(time(&told, "since") <= before + Duration::from_millis(1), "{told:#}, {before}");
    assert!(time(&told, "time") >= after - Duration::from_secs(1), "{told:#}, {after}");
    // The listener lived through it.
    let who = portwatch.who(&word).unwrap();
    assert_eq!(who["sockets"][0]["holders"][0]["process"]["pid"], pid, "{who:#}");
    assert!(server.finish().unwrap().success());
    let closed = portwatch.wait_for("close", &["--port", &word]).unwrap();
    let ended = Timestamp::now();
    assert!((after..=ended).contains(&time(&closed, "time")), "{closed:#}: {after} to {ended}");
    Outcome::Held
}
