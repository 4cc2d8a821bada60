//! A daemon on each of the sources that look again and again: the kernel's tables, and lsof and netstat as they come from
//! Debian.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, Source, each_source, require_netns, wait_until};
use serde_json::Value;

each_source![
    claims_a_new_holder_and_what_ended_meanwhile_are_told_by_a_daemon,
    a_close_that_no_daemon_saw_is_told_by_the_next_one_with_what_is_known_of_its_time,
    a_daemon_records_what_comes_and_goes,
    a_daemon_that_was_stopped_says_so_and_is_right_again,
];

/// Who holds the first socket of an answer.
fn holders(target: &Value) -> Vec<u64> {
    let holders = target["sockets"][0]["holders"].as_array().into_iter().flatten();
    holders.filter_map(|holder| holder["process"]["pid"].as_u64()).collect()
}

fn claims_a_new_holder_and_what_ended_meanwhile_are_told_by_a_daemon(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let mut portwatch = Portwatch::started_on(source)?;
            let claimed = portwatch.run(&["claim", "tools:web", "--range", "24000-24099", "-q"])?;
            let port = claimed.stdout.trim().to_owned();
            // Nothing ties the program to the claim: to have the port is to squat on it.
            let state = |wanted: &str| {
                wait_until(&format!("the claim to be {wanted}"), DEADLINE, || {
                    let found = portwatch.run(&["find", "tools:web", "--json"]).ok()?.json().ok()?;
                    (found.pointer("/claims/0/state")? == wanted).then_some(())
                })
            };
            let number: u16 = port.parse()?;
            let (first, _) = Actor::listener("127.0.0.1", number)?;
            state("squatted")?;
            let holder = |target: &Value| target.pointer("/sockets/0/holders/0/process/pid").cloned();
            let target = portwatch.who(&port)?;
            assert_eq!(holder(&target), Some(first.pid().into()), "{target:#}");
            let named = |event: &Value| (event["process"]["pid"].clone(), event["evidence"].clone());
            let expected = (Value::from(first.pid()), Value::from("scan"));
            let listen = portwatch.wait_for("listen", &["--port", &port])?;
            assert_eq!(named(&listen), expected, "{listen:#}");
            first.finish()?;
            let close = portwatch.wait_for("close", &["--port", &port])?;
            assert_eq!(named(&close), expected, "who had it last: {close:#}");
            let exit = portwatch.wait_for("exit", &["--port", &port])?;
            assert_eq!((named(&exit), &exit["exit"]), (expected, &Value::Null), "{exit:#}");
            let who = portwatch.run(&["who", &port])?;
            assert!(who.stdout.contains("ended; how was not seen"), "{who:?}");
            // A tool that shows nothing does not say that there is nothing.
            state(source.unseen_claim("idle"))?;

            // Another program on the same port is another socket.
            let (second, _) = Actor::listener("127.0.0.1", number)?;
            let pid = u64::from(second.pid());
            wait_until("the second holder", DEADLINE, || {
                (holder(&portwatch.who(&port).ok()?)? == pid).then_some(())
            })?;
            let waited = portwatch.run(&["wait", &port, "--listening", "--timeout", "20s", "--json"])?;
            assert!(waited.code == Some(0) && waited.stdout.contains(&pid.to_string()), "{waited:?}");
            let plan = portwatch.run(&["free", "--dry-run", "--json", &port])?.json()?;
            assert_eq!(plan["targets"][0]["processes"][0]["process"]["pid"], pid, "{plan:#}");

            // While nobody looked.
            portwatch.stop()?;
            second.finish()?;
            portwatch.start(&[])?;
            let target = portwatch.who(&port)?;
            let (gone, _) = source.nothing_seen();
            assert!(target.get("state").is_some_and(|state| state == gone), "{target:#}");
            let status = portwatch.status()?;
            assert_eq!(status["source"]["source"], source.name(), "{status:#}");
            Ok(())
        })
        .unwrap();
}

