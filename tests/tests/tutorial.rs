//! A day with claims, from the first claim to the cleanup, as a person types it, on the real binary.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{fs, path::Path, process::Command};

use portwatch_tests::{Actor, DEADLINE, Portwatch, Ran, in_own_netns, wait_until};

const SERVER: &str = "import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{\"status\":\"ok\"}'
        self.send_response(200); self.send_header('content-length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
s = http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H); print('ready', flush=True); s.serve_forever()";

struct Terminal {
    portwatch: Portwatch,
    directory: std::path::PathBuf,
}

impl Terminal {
    fn run(&self, words: &[&str]) -> Ran {
        Ran::of(self.portwatch.command(words).current_dir(&self.directory)).unwrap()
    }

    /// Runs it, expects the code, and gives what was printed.
    fn expect(&self, words: &[&str], code: i32) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
        ran.stdout
    }

    fn has(&self, words: &[&str], code: i32, parts: &[&str]) {
        let text = self.expect(words, code);
        for part in parts {
            assert!(text.contains(part), "{words:?} does not say {part}:\n{text}");
        }
    }
}

#[test]
fn from_claim_to_cleanup_as_the_tutorial_types_it() {
    in_own_netns(a_day_with_claims);
}

fn a_day_with_claims() {
    let portwatch = Portwatch::started(&[]).unwrap();
    let directory = portwatch.folder().join("myapp");
    fs::create_dir(&directory).unwrap();
    fs::write(
        directory.join(".portwatch.toml"),
        "project = 'myapp'\n[stacks.api]\nhealth = '/health'\n[ranges]\nweb = '8081-8099'\n",
    )
    .unwrap();
    fs::write(directory.join("server.py"), SERVER).unwrap();
    let shell = Terminal { portwatch, directory };

    // PORT=$(portwatch claim myapp:api -q)
    let port = shell.expect(&["claim", "myapp:api", "-q"], 0).trim().to_owned();
    assert!(port.parse::<u16>().is_ok());
    assert_eq!(shell.expect(&["claim", "myapp:api", "-q"], 0).trim(), port, "the same name, the same port");
    assert_eq!(shell.expect(&["claim", "api", "--export"], 0), format!("export PORT={port}\n"));
    shell.expect(&["claim", "myapp:web"], 0);
    shell.expect(&["claim", "myapp:worker"], 0);
    shell.expect(&["claim", "dashboard:api"], 0);

    // portwatch find
    shell.has(&["find", "*"], 0, &["myapp:api", "myapp:web", "myapp:worker", "dashboard:api", &port, "ago"]);
    let mine = shell.expect(&["find", "myapp:*"], 0);
    assert!(mine.contains("myapp:worker") && !mine.contains("dashboard"), "{mine}");
    let apis = shell.expect(&["find", "*:api"], 0);
    assert!(apis.contains("dashboard:api") && !apis.contains("myapp:web"), "{apis}");
    shell.has(&["find", &format!(":{port}")], 0, &["myapp:api"]);
    shell.expect(&["find", "nothing:*"], 1);
    let json = shell.run(&["find", "myapp:*", "--json"]).json().unwrap();
    assert_eq!(json["claims"].as_array().unwrap().len(), 3);
    assert!(json["claims"][0]["created"].is_string() && json["claims"][0]["port"].is_u64());

    // portwatch env, for .env and compose
    let env = shell.expect(&["env"], 0);
    assert!(env.contains(&format!("PORT_API={port}\n")) && env.contains("PORT_WEB=80"), "{env}");
    shell.has(&["env", "--format", "compose"], 0, &["services:", "  api:", "PORT_API:"]);

    // npm run dev -- --port $PORT, and health
    let server = run_server(&shell.directory, &port);
    wait_until("the claim to be live", DEADLINE, || {
        (shell.run(&["find", "myapp:api", "--json"]).json().unwrap()["claims"][0]["state"] == "live")
            .then_some(())
    })
    .unwrap();
    shell.has(&["health", "myapp:api"], 0, &["healthy", "200 OK", "/health", "{\"status\":\"ok\"}"]);
    shell.has(&["health"], 0, &["myapp:api", "healthy", "200 OK"]);
    shell.has(&["status"], 0, &["claims", "4 (1 live, 3 idle)"]);
    shell.has(&["who", "myapp:api"], 0, &["LISTEN", "python3", "myapp:api", "live"]);

    // 2am: the server has crashed
    drop(server);
    wait_until("the claim to be a ghost", DEADLINE, || {
        (shell.run(&["find", "myapp:api", "--json"]).json().unwrap()["claims"][0]["state"] == "ghost")
            .then_some(())
    })
    .unwrap();
    shell.has(
        &["health", "myapp:api"],
        1,
        &["UNHEALTHY", "connection refused", "last healthy", "portwatch release"],
    );
    shell.has(&["who", &port], 1, &["free", "myapp:api", "ghost"]);
    shell.has(&["log", "--filter", "myapp:api", "--since", "6h"], 0, &["claim", "myapp:api", "healthy"]);
    shell.has(&["log", "--type", "claim,release"], 0, &["dashboard:api"]);

    // release and reclaim
    assert_eq!(shell.expect(&["release", "myapp:api"], 0), format!("Released myapp:api (port {port})\n"));
    shell.expect(&["release", "myapp:api"], 1);
    // The same port again, or another where a connection of the crashed server still waits on the old one.
    let port = shell.expect(&["claim", "myapp:api", "-q"], 0).trim().to_owned();

    // cleanup
    shell.has(&["cleanup", "--dry-run"], 0, &["No stale claims"]);
    shell.has(
        &["cleanup", "--dry-run", "--max-age", "1ms"],
        0,
        &["Would release 4 stale claims", "myapp:worker"],
    );
    assert!(shell.expect(&["find"], 0).contains("myapp:worker"), "a dry run changes nothing");
    let living = run_server(&shell.directory, &port);
    wait_until("the claim to be live again", DEADLINE, || {
        (shell.run(&["find", "myapp:api", "--json"]).json().unwrap()["claims"][0]["state"] == "live")
            .then_some(())
    })
    .unwrap();
    shell.has(&["cleanup", "--max-age", "1ms"], 0, &["Released 3 stale claims"]);
    let left = shell.expect(&["find"], 0);
    assert!(left.contains("myapp:api") && !left.contains("myapp:worker"), "never a live one: {left}");
    shell.has(&["release", "*", "--yes"], 0, &["Released"]);
    drop(living);
}

