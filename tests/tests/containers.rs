//! Containers and units with real engines: dockerd with a published port, with and without its userland proxy; control
//! groups named as systemd names them; socket activation.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::MetadataExt as _,
    process::Command,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portwatch_tests::{
    Actor, DEADLINE, Docker, Group, IMAGE, Netns, Portwatch, Ran, free_port, require_bpf, require_docker,
    require_netns, wait_until,
};
use serde_json::Value;

/// The answer of `who PORT` in the engine's namespace.
fn who(portwatch: &Portwatch, netns: &Netns, docker: &Docker, words: &[&str]) -> Value {
    let socket = docker.socket().display().to_string();
    let words = [&["who", "--json", "--engines", &socket], words].concat();
    let ran = netns.enter(|| portwatch.run(&words)).unwrap();
    ran.json().unwrap()["targets"][0].clone()
}

/// What came back over HTTP: the port really leads there.
fn fetched(netns: &Netns, port: u16) -> String {
    let answer = netns.enter(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    answer.unwrap()
}

fn assert_leads_to(forward: &Value, docker: &Docker, name: &str, port: u16) {
    let id = docker.inspect(name, "{{.Id}}").unwrap();
    let pid: u64 = docker.inspect(name, "{{.State.Pid}}").unwrap().parse().unwrap();
    let address = docker.inspect(name, "{{.NetworkSettings.IPAddress}}").unwrap();
    let netns = fs::metadata(format!("/proc/{pid}/ns/net")).unwrap().ino();
    assert_eq!(forward["process"]["pid"], pid, "{forward:#}");
    assert_eq!(forward["process"]["comm"], "httpd");
    assert_eq!((&forward["port"], &forward["netns"]), (&port.into(), &netns.into()));
    assert_eq!(forward["address"], address.as_str());
    assert_eq!(
        (&forward["container"]["id"], &forward["container"]["engine"]),
        (&id.into(), &"docker".into())
    );
    assert_eq!(forward["evidence"], "inferred");
}

#[test]
fn a_published_port_is_held_by_its_proxy_and_leads_to_the_process_in_the_container() {
    if !(require_netns() && require_bpf()) {
        return;
    }
    let netns = Netns::new().unwrap();
    let Some(docker) = require_docker(&netns, &[]) else { return };
    let socket = docker.socket().display().to_string();
    let mut portwatch = Portwatch::new().unwrap();
    netns.enter(|| portwatch.start(&["--engines", &socket])).unwrap();
    let labels = ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web"];
    let id = docker.serve("pwweb", "8088:80", 80, &labels).unwrap();
    docker.serve("pwother", "8089:80", 80, &[]).unwrap();
    assert!(fetched(&netns, 8088).ends_with("from inside\n"));

    // A daemon that saw it begin, and a snapshot of now.
    for words in [&["8088"][..], &["8088", "--no-daemon"]] {
        let target = who(&portwatch, &netns, &docker, words);
        assert_eq!(target["state"], "held");
        let sockets = target["sockets"].as_array().unwrap();
        assert_eq!(sockets.len(), 2, "IPv4 and IPv6: {target:#}");
        for held in sockets {
            // What the kernel says stays: the proxy holds it, and ss agrees.
            let holder = &held["holders"][0]["process"];
            assert_eq!((&holder["comm"], &holder["container"]), (&"docker-proxy".into(), &Value::Null));
            let ss =
                netns.enter(|| Ok(Command::new("ss").args(["-Htlnp", "sport = :8088"]).output()?)).unwrap();
            let ss = String::from_utf8(ss.stdout).unwrap();
            assert!(ss.contains(&format!("pid={},", holder["pid"])), "{ss}");
            let forward = &held["forwards_to"];
            assert_eq!(forward["forwarder"], "docker-proxy");
            assert_leads_to(forward, &docker, "pwweb", 80);
            let container = &forward["container"];
            assert_eq!((&container["name"], &container["image"]), (&"pwweb".into(), &IMAGE.into()));
            assert_eq!(
                (&container["compose_project"], &container["compose_service"]),
                (&"shop".into(), &"web".into())
            );
        }
        let other = who(&portwatch, &netns, &docker, &[&["8089"], &words[1..]].concat());
        assert_leads_to(&other["sockets"][0]["forwards_to"], &docker, "pwother", 80);
    }

    // The port inside is another place: two containers have it and the namespace of the engine does not.
    let inside = who(&portwatch, &netns, &docker, &["80"]);
    assert_eq!((&inside["state"], &inside["sockets"]), (&"free".into(), &Value::Array(Vec::new())));
    let elsewhere = inside["elsewhere"].as_array().unwrap().iter();
    // Whatever else this machine runs.
    let named: Vec<_> = elsewhere.map(|s| &s["holders"][0]["process"]["container"]["name"]).collect();
    assert!(named.contains(&&"pwweb".into()) && named.contains(&&"pwother".into()), "{named:?}");
    let pid = docker.inspect("pwweb", "{{.State.Pid}}").unwrap();
    let inside = who(&portwatch, &netns, &docker, &["80", "--netns", &format!("pid:{pid}")]);
    assert_eq!(inside["sockets"][0]["holders"][0]["process"]["container"]["id"], id.as_str());

    // Text and list.
    let ran = netns.enter(|| portwatch.run(&["who", "8088"])).unwrap();
    assert!(
        ran.stdout.contains(&format!("to httpd ({pid}), port 80 in container pwweb (docker)")),
        "{ran:?}"
    );
    let ran = netns.enter(|| portwatch.run(&["ls", "--container", "pwweb", "--json"])).unwrap();
    let list = ran.json().unwrap();
    let ports: Vec<_> = list["sockets"].as_array().unwrap().iter().map(|s| &s["port"]).collect();
    assert_eq!(ports, [80, 8088, 8088], "its own socket and those that lead to it");

    // The journal learns the name as soon as the engine tells it.
    let query = format!(
        "SELECT count(*) FROM processes WHERE comm = 'httpd' AND container = 'pwweb' AND container_id = '{id}'
         AND image = '{IMAGE}' AND compose_service = 'web'"
    );
    let named = || -> Option<()> {
        let database = rusqlite::Connection::open(portwatch.database()).ok()?;
        let count: i64 = database.query_row(&query, [], |row| row.get(0)).ok()?;
        (count == 1).then_some(())
    };
    wait_until("the container's name in the journal", DEADLINE, named).unwrap();

    // Without the engine's word: the proxy's arguments and the addresses inside tell, the name is missing.
    let ran =
        netns.enter(|| portwatch.run(&["who", "8088", "--no-daemon", "--engines", "off", "--json"])).unwrap();
    let forward = ran.json().unwrap()["targets"][0]["sockets"][0]["forwards_to"].clone();
    assert_leads_to(&forward, &docker, "pwweb", 80);
    assert_eq!(forward["container"]["name"], Value::Null);
    let dead = portwatch.folder().join("dead.socket");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let words = ["who", "8088", "--no-daemon", "--engines", dead.to_str().unwrap(), "--json"];
    let answer = netns.enter(|| portwatch.run(&words)).unwrap().json().unwrap();
    let reason = &answer["source"]["degradations"][0];
    assert_eq!(reason["name"], "engine-unreadable");
    assert!(reason["what"].as_str().unwrap().contains("nobody listens there"), "{reason}");

    // The proxies are gone, the rules in the kernel are not: nothing holds the port, and it leads inside all the same.
    // (The port that was connected to may be in TIME_WAIT.)
    let proxies = who(&portwatch, &netns, &docker, &["8089"])["sockets"].as_array().unwrap().clone();
    for held in proxies {
        let pid = i32::try_from(held["holders"][0]["process"]["pid"].as_i64().unwrap()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    let published = wait_until("the proxies to end", DEADLINE, || {
        let target = who(&portwatch, &netns, &docker, &["8089"]);
        target["sockets"].as_array().unwrap().is_empty().then_some(target)
    })
    .unwrap();
    assert_eq!((&published["state"], &published["verdict"]["bindable"]), (&"held".into(), &true.into()));
    let sentence = published["verdict"]["sentence"].as_str().unwrap();
    assert!(
        sentence.ends_with("Connections to it would go to container pwother all the same."),
        "{sentence}"
    );
    let published = &published["published"][0];
    assert_eq!((&published["address"], &published["port"]), (&Value::Null, &8089.into()));
    assert_eq!(published["to"]["forwarder"], "docker");
    assert_leads_to(&published["to"], &docker, "pwother", 80);
    let ran = netns.enter(|| portwatch.run(&["who", "8089"])).unwrap();
    assert_eq!(ran.code, Some(0));
    assert!(ran.stdout.starts_with("8089/tcp  published by docker\n"), "{}", ran.stdout);
}

#[test]
fn without_a_userland_proxy_dockerd_holds_the_port_and_it_leads_to_the_container_too() {
    if !(require_netns() && require_bpf()) {
        return;
    }
    let netns = Netns::new().unwrap();
    let Some(docker) = require_docker(&netns, &["--userland-proxy=false"]) else { return };
    docker.serve("pwdirect", "8090:81", 81, &[]).unwrap();
    let socket = docker.socket().display().to_string();
    let mut portwatch = Portwatch::new().unwrap();
    // It was there before the daemon.
    netns.enter(|| portwatch.start(&["--engines", &socket])).unwrap();
    for words in [&["8090"][..], &["8090", "--no-daemon"]] {
        let target = who(&portwatch, &netns, &docker, words);
        let held = &target["sockets"][0];
        assert_eq!(held["holders"][0]["process"]["pid"], docker.pid(), "{target:#}");
        assert_eq!(held["forwards_to"]["forwarder"], "dockerd");
        assert_leads_to(&held["forwards_to"], &docker, "pwdirect", 81);
    }
    // Its other sockets lead nowhere.
    let own = netns.enter(|| portwatch.run(&["ls", "--json"])).unwrap().json().unwrap();
    let forwards = own["sockets"].as_array().unwrap().iter().filter(|s| s["port"] != 8090);
    assert!(forwards.clone().all(|s| s["forwards_to"].is_null()), "{own:#}");
}

#[test]
fn a_container_is_ended_by_the_signal_that_was_asked_for_and_stays_ended() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    let Some(docker) = require_docker(&netns, &[]) else { return };
    let portwatch = Portwatch::new().unwrap();
    let host = format!("unix://{}", docker.socket().display());
    // As `docker` itself is told of it.
    let free = |more: &[&str]| {
        let words = [&["free", "8091", "--json"][..], more].concat();
        let run = || Ok(portwatch.command(&words).env("DOCKER_HOST", &host).output()?);
        let output = netns.enter(run).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    };
    docker.serve("pwkept", "8091:80", 80, &["--restart", "always"]).unwrap();
    for (signal, grace) in [("KILL", "1m"), ("USR1", "500ms")] {
        let planned = free(&["--dry-run", "--signal", signal]).json().unwrap()["targets"][0].clone();
        assert_eq!(planned["containers"][0]["command"], format!("docker kill --signal SIG{signal} pwkept"));
        // The first process of a container gets no signal that it does not handle, but for SIGKILL.
        let freed = free(&["--yes", "--signal", signal, "--grace", grace]);
        assert_eq!(freed.code, Some(0), "{freed:?}");
        let took = freed.json().unwrap()["targets"][0]["seconds"].as_f64().unwrap();
        assert!(took < 30.0, "the grace is for those who are asked: {freed:?}");
        let state = "{{.State.Running}} {{.State.ExitCode}} {{.RestartCount}}";
        assert_eq!(docker.inspect("pwkept", state).unwrap(), "false 137 0");
        docker.docker(&["start", "pwkept"]).unwrap();
    }
    // Asked in its own way.
    let planned = free(&["--dry-run"]).json().unwrap()["targets"][0].clone();
    assert_eq!(planned["containers"][0]["command"], "docker stop pwkept");
}

/// Listens once it was told to, and prints its port.
fn in_group(group: &Group) -> (Actor, String) {
    let program = "
import socket, sys
sys.stdin.readline()
s = socket.create_server(('127.0.0.1', 0))
print(s.getsockname()[1])
sys.stdin.read()
";
    let mut actor = Actor::python(program, &[]).unwrap();
    group.hold(actor.pid()).unwrap();
    actor.say("").unwrap();
    let port = actor.line().unwrap();
    (actor, port)
}

#[test]
fn a_unit_is_known_by_its_control_group_with_a_daemon_and_without_one() {
    if !require_bpf() {
        return;
    }
    let name = format!("pwtest-{}.service", std::process::id());
    let group = Group::new(&format!("pwtest{}.slice/{name}", std::process::id())).unwrap();
    let portwatch = Portwatch::started(&[]).unwrap();
    let (actor, port) = in_group(&group);
    for words in [&["who", &port, "--json"][..], &["who", &port, "--json", "--no-daemon"]] {
        let target = portwatch.run(words).unwrap().json().unwrap()["targets"][0].clone();
        let unit = &target["sockets"][0]["holders"][0]["process"]["unit"];
        assert_eq!(unit["name"], name.as_str(), "{target:#}");
        assert_eq!(unit["slice"], format!("pwtest{}.slice", std::process::id()).as_str());
    }
    let ran = portwatch.run(&["who", &port]).unwrap();
    assert!(ran.stdout.contains(&format!("unit {name}")), "{}", ran.stdout);
    let ran = portwatch.run(&["ls", "--port", &port]).unwrap();
    assert!(ran.stdout.contains(" unit "), "{}", ran.stdout);
    let unit: String = rusqlite::Connection::open(portwatch.database())
        .unwrap()
        .query_row("SELECT unit FROM processes WHERE pid = ?1", [actor.pid()], |row| row.get(0))
        .unwrap();
    assert_eq!(unit, name);
    drop(actor);
}

#[test]
fn a_pod_and_a_container_of_containerd_and_crio_are_known_by_their_control_groups() {
    if !require_bpf() {
        return;
    }
    // The groups that kubelet and the engines make, by systemd's driver and by their own; the last is containerd's without a pod.
    let id = |digit: char| format!("{:08x}{}", std::process::id(), String::from(digit).repeat(56));
    let uid = format!("{:08x}-1111-2222-3333-444455556666", std::process::id());
    let escaped = uid.replace('-', "_");
    let slice = format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{escaped}.slice");
    let portwatch = Portwatch::started(&[]).unwrap();
    for (path, engine, id, pod) in [
        (format!("{slice}/cri-containerd-{}.scope", id('a')), "containerd", id('a'), Some(&uid)),
        (format!("{slice}/crio-{}.scope", id('b')), "cri-o", id('b'), Some(&uid)),
        (
            format!("kubepods/besteffort/pod{uid}/cri-containerd-{}", id('c')),
            "containerd",
            id('c'),
            Some(&uid),
        ),
        (format!("system.slice/nerdctl-{}.scope", id('d')), "containerd", id('d'), None),
    ] {
        let group = Group::new(&path).unwrap();
        let (actor, port) = in_group(&group);
        for way in [&[][..], &["--no-daemon"]] {
            let ran = portwatch.run(&[&["who", &port, "--json"][..], way].concat()).unwrap();
            let target = ran.json().unwrap()["targets"][0].clone();
            let container = &target["sockets"][0]["holders"][0]["process"]["container"];
            assert_eq!(
                (&container["id"], &container["engine"]),
                (&id.as_str().into(), &engine.into()),
                "{target:#}"
            );
            assert_eq!(container["pod"], pod.map_or(Value::Null, |pod| pod.as_str().into()), "{target:#}");
        }
        let said = portwatch.run(&["who", &port]).unwrap().stdout;
        assert!(said.contains(&id[..12]), "{said}");
        // Who would free it is told whose it is, and nothing is ended.
        let free = portwatch.run(&["free", &port, "--yes", "--engines", "off"]).unwrap();
        let instead = if pod.is_some() { "kubectl delete pod" } else { "nerdctl stop" };
        assert_eq!(free.code, Some(3), "{free:?}");
        assert!(free.stdout.contains(instead), "{free:?}");
        assert!(actor.finish().unwrap().success());
    }
}

#[test]
fn a_group_that_only_has_a_containers_name_stops_no_container() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    let Some(docker) = require_docker(&netns, &[]) else { return };
    let portwatch = Portwatch::new().unwrap();
    let socket = docker.socket().display().to_string();
    let id = docker.serve("pwvictim", "8088:80", 80, &[]).unwrap();
    // As a user names one below their own manager.
    let group = Group::new(&format!("pwtest{}/docker-{id}.scope", std::process::id())).unwrap();
    let (server, port) = in_group(&group);
    let free = |more: &[&str]| {
        let words = [&["free", &port, "--yes", "--engines", &socket][..], more].concat();
        portwatch.run(&words).unwrap()
    };
    let ran = free(&[]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let said = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("such names can be forged, and no container is stopped for it"), "{ran:?}");
    let ran = free(&["--force", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let target = ran.json().unwrap()["targets"][0].clone();
    assert_eq!(target["processes"][0]["process"]["pid"], server.pid(), "{target:#}");
    assert_eq!(target["containers"], Value::Array(Vec::new()), "{target:#}");
    assert_eq!(docker.inspect("pwvictim", "{{.State.Running}}").unwrap(), "true");

    // Whoever is in the container's own group is in the container.
    let inside = docker.inspect("pwvictim", "{{.State.Pid}}").unwrap();
    let plan = netns.enter(|| portwatch.run(&["free", "8088", "--dry-run", "--engines", &socket]));
    assert!(plan.unwrap().stdout.contains("docker stop pwvictim"), "{inside}");
    let words = ["free", "80", "--dry-run", "--engines", &socket];
    let target = format!("/proc/{inside}/ns/net");
    let within =
        Command::new("nsenter").arg(format!("--net={target}")).arg(portwatch.binary()).args(words).output();
    let plan = String::from_utf8(within.unwrap().stdout).unwrap();
    assert!(plan.contains("docker stop pwvictim"), "{plan}");
}

#[test]
fn an_activated_socket_is_told_by_who_made_it_and_by_the_program_that_has_it() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let port = free_port().unwrap();
    let service = "import socket, sys\ns = socket.socket(fileno=3)\nprint('ready')\nsys.stdout.flush()\nsys.stdin.read()";
    let mut activator = Actor::start(
        Command::new("systemd-socket-activate")
            .args(["--listen", &format!("127.0.0.1:{port}"), "/usr/bin/python3", "-c", service])
            .stderr(std::process::Stdio::null()),
    )
    .unwrap();
    let asked = port.to_string();
    let listening = wait_until("the activator to listen", DEADLINE, || {
        let target = portwatch.who(&asked).ok()?;
        (target["state"] == "held").then_some(target)
    });
    let holder = &listening.unwrap()["sockets"][0]["holders"][0]["process"];
    assert_eq!((&holder["pid"], &holder["comm"]), (&activator.pid().into(), &"systemd-socket-".into()));
    // The first connection makes it call exec: the same process, another program.
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(activator.line().unwrap(), "ready");
    let target = portwatch.who(&asked).unwrap();
    let held = &target["sockets"][0];
    let holder = &held["holders"][0]["process"];
    assert_eq!(holder["pid"], activator.pid(), "{target:#}");
    assert_eq!(holder["comm"], "python3", "{target:#}");
    assert_eq!(held["creator"]["pid"], activator.pid());
}
