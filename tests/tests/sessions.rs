//! Agents, sessions, notes and salvage on the real binary.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use nix::sys::signal::{Signal, kill};
use portwatch_tests::{DEADLINE, Portwatch, Ran, require_root, wait_until};
use serde_json::Value;

/// A directory in which somebody types, as an agent.
struct Desk<'a> {
    portwatch: &'a Portwatch,
    directory: PathBuf,
    agent: Option<&'a str>,
}

impl<'a> Desk<'a> {
    fn new(portwatch: &'a Portwatch, agent: Option<&'a str>) -> Self {
        let directory = portwatch.folder().join("project");
        fs::create_dir_all(&directory).unwrap();
        Self { portwatch, directory, agent }
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = self.portwatch.command(words);
        // A session of its own, without a terminal, wherever the tests run.
        // SAFETY: setsid is async-signal-safe.
        unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
        if let Some(agent) = self.agent {
            command.env("PORTWATCH_AGENT", agent);
        }
        Ran::of(command.current_dir(&self.directory)).unwrap()
    }

    fn says(&self, words: &[&str], code: i32, parts: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
        let text = ran.text();
        for part in parts {
            assert!(text.contains(part), "{words:?} does not say {part}:\n{text}");
        }
        text
    }

    fn json(&self, words: &[&str]) -> Value {
        self.run(&[words, &["--json"]].concat()).json().unwrap()
    }
}

fn both(test: impl Fn(&Portwatch)) {
    test(&Portwatch::new().unwrap());
    test(&Portwatch::started(&["--source", "scan"]).unwrap());
}

