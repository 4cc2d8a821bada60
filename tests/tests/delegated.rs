//! Control groups that a user made, with the names of others' containers: with a real dockerd, and with an engine of the
//! user's own, which is played.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use portwatch_tests::{
    Actor, DEADLINE, Delegated, Docker, Group, IMAGE, Netns, Portwatch, require_bpf, require_docker,
    require_netns, wait_until,
};
use serde_json::Value;

/// Nobody's on this machine.
const USER: u32 = 54321;

/// Listens as the user, once it was told to, and prints its port. It may call itself anything.
const SERVER: &str = "
import os, socket, sys
sys.stdin.readline()
if sys.argv[1:]:
    open('/proc/self/comm', 'w').write(sys.argv[1])
os.setgid(54321); os.setuid(54321)
s = socket.create_server(('127.0.0.1', 0))
print(s.getsockname()[1])
sys.stdin.read()
";

/// An engine of the user's own, with one running container: socket, id, name.
const ENGINE: &str = r"
import http.server, json, os, socketserver, sys
path, id, name = sys.argv[1:]
os.setgid(54321); os.setuid(54321)
class Handler(http.server.BaseHTTPRequestHandler):
    server_version, sys_version = 'Docker/20.10.24', ''
    def address_string(self): return 'local'
    def log_message(self, *_): pass
    def do_GET(self):
        body = json.dumps([{'Id': id, 'Names': ['/' + name], 'Image': 'mine:1'}]).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
with socketserver.UnixStreamServer(path, Handler) as server:
    print('ready', flush=True)
    server.serve_forever()
";

fn server(group: &Group, arguments: &[&str]) -> (Actor, String) {
    let mut server = Actor::python(SERVER, arguments).unwrap();
    group.hold(server.pid()).unwrap();
    server.say("").unwrap();
    let port = server.line().unwrap();
    (server, port)
}

/// The first socket of an answer of `who`.
fn held(portwatch: &Portwatch, words: &[&str]) -> Value {
    let ran = portwatch.run(&[&["who", "--json"], words].concat()).unwrap();
    let target = ran.json().unwrap()["targets"][0].clone();
    assert_eq!(target["state"], "held", "{target:#}");
    target["sockets"][0].clone()
}

fn written(portwatch: &Portwatch, column: &str, pid: u32) -> Option<String> {
    let database = rusqlite::Connection::open(portwatch.database()).unwrap();
    let query = format!("SELECT {column} FROM processes WHERE pid = ?1 ORDER BY id DESC LIMIT 1");
    database.query_row(&query, [pid], |row| row.get(0)).unwrap()
}

fn victim(docker: &Docker) -> (String, String) {
    let id = docker.serve("pwvictim", "8088:80", 80, &[]).unwrap();
    (id, docker.inspect("pwvictim", "{{.NetworkSettings.IPAddress}}").unwrap())
}

