//! What `lsof -F` prints: one field a line, its first letter names it. `p` opens a process, `f` a descriptor.
//!
//! The order within a descriptor is lsof's own; letters that are not known are passed over. Names of processes come
//! with control characters escaped, so a name cannot begin a line.

use super::row::{Parsed, Row, State, address, state};
use crate::model::Protocol;

/// The fields asked for: process, uid, descriptor, family, device (the socket's inode on Linux, its address in the
/// kernel on macOS), protocol, name, TCP state.
pub const FIELDS: &str = "-FpuftdPnT";

/// Reads the output of lsof. No output is an empty table: lsof says so by its exit code, 1.
pub fn parse(output: &[u8]) -> Parsed {
    let mut parsed = Parsed { recognized: true, ..Parsed::default() };
    let (mut process, mut uid) = (None, None);
    let mut file: Option<File> = None;
    for line in output.split(|&b| b == b'\n' || b == 0) {
        let Some((&letter, value)) = line.split_first() else { continue };
        let value = String::from_utf8_lossy(value);
        let value = value.trim_end_matches('\r');
        if matches!(letter, b'p' | b'f') {
            close(file.take(), (process, uid), &mut parsed);
        }
        match letter {
            b'p' => (process, uid) = (value.parse().ok(), None),
            b'u' => uid = value.parse().ok(),
            b'f' => file = Some(File::default()),
            _ => {
                if let Some(file) = &mut file {
                    file.take(letter, value);
                }
            }
        }
    }
    close(file, (process, uid), &mut parsed);
    parsed
}

/// The fields of one descriptor.
#[derive(Debug, Default)]
struct File {
    v6: bool,
    protocol: Option<Protocol>,
    name: Option<String>,
    state: Option<String>,
    identity: Option<u64>,
}

impl File {
    fn take(&mut self, letter: u8, value: &str) {
        match letter {
            b't' => self.v6 = value == "IPv6",
            b'P' if value.starts_with("TCP") => self.protocol = Some(Protocol::Tcp),
            b'P' if value.starts_with("UDP") => self.protocol = Some(Protocol::Udp),
            b'n' => self.name = Some(value.to_owned()),
            b'T' => {
                if let Some(state) = value.strip_prefix("ST=") {
                    self.state = Some(state.to_owned());
                }
            }
            b'd' => {
                self.identity = match value.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16).ok(),
                    None => value.parse().ok(),
                };
            }
            _ => {}
        }
    }
}

fn close(file: Option<File>, (pid, uid): (Option<u32>, Option<u32>), parsed: &mut Parsed) {
    let Some(File { v6, protocol: Some(protocol), name: Some(name), state: word, identity }) = file else {
        return;
    };
    let (local, peer) = match name.split_once("->") {
        Some((local, peer)) => (local, Some(peer)),
        None => (name.as_str(), None),
    };
    let Some((host, port)) = local.rsplit_once(':') else {
        // A socket without a name of its own ("no PCB", "can't identify protocol").
        parsed.unread += 1;
        return;
    };
    let Some(mut address) = address(host, v6) else {
        parsed.unread += 1;
        return;
    };
    if let std::net::IpAddr::V6(v6) = &mut address {
        *v6 = without_embedded_scope(*v6);
    } else if v6 && let std::net::IpAddr::V4(v4) = address {
        // An IPv6 socket that serves an IPv4 peer is shown with the bare IPv4 address.
        address = v4.to_ipv6_mapped().into();
    }
    let port = match port {
        "*" => return,
        port => port.parse().ok().filter(|&port: &u16| port != 0),
    };
    let Some(port) = port else {
        parsed.unread += 1;
        return;
    };
    let state = match state(protocol, word.as_deref()) {
        State::Bound if protocol == Protocol::Tcp && peer.is_some() => State::Other,
        state => state,
    };
    parsed.rows.push(Row { protocol, address, port, state, pid, uid, identity, v6_only: None });
}

