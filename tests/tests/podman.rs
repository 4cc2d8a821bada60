//! Containers of Debian's podman: a port that it publishes, which its monitor holds, and one in the machine's own network.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::MetadataExt as _,
    process::Command,
};

use portwatch_tests::{
    DEADLINE, IMAGE, Netns, Podman, Portwatch, require_bpf, require_netns, require_podman, wait_until,
};
use serde_json::Value;

/// The answer of `who` in the engine's namespace.
fn who(portwatch: &Portwatch, netns: &Netns, podman: &Podman, words: &[&str]) -> Value {
    let socket = podman.socket().display().to_string();
    let words = [&["who", "--json", "--engines", &socket], words].concat();
    netns.enter(|| portwatch.run(&words)).unwrap().json().unwrap()["targets"][0].clone()
}

/// The port really leads there. A container that runs does not listen yet.
fn leads_inside(netns: &Netns, port: u16) {
    let fetch = || {
        let answer = netns.enter(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        answer.ok().filter(|text| text.ends_with("from inside\n"))
    };
    wait_until(&format!("an answer on port {port}"), DEADLINE, fetch).unwrap();
}

/// Pids that the kernel's table and `/proc` give for a port.
fn ss(netns: &Netns, port: u16) -> String {
    let filter = format!("sport = :{port}");
    let output = netns.enter(|| Ok(Command::new("ss").args(["-Htlnp", &filter]).output()?)).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn podmans_monitor_holds_a_published_port_and_it_leads_to_the_process_in_the_container() {
    if !(require_netns() && require_bpf()) {
        return;
    }
    let netns = Netns::new().unwrap();
    let Some(podman) = require_podman(&netns) else { return };
    let socket = podman.socket().display().to_string();
    let mut portwatch = Portwatch::new().unwrap();
    netns.enter(|| portwatch.start(&["--engines", &socket])).unwrap();
    let labels = ["--label", "io.podman.compose.project=shop", "--label", "io.podman.compose.service=web"];
    let id = podman.serve("pwpub", 80, &[&["--publish", "8091:80"], &labels[..]].concat()).unwrap();
    let own = podman.serve("pwhost", 8092, &["--network", "host"]).unwrap();
    leads_inside(&netns, 8091);
    leads_inside(&netns, 8092);
    let pid = |name: &str| podman.inspect(name, "{{.State.Pid}}").unwrap().parse::<u64>().unwrap();

    // A daemon that saw it begin, and a snapshot of now.
    for way in [&[][..], &["--no-daemon"]] {
        let target = who(&portwatch, &netns, &podman, &[&["8091"], way].concat());
        assert_eq!(target["state"], "held", "{target:#}");
        let held = &target["sockets"][0];
        // podman bound it, and may keep it open beside the monitor to whom it gave it.
        let holders = held["holders"].as_array().unwrap().iter();
        let monitor = holders.map(|h| &h["process"]).find(|process| process["comm"] == "conmon");
        let monitor = monitor.unwrap_or_else(|| panic!("{target:#}"));
        assert_eq!(monitor["container"], Value::Null);
        assert!(ss(&netns, 8091).contains(&format!("pid={},", monitor["pid"])), "{}", ss(&netns, 8091));
        let forward = &held["forwards_to"];
        assert!(forward["forwarder"] == "conmon" || forward["forwarder"] == "podman", "{target:#}");
        assert_eq!(forward["port"], 80);
        assert_eq!(forward["process"]["pid"], pid("pwpub"));
        let inside = fs::metadata(format!("/proc/{}/ns/net", pid("pwpub"))).unwrap().ino();
        assert_eq!(forward["netns"], inside);
        let address = podman.inspect("pwpub", "{{.NetworkSettings.IPAddress}}").unwrap();
        assert_eq!(forward["address"], address.as_str());
        let container = &forward["container"];
        assert_eq!((&container["id"], &container["engine"]), (&id.as_str().into(), &"podman".into()));
        let image = container["image"].as_str().unwrap();
        assert_eq!((&container["name"], image.trim_start_matches("localhost/")), (&"pwpub".into(), IMAGE));
        assert_eq!(
            (&container["compose_project"], &container["compose_service"]),
            (&"shop".into(), &"web".into())
        );

        // In the network of the machine the container's process has the port itself.
        let target = who(&portwatch, &netns, &podman, &[&["8092"], way].concat());
        let holder = &target["sockets"][0]["holders"][0]["process"];
        assert_eq!((&holder["pid"], &holder["comm"]), (&pid("pwhost").into(), &"httpd".into()), "{target:#}");
        assert!(ss(&netns, 8092).contains(&format!("pid={},", pid("pwhost"))));
        let container = &holder["container"];
        assert_eq!(
            (&container["id"], &container["name"], &container["engine"]),
            (&own.as_str().into(), &"pwhost".into(), &"podman".into())
        );
        assert_eq!(target["sockets"][0]["forwards_to"], Value::Null);
    }
    let ran = netns.enter(|| portwatch.run(&["who", "8091"])).unwrap();
    let text = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let leads = format!("to httpd ({}), port 80 in container pwpub (podman)", pid("pwpub"));
    assert!(text.contains(&leads), "{text}");

    // Without the engine's word the control group still tells the container, and no name is made up.
    let words = ["who", "8092", "--no-daemon", "--engines", "off", "--json"];
    let target = netns.enter(|| portwatch.run(&words)).unwrap().json().unwrap()["targets"][0].clone();
    let container = &target["sockets"][0]["holders"][0]["process"]["container"];
    assert_eq!((&container["id"], &container["name"]), (&own.as_str().into(), &Value::Null), "{target:#}");
}
