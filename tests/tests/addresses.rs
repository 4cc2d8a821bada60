//! One port, several addresses: what was asked about, what is at others, and `localhost`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{io::Write as _, os::unix::net::UnixStream};

use portwatch_tests::{Actor, Netns, Portwatch, Source, each_source, http, require_netns};
use serde_json::Value;

each_source![
    a_free_address_is_told_with_who_has_the_port_on_another,
    localhost_is_judged_alike_by_the_command_and_by_the_daemon_itself,
];

fn a_free_address_is_told_with_who_has_the_port_on_another(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let mut portwatch = Portwatch::started_on(source)?;
            let (actor, port) = Actor::listener("127.0.0.1", 0)?;
            let asked = format!("127.0.0.2:{port}");
            for daemon in [true, false] {
                let target = portwatch.who(&asked)?;
                assert_eq!(target["state"], source.nothing_seen().0, "{daemon} {target:#}");
                assert_eq!(target["sockets"].as_array().map(Vec::len), Some(0), "{daemon} {target:#}");
                let other = &target["other_addresses"][0];
                assert_eq!((&other["address"], &other["port"]), (&"127.0.0.1".into(), &port.into()));
                assert_eq!(other["holders"][0]["process"]["pid"], actor.pid(), "{daemon} {target:#}");
                let ran = portwatch.run(&["who", &asked])?;
                assert_eq!(ran.code, Some(source.nothing_seen().1), "{ran:?}");
                let said = format!("on {asked}; 127.0.0.1:{port} is held by python3 ({})", actor.pid());
                let words = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(words.contains(&said), "{daemon} {ran:?}");
                // It is what was asked about here.
                let target = portwatch.who(&port.to_string())?;
                assert_eq!(target["other_addresses"].as_array().map(Vec::len), Some(0), "{target:#}");
                if daemon {
                    portwatch.stop()?;
                }
            }
            Ok(())
        })
        .unwrap();
}

fn localhost_is_judged_alike_by_the_command_and_by_the_daemon_itself(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let mut portwatch = Portwatch::started_on(source)?;
            let (_actor, port) = Actor::listener("127.0.0.1", 0)?;
            let asked = format!("localhost:{port}");
            let mut stream = UnixStream::connect(portwatch.socket())?;
            write!(stream, "GET /v1/who?target={asked} HTTP/1.1\r\nhost: portwatch\r\n\r\n")?;
            let answer: Value = http::document(&mut stream)?;
            let by_api = &answer["targets"][0];
            let sentence = by_api["verdict"]["sentence"].as_str().unwrap_or_default();
            for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
                assert!(sentence.contains(&format!("bind of {address} ")), "{by_api:#}");
            }
            assert!(!sentence.contains("0.0.0.0"), "{by_api:#}");
            assert_eq!(
                (&by_api["verdict"]["bindable"], &by_api["asked"]),
                (&false.into(), &(&*asked).into())
            );
            let by_command = portwatch.who(&asked)?;
            assert_eq!(by_command["verdict"], by_api["verdict"]);
            portwatch.stop()?;
            let alone = portwatch.who(&asked)?;
            assert_eq!(alone["verdict"]["bindable"], false, "{alone:#}");
            assert!(alone["verdict"]["sentence"].as_str().unwrap_or_default().contains("[::1]"), "{alone:#}");
            Ok(())
        })
        .unwrap();
}

/// Listens, and connects to the place that comes on a line, as often as it says.
const CONNECTS: &str = "
import socket, sys
s = socket.create_server(('127.0.0.1', 0))
print(s.getsockname()[1], flush=True)
held = []
for line in sys.stdin:
    port, count = map(int, line.split())
    held += [socket.create_connection(('127.0.0.1', port)) for _ in range(count)]
    if port == s.getsockname()[1]:
        held += [s.accept()[0] for _ in range(count)]
    print('there', flush=True)
";

#[test]
fn a_process_is_told_with_its_connections_and_where_they_lead() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            for source in ["auto", "scan"] {
                let mut portwatch = Portwatch::started(&["--source", source])?;
                let (silent, served) = Actor::listener("127.0.0.1", 0)?;
                let mut client = Actor::python(CONNECTS, &[])?;
                let own = client.line()?;
                for order in [format!("{served} 5"), format!("{own} 2")] {
                    client.say(&order)?;
                    assert_eq!(client.line()?, "there");
                }
                for daemon in [true, false] {
                    let asked = format!("pid:{}", client.pid());
                    let target = portwatch.who(&asked)?;
                    let traffic = &target["traffic"];
                    // Both ends of the two that it has with itself.
                    assert_eq!((&target["state"], &traffic["established"]), (&"held".into(), &9.into()));
                    let rows = traffic["connections"].as_array().unwrap();
                    assert!(rows.iter().all(|row| row["process"]["pid"] == client.pid()), "{traffic:#}");
                    let to = rows.iter().filter(|row| row["peer_port"] == served).count();
                    assert_eq!(to, 5, "{daemon} {traffic:#}");
                    let said = portwatch.run(&["who", &asked])?.stdout;
                    for words in [
                        "9 established".to_owned(),
                        format!("5 to 127.0.0.1:{served}"),
                        format!("2 on its port {own}"),
                    ] {
                        assert!(said.contains(&words), "{daemon} {words}: {said}");
                    }
                    // Who accepts nothing has none.
                    let target = portwatch.who(&format!("pid:{}", silent.pid()))?;
                    assert_eq!(target["traffic"]["established"], 0, "{daemon} {target:#}");
                    if daemon {
                        portwatch.stop()?;
                    }
                }
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn of_a_process_with_many_connections_all_are_counted_and_no_place_has_a_number_of_those_listed() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            for source in ["auto", "scan"] {
                let mut portwatch = Portwatch::started(&["--source", source])?;
                let mut client = Actor::python(CONNECTS, &[])?;
                let own = client.line()?;
                client.say(&format!("{own} 75"))?;
                assert_eq!(client.line()?, "there");
                for daemon in [true, false] {
                    let asked = format!("pid:{}", client.pid());
                    let traffic = portwatch.who(&asked)?["traffic"].clone();
                    // Both ends of each.
                    assert_eq!((&traffic["established"], &traffic["other"]), (&150.into(), &0.into()));
                    assert_eq!(traffic["connections_left_out"], 50, "{daemon}");
                    let rows = traffic["connections"].as_array().unwrap();
                    assert_eq!(rows.len(), 100, "{daemon}");
                    assert!(rows.iter().all(|row| row["process"]["pid"] == client.pid()), "{traffic:#}");
                    let said = portwatch.run(&["who", &asked])?.stdout;
                    for words in ["150 established", "150 in all"] {
                        assert!(said.contains(words), "{daemon} {words}: {said}");
                    }
                    let mut places = said.lines().map(str::trim);
                    let of_own = |line: &str| line == format!("on its port {own}");
                    assert!(places.any(of_own), "{daemon}: {said}");
                    if daemon {
                        portwatch.stop()?;
                    }
                }
            }
            Ok(())
        })
        .unwrap();
}
