//! What users see, compared whole: narrow, 80 and 200 columns, and a pipe. `INSTA_UPDATE=always` accepts; read the diff.

mod placed;

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use super::{
    Look, doctor, error, log, ls,
    sample::{
        HOSTILE, at, degradation, event, gap, holder, killed, look, node, pipe, process, refused, socket,
        source, target, worktree,
    },
    status, summary, version, who,
};
use crate::wire::{
    Doctor, DoctorCheck, Event, FactCoverage, List, Log, LogSummary, PortCount, Process, ProcessCount,
    Socket, Status, Traffic, TypeCount, Verdict, Version, VersionReport, Who, WhoTarget,
};

fn render(look: &Look, write: impl Fn(&mut dyn Write, &Look) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out, look).unwrap();
    String::from_utf8(out).unwrap()
}

/// The same answer at every width that matters. No line is longer than its terminal, none ends in a blank.
pub(super) fn everywhere(write: impl Fn(&mut dyn Write, &Look) -> io::Result<()>) -> String {
    let mut all = String::new();
    for columns in [40, 80, 200] {
        let text = render(&look(columns), &write);
        for line in text.lines() {
            assert!(super::text::width(line) <= columns, "wider than {columns}: {line}");
            assert_eq!(line.trim_end(), line);
        }
        write!(all, "=== {columns} columns\n{text}").unwrap();
    }
    write!(all, "=== pipe\n{}", render(&pipe(), &write)).unwrap();
    all
}

fn answer(daemon: bool, targets: Vec<WhoTarget>) -> Who {
    Who {
        schema: 1,
        time: at("2026-03-02T01:26:30Z"),
        source: source(daemon),
        netns: Some(4_026_531_840),
        targets,
    }
}

fn verdict(bindable: bool, sentence: &str) -> Verdict {
    let (errno, cause) = if bindable { (None, None) } else { (Some(98), Some("listening".to_owned())) };
    Verdict {
        netns: Some(4_026_531_840),
        bindable: Some(bindable),
        with_reuse_addr: Some(bindable),
        cause,
        errno,
        errno_name: errno.map(|_| "EADDRINUSE".to_owned()),
        free_in_ms: None,
        sentence: sentence.to_owned(),
    }
}

fn hostile() -> Process {
    Process {
        comm: HOSTILE.to_owned(),
        cwd: Some(format!("/tmp/{HOSTILE}")),
        user: Some(HOSTILE.to_owned()),
        ..process(666, "x", &["sh", "-c", HOSTILE, ""])
    }
}

#[test]
fn who_on_a_held_port_names_process_place_lineage_workers_and_losers() {
    let worker = |pid| process(pid, "node", &["node", "worker.js"]);
    let held = WhoTarget {
        refused: vec![refused("2026-03-02T01:14:05Z")],
        verdict: Some(verdict(false, "A bind of 0.0.0.0:3100 would fail: node (48291) listens there.")),
        ..target("3100", "held", vec![socket("::", 3100, vec![node(), worker(48310), worker(48311)])])
    };
    insta::assert_snapshot!(everywhere(|out, look| who(out, &answer(true, vec![held.clone()]), look)));
}

#[test]
fn who_in_verbose_form_shows_evidence_and_identifiers() {
    let held = target("3100", "held", vec![socket("127.0.0.1", 3100, vec![node()])]);
    let look = Look { verbose: true, ..look(80) };
    insta::assert_snapshot!(render(&look, |out, look| who(out, &answer(false, vec![held.clone()]), look)));
}

#[test]
fn who_on_a_free_port_tells_the_last_holder_and_how_it_died() {
    let exit = Event {
        exit: Some(killed()),
        other: Some(process(612, "systemd-oomd", &["/usr/lib/systemd/systemd-oomd"])),
        ..event("exit", "2026-03-01T21:45:12Z", Some(3100), Some(node()))
    };
    let close = event("close", "2026-03-01T21:45:12Z", Some(3100), Some(node()));
    let free = WhoTarget {
        last: vec![exit, close],
        refused: vec![refused("2026-03-01T20:00:00Z")],
        verdict: Some(verdict(true, "A bind of 0.0.0.0:3100 would succeed.")),
        ..target("3100", "free", Vec::new())
    };
    let bare = target("3100", "free", Vec::new());
    insta::assert_snapshot!(everywhere(|out, look| {
        who(out, &answer(true, vec![free.clone(), bare.clone()]), look)
    }));
}