#[test]
fn a_group_that_a_user_named_after_anothers_container_is_nowhere_taken_for_it() {
    if !(require_netns() && require_bpf()) {
        return;
    }
    let netns = Netns::new().unwrap();
    let Some(docker) = require_docker(&netns, &[]) else { return };
    let socket = docker.socket().display().to_string();
    let (id, address) = victim(&docker);
    let portwatch = Portwatch::started(&["--engines", &socket]).unwrap();
    let group = Group::new(&format!("pwuser{}/docker-{id}.scope", std::process::id())).unwrap();
    group.give_to(USER).unwrap();
    let (forged, port) = server(&group, &[]);
    // And one that plays the container's proxy.
    let arguments = ["docker-proxy", "-container-ip", &address, "-container-port", "80"];
    let (played, proxied) = server(&group, &arguments);

    for way in [&[][..], &["--no-daemon", "--engines", &socket]] {
        let process = held(&portwatch, &[&[port.as_str()], way].concat())["holders"][0]["process"].clone();
        assert_eq!((&process["pid"], &process["uid"]), (&forged.pid().into(), &USER.into()), "{process:#}");
        assert_eq!(process["container"], Value::Null, "{process:#}");
        let unproven = &process["unproven_container"];
        assert_eq!((&unproven["id"], &unproven["engine"]), (&id.as_str().into(), &"docker".into()));
        assert_eq!(unproven["uid"], USER);
        assert!(process["cgroup"]["path"].as_str().unwrap().ends_with(&format!("docker-{id}.scope")));

        let proxy = held(&portwatch, &[&[proxied.as_str()], way].concat());
        assert_eq!(proxy["holders"][0]["process"]["comm"], "docker-proxy", "{proxy:#}");
        assert_eq!(proxy["forwards_to"]["container"], Value::Null, "{proxy:#}");
        assert_eq!(proxy["forwards_to"]["process"], Value::Null, "{proxy:#}");

        for of in ["pwvictim", &id, &id[..12]] {
            let words = [&["ls", "--json", "--container", of], way].concat();
            let listed = portwatch.run(&words).unwrap().json().unwrap();
            let ports: Vec<_> = listed["sockets"].as_array().unwrap().iter().map(|s| &s["port"]).collect();
            assert!(ports.contains(&&80.into()), "the container itself: {listed:#}");
            for none in [&port, &proxied] {
                assert!(!ports.contains(&&none.parse::<u16>().unwrap().into()), "{listed:#}");
            }
        }
    }
    let said = portwatch.run(&["who", &port]).unwrap().stdout;
    assert!(said.contains("unproven") && !said.contains("pwvictim"), "{said}");
    let said = portwatch.run(&["who", &proxied]).unwrap().stdout;
    assert!(!said.contains("pwvictim"), "{said}");
    let free = portwatch.run(&["free", &port, "--dry-run", "--engines", &socket]).unwrap();
    assert!(!free.stdout.contains("docker stop"), "{free:?}");
    let log = portwatch.run(&["log", "--port", &port, "--json"]).unwrap().stdout;
    assert!(log.contains("\"listen\"") && !log.contains("pwvictim") && !log.contains("\"image\""), "{log}");
    assert_eq!(written(&portwatch, "container_id", forged.pid()), None);
    assert!(written(&portwatch, "cgroup", forged.pid()).unwrap().contains(&id));
    drop((forged, played));
}

#[test]
fn a_container_of_the_systems_engine_below_a_users_group_is_named_by_its_first_process() {
    if !(require_netns() && require_bpf()) {
        return;
    }
    let netns = Netns::new().unwrap();
    let name = format!("pwdelegated{}", std::process::id());
    let delegated = Delegated::new(&name).unwrap();
    let Some(docker) = require_docker(&netns, &[]) else { return };
    let socket = docker.socket().display().to_string();
    let mut portwatch = Portwatch::new().unwrap();
    netns.enter(|| portwatch.start(&["--engines", &socket])).unwrap();
    let parent = format!("/{name}");
    // It fits its parent group with processors and memory where it makes that itself.
    docker.serve("pwfirst", "8094:80", 80, &["--cgroup-parent", &parent]).unwrap();
    delegated.give_to(USER).unwrap();
    let id = docker.serve("pwbelow", "8093:80", 80, &["--cgroup-parent", &parent]).unwrap();
    let netns_of = format!("pid:{}", docker.inspect("pwbelow", "{{.State.Pid}}").unwrap());
    for way in [&[][..], &["--no-daemon", "--engines", &socket]] {
        let words = [&["who", "80", "--netns", &netns_of, "--json"], way].concat();
        let process = netns.enter(|| portwatch.run(&words)).unwrap().json().unwrap()["targets"][0]["sockets"]
            [0]["holders"][0]["process"]
            .clone();
        let container = &process["container"];
        assert_eq!(
            (&container["id"], &container["name"]),
            (&id.as_str().into(), &"pwbelow".into()),
            "{process:#}"
        );
        assert_eq!((&container["image"], &container["owner"]), (&IMAGE.into(), &Value::Null));
        assert_eq!(process["unproven_container"], Value::Null, "it is proven");
        let words = [&["who", "8093", "--json"], way].concat();
        let target = netns.enter(|| portwatch.run(&words)).unwrap().json().unwrap()["targets"][0].clone();
        let forward = &target["sockets"][0]["forwards_to"];
        assert_eq!(
            (&forward["container"]["name"], &forward["process"]["pid"]),
            (&"pwbelow".into(), &process["pid"])
        );
    }
    // Without the engine's word nothing proves it.
    let words = ["who", "80", "--netns", &netns_of, "--json", "--no-daemon", "--engines", "off"];
    let target = netns.enter(|| portwatch.run(&words)).unwrap().json().unwrap()["targets"][0].clone();
    let process = &target["sockets"][0]["holders"][0]["process"];
    assert_eq!(process["container"], Value::Null, "{process:#}");
    assert_eq!(process["unproven_container"]["id"], id.as_str());
    docker.docker(&["rm", "--force", "pwbelow", "pwfirst"]).unwrap();
}

