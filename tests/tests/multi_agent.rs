//! The tutorial's lines on agents that work at the same time, typed as they stand there, at a terminal, on the real binary:
//! sessions, notes, files, salvage, locks and what the log says of them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::{
    fmt::Write as _,
    fs,
    process::{Child, Command, Stdio},
};

use nix::sys::signal::{Signal, kill};
use portwatch_tests::{DEADLINE, Portwatch, Ran, wait_until};

const FILES_OF_CHECKOUT: [&str; 3] = [
    "src/components/checkout/CheckoutForm.tsx",
    "src/components/checkout/PaymentStatus.tsx",
    "src/hooks/usePayment.ts",
];
const FILES_OF_PAYMENT: [&str; 5] = [
    "src/api/payments/route.ts",
    "src/api/payments/webhook.ts",
    "src/types/Payment.ts",
    "src/middleware/auth.ts",
    "src/lib/stripe.ts",
];
const NOTES_OF_CHECKOUT: [&str; 6] = [
    "Started working on checkout form",
    "Installed @stripe/react-stripe-js",
    "CheckoutForm component complete",
    "Blocked: need payment API types from session-c3d4",
    "Unblocked: types available, integrating",
    "ERROR: API returning 500 on /api/payments",
];

/// What the tutorial finds there: three agents at work or done, one that died.
struct Scene<'a> {
    portwatch: &'a Portwatch,
    checkout: String,
    payment: String,
    migrations: String,
    left: String,
}

impl<'a> Scene<'a> {
    fn new(portwatch: &'a Portwatch) -> Self {
        fs::create_dir_all(portwatch.folder().join("project")).unwrap();
        let mut scene = Self {
            portwatch,
            checkout: String::new(),
            payment: String::new(),
            migrations: String::new(),
            left: String::new(),
        };
        scene.migrations = scene.begin("agent-db", "Database migrations", &[]);
        for at in 1..=4 {
            scene.agent("agent-db", &["note", &format!("step {at}")]);
        }
        scene.agent("agent-db", &["session", "end"]);
        scene.payment = scene.begin("agent-api", "Payment API integration", &FILES_OF_PAYMENT);
        scene.checkout = scene.begin("agent-web", "Building checkout UI", &FILES_OF_CHECKOUT);
        for note in NOTES_OF_CHECKOUT {
            scene.agent("agent-web", &["note", note]);
        }
        scene.left_by_the_dead();
        scene.locks();
        scene
    }

    /// A command of an agent, in the project's directory.
    fn agent(&self, agent: &str, words: &[&str]) -> String {
        let mut command = self.portwatch.command(words);
        command.env("PORTWATCH_AGENT", agent).current_dir(self.portwatch.folder().join("project"));
        let ran = Ran::of(&mut command).unwrap();
        assert_eq!(ran.code, Some(0), "{agent} {words:?} {ran:?}");
        ran.stdout.trim().to_owned()
    }

    fn begin(&self, agent: &str, purpose: &str, files: &[&str]) -> String {
        let mut words = vec!["session", "start", purpose, "-q"];
        if !files.is_empty() {
            words.push("--files");
            words.extend(files);
        }
        self.agent(agent, &words)
    }

