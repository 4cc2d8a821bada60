//! Makes a large journal, and counts the rows of one: for `cargo xtask bench`, which has no database of its own.
//!
//! `journal_load fill FILE EVENTS` writes EVENTS events, evenly over the thirty days before now.
//! `journal_load count FILE ADDRESS:PORT…` prints how many events the kernel showed of each type there, and what the gaps
//! say was lost, as JSON.
//! `journal_load claims FILE` prints the name and the port of every claim, as JSON.

use std::{collections::BTreeMap, error::Error, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portwatch::{
    journal::{Entry, Journal, Options, Reader},
    model::{
        Ancestor, AskedPort, Cgroup, CommandLine, Event, EventFilter, EventKind, Evidence, ExitStatus, Netns,
        Phase, Port, Process, ProcessId, Project, ProjectKind, Protocol, SocketKey, SocketOptions,
    },
};
use serde_json::json;

const DAYS: i64 = 30;
/// Events of one life: bind, listen, a refused bind of somebody else, close, exit.
const LIFE: [EventKind; 5] =
    [EventKind::Bind, EventKind::Listen, EventKind::Refused, EventKind::Close, EventKind::Exit];

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["fill", path, events] => fill(Path::new(path), events.parse()?),
        ["count", path, places @ ..] => {
            let places = places.iter().map(|place| place.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
            say(&count(Path::new(path), &places)?);
            Ok(())
        }
        ["claims", path] => {
            let claims = Reader::open(Path::new(path))?.claims()?;
            let ports = claims.iter().map(|c| (c.name.to_string(), json!(c.port().map(Port::get))));
            say(&ports.collect());
            Ok(())
        }
        _ => Err("say: fill FILE EVENTS, or: count FILE ADDRESS:PORT…, or: claims FILE".into()),
    }
}

#[expect(clippy::print_stdout, reason = "the answer, to whoever started this")]
fn say(document: &serde_json::Value) {
    println!("{document}");
}