fn a_close_that_no_daemon_saw_is_told_by_the_next_one_with_what_is_known_of_its_time(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let mut portwatch = Portwatch::started_on(source)?;
            let (gone, port) = Actor::listener("127.0.0.1", 0)?;
            let (stays, kept) = Actor::listener("127.0.0.1", 0)?;
            portwatch.wait_for("listen", &["--port", &port.to_string()])?;
            let found = portwatch.wait_for("listen", &["--port", &kept.to_string()])?["time"].clone();
            portwatch.crash()?;
            let dead = jiff::Timestamp::now();
            gone.finish()?;
            // On the same port somebody else, whom no row is about.
            let (other, _) = Actor::listener("127.0.0.1", port)?;
            let again = jiff::Timestamp::now();
            portwatch.start(&[])?;
            let close = portwatch.wait_for("close", &["--port", &port.to_string()])?;
            let moment = |field: &str| -> anyhow::Result<jiff::Timestamp> {
                Ok(close[field].as_str().unwrap_or_default().parse()?)
            };
            assert_eq!(close["evidence"], "scan", "{close:#}");
            assert!(moment("since")? <= dead && again <= moment("time")?, "{close:#}");
            assert_eq!(close["process"], Value::Null, "nobody saw who: {close:#}");
            let since = |target: &Value| target["sockets"][0]["since"].clone();
            assert_eq!(since(&portwatch.who(&kept.to_string())?), found, "it is the same socket");
            let of_other = since(&portwatch.who(&port.to_string())?);
            assert!(of_other.as_str().unwrap_or_default().parse::<jiff::Timestamp>()? >= again, "{of_other}");
            let said = portwatch.run(&["log", "--type", "close"])?.stdout;
            assert!(said.contains("while no daemon was running"), "{said}");
            stays.finish()?;
            other.finish()?;
            portwatch.wait_for("close", &["--port", &kept.to_string()])?;
            wait_until("the end of the other", DEADLINE, || {
                let closes = portwatch.events(&["--type", "close", "--port", &port.to_string()]).ok()?;
                (closes.len() == 2).then_some(())
            })?;
            let kept = portwatch.events(&["--type", "close", "--port", &kept.to_string()])?;
            assert_eq!((kept.len(), &kept[0]["since"]), (1, &Value::Null), "{kept:#?}");
            Ok(())
        })
        .unwrap();
}

/// Listens, closes that when a line comes, and ends when its input does.
const CLOSES: &str = "
import socket, sys
s = socket.create_server(('127.0.0.1', 0))
print(s.getsockname()[1])
sys.stdin.readline()
s.close()
sys.stdin.read()
";

fn a_daemon_records_what_comes_and_goes(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::started_on(source)?;
            let (actor, port) = Actor::listener("127.0.0.1", 0)?;
            let pid = u64::from(actor.pid());
            let events = |kind: &str| -> Option<Vec<Value>> {
                let port = port.to_string();
                let ran = portwatch
                    .run(&["--json", "log", "--type", kind, "--port", &port, "--limit", "0"])
                    .ok()?;
                let events = ran.json().ok()?["events"].as_array()?.clone();
                (!events.is_empty()).then_some(events)
            };
            let listens = wait_until("the listen in the log", DEADLINE, || events("listen"))?;
            assert_eq!(listens.len(), 1, "{listens:?}");
            assert_eq!(listens[0]["evidence"], "scan", "{listens:?}");
            let target = portwatch.who(&port.to_string())?;
            assert_eq!(holders(&target), [pid], "{target:#}");
            actor.finish()?;
            let closes = wait_until("the close in the log", DEADLINE, || events("close"))?;
            assert_eq!((closes.len(), &closes[0]["evidence"]), (1, &"scan".into()), "{closes:?}");
            let status = portwatch.run(&["--json", "status"])?.json()?;
            assert_eq!(status["source"]["source"], source.name());

            // One that lives on is not said to have ended, nor is it known that it closed.
            let mut lives = Actor::python(CLOSES, &[])?;
            let port = lives.line()?;
            portwatch.wait_for("listen", &["--port", &port])?;
            lives.say("")?;
            portwatch.wait_for("close", &["--port", &port])?;
            let who = portwatch.run(&["who", &port])?;
            assert!(who.stdout.contains(", closed the socket or ended"), "{who:?}");
            assert!(portwatch.events(&["--type", "exit", "--port", &port])?.is_empty());
            assert!(lives.finish()?.success());
            Ok(())
        })
        .unwrap();
}

/// Longer than a daemon that polls may be late without a word.
const PAUSE: Duration = Duration::from_secs(6);

fn a_daemon_that_was_stopped_says_so_and_is_right_again(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::started_on(source)?;
            let (goes, gone) = Actor::listener("127.0.0.1", 0)?;
            portwatch.wait_for("listen", &["--port", &gone.to_string()])?;
            let daemon = Pid::from_raw(i32::try_from(portwatch.pid().unwrap())?);
            kill(daemon, Signal::SIGSTOP)?;
            let begun = Instant::now();
            goes.finish()?;
            let (comes, come) = Actor::listener("127.0.0.1", 0)?;
            wait_until("the pause to be long", DEADLINE, || (begun.elapsed() > PAUSE).then_some(()))?;
            kill(daemon, Signal::SIGCONT)?;
            let target = portwatch.who(&come.to_string())?;
            assert_eq!(holders(&target), [u64::from(comes.pid())], "{target:#}");
            assert_eq!(portwatch.who(&gone.to_string())?["state"], source.nothing_seen().0);
            wait_until("the pause in the log", DEADLINE, || {
                let gaps = portwatch.events(&["--type", "gap"]).ok()?;
                gaps.iter().any(|event| event["gap"]["reason"] == "paused").then_some(())
            })
        })
        .unwrap();
}
