//! What one user can make the daemon take: memory by questions whose answers are not read, and by processes whose descriptions are
//! as large as they may be.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{fs, process::Command};

use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, free_port, require_bpf, require_root, wait_until};
use serde_json::Value;

const NOBODY: u32 = 65_534;

/// A daemon in a namespace of its own, which everybody may ask.
fn begin() -> Option<(Netns, Portwatch)> {
    if !require_bpf() || !require_root() {
        return None;
    }
    let netns = Netns::new().unwrap();
    let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
    portwatch.for_others().unwrap();
    Some((netns, portwatch))
}

/// Nobody's Python in the namespace.
fn python(netns: &Netns, portwatch: &Portwatch, program: &str, arguments: &[&str]) -> Actor {
    let program = format!("import json, os, select, socket, subprocess, sys\n{program}");
    let others = portwatch.for_others().unwrap();
    let mut python = others.around(NOBODY, Command::new("python3"));
    python.args(["-S", "-u", "-c", &program]).args(arguments);
    netns.enter(|| Actor::start(&mut python)).unwrap()
}

/// More than is read of a command line, and six times as long as JSON.
fn long() -> String {
    "\u{1}".repeat(4096)
}

/// Most that the daemon ever had in memory, in bytes.
fn peak(portwatch: &Portwatch) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", portwatch.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn who_asks_and_does_not_read_has_few_answers_in_memory_and_keeps_nobody_else_waiting() {
    const QUESTIONS: usize = 40;
    const ROWS: usize = 2000;
    let Some((netns, portwatch)) = begin() else { return };
    let port = free_port().unwrap();
    let refused = "
holder = socket.create_server(('127.0.0.1', int(sys.argv[1])))
for _ in range(2000):
    s = socket.socket()
    try: s.bind(holder.getsockname())
    except OSError: pass
    s.close()
print('done')
sys.stdin.read()";
    let mut flood = python(&netns, &portwatch, refused, &[&port.to_string(), &long()]);
    assert_eq!(flood.line_within(DEADLINE).unwrap(), "done");
    // A kernel's programs tell of every namespace: other tests are refused binds too.
    let pid = flood.pid().to_string();
    let words = ["--type", "refused", "--pid", &pid];
    wait_until("all refusals", DEADLINE, || (portwatch.events(&words).unwrap().len() == ROWS).then_some(()))
        .unwrap();

    // How many answers have begun, whenever a line comes; then all of them are read.
    let asking = "
asked = []
for _ in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_UNIX)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    s.connect(sys.argv[1])
    s.sendall(b'GET /v1/log?limit=10000&all=true HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n')
    asked.append(s)
print('asked')
while sys.stdin.readline() == 'begun\\n':
    print(len(select.select(asked, [], [], 0)[0]))
for s in asked:
    data = b''.join(iter(lambda: s.recv(1 << 20), b''))
    print(len(json.loads(data.split(b'\\r\\n\\r\\n', 1)[1])['events']))
";
    let socket = portwatch.socket();
    let arguments = [socket.to_str().unwrap(), &QUESTIONS.to_string()];
    let mut reader = python(&netns, &portwatch, asking, &arguments);
    assert_eq!(reader.line().unwrap(), "asked");
    let begun = |reader: &mut Actor| {
        reader.say("begun").unwrap();
        reader.line().unwrap().parse::<usize>().unwrap()
    };
    wait_until("answers", DEADLINE, || (begun(&mut reader) >= 8).then_some(())).unwrap();
    // Root and others are served, the whole log too; meanwhile no more answers have begun.
    assert_eq!(portwatch.events(&words).unwrap().len(), ROWS);
    let other = portwatch.for_others().unwrap().run(65_533, &["ls", "--json"]).unwrap();
    assert_eq!(other.code, Some(0), "{}", other.stderr);
    assert_eq!(begun(&mut reader), 8);
    let peak = peak(&portwatch);
    assert!(peak < 180 << 20, "{} MB", peak >> 20);

    reader.say("read").unwrap();
    for _ in 0..QUESTIONS {
        let events: usize = reader.line_within(DEADLINE).unwrap().parse().unwrap();
        // A part of them, with the word that there are more.
        assert!((10..ROWS).contains(&events), "{events}");
    }
}