fn fill(path: &Path, events: u64) -> Result<(), Box<dyn Error>> {
    let options = Options { retention_age: Duration::MAX, retention_bytes: u64::MAX, ..Options::default() };
    let journal = Journal::open(path, options)?.writer;
    let begin = Timestamp::now().checked_sub(SignedDuration::from_hours(DAYS * 24))?;
    let step = SignedDuration::from_secs(DAYS * 86_400) / i32::try_from(events.max(1))?;
    let mut at = begin;
    for number in 0..events {
        let life = number / LIFE.len() as u64;
        let kind = LIFE.into_iter().cycle().nth(usize::try_from(number % LIFE.len() as u64)?);
        let kind = kind.ok_or("a life has events")?;
        if kind == EventKind::Bind {
            journal.write(Entry::Process(Arc::new(process(life, at))));
        }
        journal.write(Entry::Event(event(life, kind, at)));
        at = at.checked_add(step)?;
    }
    match journal.close().error {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}

/// Two thirds of the listeners are on two hundred ports that people use, the rest where the kernel put them.
fn port(life: u64) -> (Option<Port>, bool) {
    // A fixed mixing, so that every journal of a size is the same.
    let mixed = life.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let (number, chosen) = match life % 3 {
        0 => (32_768 + mixed % 28_000, true),
        _ => (3000 + mixed % 200, false),
    };
    (u16::try_from(number).ok().and_then(Port::new), chosen)
}

fn id(life: u64) -> ProcessId {
    ProcessId { pid: u32::try_from(1000 + life % 60_000).unwrap_or(1000), start_ticks: life }
}

fn event(life: u64, kind: EventKind, at: Timestamp) -> Event {
    let (port, chosen) = port(life);
    let mut event = Event::new(at, kind, Evidence::Kernel);
    event.process = Some(id(life));
    if kind == EventKind::Exit {
        event.exit = Some(ExitStatus { code: Some(0), signal: None, core_dumped: false, sent: None });
        return event;
    }
    event.protocol = Some(Protocol::Tcp);
    event.address = Some(std::net::Ipv4Addr::LOCALHOST.into());
    event.port = port;
    event.netns = Some(Netns(4_026_531_840));
    event.asked = match port {
        Some(port) if !chosen => AskedPort::Explicit(port),
        _ => AskedPort::KernelChosen,
    };
    event.options = SocketOptions { reuse_addr: Some(true), reuse_port: Some(false), v6_only: None };
    if kind == EventKind::Refused {
        event.process = Some(id(life.saturating_sub(7)));
        event.other = Some(id(life));
        event.errno = Some(98);
    } else {
        event.socket = Some(SocketKey::Cookie(life));
        event.phase = Some(if kind == EventKind::Bind { Phase::Bound } else { Phase::Listening });
    }
    event
}

fn process(life: u64, at: Timestamp) -> Process {
    let (name, project) = (["node", "python3", "cargo", "postgres"], life % 40);
    let comm = name.into_iter().cycle().nth(usize::try_from(life % 4).unwrap_or(0)).unwrap_or("node");
    let root = Path::new("/home/erich/src").join(format!("project-{project}"));
    Process {
        id: id(life),
        started: Some(at),
        comm: comm.to_owned(),
        command: Some(CommandLine {
            args: vec![comm.to_owned(), format!("server-{project}.js"), format!("--instance={life}")],
            truncated: false,
        }),
        exe: Some(Path::new("/usr/bin").join(comm)),
        cwd: Some(root.clone()),
        uid: Some(1000),
        user: Some("erich".to_owned()),
        cgroup: Some(Cgroup { id: Some(77), path: "/user.slice/user-1000.slice".to_owned() }),
        unit: None,
        container: None,
        unproven: None,
        lineage: vec![Ancestor {
            pid: 900,
            start_ticks: Some(3),
            comm: "zsh".to_owned(),
            command: Some(CommandLine { args: vec!["-zsh".to_owned()], truncated: false }),
        }],
        project: Some(Project {
            root,
            name: format!("project-{project}"),
            kind: ProjectKind::Node,
            worktree: None,
            evidence: Evidence::Scan,
        }),
        evidence: Evidence::Scan,
    }
}

fn count(path: &Path, places: &[SocketAddr]) -> Result<serde_json::Value, Box<dyn Error>> {
    let reader = Reader::open(path)?;
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for kind in [EventKind::Bind, EventKind::Listen, EventKind::Close] {
        // One place at a time: not all of them have to fit into memory.
        for place in places {
            let ports = Port::new(place.port()).into_iter().collect();
            let filter = EventFilter { kinds: vec![kind], ports, ..EventFilter::default() };
            let rows = reader.events(&filter)?.events;
            let rows = rows.iter().filter(|row| {
                row.event.evidence == Evidence::Kernel && row.event.address == Some(place.ip())
            });
            *seen.entry(kind.as_str()).or_default() += rows.map(|row| row.event.count).sum::<u64>();
        }
    }
    // A close whose bind was lost has no place.
    let filter = EventFilter { kinds: vec![EventKind::Close], ..EventFilter::default() };
    let placeless = reader.events(&filter)?.events.iter().filter(|row| row.event.port.is_none()).count();
    *seen.entry(EventKind::Close.as_str()).or_default() += u64::try_from(placeless)?;
    let gaps = EventFilter { kinds: vec![EventKind::Gap], ..EventFilter::default() };
    let (mut lost, mut uncounted): (BTreeMap<&str, u64>, u64) = (BTreeMap::new(), 0);
    for row in reader.events(&gaps)?.events {
        match row.event.lost {
            None => uncounted += 1,
            Some(counts) => {
                for (kind, number) in
                    [("bind", counts.bind), ("listen", counts.listen), ("close", counts.close)]
                {
                    *lost.entry(kind).or_default() += number;
                }
                *lost.entry("total").or_default() += counts.total();
            }
        }
    }
    Ok(json!({ "seen": seen, "lost": lost, "uncounted_gaps": uncounted }))
}
