//! `netstat -anvl` of macOS, in the three forms its columns have had.
//!
//! Up to macOS 14 the pid is the third column after the state, macOS 15 has put `rxbytes` and `txbytes` before, and
//! macOS 26 has made one column of name and pid, `process:pid`, whose name may hold blanks and colons and runs over
//! the column. The heading tells which it is. Without `-l` IPv6 addresses are cut at 16 characters.
//!
//! Such a name is what its file is called, 32 bytes at most, with any character in it, the end of a line too. So that none passes for
//! what comes behind it, nor what comes behind such an end for a row, both are held to the least width that they are printed with
//! (`"%-5.5s %6u %6u "` and `" %05x %08x %016llx %08x %08x %6d %6d %06x"` of inet.c): more than a name has room for.

use std::net::{IpAddr, Ipv6Addr};

use super::{Parsed, Row, place, state};
use crate::model::Protocol;

/// Columns behind `process:pid`, each with its least width: state, options, gencnt, flags, flags1, usecnt, rtncnt, fltrs.
const BEHIND_PROCESS: [usize; 8] = [5, 8, 16, 8, 8, 1, 1, 6];
/// Characters before the local address: protocol and two counts.
const BEFORE_ADDRESS: usize = 20;

/// How the rows are laid out.
#[derive(Debug, Clone, Copy, Default)]
struct Form {
    /// `rxbytes` and `txbytes` are there.
    bytes: bool,
    /// Name and pid are one column.
    process: bool,
    /// Columns from the pid to `gencnt`, the number of the socket in the kernel.
    number: Option<usize>,
}

/// Reads the output.
pub fn parse(output: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut form = Form::default();
    for line in String::from_utf8_lossy(output).lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["Proto", "Recv-Q", "Send-Q", rest @ ..] => {
                let at = |name: &str| rest.iter().position(|word| *word == name);
                let pid = at("process:pid").or_else(|| at("pid"));
                form = Form {
                    bytes: at("rxbytes").is_some(),
                    process: at("process:pid").is_some(),
                    number: at("gencnt").zip(pid).map(|(number, pid)| number.saturating_sub(pid)),
                };
                parsed.recognized |= pid.is_some();
            }
            [family, _, _, local, foreign, rest @ ..] if protocol(family).is_some() && is_whole(line) => {
                parsed.add(row(family, local, foreign, rest, form));
            }
            [family, ..] if protocol(family).is_some() => parsed.unread += 1,
            _ => {}
        }
    }
    parsed
}

/// Whether the columns before the address are as wide as netstat makes them.
fn is_whole(line: &str) -> bool {
    // Not by bytes: one that is no UTF-8 has become three.
    let end = line.char_indices().nth(BEFORE_ADDRESS).map_or(0, |(end, _)| end);
    line.get(..end).is_some_and(|before| before.split_ascii_whitespace().count() == 3)
}

/// Protocol, and whether the socket is IPv6, and whether it serves IPv4 too.
fn protocol(family: &str) -> Option<(Protocol, bool, bool)> {
    let (protocol, versions) = match family.split_at_checked(3)? {
        ("tcp", versions) => (Protocol::Tcp, versions),
        ("udp", versions) => (Protocol::Udp, versions),
        _ => return None,
    };
    match versions {
        "4" => Some((protocol, false, false)),
        "6" => Some((protocol, true, false)),
        "46" => Some((protocol, true, true)),
        _ => None,
    }
}

/// `None` when it is not understood; port 0 when it has none.
fn row(family: &str, local: &str, foreign: &str, rest: &[&str], form: Form) -> Option<Row> {
    let (protocol, v6, both) = protocol(family)?;
    let (address, port) = place(local, '.', v6)?;
    // A foreign address may be cut, and is not needed.
    foreign.rsplit_once('.')?;
    let (word, rest) = match (protocol, rest) {
        (Protocol::Tcp, [word, rest @ ..]) => (Some(*word), rest),
        (Protocol::Tcp, []) => return None,
        (Protocol::Udp, rest) => (None, rest),
    };
    // [rxbytes txbytes] rhiwat shiwat
    let before = if form.bytes { 4 } else { 2 };
    let (numbers, rest) = rest.split_at_checked(before)?;
    if numbers.iter().any(|number| !number.starts_with(|c: char| c.is_ascii_digit())) {
        return None;
    }
    let (pid, at) = if form.process { process(rest)? } else { (rest.first()?.parse().ok()?, 0) };
    let identity = form
        .number
        .and_then(|number| rest.get(at + number))
        .and_then(|number| u64::from_str_radix(number, 16).ok())
        .filter(|&number| number != 0);
    let address = match address {
        // A dual-stack socket at an IPv4 address is an IPv6 one at the mapped address.
        IpAddr::V4(v4) if both => IpAddr::V6(v4.to_ipv6_mapped()),
        other => other,
    };
    let wildcard = address == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    Some(Row {
        protocol,
        address,
        port,
        state: state(protocol, word),
        // 0: the kernel, or nobody any more.
        pid: Some(pid).filter(|&pid| pid != 0),
        uid: None,
        identity,
        v6_only: wildcard.then_some(!both),
    })
}

