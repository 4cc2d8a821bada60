//! Answers captured from a real dockerd, over real sockets, also ones that hang or talk nonsense.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    sync::mpsc,
    thread,
};

use super::{client::Whose, *};

/// Debian 12's docker.io 20.10.24, `GET /containers/json`; one container of a compose project, published on both
/// families. Indented.
const DOCKER: &[u8] = include_bytes!("captured/docker-20.10.json");
const ID: &str = "818bd0bbdacb9bbb063a630afeb6bd12b578d5a3aab13bac726cd596a3e7cbba";

/// Root's engine.
fn whose(netns: Option<u32>) -> Whose {
    Whose { uid: Some(0), netns: netns.map(Netns), counts_as_we: true }
}

fn of_id<'a>(report: &'a Report, id: &str) -> Option<&'a Running> {
    report.of_id(id).next()
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

/// A server that answers each connection with `answer`, as often as the test lets it: drop the sender to go on.
fn serve(path: &Path, answer: Vec<u8>) -> mpsc::Sender<()> {
    let listener = UnixListener::bind(path).unwrap();
    let (sender, gate) = mpsc::channel::<()>();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = gate.recv();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
        }
    });
    sender
}

fn http(server: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nServer: {server}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn an_answer_of_docker_gives_name_image_compose_addresses_and_ports() {
    let running = api::running(DOCKER, Engine::Docker, whose(Some(7))).unwrap();
    assert_eq!(running.len(), 1);
    let compose = Compose { project: "shop".to_owned(), service: "web".to_owned() };
    let container = &running[0].container;
    assert_eq!((container.name.as_deref(), container.image.as_deref()), (Some("web"), Some("pwbusy:1")));
    assert_eq!((container.id.as_str(), container.compose.as_ref()), (ID, Some(&compose)));
    assert_eq!(running[0].addresses, ["172.17.0.2".parse::<IpAddr>().unwrap()]);
    let published = Published {
        address: Some("0.0.0.0".parse().unwrap()),
        port: port(8088),
        inner: port(80),
        protocol: Protocol::Tcp,
    };
    let six = Published { address: Some("::".parse().unwrap()), ..published };
    assert_eq!(running[0].published, [published, six]);
}

#[test]
fn what_an_engine_leaves_out_is_not_known() {
    let body = br#"[{"Id":"a","Names":["/proxy/db","/db"],"Labels":null,"Ports":[{"PrivatePort":53,"Type":"udp"},
        {"PrivatePort":1,"PublicPort":0,"Type":"tcp"},{"PrivatePort":9,"PublicPort":9,"Type":"sctp"}]},{"Id":"b"}]"#;
    let running = api::running(body, Engine::Podman, whose(None)).unwrap();
    assert_eq!(running[0].container.name.as_deref(), Some("db"), "not the name under which another knows it");
    assert!(running.iter().all(|r| r.published.is_empty() && r.addresses.is_empty()));
    assert_eq!((running[1].container.name.as_ref(), running[1].container.image.as_ref()), (None, None));
    for wrong in [&b"{}"[..], b"", b"[{}]", b"[{\"Id\":3}]"] {
        assert!(api::running(wrong, Engine::Docker, whose(None)).is_err());
    }
}

#[test]
fn ports_lead_to_containers_in_the_engines_namespace_only() {
    let running = api::running(DOCKER, Engine::Docker, whose(Some(7))).unwrap();
    let report = Report { running, ..Report::default() };
    let found = |netns, number, protocol| report.behind(netns, port(number), protocol).count();
    assert_eq!(found(Some(Netns(7)), 8088, Protocol::Tcp), 1, "once, though on two addresses");
    assert_eq!(found(Some(Netns(8)), 8088, Protocol::Tcp), 0);
    assert_eq!(found(Some(Netns(7)), 8088, Protocol::Udp), 0);
    assert_eq!(found(Some(Netns(7)), 80, Protocol::Tcp), 0);
    assert_eq!(of_id(&report, ID).unwrap().container.name.as_deref(), Some("web"));
    let address = "172.17.0.2".parse().unwrap();
    assert!(report.by_address(Some(Netns(7)), address, Some(0)).is_some());
    assert!(
        report.by_address(Some(Netns(8)), address, Some(0)).is_none(),
        "the same address in another engine's network"
    );
}

#[test]
fn an_engine_is_told_by_its_name_and_asked_again_only_when_its_answer_is_old() {
    let directory = tempfile::tempdir().unwrap();
    let (docker, podman) = (directory.path().join("d"), directory.path().join("p"));
    drop(serve(&docker, http("Docker/20.10.24+dfsg1 (linux)", DOCKER)));
    drop(serve(&podman, http("Libpod/4.3.1 (linux)", br#"[{"Id":"feed","Names":["pod"]}]"#)));
    let engines = Engines::new([docker.clone(), podman, directory.path().join("absent")]);
    let (sender, news) = mpsc::channel();
    engines.on_news(move || sender.send(()).unwrap());
    assert_eq!(engines.known(), (Arc::new(Report::default()), 0));
    let report = engines.ask(Duration::ZERO, Duration::from_secs(10));
    assert_eq!(report.problems, []);
    let engine = |id: &str| of_id(&report, id).unwrap().container.engine;
    assert_eq!((engine(ID), engine("feed")), (Some(Engine::Docker), Some(Engine::Podman)));
    news.recv_timeout(Duration::from_secs(10)).unwrap();
    std::fs::remove_file(&docker).unwrap();
    let again = engines.ask(Duration::from_hours(1), Duration::from_secs(10));
    assert!(Arc::ptr_eq(&report, &again), "young enough");
    let changed = engines.ask(Duration::ZERO, Duration::from_secs(10));
    assert_eq!(
        (of_id(&changed, ID), engines.known().1),
        (None, 2),
        "docker is gone, and its containers with it"
    );
}

#[test]
fn an_engine_that_hangs_costs_the_caller_its_own_deadline_and_keeps_the_older_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let gate = serve(&path, http("Docker/20.10", DOCKER));
    let engines = Engines::new([path]);
    gate.send(()).unwrap();
    assert!(of_id(&engines.ask(Duration::ZERO, Duration::from_secs(10)), ID).is_some());
    let begun = Instant::now();
    let report = engines.ask(Duration::ZERO, Duration::from_millis(20));
    assert!(begun.elapsed() < ANSWER, "{:?}", begun.elapsed());
    assert!(of_id(&report, ID).is_some());
    drop(gate);
}

#[test]
fn an_engine_that_does_not_answer_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let nonsense = directory.path().join("nonsense");
    drop(serve(&nonsense, b"SSH-2.0-OpenSSH\r\n".to_vec()));
    let no_json = directory.path().join("no-json");
    drop(serve(&no_json, http("nginx", b"<html>")));
    let refused = directory.path().join("refused");
    drop(serve(&refused, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let report = client::ask(&[stale, nonsense, no_json, refused], Duration::from_secs(10), &[]);
    let whats: Vec<_> = report.problems.iter().map(|p| p.what.as_str()).collect();
    assert_eq!(whats[0], "nobody listens there any more");
    assert!(whats[1].starts_with("it broke off: "), "{whats:?}");
    assert!(whats[2].starts_with("its answer is not understood: "), "{whats:?}");
    assert_eq!(whats[3], "it answered HTTP 403 Forbidden");
    assert_eq!(report.running, []);
}