#[test]
fn an_engine_of_a_users_own_names_what_is_in_that_users_groups_and_nothing_else() {
    if !(require_netns() && require_bpf()) {
        return;
    }
    let netns = Netns::new().unwrap();
    let Some(docker) = require_docker(&netns, &[]) else { return };
    let (victim, _) = victim(&docker);
    let folder = tempfile::tempdir().unwrap();
    nix::unistd::chown(folder.path(), Some(USER.into()), None).unwrap();
    let path = folder.path().join("s");
    let system = docker.socket().display().to_string();
    let own = path.display().to_string();
    let start = |id: &str, name: &str| {
        let _ = std::fs::remove_file(&path);
        let mut engine = Actor::python(ENGINE, &[&own, id, name]).unwrap();
        assert_eq!(engine.line().unwrap(), "ready");
        engine
    };

    let id = format!("{:08x}{}", std::process::id(), "e".repeat(56));
    let engine = start(&id, "pwmine");
    let engines = format!("{own},{system}");
    let portwatch = Portwatch::started(&["--engines", &engines]).unwrap();
    let group = Group::new(&format!("pwown{}/docker-{id}.scope", std::process::id())).unwrap();
    group.give_to(USER).unwrap();
    let (rootless, port) = server(&group, &[]);
    for way in [&[][..], &["--no-daemon", "--engines", &engines]] {
        let process = held(&portwatch, &[&[port.as_str()], way].concat())["holders"][0]["process"].clone();
        let container = &process["container"];
        assert_eq!(
            (&container["name"], &container["image"]),
            (&"pwmine".into(), &"mine:1".into()),
            "{process:#}"
        );
        assert_eq!(container["owner"], USER);
    }
    let named =
        || (written(&portwatch, "container", rootless.pid()).as_deref() == Some("pwmine")).then_some(());
    wait_until("the container's name in the journal", DEADLINE, named).unwrap();
    let said = portwatch.run(&["who", &port]).unwrap().stdout;
    assert!(said.contains(&format!("of uid {USER}")), "{said}");
    drop((rootless, engine));

    // It says that another's container is its own: nobody is renamed, here or in what is written down.
    let engine = start(&victim, "pwstolen");
    let words = ["--netns", &format!("pid:{}", docker.inspect("pwvictim", "{{.State.Pid}}").unwrap())];
    for way in [&[][..], &["--no-daemon", "--engines", &engines]] {
        let process = held(&portwatch, &[&["80"], &words[..], way].concat())["holders"][0]["process"].clone();
        assert_eq!(process["container"]["name"], "pwvictim", "{process:#}");
        assert_eq!(process["container"]["owner"], Value::Null);
    }
    drop(engine);
}