/// Makes an agent silent for so long.
fn silence(portwatch: &Portwatch, agent: &str, minutes: i32) {
    let database = rusqlite::Connection::open(portwatch.database()).unwrap();
    let changed = database.execute(
        "UPDATE agent SET seen = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?2) WHERE name = ?1",
        rusqlite::params![agent, format!("-{minutes} minutes")],
    );
    assert_eq!(changed.unwrap(), 1);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, typed line by line")]
fn the_tutorials_multi_agent_section_as_it_is_typed() {
    both(|portwatch| {
        let (web, api, worker) = (
            Desk::new(portwatch, Some("agent-web")),
            Desk::new(portwatch, Some("agent-api")),
            Desk::new(portwatch, Some("agent-worker")),
        );
        let person = Desk::new(portwatch, None);
        person.says(&["sessions"], 1, &["No session is active"]);
        person.says(&["agents"], 1, &["No agent is known"]);
        person.says(&["salvage"], 1, &["No dead agent left anything"]);

        web.says(
            &["agent", "register", "--purpose", "Checkout"],
            0,
            &["Registered agent-web \"Checkout\": active"],
        );
        let files = ["src/components/checkout/CheckoutForm.tsx", "src/hooks/usePayment.ts"];
        let checkout = web
            .says(
                &["session", "start", "Building checkout UI", "-q", "--files", files[0], files[1]],
                0,
                &["session-"],
            )
            .trim()
            .to_owned();
        let payment =
            api.says(&["session", "start", "Payment API integration", "-q"], 0, &[]).trim().to_owned();
        api.says(
            &["session", "claim", "src/api", "src/types/Payment.ts"],
            0,
            &["Claimed files for", &payment, "2 files"],
        );

        // A conflict, at claim time: the file itself, and one within a claimed directory.
        let refused = api.says(
            &["session", "claim", "src/lib/stripe.ts", files[1]],
            1,
            &["is claimed by", &checkout, "--force"],
        );
        assert!(refused.contains("nothing was claimed"), "{refused}");
        web.says(&["session", "claim", "src/api/payments/route.ts"], 1, &["is claimed by", &payment]);
        assert_eq!(
            person.json(&["sessions"])["sessions"][0]["files"].as_array().unwrap().len(),
            2,
            "nothing changed"
        );

        // portwatch note, notes
        for note in ["Started working on checkout form", "CheckoutForm component complete"] {
            web.says(&["note", note], 0, &["Noted in", &checkout]);
        }
        web.says(&["note", "--type", "blocked", "need payment API types"], 0, &[&checkout]);
        api.says(&["note", "types are there"], 0, &[&payment]);
        let notes = person.says(&["notes", "--session", &checkout], 0, &[]);
        let lines: Vec<&str> = notes.lines().map(|line| line.split_once("] ").unwrap().1).collect();
        assert_eq!(
            lines,
            [
                "Started working on checkout form",
                "CheckoutForm component complete",
                "blocked: need payment API types"
            ]
        );
        assert!(notes.starts_with('['), "{notes}");
        web.says(&["notes", "--type", "blocked"], 0, &["need payment"]);
        web.says(&["notes", "--limit", "1"], 0, &["The newest 1 of 3"]);
        assert_eq!(web.json(&["notes", "--limit", "0"])["notes"].as_array().unwrap().len(), 3);

        // portwatch sessions, --files
        let list = person.says(
            &["sessions"],
            0,
            &["\"Building checkout UI\"", "active", "2 files claimed", "3 notes"],
        );
        assert!(list.lines().any(|line| line.starts_with(&payment) && line.contains("1 note")), "{list}");
        person.says(
            &["sessions", "--files"],
            0,
            &[&format!("{checkout} claims:\n  {}", files[0]), "  src/types/Payment.ts"],
        );
        api.says(&["session", "claim", files[1], "--force"], 0, &["CONFLICT", &checkout]);
        person.says(&["sessions", "--files"], 0, &[&format!("CONFLICT with {payment}")]);
        api.says(&["session", "release", files[1]], 0, &["Released files of"]);
        let twice = ["session", "release", "src/never.ts", "./src/never.ts"];
        let nothing = api.says(&twice, 1, &["Released no file of", "src/never.ts was not claimed"]);
        assert_eq!(nothing.matches("was not claimed").count(), 1, "{nothing}");
        api.says(&["session", "claim", "src/twice.ts"], 0, &[]);
        api.says(&["session", "release", "src/twice.ts", "./src/twice.ts"], 0, &["Released files of"]);

        // A lock of the migration, and who has it.
        api.says(&["lock", "db-migrations", "--ttl", "10m"], 0, &["Locked db-migrations for agent-api"]);
        web.says(&["lock", "db-migrations"], 1, &["held by agent-api"]);

        // An agent dies: its process is killed.
        let mut process = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = process.id().to_string();
        worker.says(
            &["agent", "register", "--purpose", "Processing payment webhooks", "--pid", &pid],
            0,
            &["dies with process"],
        );
        let left = worker
            .says(
                &["session", "start", "Webhook handler", "-q", "--files", "src/workers/stripe-webhook.ts"],
                0,
                &[],
            )
            .trim()
            .to_owned();
        worker.says(&["note", "Stripe webhook handler 80% complete"], 0, &[]);
        worker.says(&["lock", "webhooks"], 0, &[]);
        person.says(
            &["salvage", "claim", "agent-worker", "--as", "agent-web"],
            1,
            &["agent agent-worker is active"],
        );
        kill(nix::unistd::Pid::from_raw(process.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
        process.wait().unwrap();
        wait_until("the agent to be dead", DEADLINE, || {
            (!person.json(&["salvage"])["dead"].as_array().unwrap().is_empty()).then_some(())
        })
        .unwrap();
        person.says(
            &["salvage"],
            0,
            &[
                "Dead agents with recoverable context:",
                "agent-worker (died ",
                "Purpose: \"Processing payment webhooks\"",
                &format!("Session: {left} (1 note)"),
                "Last note: \"Stripe webhook handler 80% complete\"",
                "Files claimed: src/workers/stripe-webhook.ts",
                "Run: portwatch salvage claim agent-worker",
            ],
        );
        person.says(
            &["agents"],
            0,
            &["agent-worker  dead", "agent-web     active", "\"Processing payment webhooks\""],
        );
        let locks = person.json(&["locks"]);
        assert_eq!(locks["locks"].as_array().unwrap().len(), 1, "what the dead agent held is free: {locks}");

        // Somebody else takes its work over.
        person.says(&["salvage", "claim", "agent-worker"], 1, &["name an agent"]);
        let docs = Desk::new(portwatch, Some("agent-docs"));
        docs.says(&["salvage", "claim", "agent-worker"], 0, &["its work is yours now", &left, "1 file"]);
        docs.says(&["notes"], 0, &["80% complete", "handoff: taken over from agent-worker"]);
        docs.says(&["session", "claim", "src/workers/retry.ts"], 0, &[&left]);
        web.says(&["salvage", "claim", "agent-worker"], 1, &["taken over by agent-docs already"]);
        person.says(&["salvage"], 1, &[]);

        // The end.
        docs.says(&["session", "abandon", "left to the next"], 0, &["Abandoned", &left]);
        web.says(&["session", "end", "merged"], 0, &["Ended", &checkout]);
        web.says(&["note", "too late"], 1, &["agent agent-web has no active session"]);
        web.says(&["note", "too late", "--session", &checkout], 1, &["is completed"]);
        person.says(&["sessions"], 0, &["completed", "0 files"]);
        api.says(&["agent", "unregister"], 0, &["Unregistered agent-api"]);
        person.says(&["locks"], 1, &["No lock is held"]);
        person.says(&["agents"], 0, &["more are ended, salvaged or long dead: portwatch agents --all"]);
        person.says(
            &["log", "--type", "session,note,heartbeat", "--since", "1h"],
            0,
            &["salvaged by agent-docs", "dead: its process"],
        );
        person.says(
            &["log", "--type", "heartbeat", "--filter", "agent-worker", "--since", "1h"],
            0,
            &["agent-worker"],
        );
    });
}

#[test]
fn an_agent_that_is_silent_becomes_stale_then_dead_and_its_work_can_be_salvaged() {
    both(|portwatch| {
        let (quiet, heir, person) = (
            Desk::new(portwatch, Some("quiet")),
            Desk::new(portwatch, Some("heir")),
            Desk::new(portwatch, None),
        );
        let session = quiet.says(&["session", "start", "Long thoughts", "-q"], 0, &[]).trim().to_owned();
        quiet.says(&["note", "half of it"], 0, &[]);
        silence(portwatch, "quiet", 11);
        person.says(&["agents"], 0, &["quiet", "stale"]);
        person.says(&["salvage"], 1, &[]);
        quiet.says(&["agent", "heartbeat"], 0, &["quiet: active"]);
        silence(portwatch, "quiet", 21);
        person.says(&["salvage"], 0, &["quiet (silent for 21m)", &session, "half of it"]);
        quiet.says(&["salvage", "claim", "quiet"], 1, &["cannot take over its own work"]);
        heir.says(&["salvage", "claim", "quiet"], 0, &[&session]);
        assert_eq!(person.json(&["sessions"])["sessions"][0]["agent"], "heir");
        let log = person.says(&["log", "--type", "heartbeat", "--filter", "quiet"], 0, &[]);
        assert!(log.contains("missed: stale for 11m") && log.contains("missed: dead for 21m"), "{log}");
    });
}

#[test]
fn my_session_is_the_terminals_and_ends_with_it() {
    both(|portwatch| {
        let person = Desk::new(portwatch, None);
        // Without a terminal and without an agent nothing is mine, however new it is.
        let other = person.says(
            &["session", "start", "of nobody here"],
            0,
            &["Neither an agent nor a terminal has it"],
        );
        let other = other.split_whitespace().nth(1).unwrap().trim_end_matches(':').to_owned();
        person.says(&["note", "whose?"], 1, &["no session of yours is active in this terminal"]);
        person.says(&["note", "by name", "--session", &other], 0, &[&other]);

        let binary = portwatch.binary().display().to_string();
        let ready = portwatch.folder().join("ready");
        let typed = format!(
            "{binary} session start 'at a terminal' -q; {binary} note 'from here'; echo done > {}; read end",
            ready.display()
        );
        let mut script = portwatch.environment().around(Command::new("script"));
        let command = format!("bash -c \"{typed}\"");
        let mut terminal = script
            .args(["-qec", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the terminal's note", DEADLINE, || ready.exists().then_some(())).unwrap();
        let sessions = person.json(&["sessions"]);
        let here = sessions["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["purpose"] == "at a terminal")
            .unwrap()
            .clone();
        assert_eq!((&here["notes"], &here["state"]), (&1.into(), &"active".into()), "{here:#}");
        assert!(here["pid"].is_u64());
        drop(terminal.stdin.take());
        kill(nix::unistd::Pid::from_raw(terminal.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        terminal.wait().unwrap();
        let id = here["id"].as_str().unwrap();
        wait_until("the session to end with its terminal", DEADLINE, || {
            let sessions = person.json(&["sessions"]);
            let found =
                sessions["sessions"].as_array().unwrap().iter().find(|s| s["id"] == id).unwrap().clone();
            (found["state"] == "abandoned").then_some(found)
        })
        .unwrap();
        person.says(&["notes", "--session", id], 0, &["from here"]);
    });
}

#[test]
fn bad_input_is_one_sentence_and_changes_nothing() {
    both(|portwatch| {
        let desk = Desk::new(portwatch, Some("a"));
        let long = "x".repeat(5000);
        let session = desk.says(&["session", "start", "work", "-q"], 0, &[]).trim().to_owned();
        let before = desk.json(&["sessions"])["sessions"].clone();
        for (words, code, sentence) in [
            (&["note", ""][..], 2, "a note needs words"),
            (&["note", "\u{1b}[2Jgone"], 2, "a note has a control character"),
            (&["note", &long], 2, "a note has at most 4096 bytes"),
            (&["note", "x", "--type", "gossip"], 2, "'gossip' is no type of note"),
            (&["note", "x", "--session", "session-none"], 1, "there is no session session-none"),
            (&["note", "x", "--session", "a b"], 2, "is not the name of a session"),
            (&["notes", "--session", "../etc"], 2, "is not the name of a session"),
            (&["session", "start", "again"], 1, "of agent a is active"),
            (&["session", "start", "   ", "--agent", "b"], 2, "a purpose needs words"),
            (&["session", "claim", "a\nb"], 2, "a path has a control character"),
            (&["session", "end", "x", "--session", "session-none"], 1, "there is no session"),
            (&["agent", "register", "a b"], 2, "is not the name of an agent"),
            (&["agent", "register", "b", "--pid", "4294967295"], 1, "is gone"),
            (&["agent", "heartbeat", "nobody"], 1, "there is no agent nobody"),
            (&["agent", "unregister", "nobody"], 1, "there is no agent nobody"),
            (&["salvage", "claim", "nobody"], 1, "there is no agent nobody"),
            (&["lock", "x", "--session", "session-none"], 1, "there is no session"),
        ] {
            // The agent of the environment would be the owner before the session.
            let desk =
                if words[0] == "lock" { Desk::new(portwatch, None) } else { Desk::new(portwatch, Some("a")) };
            let ran = desk.run(words);
            assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
            assert!(ran.stderr.contains(sentence) && ran.stdout.is_empty(), "{words:?} {ran:?}");
            assert!(ran.stderr.len() < 400 && !ran.stderr.contains('\u{1b}'), "{ran:?}");
        }
        let many: Vec<String> = (0..1500).map(|at| format!("/{at:04}/{}", "x".repeat(200))).collect();
        let order: Vec<&str> =
            ["session", "claim"].into_iter().chain(many.iter().map(String::as_str)).collect();
        let ran = desk.run(&order);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("one order names of paths has at most 120000 bytes"), "{ran:?}");
        assert_eq!(desk.json(&["sessions"])["sessions"], before, "nothing was changed");
        let agents = desk.json(&["agents", "--all"]);
        assert_eq!(agents["total"], 1, "nobody became known by being refused: {agents}");
        assert_eq!(desk.run(&["notes", "--session", &session]).code, Some(1), "nothing was written");
    });
}

#[test]
fn what_belongs_to_another_user_cannot_be_changed_nor_its_notes_read_nor_its_name_borrowed() {
    if !require_root() {
        return;
    }
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let others = portwatch.for_others().unwrap();
    let nobody = |words: &[&str]| others.run(65_534, words).unwrap();
    let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = sleeper.id().to_string();
    let desk = Desk::new(&portwatch, Some("a"));
    desk.says(&["agent", "register", "--purpose", "secret plans"], 0, &[]);
    let session = desk.says(&["session", "start", "work", "-q", "--files", "src"], 0, &[]).trim().to_owned();
    desk.says(&["note", "the password is swordfish"], 0, &[]);
    desk.says(&["lock", "db"], 0, &[]);
    let state = || (desk.json(&["sessions"])["sessions"].clone(), desk.json(&["locks"])["locks"].clone());
    let before = state();
    for (words, code, sentence) in [
        (&["note", "graffiti", "--session", &session][..], 3, "belongs to root"),
        (&["notes", "--session", &session], 3, "belong to root; only that user and root may read them"),
        (&["session", "end", "--session", &session], 3, "belongs to root"),
        (&["session", "abandon", "--session", &session], 3, "belongs to root"),
        (&["session", "claim", "/x", "--session", &session], 3, "belongs to root"),
        (&["session", "release", "/x", "--session", &session], 3, "belongs to root"),
        (&["unlock", "db", "--force"], 3, "belongs to root"),
        (&["unlock", "db", "--owner", "a"], 3, "belongs to root"),
        (&["lock", "db", "--extend", "--owner", "a"], 3, "belongs to root"),
        (&["lock", "db", "--owner", "a"], 1, "held by a (root)"),
        (&["agent", "unregister", "a"], 3, "agent a belongs to root"),
        (&["lock", "mine", "--owner", "a"], 0, "Locked mine for a"),
        (&["unlock", "mine", "--owner", "a"], 0, "Unlocked mine"),
        (&["lock", "mine", "--session", &session], 3, "belongs to root"),
        (&["lock", "mine", "--pid", &pid], 3, "another user's"),
        (&["agent", "register", "b", "--pid", &pid], 3, "another user's"),
        (&["agent", "unregister", "a"], 0, "Unregistered a"),
        (
            &["session", "start", "me too", "--agent", "a", "--files", "/"],
            1,
            &format!("is claimed by {session}"),
        ),
        (&["note", "as a", "--agent", "a"], 1, "agent a has no active session"),
    ] {
        let ran = nobody(words);
        assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
        let text = ran.text();
        assert!(text.contains(sentence) && !text.contains("swordfish"), "{words:?} {ran:?}");
        if words[0] == "lock" && words[1] == "db" && code == 1 {
            // Asking in the name of `a` in vain makes nobody an agent of that name.
            assert_eq!(desk.json(&["agents"])["agents"].as_array().unwrap().len(), 1);
        }
    }
    assert_eq!(state(), before, "nothing was changed");
    assert!(!nobody(&["salvage", "--json"]).stdout.contains("swordfish"));
    Desk::new(&portwatch, Some("sole")).says(&["agent", "register", "--purpose", "x"], 0, &[]);
    silence(&portwatch, "sole", 21);
    let stolen = nobody(&["salvage", "claim", "sole", "--as", "thief"]);
    assert_eq!(stolen.code, Some(3), "it stays its user's: {stolen:?}");
    let seen = nobody(&["salvage"]).text();
    assert!(seen.contains("user=root") && seen.contains("None of them is yours"), "{seen}");
    assert!(!seen.contains("Run:"), "nobody is told to type what is refused: {seen}");
    let mine = desk.says(&["salvage"], 0, &["Run: portwatch salvage claim sole"]);
    assert!(!mine.contains("user="), "{mine}");

    // What nobody claims keeps root out of nothing, and is told; root's keeps nobody's out.
    assert_eq!(nobody(&["session", "start", "all of it", "--agent", "n", "--files", "/opt"]).code, Some(0));
    desk.says(&["session", "claim", "/opt/x"], 0, &["CONFLICT /opt/x: session-", "claims /opt"]);
    assert_eq!(nobody(&["lock", "theirs", "--owner", "a"]).code, Some(0));
    desk.says(
        &["unlock", "theirs", "--owner", "a"],
        1,
        &["theirs is held by a (", "), not by a", "portwatch unlock theirs --force"],
    );
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn a_daemon_that_is_killed_under_load_loses_nothing_that_it_acknowledged() {
    let mut portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let workers = 4;
    let acknowledged = Mutex::new(Vec::<(String, String)>::new());
    let count = AtomicUsize::new(0);
    let end = AtomicBool::new(false);
    let environment = portwatch.environment();
    let binary = portwatch.binary().to_owned();
    let work = |id: usize| {
        let run = |words: &[&str]| {
            let mut command = environment.around(Command::new(&binary));
            let agent = format!("agent-{id}");
            let output =
                command.args(words).env("PORTWATCH_AGENT", agent).stdin(Stdio::null()).output().unwrap();
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let mut session = None;
        for turn in 0.. {
            if end.load(Ordering::Acquire) {
                break;
            }
            let name = format!("{id}-{turn}");
            let done = match (turn % 4, &session) {
                (_, None) => {
                    session = run(&["session", "start", &name, "-q"]);
                    // Begun although nobody said so: it is there, and its agent's.
                    if session.is_none()
                        && let Some(text) = run(&["sessions", "--json"])
                    {
                        let all: Value = serde_json::from_str(&text).unwrap();
                        let mine = format!("agent-{id}");
                        let found =
                            all["sessions"].as_array().unwrap().iter().find(|s| s["agent"] == mine.as_str());
                        session = found.map(|s| s["id"].as_str().unwrap().to_owned());
                    }
                    session.clone().map(|id| ("session", id))
                }
                (0, _) => run(&["note", &name]).map(|_| ("note", name)),
                (1, _) => run(&["lock", &name, "--ttl", "1h"]).map(|_| ("lock", name)),
                (2, _) => {
                    run(&["session", "claim", &format!("/f/{name}")]).map(|_| ("file", format!("/f/{name}")))
                }
                _ => run(&["claim", &format!("load:w{id}-{turn}"), "-q"])
                    .map(|_| ("claim", format!("load:w{id}-{turn}"))),
            };
            if let Some((kind, name)) = done {
                acknowledged.lock().unwrap().push((kind.to_owned(), name));
                count.fetch_add(1, Ordering::AcqRel);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|id| scope.spawn(move || work(id))).collect();
        portwatch.crash_under_load(&["--source", "scan"], &count).unwrap();
        end.store(true, Ordering::Release);
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let desk = Desk::new(&portwatch, None);
    let mut there = BTreeSet::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for session in desk.json(&["sessions", "--all"])["sessions"].as_array().unwrap() {
        there.insert(("session".to_owned(), text(&session["id"])));
        there.extend(session["files"].as_array().unwrap().iter().map(|f| ("file".to_owned(), text(f))));
        let notes = desk.json(&["notes", "--session", session["id"].as_str().unwrap()]);
        there
            .extend(notes["notes"].as_array().unwrap().iter().map(|n| ("note".to_owned(), text(&n["text"]))));
    }
    let locks = desk.json(&["locks"]);
    there.extend(locks["locks"].as_array().unwrap().iter().map(|l| ("lock".to_owned(), text(&l["name"]))));
    let claims = desk.json(&["find", "load:*"]);
    there.extend(claims["claims"].as_array().unwrap().iter().map(|c| ("claim".to_owned(), text(&c["name"]))));
    let acknowledged = acknowledged.into_inner().unwrap();
    for kind in ["session", "note", "lock", "file", "claim"] {
        assert!(acknowledged.iter().any(|(k, _)| k == kind), "no {kind} was acknowledged");
    }
    let lost: Vec<_> = acknowledged.iter().filter(|one| !there.contains(one)).collect();
    assert!(lost.is_empty(), "of {} acknowledged, lost: {lost:?}", acknowledged.len());
}