#[test]
fn the_log_the_locks_and_the_database_as_the_tutorial_asks_them() {
    in_own_netns(a_night_of_forensics);
}

fn a_night_of_forensics() {
    let portwatch = Portwatch::started(&[]).unwrap();
    let directory = portwatch.folder().join("myapp");
    fs::create_dir(&directory).unwrap();
    let services = r#"{"project": "myapp", "services": {"api": {"cmd": "python3 server.py", "healthPath": "/health?deep=true"}}}"#;
    fs::write(directory.join(".portdaddyrc"), services).unwrap();
    fs::write(directory.join("server.py"), SERVER).unwrap();
    let shell = Terminal { portwatch, directory };

    // What the night has seen: claims, a release, a lock that is stuck, an agent.
    let port = shell.expect(&["claim", "myapp:api", "-q"], 0).trim().to_owned();
    shell.expect(&["claim", "myapp:web"], 0);
    shell.expect(&["claim", "dashboard:worker"], 0);
    shell.expect(&["release", "dashboard:worker"], 0);
    shell.expect(&["lock", "db-migrations", "--owner", "agent-db", "--ttl", "10m"], 0);
    shell.expect(&["lock", "db-migrations", "--owner", "agent-db", "--extend"], 0);
    shell.expect(&["agent", "register", "agent-worker", "--purpose", "Payments"], 0);
    let server = run_server(&shell.directory, &port);
    wait_until("the claim to be live", DEADLINE, || {
        (shell.run(&["find", "myapp:api", "--json"]).json().unwrap()["claims"][0]["state"] == "live")
            .then_some(())
    })
    .unwrap();
    // The path is that of .portdaddyrc.
    let verbose = ["health", "myapp:api", "--verbose"];
    shell.has(
        &verbose,
        0,
        &["healthy", "200 OK", &format!("{port}/health?deep=true"), "{\"status\":\"ok\"}"],
    );

    // portwatch log
    let log = shell.expect(&["log"], 0);
    for part in
        ["claim ", "release ", "lock ", "extend ", "listen ", "health ", "heartbeat ", &format!("{port}/tcp")]
    {
        assert!(log.contains(part), "no {part}:\n{log}");
    }
    let kinds = |words: &[&str]| -> Vec<String> {
        let ran = shell.run(&[&["log", "--json"], words].concat());
        let events = ran.json().unwrap()["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&["--type", "claim,release"]), ["claim", "claim", "claim", "release"]);
    assert_eq!(kinds(&["--type", "lock,unlock,extend"]), ["lock", "extend"]);
    assert_eq!(kinds(&["--type", "claim", "--since", "1h", "--filter", "myapp:*"]), ["claim", "claim"]);
    assert_eq!(kinds(&["--type", "heartbeat", "--filter", "agent-worker", "--since", "1h"]), ["heartbeat"]);
    shell.has(&["log", "--type", "error"], 1, &["Nothing happened that matches."]);
    let midnight = ["log", "--since", "2026-03-01T00:00:00Z", "--until", "2026-03-01T02:00:00Z"];
    shell.has(&midnight, 1, &["Nothing happened that matches."]);
    shell.has(
        &["log", "--summary"],
        0,
        &["3  claim", "1  release", "1  lock", "Most active", "Longest held", &format!("{port}/tcp")],
    );

    // "Lock is stuck and nothing can proceed"
    shell.has(&["locks"], 0, &["db-migrations", "owner=agent-db", "expires in"]);
    shell.has(&["agents"], 0, &["agent-worker", "active", "\"Payments\""]);
    let forced = shell.expect(&["unlock", "db-migrations", "--force"], 0);
    assert_eq!(forced, "Lock db-migrations force-released (was held by agent-db)\n");
    shell.expect(&["locks"], 1);
    assert_eq!(
        kinds(&["--type", "lock,unlock,extend", "--filter", "db-migrations", "--since", "2h"]),
        ["lock", "extend", "unlock"]
    );
    shell.has(&["status"], 0, &["running", "claims", "locks", "agents", "2 active", "sessions", "channels"]);
    shell.has(&["salvage"], 1, &["No dead agent left anything"]);
    shell.has(&["metrics"], 0, &["portwatch_uptime_seconds", "process_resident_memory_bytes"]);
    shell.has(&["version"], 0, &["build", "the same build"]);

    // sqlite3 portwatch.db, where config says that it is
    let config = shell.run(&["config", "--json"]).json().unwrap();
    let database =
        config["settings"].as_array().unwrap().iter().find(|row| row["name"] == "database").unwrap();
    let open = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let journal = rusqlite::Connection::open_with_flags(database["value"].as_str().unwrap(), open).unwrap();
    let ask = |sql: &str| -> Vec<String> {
        let mut statement = journal.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(ask("PRAGMA integrity_check"), ["ok"]);
    assert_eq!(ask("SELECT name FROM claims ORDER BY created ASC"), ["myapp:api", "myapp:web"]);
    let old = "SELECT name FROM claims WHERE created < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-24 hours')";
    assert!(ask(old).is_empty());
    assert_eq!(ask("SELECT name FROM agents WHERE purpose = 'Payments'"), ["agent-worker"]);
    let around = "SELECT type FROM events WHERE subject = 'db-migrations' ORDER BY at";
    assert_eq!(ask(around), ["lock", "extend", "unlock"]);
    drop(server);

    // As it is typed there, without quotes: the shell puts the files' names in the place of the *.
    for (command, code) in [("find", 2), ("release", 2)] {
        let ran = shell.run(&[command, "server.py"]);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains(&format!("quote it: portwatch {command} '*'")), "{ran:?}");
    }
    shell.has(&["release", "*", "--yes"], 0, &["Released 2 claims"]);
}

fn run_server(directory: &Path, port: &str) -> Actor {
    let mut command = Command::new("python3");
    let mut server = Actor::start(command.args(["server.py", port]).current_dir(directory)).unwrap();
    assert_eq!(server.line().unwrap(), "ready");
    server
}
