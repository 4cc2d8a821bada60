//! `netstat -anvl` of macOS, in the three forms its columns have had.
//!
//! Up to macOS 14 the pid is the third column after the state, macOS 15 has put `rxbytes` and `txbytes` before, and
//! macOS 26 has made one column of name and pid, `process:pid`, whose name may hold blanks and colons and runs over
//! the column. The heading tells which it is. Without `-l` IPv6 addresses are cut at 16 characters.
//!
//! Such a name is what its file is called, 32 bytes at most, with any character in it, the end of a line too. So that none passes for
//! what comes behind it, nor what comes behind such an end for a row, both are held to the least width that they are printed with
//! (`"%-5.5s %6u %6u "` and `" %05x %08x %016llx %08x %08x %6d %6d %06x"` of inet.c): more than a name has room for. A row that such
//! an end has broken is put together again, up to the columns behind the name. What looks like a heading behind the one of this form is of a name.

use std::net::{IpAddr, Ipv6Addr};

use super::{Parsed, Row, place, state};
use crate::model::Protocol;

/// Columns behind `process:pid`, each with its least width: state, options, gencnt, flags, flags1, usecnt, rtncnt, fltrs.
const BEHIND_PROCESS: [usize; 8] = [5, 8, 16, 8, 8, 1, 1, 6];
/// Characters before the local address: protocol and two counts.
const BEFORE_ADDRESS: usize = 20;
/// What follows the first end of a line in a name has fewer characters than this: the rest of the name, the pid and the columns
/// behind it. A row has more.
const REST: usize = 140;

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
    // The beginning of a row whose name goes on in the next line, and where the name was broken first.
    let mut begun: Option<(String, usize)> = None;
    for line in String::from_utf8_lossy(output).lines() {
        if let Some((mut text, broken)) = begun.take() {
            text.extend([" ", line]);
            let rest = text.get(broken..).map_or(0, |rest| rest.chars().count());
            match entry(&text, form) {
                _ if rest > REST || matches!(entry(line, form), Entry::Row(_)) => parsed.unread += 1,
                Entry::Row(row) => {
                    parsed.add(Some(row));
                    continue;
                }
                _ => {
                    begun = Some((text, broken));
                    continue;
                }
            }
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["Proto", "Recv-Q", "Send-Q", rest @ ..] if !form.process => {
                let at = |name: &str| rest.iter().position(|word| *word == name);
                let pid = at("process:pid").or_else(|| at("pid"));
                form = Form {
                    bytes: at("rxbytes").is_some(),
                    process: at("process:pid").is_some(),
                    number: at("gencnt").zip(pid).map(|(number, pid)| number.saturating_sub(pid)),
                };
                parsed.recognized |= pid.is_some();
            }
            _ => match entry(line, form) {
                Entry::Row(row) => parsed.add(Some(row)),
                Entry::Begun => begun = Some((line.to_owned(), line.len())),
                Entry::Strange => parsed.unread += 1,
                Entry::None => {}
            },
        }
    }
    parsed.unread += usize::from(begun.is_some());
    parsed
}

/// What a line is.
enum Entry {
    Row(Row),
    /// A row up to where the name and pid of its process stand, and not what is behind them.
    Begun,
    /// It begins as a row does, and is none.
    Strange,
    None,
}

fn entry(line: &str, form: Form) -> Entry {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words.as_slice() {
        [family, _, _, local, foreign, rest @ ..] if protocol(family).is_some() && is_whole(line) => {
            row(family, local, foreign, rest, form).unwrap_or(Entry::Strange)
        }
        [family, ..] if protocol(family).is_some() => Entry::Strange,
        _ => Entry::None,
    }
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
fn row(family: &str, local: &str, foreign: &str, rest: &[&str], form: Form) -> Option<Entry> {
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
    let named = if form.process { process(rest) } else { Some((rest.first()?.parse().ok()?, 0)) };
    let Some((pid, at)) = named else { return Some(Entry::Begun) };
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
    Some(Entry::Row(Row {
        protocol,
        address,
        port,
        state: state(protocol, word),
        // 0: the kernel, or nobody any more.
        pid: Some(pid).filter(|&pid| pid != 0),
        uid: None,
        identity,
        v6_only: wildcard.then_some(!both),
    }))
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
    fn a_name_with_the_end_of_a_line_in_it_is_neither_anothers_pid_nor_a_row_of_its_own_and_hides_none() {
        // 31 bytes are what a name has at most. The first would be pid 501's, the others open ports that nobody has, or end the table.
        for name in [
            &b"x:501 0 0 0 0 0 0 0 0\n"[..],
            b"x:501 \xff\xff\xff\xff\xff 0 0 0 0 0 0 0\n",
            b"\nudp4 0 0 *.1 *.* 0 0 0 0 a",
            b"\nudp4 \xff\xff\xff\xff 0 *.1 *.* 0 0 0 0 a",
            b"\ntcp4 0 0 *.1 *.* CLOSED 0 0 0 0",
            b"\ntcp4       0      0  *.1 *.* ",
            b"\nProto Recv-Q Send-Q pid",
            b"\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
            b"x\r\ny\x0b\x1b[2J\xff\n",
        ] {
            let whole = line("tcp4", "*.8080", "LISTEN", "NAME:666");
            let (before, behind) = whole.split_once("NAME").unwrap();
            let other = line("udp4", "*.53", "", "b c:7");
            let named = [before.as_bytes(), name, behind.as_bytes(), b"\n"].concat();
            let output = [HEAD.as_bytes(), &named, other.as_bytes(), b"\n", &named].concat();
            let told: Vec<_> = rows(&output);
            let hostile = row("tcp 0.0.0.0 8080", Listening, 666);
            assert_eq!(
                told,
                [hostile.clone(), row("udp 0.0.0.0 53", Bound, 7), hostile],
                "{}",
                name.escape_ascii()
            );
        }
    }

    #[test]
    fn a_row_that_was_cut_takes_nothing_of_the_next() {
        let whole = line("tcp4", "*.8081", "LISTEN", "node:7");
        let cut = whole.split_at(110).0;
        let strange = whole.replace("*.8081", "*.http");
        for (next, expected) in [(&whole, 1), (&strange, 0)] {
            let parsed = parse(format!("{HEAD}{cut}\n{next}\n").as_bytes());
            assert_eq!((parsed.rows.len(), parsed.unread), (expected, 2 - expected), "{next}");
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
