//! A day with claims, from the first claim to the cleanup, as a person types it, on the real binary.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{fs, path::Path, process::Command};

use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, Ran, require_netns, wait_until};

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
        let output = self.portwatch.command(words).current_dir(&self.directory).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
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
    if !require_netns() {
        return;
    }
    // In a namespace of its own: a daemon claims for whatever else runs in its namespace.
    let day = || {
        a_day_with_claims();
        Ok(())
    };
    Netns::new().unwrap().enter(day).unwrap();
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

fn run_server(directory: &Path, port: &str) -> Actor {
    let mut command = Command::new("python3");
    let mut server = Actor::start(command.args(["server.py", port]).current_dir(directory)).unwrap();
    assert_eq!(server.line().unwrap(), "ready");
    server
}