    /// An agent whose process was killed, a quarter of an hour ago.
    fn left_by_the_dead(&mut self) {
        let mut process: Child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = process.id().to_string();
        let worker = "agent-worker";
        let purpose = "Processing payment webhooks";
        self.agent(worker, &["agent", "register", "--purpose", purpose, "--pid", &pid]);
        self.left = self.begin(worker, "Webhook handler", &["src/workers/stripe-webhook.ts"]);
        for note in ["began", "signatures", "retries", "Stripe webhook handler 80% complete"] {
            self.agent(worker, &["note", note]);
        }
        kill(nix::unistd::Pid::from_raw(process.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
        process.wait().unwrap();
        wait_until("the agent to be dead", DEADLINE, || {
            let found = self.portwatch.run(&["salvage", "--json"]).unwrap().json().unwrap();
            (found["dead"].as_array().unwrap().len() == 1).then_some(())
        })
        .unwrap();
        self.change("UPDATE agent SET died = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-15 minutes') WHERE name = 'agent-worker'");
    }

    /// One that is held, and one whose time passed 37 minutes ago.
    fn locks(&self) {
        self.agent("agent-deploy", &["lock", "deploy-staging", "--ttl", "5m"]);
        self.agent("agent-db", &["lock", "db-migrations", "--ttl", "10m"]);
        self.agent("agent-db", &["lock", "db-migrations", "--extend", "--ttl", "10m"]);
        self.change(
            "UPDATE lock SET since = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-47 minutes'),
                 expires = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-37 minutes') WHERE name = 'db-migrations'",
        );
    }

    fn change(&self, sql: &str) {
        let database = rusqlite::Connection::open(self.portwatch.database()).unwrap();
        database.busy_timeout(DEADLINE).unwrap();
        assert_eq!(database.execute(sql, []).unwrap(), 1);
    }

    /// Types lines at one terminal, `pd` being portwatch, and gives what each printed and its exit code.
    fn type_in(&self, lines: &[&str]) -> Vec<(String, i32)> {
        let file = self.portwatch.folder().join("typed");
        let mut script = format!("pd() {{ {} \"$@\"; }}\n", self.portwatch.binary().display());
        for line in lines {
            writeln!(script, "{line}\nprintf '\\n<<<%s>>>\\n' $?").unwrap();
        }
        fs::write(&file, script).unwrap();
        let mut terminal = self.portwatch.environment().around(Command::new("script"));
        terminal.args(["-qec", &format!("bash {}", file.display()), "/dev/null"]);
        terminal.env("TERM", "xterm").env("NO_COLOR", "1").env("COLUMNS", "200").stdin(Stdio::null());
        terminal.env_remove("PORTWATCH_AGENT").current_dir(self.portwatch.folder().join("project"));
        let shown = Ran::of(&mut terminal).unwrap().stdout.replace('\r', "");
        let mut rest = shown.as_str();
        let mut out = Vec::new();
        for line in lines {
            let (text, after) = rest.split_once("\n<<<").unwrap_or_else(|| panic!("{line}: {shown}"));
            let (code, after) = after.split_once(">>>\n").unwrap();
            out.push((text.trim_end().to_owned(), code.parse().unwrap()));
            rest = after;
        }
        out
    }
}

/// Lines without the blanks that only fill columns.
fn squeezed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Each of these lines begins one of those printed, in this order.
fn has_lines(text: &str, expected: &[&str]) {
    let lines = squeezed(text);
    let mut at = 0;
    for wanted in expected {
        let found = lines[at..].iter().position(|line| line.starts_with(wanted));
        at += found.unwrap_or_else(|| panic!("no line '{wanted}' from the {at}th on:\n{text}")) + 1;
    }
}

fn both(test: impl Fn(&Portwatch)) {
    test(&Portwatch::new().unwrap());
    test(&Portwatch::started(&["--source", "scan"]).unwrap());
}

#[test]
fn session_tracking_for_multi_agent_debugging_as_it_is_typed() {
    both(|portwatch| {
        let scene = Scene::new(portwatch);
        let Scene { checkout, payment, migrations, left, .. } = &scene;
        let notes = format!("pd notes --session {checkout}");
        let of_dead = format!("pd notes --session {left}");
        let shown = scene.type_in(&[
            "pd sessions",
            &notes,
            "pd sessions --files",
            "pd salvage",
            // "Agents keep dying and entering salvage"
            &of_dead,
            "pd log --type heartbeat --filter agent-worker --since 1h",
            "pd agents",
            // What its last line says.
            "pd salvage claim agent-worker",
            "pd salvage",
        ]);
        let codes: Vec<i32> = shown.iter().map(|(_, code)| *code).collect();
        assert_eq!(codes, [0, 0, 0, 0, 0, 0, 0, 0, 1], "{shown:#?}");
        has_lines(
            &shown[0].0,
            &[&format!("{checkout} \"Building checkout UI\" active 3 files claimed 6 notes")],
        );
        has_lines(
            &shown[0].0,
            &[&format!("{payment} \"Payment API integration\" active 5 files claimed 0 notes")],
        );
        has_lines(&shown[0].0, &[&format!("{migrations} \"Database migrations\" completed 0 files 4 notes")]);

        let read: Vec<&str> = shown[1].0.lines().map(|line| line.split_once("] ").unwrap().1).collect();
        assert_eq!(read, NOTES_OF_CHECKOUT);
        assert!(
            shown[1].0.lines().all(|line| line.starts_with('[') && line[1..].find(']') == Some(5)),
            "[10:14]: {shown:?}"
        );

        let claims = |id: &str, files: &[&str]| {
            let mut lines = vec![format!("{id} claims:")];
            lines.extend(files.iter().map(|file| (*file).to_owned()));
            lines
        };
        for (id, files) in [(checkout, &FILES_OF_CHECKOUT[..]), (payment, &FILES_OF_PAYMENT[..])] {
            let mut files = files.to_vec();
            files.sort_unstable();
            let lines = claims(id, &files);
            has_lines(&shown[2].0, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        }
        assert!(!shown[2].0.contains("CONFLICT"), "No overlapping files -- good: {}", shown[2].0);

        has_lines(
            &shown[3].0,
            &[
                "Dead agents with recoverable context:",
                "agent-worker (died 15m ago)",
                "Purpose: \"Processing payment webhooks\"",
                &format!("Session: {left} (4 notes)"),
                "Last note: \"Stripe webhook handler 80% complete\"",
                "Files claimed: src/workers/stripe-webhook.ts",
                "Run: portwatch salvage claim agent-worker",
            ],
        );
        assert!(shown[4].0.ends_with("Stripe webhook handler 80% complete"), "{}", shown[4].0);
        assert!(shown[5].0.contains("dead: its process"), "{}", shown[5].0);
        has_lines(&shown[6].0, &["agent-worker dead"]);
        has_lines(&shown[7].0, &["Salvaged agent-worker: its work is yours now", left]);
        has_lines(&shown[8].0, &["No dead agent left anything to salvage."]);
        // Nothing went on the way: the notes are there, whoever has them now.
        let ran = portwatch.run(&["notes", "--session", left]).unwrap();
        assert!(
            ran.stdout.contains("80% complete") && ran.stdout.contains("taken over from agent-worker"),
            "{ran:?}"
        );
    });
}

#[test]
fn understanding_lock_contention_as_it_is_typed() {
    both(|portwatch| {
        let scene = Scene::new(portwatch);
        let shown = scene.type_in(&[
            "pd locks",
            "pd locks --json",
            "pd agents",
            "pd log --type lock,unlock --filter db-migrations --since 1h",
            "pd unlock db-migrations --force",
            "pd locks",
            "pd log --type lock,unlock --since 2h",
        ]);
        let codes: Vec<i32> = shown.iter().map(|(_, code)| *code).collect();
        assert_eq!(codes, [0; 7], "{shown:#?}");
        has_lines(
            &shown[0].0,
            &[
                "db-migrations owner=agent-db held 47m expires in -37m (EXPIRED)",
                "deploy-staging owner=agent-deploy held ",
            ],
        );
        let json: serde_json::Value = serde_json::from_str(&shown[1].0).unwrap();
        let lock = &json["locks"][0];
        assert_eq!(
            (&lock["name"], &lock["owner"], &lock["ttl"]),
            (&"db-migrations".into(), &"agent-db".into(), &600.into())
        );
        assert!(lock["heldSince"].as_str().unwrap().ends_with('Z'), "{lock}");
        // Who extends it again and again is to be seen there.
        let told: Vec<String> = squeezed(&shown[3].0)
            .iter()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
            .map(|line| line.split_once(' ').unwrap().1.to_owned())
            .collect();
        let owner = "db-migrations owner=agent-db";
        assert_eq!(told, [format!("lock {owner} for 10m"), format!("extend {owner} +10m")], "{}", shown[3].0);
        assert_eq!(shown[4].0, "Lock db-migrations force-released (was held by agent-db)");
        assert_eq!(squeezed(&shown[5].0).len(), 1, "{}", shown[5].0);
        assert!(shown[6].0.contains("forced by") && shown[6].0.contains("deploy-staging"), "{}", shown[6].0);
    });
}