#[test]
fn who_on_a_free_address_names_who_has_the_port_on_others() {
    let mut hidden = socket("192.0.2.7", 3100, vec![]);
    hidden.owner = "not-permitted".to_owned();
    let free = WhoTarget {
        other_addresses: vec![
            socket("127.0.0.1", 3100, vec![node()]),
            hidden,
            socket("::1", 3100, vec![hostile()]),
        ],
        verdict: Some(verdict(true, "A bind of 127.0.0.2:3100 would succeed.")),
        ..target("127.0.0.2:3100", "free", Vec::new())
    };
    let unknown = WhoTarget { state: "unknown".to_owned(), reason: Some("why".to_owned()), ..free.clone() };
    insta::assert_snapshot!(everywhere(|out, look| {
        who(out, &answer(true, vec![free.clone(), unknown.clone()]), look)
    }));
    // What is there is the answer.
    let held = WhoTarget { sockets: vec![socket("127.0.0.2", 3100, vec![node()])], ..free };
    let said = render(&look(80), |out, look| who(out, &answer(true, vec![held.clone()]), look));
    assert!(!said.contains("192.0.2.7"), "{said}");
}

/// A listen is of somebody who may live, on another address of the port.
#[test]
fn who_takes_no_beginning_for_an_end() {
    let free = WhoTarget {
        last: vec![event("listen", "2026-03-01T21:45:12Z", Some(3100), Some(node()))],
        ..target("127.0.0.1:3100", "free", Vec::new())
    };
    let text = everywhere(|out, look| who(out, &answer(true, vec![free.clone()]), look));
    assert!(!text.contains("last") && !text.contains("until"), "{text}");
}

#[test]
fn who_folds_the_refusals_of_a_process_that_tries_again_and_counts_no_more_than_it_has() {
    let times = ["01:14:05", "01:14:04", "01:14:03", "01:14:02", "01:14:01"];
    let refusals = times.map(|time| refused(&format!("2026-03-02T{time}Z"))).to_vec();
    let shown = |refused_before, refused: Vec<Event>| {
        let target = WhoTarget { refused, refused_before, ..target("3100", "free", Vec::new()) };
        let look = Look { width: None, ..look(80) };
        render(&look, |out, look| who(out, &answer(true, vec![target.clone()]), look))
    };
    let all = shown(true, refusals.clone());
    assert_eq!(all.matches("python3 seed.py").count(), 1, "{all}");
    assert!(all.contains("5 times since"), "{all}");
    assert!(all.contains("and more before: portwatch log --port 3100 --type refused"), "{all}");
    let all = shown(false, refusals.clone());
    assert!(all.contains("5 times since") && !all.contains("before"), "{all}");
    let mut apart = refusals;
    for (pid, event) in (1..).zip(&mut apart) {
        event.process = Some(process(pid, "python3", &["python3", "seed.py"]));
    }
    let all = shown(false, apart);
    assert!(all.contains("and 2 more before") && !all.contains("times"), "{all}");
}

#[test]
fn who_says_of_a_process_what_it_does_not_have() {
    let shown = |reason: Option<&str>, traffic: Option<Traffic>| {
        let target = WhoTarget {
            port: None,
            protocol: None,
            reason: reason.map(str::to_owned),
            traffic: traffic.clone(),
            ..target("pid:812", "free", Vec::new())
        };
        everywhere(|out, look| who(out, &answer(true, vec![target.clone()]), look))
    };
    assert!(shown(None, None).contains("pid:812  has no bound or listening socket\n"));
    // Where its connections were looked at.
    let none = Traffic {
        established: 0,
        time_wait: 0,
        other: 0,
        time_wait_at_least: false,
        time_wait_owners: Vec::new(),
        connections: Vec::new(),
        connections_left_out: 0,
        processes: Vec::new(),
    };
    let said = shown(None, Some(none));
    assert!(said.contains("pid:812  has no bound or listening socket, and no connection\n"), "{said}");
    let text = shown(Some("there is no process 812"), None);
    assert!(text.contains("pid:812  there is no process 812\n"), "{text}");
}