#[test]
fn processes_that_are_described_at_length_break_no_list() {
    let Some((netns, portwatch)) = begin() else { return };
    let program = "
ports, depth = json.loads(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 3 else 0
if depth < 4:
    source = open('/proc/self/cmdline').read().split('\\0')[4]
    child = subprocess.Popen(['python3', '-S', '-u', '-c', source, sys.argv[1], sys.argv[2], str(depth + 1)])
    sys.exit(child.wait())
servers = [socket.create_server(('127.0.0.1', port)) for port in ports]
end, keep = os.pipe()
for _ in range(255):
    if os.fork() == 0:
        os.close(keep)
        os.read(end, 1)
        os._exit(0)
print('ready')
sys.stdin.read()";
    let ports: Vec<u16> = std::iter::repeat_with(|| free_port().unwrap()).take(4).collect();
    let ports_as_json = serde_json::to_string(&ports).unwrap();
    let mut fat = python(&netns, &portwatch, program, &[&ports_as_json, &long()]);
    assert_eq!(fat.line_within(DEADLINE).unwrap(), "ready");
    let own = free_port().unwrap();
    let (_own, _) = netns.enter(|| Actor::listener("127.0.0.1", own)).unwrap();

    let on = |document: &Value, port: u16| -> Value {
        let sockets = document["sockets"].as_array().or(document["targets"][0]["sockets"].as_array());
        sockets.unwrap().iter().find(|socket| socket["port"] == port).cloned().unwrap_or_default()
    };
    let holders = |socket: &Value| socket["holders"].as_array().map_or(0, Vec::len);
    let mut list = Value::Null;
    wait_until("every holder", DEADLINE, || {
        let ran = portwatch.run_inside(&["ls", "--json"]).unwrap();
        assert!(ran.stdout.len() < 24 << 20, "{} bytes", ran.stdout.len());
        list = ran.json().unwrap();
        let all = ports.iter().all(|&port| holders(&on(&list, port)) == 256);
        (all && holders(&on(&list, own)) == 1).then_some(())
    })
    .unwrap();
    let note = list["source"]["note"].as_str().unwrap();
    assert!(note.contains(" processes told by name alone"), "{note}");
    for &port in &ports {
        for holder in on(&list, port)["holders"].as_array().unwrap() {
            assert!(holder.to_string().len() < 16 << 10);
            assert_eq!(holder["process"]["comm"], "python3");
            assert_eq!(holder["process"]["uid"], NOBODY);
        }
    }
    // Another user's is told as ever.
    assert!(on(&list, own)["holders"][0]["process"]["command"].is_array(), "{}", on(&list, own));

    let target = ports[0].to_string();
    let who = portwatch.run_inside(&["who", &target, &target, &target, &own.to_string(), "--json"]).unwrap();
    assert_eq!(who.code, Some(0), "{}", who.stderr);
    assert!(who.stdout.len() < 32 << 20, "{} bytes", who.stdout.len());
    let who = who.json().unwrap();
    let asked: Vec<_> =
        who["targets"].as_array().unwrap().iter().map(|t| t["asked"].as_str().unwrap()).collect();
    assert_eq!(asked, [&target, &target, &target, &own.to_string()]);
    assert_eq!(holders(&on(&who, ports[0])), 256);
    assert_eq!(portwatch.run_inside(&["log", "--limit", "0", "--json"]).unwrap().code, Some(0));
    let peak = peak(&portwatch);
    assert!(peak < 220 << 20, "{} MB", peak >> 20);
}