/// macOS keeps the interface of a link-local address in its second group, and lsof prints it there.
fn without_embedded_scope(address: std::net::Ipv6Addr) -> std::net::Ipv6Addr {
    let mut groups = address.segments();
    if let [0xfe80, scope, ..] = &mut groups {
        *scope = 0;
    }
    groups.into()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const LINUX: &[u8] = include_bytes!("fixtures/lsof-linux.txt");
    const MACOS: &[u8] = include_bytes!("fixtures/lsof-macos.txt");

    fn bound(parsed: &Parsed) -> Vec<(Protocol, String, State, Option<u32>)> {
        let rows = parsed.rows.iter().filter(|r| r.state != State::Other);
        rows.map(|r| (r.protocol, format!("{} {}", r.address, r.port), r.state, r.pid)).collect()
    }

    #[test]
    fn linux_output_gives_each_socket_with_holder_inode_and_family() {
        use Protocol::{Tcp, Udp};
        use State::{Bound, Listening};
        let parsed = parse(LINUX);
        let expected = [
            (Tcp, "127.0.0.1 18101", Listening),
            (Tcp, "::1 18102", Listening),
            (Tcp, "0.0.0.0 18103", Listening),
            (Tcp, ":: 18104", Listening),
            (Tcp, ":: 18109", Listening),
            (Udp, "127.0.0.1 18105", Bound),
            (Udp, ":: 18106", Bound),
            (Tcp, "127.0.0.2 18101", Listening),
            (Udp, "127.0.0.1 54744", Bound),
            (Tcp, "fe80::1 18130", Listening),
        ];
        let of = |pid| expected.map(|(p, place, s)| (p, place.to_owned(), s, Some(pid)));
        // The parent, and the child that inherited everything.
        assert_eq!(bound(&parsed), [of(17259), of(17345)].concat());
        assert_eq!((parsed.unread, parsed.recognized), (0, true));
        assert_eq!(parsed.rows[0].identity, Some(1_238_573));
        assert_eq!(parsed.rows[0].uid, Some(0));
        let accepted = parsed.rows.iter().find(|r| r.identity == Some(1_238_585)).unwrap();
        assert_eq!(accepted.address, "::ffff:127.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(accepted.state, State::Other);
    }

    #[test]
    fn macos_output_differs_in_identity_scope_states_and_unbound_sockets() {
        let parsed = parse(MACOS);
        let rows: Vec<_> = parsed
            .rows
            .iter()
            .map(|r| (r.pid.unwrap(), format!("{} {}", r.address, r.port), r.state, r.identity))
            .collect();
        let row = |pid, place: &str, state, identity| (pid, place.to_owned(), state, identity);
        assert_eq!(
            rows,
            [
                row(783, "0.0.0.0 57607", State::Other, None),
                row(866, "0.0.0.0 5000", State::Other, None),
                row(942, "192.168.1.226 57628", State::Other, None),
                row(1006, "127.0.0.1 57580", State::Other, None),
                row(56079, ":: 4211", State::Listening, Some(0x82a9_3244_c543_5ea6)),
                row(56079, "::ffff:127.0.0.1 4211", State::Other, Some(0xe8d5_d489_f5d4_7b2d)),
                row(67460, ":: 4301", State::Listening, Some(0x22b0_707f_7a30_6957)),
                row(501, "127.0.0.1 8081", State::Bound, Some(0x3b19_0d9d_07c2_c3dc)),
                row(501, "fe80::26fd:c41b:b5bc:ff7 1024", State::Other, Some(0x3b19_0d9d_07c2_c3dd)),
            ]
        );
        assert_eq!(parsed.unread, 0);
    }

    #[test]
    fn nothing_found_is_an_empty_table() {
        assert_eq!(parse(b""), Parsed { recognized: true, ..Parsed::default() });
    }

    #[test]
    fn a_process_cannot_pass_for_another_by_its_name_and_what_is_not_understood_is_counted() {
        let parsed = parse(b"p7\nca\\np1\\nf3\nf3\ntIPv4\nPTCP\nn*:80\nTST=LISTEN\n");
        assert_eq!(parsed.rows.iter().map(|r| r.pid).collect::<Vec<_>>(), [Some(7)]);
        let parsed = parse(b"p7\nf3\ntIPv4\nPTCP\nnlocalhost:http\nTST=LISTEN\nf4\nPUDP\nnno PCB\n");
        assert_eq!((parsed.rows.len(), parsed.unread), (0, 2));
    }

    #[test]
    fn a_socket_of_a_process_without_a_number_has_no_holder() {
        let parsed = parse(b"p7\npx\nf3\ntIPv4\nPTCP\nn*:80\nTST=LISTEN\n");
        assert_eq!(parsed.rows[0].pid, None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes: Vec<u8>) {
            proptest::prop_assert!(parse(&bytes).rows.iter().all(|r| r.port != 0));
        }

        #[test]
        fn a_damaged_output_is_read_to_its_end(at: proptest::sample::Index, byte: u8, cut: proptest::sample::Index) {
            let mut bytes = LINUX.to_vec();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            bytes.truncate(cut.index(LINUX.len()));
            let rows = parse(&bytes).rows;
            proptest::prop_assert!(rows.len() <= parse(LINUX).rows.len());
        }
    }
}