#[test]
fn who_never_says_free_when_it_could_not_see() {
    let reason = |text: &str| Some(text.to_owned());
    let unknown = WhoTarget {
        reason: reason("sock_diag did not answer within 2 s"),
        ..target("3100", "unknown", Vec::new())
    };
    let ambiguous = WhoTarget {
        reason: reason("3100 is held in 2 network namespaces"),
        ..target("3100", "ambiguous", Vec::new())
    };
    let text =
        everywhere(|out, look| who(out, &answer(false, vec![unknown.clone(), ambiguous.clone()]), look));
    assert!(!text.contains("free"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
#[cfg_attr(windows, ignore = "what a kernel holds and who may look are said for Unix here")]
fn who_tells_kernel_held_not_permitted_and_in_flight_apart() {
    let orphan =
        |owner: &str, port| Socket { owner: owner.to_owned(), ..socket("0.0.0.0", port, Vec::new()) };
    let in_flight = Socket { creator: Some(node()), ..orphan("no-process", 3102) };
    let tunnel = Socket { device: Some("vxlan vx0".to_owned()), ..orphan("kernel", 4789) };
    let sockets = vec![
        orphan("kernel", 2049),
        tunnel,
        orphan("not-permitted", 3101),
        in_flight,
        orphan("unknown", 3103),
    ];
    let held = target("3100", "held", sockets);
    insta::assert_snapshot!(everywhere(|out, look| who(out, &answer(false, vec![held.clone()]), look)));
}

#[test]
fn who_names_bound_sockets_random_ports_reuseport_groups_udp_and_a_departed_binder() {
    let silent = Socket {
        state: "bound".to_owned(),
        listening_since: None,
        ..socket("127.0.0.1", 3100, vec![process(7, "nc", &["nc", "-l"])])
    };
    let random =
        Socket { random: Some(true), asked_port: Some(0), ..socket("127.0.0.1", 41873, vec![node()]) };
    let shared = |address: &str, pid| Socket {
        reuse_port: Some(true),
        v6_only: Some(true),
        ..socket(address, 8080, vec![process(pid, "caddy", &["caddy", "run"])])
    };
    let udp = Socket {
        protocol: "udp".to_owned(),
        state: "bound".to_owned(),
        ..socket("127.0.0.53", 53, vec![process(600, "systemd-resolve", &["/lib/systemd/systemd-resolved"])])
    };
    let passed = Socket {
        creator: Some(process(1, "systemd", &["/sbin/init"])),
        ..socket("::1", 631, vec![process(900, "cupsd", &["/usr/sbin/cupsd", "-l"])])
    };
    let group = [shared("0.0.0.0", 20), shared("0.0.0.0", 21), shared("::", 20)];
    let sockets = [vec![silent, random], group.to_vec(), vec![udp, passed]].concat();
    let held = target("pid:7", "held", sockets);
    insta::assert_snapshot!(everywhere(|out, look| who(out, &answer(true, vec![held.clone()]), look)));
}

#[test]
fn hostile_names_forge_no_row_and_drive_no_terminal() {
    let exit = Event {
        exit: Some(killed()),
        other: Some(hostile()),
        ..event("exit", "2026-03-02T01:00:00Z", Some(3100), Some(hostile()))
    };
    let held = target(HOSTILE, "held", vec![socket("0.0.0.0", 3100, vec![hostile()])]);
    let free = WhoTarget { last: vec![exit.clone()], ..target("3100", "free", Vec::new()) };
    let who_text = everywhere(|out, look| who(out, &answer(true, vec![held.clone(), free.clone()]), look));
    let list = list(vec![socket("0.0.0.0", 3100, vec![hostile()])]);
    let ls_text = everywhere(|out, look| ls(out, &list, look));
    let entry = Event { message: Some(HOSTILE.to_owned()), ..exit };
    let record = Log { schema: 1, source: source(true), events: vec![entry], truncated: false };
    let log_text = everywhere(|out, look| log(out, &record, look));
    let error_text = everywhere(|out, look| error(out, HOSTILE, look));
    for text in [&who_text, &ls_text, &log_text, &error_text] {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
        assert!(!text.lines().any(|line| line.starts_with("3100/tcp  LISTEN  sshd")));
        let (terminal, piped) = text.split_once("=== pipe").unwrap();
        assert!(!terminal.contains(['\u{202e}', '\u{200b}']) && piped.contains('\u{202e}'));
    }
    insta::assert_snapshot!([who_text, ls_text, log_text, error_text].concat());
}

fn list(sockets: Vec<Socket>) -> List {
    List {
        schema: 1,
        time: at("2026-03-02T01:26:30Z"),
        source: source(true),
        sockets,
        hidden: 0,
        netns: Some(4_026_531_840),
        elsewhere: 0,
        missing: None,
        time_wait: None,
    }
}

#[test]
fn ls_drops_columns_by_priority() {
    let mut dev = socket("0.0.0.0", 3100, vec![node(), process(48310, "node", &["node", "worker.js"])]);
    dev.claim = Some("myapp:api".to_owned());
    let mut six = dev.clone();
    six.address = "::".to_owned();
    six.v6_only = Some(true);
    let database = Process {
        user: Some("postgres".to_owned()),
        ..process(
            812,
            "postgres",
            &["/usr/lib/postgresql/17/bin/postgres", "-D", "/var/lib/postgresql/17/main"],
        )
    };
    let mut database = socket("127.0.0.1", 5432, vec![database]);
    database.evidence = "scan".to_owned();
    database.since = at("2026-02-27T00:00:00Z");
    database.listening_since = None;
    let mut unseen = socket("127.0.0.1", 5433, Vec::new());
    unseen.owner = "not-permitted".to_owned();
    let mut random = socket("::1", 41873, vec![process(51209, "python3", &["python3", "-m", "http.server"])]);
    random.random = Some(true);
    let mut silent = socket("10.0.0.7", 9000, vec![process(5, "nc", &["nc"])]);
    silent.state = "bound".to_owned();
    let answer = List { hidden: 12, ..list(vec![dev, six, database, unseen, random, silent]) };
    insta::assert_snapshot!(everywhere(|out, look| ls(out, &answer, look)));
    let empty = List { source: source(false), ..list(Vec::new()) };
    insta::assert_snapshot!("ls_of_nothing", everywhere(|out, look| ls(out, &empty, look)));
    let missing = Some("a TCP socket that is bound without listening is not shown by netstat".to_owned());
    let one = socket("0.0.0.0", 3100, vec![node()]);
    let partial = [Vec::new(), vec![one]].map(|sockets| List { missing: missing.clone(), ..list(sockets) });
    let shown = partial.map(|answer| everywhere(|out, look| ls(out, &answer, look)));
    insta::assert_snapshot!("ls_where_not_everything_could_be_seen", shown.concat());
}

fn events() -> Vec<Event> {
    let listen = event("listen", "2026-03-02T01:14:01Z", Some(3100), Some(node()));
    let exit = Event {
        exit: Some(killed()),
        other: Some(process(612, "systemd-oomd", &["/usr/lib/systemd/systemd-oomd"])),
        ..event("exit", "2026-03-02T01:14:31Z", Some(3100), Some(node()))
    };
    let noise = Event {
        count: 214,
        since: Some(at("2026-03-02T01:14:00Z")),
        port: None,
        address: None,
        protocol: Some("udp".to_owned()),
        ..event("noise", "2026-03-02T01:15:00Z", Some(1), Some(process(600, "systemd-resolve", &[])))
    };
    let silent = Event {
        state: Some("bound".to_owned()),
        other: Some(node()),
        ..event("close", "2026-03-02T01:15:01Z", Some(3100), None)
    };
    let down = Event {
        gap: Some(crate::wire::Gap {
            reason: "not-running".to_owned(),
            since: Some(at("2026-03-01T23:15:01Z")),
            lost: None,
        }),
        ..event("gap", "2026-03-02T01:15:02Z", None, None)
    };
    let stop = Event {
        message: Some("stopped in order by SIGTERM".to_owned()),
        ..event("stop", "2026-03-02T01:16:00Z", None, None)
    };
    vec![
        listen,
        refused("2026-03-02T01:14:05Z"),
        gap("2026-03-02T01:14:06.080Z"),
        exit,
        noise,
        silent,
        down,
        stop,
    ]
}

#[test]
fn log_has_one_line_an_event_and_says_the_zone_once() {
    let record = Log { schema: 1, source: source(true), events: events(), truncated: true };
    insta::assert_snapshot!(everywhere(|out, look| log(out, &record, look)));
    let verbose = Look { verbose: true, ..look(200) };
    insta::assert_snapshot!("log_verbose", render(&verbose, |out, look| log(out, &record, look)));
}

#[test]
fn log_shows_dates_when_an_event_is_not_of_today() {
    let mut events = events();
    events.truncate(2);
    events[0].time = at("2026-02-28T22:59:59Z");
    let record = Log { schema: 1, source: source(true), events, truncated: false };
    insta::assert_snapshot!(render(&look(80), |out, look| log(out, &record, look)));
    let none = Log { events: Vec::new(), ..record };
    insta::assert_snapshot!("log_of_nothing", render(&look(80), |out, look| log(out, &none, look)));
}

#[test]
fn summary_counts_and_says_what_was_lost() {
    let port = |port, comm: Option<&str>, count| PortCount {
        port,
        protocol: "tcp".to_owned(),
        comm: comm.map(str::to_owned),
        count,
    };
    let count = |kind: &str, count| TypeCount { kind: kind.to_owned(), count };
    let answer = LogSummary {
        schema: 1,
        source: source(true),
        since: Some(at("2026-03-01T01:00:00Z")),
        until: at("2026-03-02T01:26:30Z"),
        counts: vec![count("bind", 200_014), count("close", 200_000), count("refused", 3)],
        most_active: vec![ProcessCount {
            comm: "node".to_owned(),
            project: Some("myapp".to_owned()),
            count: 40,
        }],
        longest_held: vec![port(5432, Some("postgres"), 273_600), port(3100, None, 22_320)],
        refused: vec![port(3100, Some("python3"), 3)],
        random_listens: 4,
        rogue: None,
        lost: 1204,
    };
    insta::assert_snapshot!(everywhere(|out, look| summary(out, &answer, look)));
}

fn coverage() -> Vec<FactCoverage> {
    let fact = |fact: &str, hook: Option<&str>| FactCoverage {
        fact: fact.to_owned(),
        hook: hook.map(str::to_owned),
    };
    vec![fact("bind", Some("cgroup/post_bind4, post_bind6")), fact("refused", None)]
}

#[test]
fn status_says_what_is_seen_and_what_is_missing() {
    let running = Status {
        schema: 1,
        running: true,
        hangs: None,
        pid: Some(4242),
        started: Some(at("2026-03-01T19:00:00Z")),
        version: Some(build("0.1.0", "aaaabbbbcccc")),
        socket: Some("/run/portwatch/portwatch.sock".to_owned()),
        database: Some("/var/lib/portwatch/portwatch.db".to_owned()),
        database_bytes: Some(12_400_000),
        events: Some(200_014),
        journal_error: Some(
            "cannot write /var/lib/portwatch/portwatch.db: no space left (ENOSPC)".to_owned(),
        ),
        source: source(true),
        coverage: coverage(),
        listening: Some(31),
        bound: Some(7),
        claims: None,
        coordination: None,
        received: Some(400_028),
        lost: Some(0),
        memory_bytes: Some(14_200_000),
    };
    insta::assert_snapshot!(everywhere(|out, look| status(out, &running, look)));
    let none = Status {
        running: false,
        pid: None,
        started: None,
        version: None,
        database: None,
        journal_error: None,
        listening: None,
        received: None,
        memory_bytes: None,
        source: source(false),
        ..running
    };
    insta::assert_snapshot!("status_without_a_daemon", everywhere(|out, look| status(out, &none, look)));
}

#[test]
fn doctor_gives_a_remedy_with_each_finding() {
    let check = |name: &str, result: &str, found: &str, remedy: Option<&str>| DoctorCheck {
        name: name.to_owned(),
        result: result.to_owned(),
        found: found.to_owned(),
        remedy: remedy.map(str::to_owned),
    };
    let answer = Doctor {
        schema: 1,
        checks: vec![
            check("btf", "ok", "/sys/kernel/btf/vmlinux", None),
            check("cgroup2", "degraded", "not mounted", Some("mount -t cgroup2 none /sys/fs/cgroup")),
            check("journal", "failed", "portwatch.db is a directory", Some("move it away and start again")),
        ],
        coverage: coverage(),
        degradations: vec![degradation()],
    };
    insta::assert_snapshot!(everywhere(|out, look| doctor(out, &answer, look)));
}

fn build(version: &str, build: &str) -> Version {
    Version { version: version.to_owned(), build: build.to_owned(), object: "ddddeeeeffff".to_owned() }
}

#[test]
fn version_says_whether_the_daemon_is_the_same_build() {
    let program = build("0.2.0", "111122223333");
    let report = |daemon: Option<Version>| VersionReport {
        schema: 1,
        program: program.clone(),
        same: daemon.as_ref().map(|d| *d == program),
        daemon,
    };
    let mut all = String::new();
    for daemon in [None, Some(program.clone()), Some(build("0.1.0", "aaaabbbbcccc"))] {
        all += &render(&look(80), |out, look| version(out, &report(daemon.clone()), look));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn colour_marks_trouble_and_none_is_written_unasked() {
    let record = Log { schema: 1, source: source(true), events: events(), truncated: false };
    let text = render(&Look { color: true, ..look(200) }, |out, look| log(out, &record, look));
    assert!(text.contains("\x1b[31mrefused\x1b[0m"));
    assert!(!render(&look(200), |out, look| log(out, &record, look)).contains('\x1b'));
}

#[test]
fn the_speaker_for_a_forked_group_is_the_ancestor_of_the_rest() {
    let mut child = process(20, "gunicorn", &[]);
    child.lineage = vec![crate::wire::Ancestor {
        pid: 30,
        comm: "gunicorn".to_owned(),
        command: None,
        command_truncated: false,
    }];
    let socket = Socket {
        creator: None,
        holders: [child, process(30, "gunicorn", &[])].map(holder).to_vec(),
        ..socket("0.0.0.0", 8000, Vec::new())
    };
    let groups = super::group::by_program(std::slice::from_ref(&socket));
    assert_eq!(groups[0].main.unwrap().pid, 30);
}

#[test]
fn two_servers_that_only_look_alike_are_two() {
    let one = |address: &str, pid| socket(address, 3100, vec![process(pid, "python3", &["python3"])]);
    let count = |sockets: &[Socket]| super::group::by_program(sockets).len();
    assert_eq!(count(&[one("127.0.0.1", 7), one("::1", 8)]), 2);
    assert_eq!(count(&[one("127.0.0.1", 7), one("::1", 7)]), 1);
    let mut worker = one("::1", 8);
    worker.holders[0].process.lineage = vec![crate::wire::Ancestor {
        pid: 7,
        comm: "python3".to_owned(),
        command: None,
        command_truncated: false,
    }];
    assert_eq!(count(&[one("127.0.0.1", 7), worker]), 1);
    let shared = |pid| Socket { reuse_port: Some(true), ..one("0.0.0.0", pid) };
    assert_eq!(count(&[shared(7), shared(8)]), 1);
}

#[test]
fn a_worktree_is_named_with_its_branch_where_they_differ() {
    let mut server = node();
    for (tree, expected) in [
        (worktree("main", Some("main")), "~/code/myapp (worktree main)"),
        (worktree("fix-7", Some("erich/fix")), "~/code/myapp (worktree fix-7, branch erich/fix)"),
        (worktree("fix-7", None), "~/code/myapp (worktree fix-7)"),
    ] {
        server.project.as_mut().unwrap().worktree = Some(tree);
        assert_eq!(super::process::place(&server, &look(80)).as_deref(), Some(expected));
    }
}
