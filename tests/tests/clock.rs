//! The wall clock is set while portwatch runs: order and age stay right, and the log says what happened.
//!
//! No namespace has a wall clock of its own, and the machine's is not a test's to set: it has neighbours. So the daemon and its
//! commands get a C library call of ours instead (`LD_PRELOAD`), which reads the kernel's clock and adds what a file says.
//! The kernel's own records are dated by the boot clock and stay real.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::{fs, path::Path, process::Command};

use jiff::{SignedDuration, Timestamp};
use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, Source, each_source, require_bpf, require_netns, require_program,
    wait_until,
};
use serde_json::Value;

const PRELOADED: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *ahead; /* seconds */
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("WALL_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) ahead = at;
    close(fd);
}
int clock_gettime(clockid_t id, struct timespec *t) {
    int failed = syscall(SYS_clock_gettime, id, t);
    if (!failed && ahead && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += *ahead;
    return failed;
}
int gettimeofday(struct timeval *restrict v, void *restrict zone) {
    struct timespec t;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &t)) return -1;
    v->tv_sec = t.tv_sec;
    v->tv_usec = t.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *to) {
    struct timespec t;
    if (clock_gettime(CLOCK_REALTIME, &t)) return -1;
    if (to) *to = t.tv_sec;
    return t.tv_sec;
}
"#;

/// The clock of one portwatch.
struct Clock<'a>(&'a Path);

impl Clock<'_> {
    fn set(&self, ahead: SignedDuration) {
        // In place: it is mapped.
        let file = fs::File::options().write(true).open(self.0.join("ahead")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &ahead.as_secs().to_ne_bytes(), 0).unwrap();
    }
}

/// A portwatch whose wall clock a test can set; not started.
fn with_clock() -> Portwatch {
    let mut portwatch = Portwatch::new().unwrap();
    let folder = portwatch.folder().to_owned();
    fs::write(folder.join("clock.c"), PRELOADED).unwrap();
    let library = folder.join("clock.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(folder.join("clock.c"));
    let made = compiler.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    fs::write(folder.join("ahead"), 0_i64.to_ne_bytes()).unwrap();
    portwatch.give("LD_PRELOAD", library);
    portwatch.give("WALL_CLOCK", folder.join("ahead"));
    portwatch
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("no time: {value}")).parse().unwrap()
}

/// The moment is that of now, by a clock that is so far ahead. A busy machine takes its time.
fn assert_now(value: &Value, ahead: SignedDuration) {
    let off = time(value).duration_since(Timestamp::now() + ahead);
    assert!(off.abs() < SignedDuration::from_mins(5), "{value} is {off:#} off");
}

/// `source` is one that looks at tables; `None` is the daemon's own choice, with kernel programs.
fn the_clock_is_set(source: Option<Source>) {
    let here = if source.is_some() { require_netns() } else { require_bpf() };
    if !(here && require_program("cc")) {
        return;
    }
    let netns = Netns::new().unwrap();
    let mut portwatch = with_clock();
    let arguments = source.map(|source| ["--source", source.name()]);
    netns.enter(|| portwatch.start(arguments.as_ref().map_or(&[], |words| &words[..]))).unwrap();
    let evidence = if source.is_some() { "scan" } else { "kernel" };
    let free = source.map_or("free", |source| source.nothing_seen().0);
    let folder = portwatch.folder().to_owned();
    let clock = Clock(&folder);
    let (hour, none) = (SignedDuration::from_hours(1), SignedDuration::ZERO);
    let listener = |port: u16| netns.enter(|| Actor::listener("127.0.0.1", port)).unwrap().0;
    let who = |port: &str, state: &str| {
        let mut last = Value::Null;
        let found = wait_until(&format!("{port} {state}"), DEADLINE, || {
            last = netns.enter(|| portwatch.who(port)).ok()?;
            (last["state"] == state).then(|| last.clone())
        });
        found.unwrap_or_else(|error| panic!("{error}: {last:#}"))
    };
    let pid = |target: &Value| target["sockets"][0]["holders"][0]["process"]["pid"].clone();
    let since = |target: &Value| target["sockets"][0]["since"].clone();
    let told = |way: &str| {
        wait_until(&format!("the clock that was set {way}"), DEADLINE, || {
            let events = portwatch.events(&["--type", "error"]).ok()?;
            let set = format!("the clock was set {way} by");
            events.into_iter().find(|e| e["message"].as_str().is_some_and(|m| m.starts_with(&set)))
        })
        .unwrap()
    };

    let (first, kept) = (listener(3100), listener(3400));
    who("3400", "held");
    assert_now(&since(&who("3100", "held")), none);
    // Back: what happens now is dated before what happened.
    clock.set(-hour);
    let second = listener(3200);
    let target = who("3200", "held");
    assert_eq!(pid(&target), second.pid(), "{target:#}");
    assert_now(&since(&target), -hour);
    let target = who("3100", "held");
    assert_eq!(pid(&target), first.pid(), "{target:#}");
    assert_now(&since(&target), -hour);
    let set = told("back");
    assert_now(&set["time"], -hour);
    let ended = first.pid();
    assert!(first.finish().unwrap().success());
    let target = who("3100", free);
    let last = target["last"].as_array().unwrap();
    // Who polls does not see who closes.
    assert!(evidence != "kernel" || last.iter().any(|event| event["process"]["pid"] == ended), "{target:#}");
    assert!(last.iter().any(|event| event["type"] == "close"), "{target:#}");
    for kind in ["close", "unlisten"] {
        for event in portwatch.events(&["--type", kind, "--port", "3100"]).unwrap() {
            assert_now(&event["time"], -hour);
        }
    }
    let listens = portwatch.events(&["--type", "listen", "--port", "3100"]).unwrap();
    assert_eq!(listens.len(), 1, "told once, by the clock of then: {listens:#?}");
    assert_now(&listens[0]["time"], none);
    assert_eq!(listens[0]["evidence"], evidence);
    let listens = portwatch.events(&["--type", "listen", "--port", "3200"]).unwrap();
    assert_eq!(listens.len(), 1, "{listens:#?}");
    assert_now(&listens[0]["time"], -hour);

    // Forward: nothing is taken for old because of it, and nobody slept.
    clock.set(hour);
    let third = listener(3300);
    let target = who("3300", "held");
    assert_eq!(pid(&target), third.pid(), "{target:#}");
    assert_now(&since(&target), hour);
    told("forward");
    let target = who("3200", "held");
    assert_eq!(pid(&target), second.pid(), "{target:#}");
    assert_now(&since(&target), hour);
    assert!(second.finish().unwrap().success() && third.finish().unwrap().success());
    who("3200", free);
    who("3300", free);
    let gaps = portwatch.events(&["--type", "gap"]).unwrap();
    assert!(gaps.iter().all(|gap| gap["gap"]["reason"] != "paused"), "{gaps:#?}");
    assert!(portwatch.log().lines().all(|line| !line.contains("panic")), "{}", portwatch.log());

    // The next daemon goes by the record, and by no time in it that another clock has given.
    assert!(portwatch.stop().unwrap().success());
    netns.enter(|| portwatch.start(arguments.as_ref().map_or(&[], |words| &words[..]))).unwrap();
    let target = netns.enter(|| portwatch.who("3400")).unwrap();
    assert_eq!(pid(&target), kept.pid(), "{target:#}");
    assert_now(&since(&target), hour);
    assert!(kept.finish().unwrap().success());
}

