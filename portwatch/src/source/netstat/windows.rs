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
                row("tcp 0.0.0.0 135", Listening, Some(1268)),
                row("tcp 127.0.0.1 8917", Other, None),
                row("tcp :: 445", Listening, Some(4)),
                row("tcp ::1 49274", Other, Some(36)),
                row("tcp fe80::c9ee:eb4d:5f0b:a64f 49703", Other, None),
                row("udp 0.0.0.0 5355", Bound, Some(1156)),
                row("udp ::1 1900", Bound, Some(3668)),
                row("udp fe80::5196:ca37:70a7:5de9 1900", Bound, Some(3668)),
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
                row("tcp 127.0.0.1 8080", Listening, Some(19004)),
                row("tcp 127.0.0.1 8082", Other, Some(31337)),
                row("tcp 127.0.0.1 8090", Other, None),
            ]
        );
    }

    #[test]
    fn translated_headings_are_headings() {
        for heading in [
            "  Proto  Adresse locale         Adresse distante       État           PID",
            "  Proto  Dirección local          Dirección remota        Estado           PID",
            "  Имя    Локальный адрес        Внешний адрес          Состояние       PID",
            "  协议  本地地址          外部地址        状态           PID",
            "  プロトコル  ローカル アドレス      外部アドレス           状態            PID",
        ] {
            let parsed = parse(format!("\r\n{heading}\r\n").as_bytes());
            assert_eq!((parsed.rows.len(), parsed.unread, parsed.recognized), (0, 0, true), "{heading}");
        }
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
