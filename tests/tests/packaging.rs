//! The packaged unit under a real systemd: what it forbids is nothing that the daemon needs.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, Ran, Systemd, require_bpf, require_netns, require_systemd, wait_until,
};
use serde_json::Value;

/// As it is installed, but for where the program lies.
const UNIT: &str = include_str!("../../packaging/portwatch.service");
const PROGRAM: &str = "/usr/bin/portwatch";
/// Where it lies here: not in the folder of this build, which a unit with PrivateTmp may not see.
const COPY: &str = "/var/lib/program";

/// Another user's server, in a directory of its own.
const WEB: &str = "[Service]
ExecStart=/usr/bin/python3 -S -m http.server 3100 --bind 127.0.0.1
User=nobody
WorkingDirectory=/usr/share
";

/// Prints its port, and the name of the event of each request.
const HOOK: &str = "
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(json.loads(self.rfile.read(int(self.headers['Content-Length'])))['claim'], flush=True)
        self.send_response(204); self.end_headers()
    def log_message(self, *a): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
";

/// Runs the program as an administrator does there, who has set nothing.
fn run(systemd: &Systemd, portwatch: &Portwatch, words: &[&str]) -> Ran {
    let mut command = Command::new(portwatch.binary());
    for (name, _) in portwatch.command(&[]).get_envs() {
        command.env_remove(name);
    }
    portwatch.run_command(systemd.inside(command.args(words).arg("--json"))).unwrap()
}

#[test]
fn the_packaged_unit_forbids_nothing_that_the_daemon_needs() {
    if !(require_netns() && require_bpf()) {
        return;
    }
    let (netns, portwatch) = (Netns::new().unwrap(), Portwatch::new().unwrap());
    assert!(UNIT.contains(PROGRAM));
    let unit = UNIT.replace(PROGRAM, COPY);
    let Some(systemd) = require_systemd(&netns, &[("portwatch.service", &unit), ("web.service", WEB)]) else {
        return;
    };
    let mut copy = Command::new("cp");
    let copied = Ran::of(&mut systemd.inside(copy.arg(portwatch.binary()).arg(COPY))).unwrap();
    assert_eq!(copied.code, Some(0), "{copied:?}");
    let ask = |words: &[&str]| {
        let ran = run(&systemd, &portwatch, words);
        assert_eq!(ran.code, Some(0), "{words:?} {ran:?}\n{}", systemd.log());
        ran.json().unwrap()
    };

    // Started means that it says it is ready.
    systemd.ctl(&["start", "portwatch.service"]).unwrap();
    let status = ask(&["status"]);
    // The programs load. They serve where the service is not in a pid namespace, as this systemd is, whose pids are others.
    assert_eq!(status["source"]["source"], "scan", "{status:#}");
    assert_eq!(status["source"]["degradations"][0]["name"], "pid-namespace", "{status:#}");

    // A claim is tried by a bind, also below 1024, and an event goes to a server of this machine.
    let mut hook = netns.enter(|| Actor::python(HOOK, &[])).unwrap();
    let url = format!("http://127.0.0.1:{}/", hook.line().unwrap());
    ask(&["webhook", "add", &url, "--on", "claim", "--filter", "shop:*"]);
    for words in [
        &["claim", "shop:api"][..],
        &["claim", "shop:low", "--port", "80"],
        &["claim", "shop:web", "--port", "3100"],
    ] {
        ask(words);
        assert_eq!(hook.line().unwrap(), words[1]);
    }
    systemd.ctl(&["start", "web.service"]).unwrap();
    let who = wait_until("the server", DEADLINE, || {
        let ran = run(&systemd, &portwatch, &["who", "3100"]);
        (ran.code == Some(0)).then(|| ran.json().unwrap())
    });
    let who: Value = who.unwrap();
    let process = &who["targets"][0]["sockets"][0]["holders"][0]["process"];
    assert_eq!((&process["cwd"], &process["user"]), (&"/usr/share".into(), &"nobody".into()), "{who:#}");
    assert_eq!(process["unit"]["name"], "web.service", "{who:#}");

    systemd.ctl(&["stop", "portwatch.service"]).unwrap();
    assert_eq!(systemd.property("portwatch.service", "Result").unwrap(), "success", "{}", systemd.log());
    assert_eq!(systemd.property("portwatch.service", "NRestarts").unwrap(), "0");
    let state = std::path::PathBuf::from(format!("/proc/{}/root/var/lib/portwatch", systemd.pid()));
    let mode = |name: &str| std::fs::metadata(state.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("portwatch.db")), (0o700, 0o600));
}