#[test]
fn after_the_wall_clock_was_set_every_answer_goes_by_the_new_one_and_the_log_says_so() {
    the_clock_is_set(None);
}

each_source![a_daemon_that_polls_takes_no_set_clock_for_a_pause];

fn a_daemon_that_polls_takes_no_set_clock_for_a_pause(source: Source) {
    the_clock_is_set(Some(source));
}

/// Locks, agents and claims are as they were, and their times are those of the clock as it is.
fn nothing_ended(portwatch: &Portwatch, ahead: SignedDuration) {
    let json = |arguments: &[&str]| portwatch.run(arguments).unwrap().json().unwrap();
    let refused = portwatch.run(&["lock", "zc-held", "--owner", "zc-other"]).unwrap();
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    let locks = json(&["locks", "--json"]);
    let lock = &locks["locks"][0];
    assert_eq!((&lock["owner"], &lock["expired"]), (&"zc-holder".into(), &false.into()), "{locks:#}");
    assert_now(&lock["heldSince"], ahead);
    assert_now(&lock["expires"], ahead + SignedDuration::from_hours(2));
    let agents = json(&["agents", "--json"]);
    for agent in agents["agents"].as_array().unwrap() {
        assert_eq!(agent["state"], "active", "{agents:#}");
        assert_now(&agent["seen"], ahead);
    }
    assert_eq!(portwatch.run(&["salvage"]).unwrap().code, Some(1));
    let found = json(&["find", "zc:api", "--json"]);
    assert_now(&found["claims"][0]["created"], ahead);
    assert_now(&found["claims"][0]["expires"], ahead + SignedDuration::from_hours(2));
}

#[test]
fn what_is_held_for_a_time_is_held_for_as_long_whatever_the_clock_is_set_to() {
    if !require_program("cc") {
        return;
    }
    let mut portwatch = with_clock();
    let folder = portwatch.folder().to_owned();
    let clock = Clock(&folder);
    let (hours, none) = (SignedDuration::from_hours(5), SignedDuration::ZERO);
    portwatch.start(&["--source", "scan"]).unwrap();
    let port = portwatch_tests::free_port().unwrap().to_string();
    for order in [
        &["lock", "zc-held", "--owner", "zc-holder", "--ttl", "2h"][..],
        &["agent", "register", "zc-agent", "--purpose", "work"],
        &["session", "start", "a piece", "--agent", "zc-agent"],
        &["claim", "zc:api", "--port", &port, "--ttl", "2h"],
    ] {
        let done = portwatch.run(order).unwrap();
        assert_eq!(done.code, Some(0), "{order:?}: {}", done.text());
    }
    nothing_ended(&portwatch, none);
    for ahead in [hours, none, -hours] {
        clock.set(ahead);
        nothing_ended(&portwatch, ahead);
        let status = portwatch.status().unwrap();
        assert_now(&status["started"], ahead);
        let metrics = portwatch.run(&["metrics", "--json"]).unwrap().json().unwrap();
        assert!(metrics["uptime"].as_u64().unwrap() < 300, "{metrics:#}");
    }
    // While no daemon runs, and when the next one begins.
    assert!(portwatch.stop().unwrap().success());
    for ahead in [hours, none] {
        clock.set(ahead);
        nothing_ended(&portwatch, ahead);
    }
    clock.set(-hours);
    portwatch.start(&["--source", "scan"]).unwrap();
    nothing_ended(&portwatch, -hours);
    assert!(portwatch.log().lines().all(|line| !line.contains("panic")), "{}", portwatch.log());
}
