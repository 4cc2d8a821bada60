//! `netstat -ano` of Windows.
//!
//! Title, headings and, in some languages, the states are translated, in the console's code page: of a row only the
//! protocol, the addresses and the pid are sure. What lies between them is the state. A socket that listens is one
//! whose foreign address is every address and port 0.

use super::{Parsed, Row, State, place};
use crate::model::Protocol;

/// Reads the output, in whatever code page: what counts is ASCII.
pub fn parse(output: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    for line in String::from_utf8_lossy(output).lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        // Every language's heading ends so, or says nothing of a pid at all; rows alone will do.
        parsed.recognized |= words.last() == Some(&"PID");
        let protocol = match words.first() {
            Some(&"TCP") => Protocol::Tcp,
            Some(&"UDP") => Protocol::Udp,
            _ => continue,
        };
        let row = row(protocol, words.get(1..).unwrap_or_default());
        parsed.recognized |= row.is_some();
        parsed.add(row);
    }
    parsed
}

/// `None` when it is not understood; port 0 when it has none.
fn row(protocol: Protocol, words: &[&str]) -> Option<Row> {
    let [local, foreign, between @ .., pid] = words else { return None };
    let pid: u32 = pid.parse().ok()?;
    let v6 = local.starts_with('[');
    let (address, port) = place(local, ':', v6)?;
    let state = match protocol {
        Protocol::Udp => State::Bound,
        Protocol::Tcp => {
            let (peer, peer_port) = place(foreign, ':', v6)?;
            let nobody = peer.is_unspecified() && peer_port == 0;
            match (nobody, between) {
                (true, ["BOUND"]) => State::Bound,
                (true, _) => State::Listening,
                (false, _) => State::Other,
            }
        }
    };
    Some(Row {
        protocol,
        address,
        port,
        state,
        // 0 is nobody: a connection in TIME_WAIT.
        pid: Some(pid).filter(|&pid| pid != 0),
        uid: None,
        identity: None,
        v6_only: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(capture: &[u8]) -> Vec<(String, State, Option<u32>)> {
        let parsed = parse(capture);
        assert_eq!((parsed.unread, parsed.recognized), (0, true));
        let place = |r: &Row| format!("{} {} {}", r.protocol, r.address, r.port);
        parsed.rows.iter().map(|r| (place(r), r.state, r.pid)).collect()
    }

    fn row(text: &str, state: State, pid: Option<u32>) -> (String, State, Option<u32>) {
        (text.to_owned(), state, pid)
    }

    use State::{Bound, Listening, Other};

    #[test]
    fn zones_udp_without_a_state_and_time_wait_of_nobody_are_read() {
        assert_eq!(
            rows(include_bytes!("../fixtures/netstat-windows.txt")),
            [
                row("tcp 0.0.0.0 135", Listening, Some(896)),
                row("tcp 0.0.0.0 445", Listening, Some(4)),
                row("tcp 127.0.0.1 5357", Other, None),
                row("tcp 192.168.123.132 49706", Other, Some(1360)),
                row("tcp :: 49667", Listening, Some(1708)),
                row("tcp ::1 22", Listening, Some(17584)),
                row("tcp fe80::3c7a:339:64f0:2161 1521", Other, Some(4316)),
                row("udp 0.0.0.0 1900", Bound, Some(4812)),
                row("udp ::1 1900", Bound, Some(3668)),
                row("udp fe80::5196:ca37:70a7:5de9 1900", Bound, Some(3668)),
                row("udp 0.0.0.0 50127", Bound, Some(5120)),
            ]
        );
    }

    #[test]
    fn translated_states_in_a_code_page_are_the_same_sockets() {
        let capture: &[u8] = include_bytes!("../fixtures/netstat-windows-german.txt");
        assert!(capture.contains(&0x99), "Ö in code page 850, which is no UTF-8");
        assert_eq!(
            rows(capture),
            [
                row("tcp 0.0.0.0 8080", Listening, Some(42852)),
                row("tcp 127.0.0.1 8082", Other, Some(31337)),
                row("tcp 127.0.0.1 8083", Other, Some(31337)),
                row("tcp 127.0.0.1 8090", Other, None),
            ]
        );
    }

    #[test]
    fn rows_are_the_same_under_headings_of_every_language() {
        let capture = include_bytes!("../fixtures/netstat-windows-languages.txt");
        assert_eq!(
            rows(capture),
            [
                row("tcp 0.0.0.0 135", Listening, Some(1288)),
                row("tcp 192.168.1.7 139", Listening, Some(4)),
                row("tcp 192.168.1.7 55679", Other, Some(3976)),
                row("tcp 127.0.0.1 8411", Other, None),
                row("tcp 0.0.0.0 5985", Listening, Some(4)),
            ]
        );
        // A machine on which nothing listens has a heading alone.
        let text = String::from_utf8_lossy(capture);
        let headings: Vec<_> = text.lines().filter(|line| line.ends_with("PID")).collect();
        assert_eq!(headings.len(), 3);
        for heading in headings {
            let parsed = parse(format!("\r\n{heading}\r\n").as_bytes());
            assert_eq!((parsed.rows.len(), parsed.unread, parsed.recognized), (0, 0, true), "{heading}");
        }
        // The French one has no word for it (github.com/danyGhassan/fonct_reseaux_Dany, tp5.md): rows tell.
        let french = "  Proto  Adresse locale         Adresse distante       État\r\n";
        assert!(!parse(french.as_bytes()).recognized);
        let listening = "  TCP    0.0.0.0:135            0.0.0.0:0              LISTENING       908\r\n";
        assert!(parse(format!("{french}{listening}").as_bytes()).recognized);
        assert!(!parse(b"").recognized);
        assert!(!parse(b"Zugriff verweigert\r\n").recognized);
    }

    #[test]
    fn a_row_that_is_cut_or_strange_is_counted_and_not_guessed() {
        for row in [
            "TCP",
            "TCP 0.0.0.0:80",
            "TCP 0.0.0.0:80 0.0.0.0:0 LISTENING",
            "TCP localhost:80 0.0.0.0:0 LISTENING 7",
            "TCP 0.0.0.0:80 host LISTENING 7",
            "UDP 0.0.0.0:80 *:* x",
        ] {
            let parsed = parse(format!("  {row}\r\n").as_bytes());
            assert_eq!((parsed.rows.len(), parsed.unread), (0, 1), "{row}");
        }
    }
}