/// The pid of `process:pid` and where its word stands. Counted from the end where the row is whole, since a
/// process chooses its name and could put `:1` into it.
fn process(words: &[&str]) -> Option<(u32, usize)> {
    let at = words.len().checked_sub(BEHIND_PROCESS.len() + 1)?;
    let (own, behind) = words.get(at..)?.split_first()?;
    if behind.iter().zip(BEHIND_PROCESS).any(|(word, width)| word.len() < width || !word.is_ascii()) {
        return None;
    }
    let (_, pid) = own.rsplit_once(':')?;
    Some((pid.parse().ok()?, at))
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    fn rows(capture: &[u8]) -> Vec<(String, State, Option<u32>)> {
        let parsed = parse(capture);
        assert_eq!((parsed.unread, parsed.recognized), (0, true));
        let place = |r: &Row| format!("{} {} {}", r.protocol, r.address, r.port);
        parsed.rows.iter().map(|r| (place(r), r.state, r.pid)).collect()
    }

    fn row(text: &str, state: State, pid: u32) -> (String, State, Option<u32>) {
        (text.to_owned(), state, Some(pid))
    }

    use State::{Bound, Listening, Other};

    #[test]
    fn up_to_macos_14_the_pid_follows_two_numbers() {
        let capture = include_bytes!("../fixtures/netstat-macos-14.txt");
        assert_eq!(
            rows(capture),
            [
                row("tcp 192.168.1.191 52044", Other, 9811),
                row("tcp 192.168.1.191 52040", Other, 9811),
                row("tcp :: 8080", Listening, 501),
                row("tcp 127.0.0.1 8081", Bound, 501),
                row("tcp 192.0.2.10 50123", Other, 777),
                row("tcp 2001:db8:1234:5678:9abc:def0:1234:5678 50124", Other, 888),
                row("udp 192.168.11.160 57110", Bound, 505),
                row("udp 0.0.0.0 5353", Bound, 321),
            ]
        );
        let numbers: Vec<_> = parse(capture).rows.iter().map(|r| r.identity).collect();
        assert_eq!(numbers[0], None, "an old form without the column");
        assert_eq!(numbers[2], Some(0x001a_2b3c));
    }

    #[test]
    fn macos_15_has_put_two_columns_before_it() {
        let capture = include_bytes!("../fixtures/netstat-macos-15.txt");
        assert_eq!(
            rows(capture),
            [
                row("tcp 192.168.1.233 52137", Other, 2903),
                row("tcp 192.168.1.233 52126", Other, 5767),
                row("tcp 192.168.1.233 52125", Other, 75236),
                row("tcp :: 8080", Listening, 501),
            ]
        );
        let parsed = parse(capture);
        assert_eq!(parsed.rows[3].v6_only, Some(false));
        assert_eq!(parsed.rows[0].identity, Some(0x023c_645f));
    }

    #[test]
    fn macos_26_has_joined_name_and_pid_and_names_run_over() {
        let capture = include_bytes!("../fixtures/netstat-macos-26.txt");
        assert_eq!(
            rows(capture),
            [
                row("tcp 127.0.0.1 49515", Other, 22712),
                row("tcp 127.0.0.1 49510", Other, 22712),
                row("tcp :: 8080", Listening, 501),
                row("tcp fe80::1c2b:3a4d:5e6f:7081 1024", Listening, 400),
                row("tcp :: 8082", Listening, 666),
            ]
        );
        assert_eq!(parse(capture).rows[4].v6_only, Some(true));
    }

    #[test]
    fn a_row_that_is_cut_or_strange_is_counted_and_not_guessed() {
        let read = |row: &str| {
            let parsed = parse(format!("{HEAD}{row}\n").as_bytes());
            (parsed.rows.len(), parsed.unread)
        };
        assert_eq!(read(&line("tcp4", "*.80", "LISTEN", "node:5")), (1, 0));
        for row in [
            "tcp4 0 0",
            "tcp4       0      0  *.80                   *.*",
            "tcp4       0      0  *.80                   *.*                    LISTEN  0 0 131072",
            "tcp4       0      0  *.80                   *.*                    LISTEN  0 0 131072 131072 node:5 00100",
            &line("tcp4", "*.http", "LISTEN", "node:5"),
            &line("tcp6", "fe80::1c2b:3a4d:.1024", "LISTEN", "node:5"),
            &line("tcp4", "*.80", "LISTEN", "node:x"),
        ] {
            assert_eq!(read(row), (0, 1), "{row}");
        }
    }

    #[test]
    fn a_name_with_the_end_of_a_line_in_it_is_neither_anothers_pid_nor_a_row_of_its_own() {
        // 31 bytes are what a name has at most. The first would be pid 501's, the others open ports that nobody has.
        for name in [
            &b"x:501 0 0 0 0 0 0 0 0\n"[..],
            b"x:501 \xff\xff\xff\xff\xff 0 0 0 0 0 0 0\n",
            b"\nudp4 0 0 *.1 *.* 0 0 0 0 a",
            b"\nudp4 \xff\xff\xff\xff 0 *.1 *.* 0 0 0 0 a",
            b"\ntcp4 0 0 *.1 *.* CLOSED 0 0 0 0",
        ] {
            let row = line("tcp4", "*.8080", "LISTEN", "NAME:666");
            let (before, behind) = row.split_once("NAME").unwrap();
            let output = [HEAD.as_bytes(), before.as_bytes(), name, behind.as_bytes(), b"\n"].concat();
            let parsed = parse(&output);
            assert_eq!(parsed.rows, [], "{}", name.escape_ascii());
            assert!(parsed.unread > 0, "what could not be read is told");
        }
    }

    const HEAD: &str = "Proto Recv-Q Send-Q  Local Address Foreign Address (state) rxbytes txbytes rhiwat shiwat \
        process:pid state options gencnt flags flags1 usecnt rtncnt fltrs\n";

    /// A line as macOS 26 prints it.
    fn line(protocol: &str, local: &str, state: &str, process: &str) -> String {
        format!(
            "{protocol:<5}      0      0  {local:<22} *.*                    {state:<11}            0            0  131072  131072 \
             {process:>20}  00100 00000006 00000000001a2b3c 00000000 00000900      1      0 000000"
        )
    }
}
