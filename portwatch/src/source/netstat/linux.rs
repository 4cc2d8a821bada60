//! `netstat -tlnpeW` and `netstat -uanpeW` of net-tools.

use super::{Parsed, Row, place, state};
use crate::model::Protocol;

/// Columns of which the heading tells whether they are there.
#[derive(Debug, Clone, Copy, Default)]
struct Columns {
    user: bool,
    inode: bool,
    program: bool,
}

/// The width of the last column, pid and name of the program; net-tools cuts what is longer.
const PROGRAM: usize = 20;

/// Reads the output. The program's name comes last and may hold anything, the end of a line too. What then stands in a line of its
/// own behind the row is shorter than its column, which is too short for a row, and is passed over.
pub fn parse(output: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut columns = Columns::default();
    // Behind a row that ends with a program's name.
    let mut named = false;
    for line in String::from_utf8_lossy(output).lines() {
        if named && line.trim_end().chars().count() < PROGRAM {
            continue;
        }
        named = false;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["Proto", "Recv-Q", "Send-Q", rest @ ..] => {
                let has = |name| rest.contains(&name);
                columns = Columns {
                    user: has("User"),
                    inode: has("Inode"),
                    program: rest.iter().any(|word| word.starts_with("PID/")),
                };
                parsed.recognized = true;
            }
            [family, _, _, local, foreign, rest @ ..] if protocol(family).is_some() => {
                let row = row(family, local, foreign, rest, columns);
                named = columns.program && row.is_some();
                parsed.add(row);
            }
            [family, ..] if protocol(family).is_some() => parsed.unread += 1,
            _ => {}
        }
    }
    parsed
}

fn protocol(family: &str) -> Option<(Protocol, bool)> {
    match family {
        "tcp" => Some((Protocol::Tcp, false)),
        "tcp6" => Some((Protocol::Tcp, true)),
        "udp" | "udpl" => Some((Protocol::Udp, false)),
        "udp6" | "udpl6" => Some((Protocol::Udp, true)),
        _ => None,
    }
}

/// `None` when it is not understood; port 0 when it has none.
fn row(family: &str, local: &str, foreign: &str, rest: &[&str], columns: Columns) -> Option<Row> {
    let (protocol, v6) = protocol(family)?;
    let (address, port) = place(local, ':', v6)?;
    place(foreign, ':', v6)?;
    let mut words = rest.iter().copied().peekable();
    // A state is a word; the number of a user follows it.
    let is_state = |word: &&str| word.starts_with(|c: char| c.is_ascii_uppercase());
    let word = words.next_if(is_state);
    let uid = if columns.user { Some(words.next()?.parse().ok()?) } else { None };
    let inode = if columns.inode { Some(words.next()?.parse().ok()?) } else { None };
    let pid = if columns.program {
        let program = words.next()?;
        program.split_once('/').map_or(Some(None), |(pid, _)| Some(pid.parse().ok()))?
    } else {
        None
    };
    Some(Row {
        protocol,
        address,
        port,
        state: state(protocol, word),
        pid,
        uid,
        // The socket of a connection that nobody has any more has inode 0.
        identity: inode.filter(|&inode| inode != 0),
        v6_only: None,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    const CAPTURE: &[u8] = include_bytes!("../fixtures/netstat-linux.txt");

    #[test]
    fn each_socket_has_its_inode_owner_and_process_and_one_in_flight_has_none() {
        let parsed = parse(CAPTURE);
        let rows: Vec<_> = parsed
            .rows
            .iter()
            .map(|r| {
                (format!("{} {} {}", r.protocol, r.address, r.port), r.state, r.identity.unwrap(), r.pid)
            })
            .collect();
        let row = |text: &str, state, inode, pid| (text.to_owned(), state, inode, pid);
        let (own, listening, bound) = (Some(17259), State::Listening, State::Bound);
        assert_eq!(
            rows,
            [
                row("tcp 127.0.0.2 18101", listening, 1_238_581, own),
                row("tcp 127.0.0.1 18120", listening, 1_238_590, None),
                row("tcp 127.0.0.1 18101", listening, 1_238_573, own),
                row("tcp 0.0.0.0 18103", listening, 1_238_575, own),
                row("tcp fe80::1 18130", listening, 1_238_594, own),
                row("tcp ::1 18102", listening, 1_238_574, own),
                row("tcp :: 18104", listening, 1_238_576, own),
                row("tcp :: 18109", listening, 1_238_577, own),
                row("udp 127.0.0.1 18105", bound, 1_238_579, own),
                row("udp 127.0.0.1 54744", bound, 1_238_582, own),
                row("udp :: 18106", bound, 1_238_580, own),
            ]
        );
        assert!(parsed.rows.iter().all(|r| r.uid == Some(0)));
        assert_eq!((parsed.unread, parsed.recognized), (0, true));
    }

    #[test]
    fn other_output_is_not_an_empty_table() {
        assert!(!parse(b"").recognized);
        assert!(!parse(b"netstat: invalid option -- 'W'\n").recognized);
        assert!(parse(b"Proto Recv-Q Send-Q Local Address Foreign Address State\n").recognized);
    }

    #[test]
    fn the_rest_of_a_name_with_the_end_of_a_line_in_it_is_no_entry() {
        // As net-tools of Debian 12 prints programs that are called `\ntcp`, `/a/b\ntcp` and `x\n\ntcp6 0 0 *.1`.
        let text = "\
Proto Recv-Q Send-Q Local Address           Foreign Address         State       User       Inode      PID/Program name    
tcp        0      0 127.0.0.1:42603         0.0.0.0:*               LISTEN      0          44229338   557/
tcp            
tcp        0      0 127.0.0.1:34115         0.0.0.0:*               LISTEN      0          44229966   575/b
tcp           
tcp        0      0 127.0.0.1:34116         0.0.0.0:*               LISTEN      0          44229967   576/x

tcp6 0 0 *.1
tcp        0      0 0.0.0.0:2024            0.0.0.0:*               LISTEN      0          1558       -                   
";
        let parsed = parse(text.as_bytes());
        let rows: Vec<_> = parsed.rows.iter().map(|row| (row.port, row.pid)).collect();
        assert_eq!(rows, [(42603, Some(557)), (34115, Some(575)), (34116, Some(576)), (2024, None)]);
        assert_eq!((parsed.unread, parsed.recognized), (0, true));
    }

    #[test]
    fn a_row_that_is_cut_or_strange_is_counted_and_not_guessed() {
        let head = "Proto Recv-Q Send-Q Local Address Foreign Address State User Inode PID/Program name\n";
        for row in [
            "tcp 0 0",
            "tcp 0 0 127.0.0.1:80",
            "tcp 0 0 127.0.0.1:80 0.0.0.0:* LISTEN",
            "tcp 0 0 127.0.0.1:80 0.0.0.0:* LISTEN root 5 7/x",
            "tcp 0 0 localhost:http 0.0.0.0:* LISTEN 0 5 7/x",
            "udp 0 0 127.0.0.1:80 0.0.0.0:* 0",
        ] {
            let parsed = parse(format!("{head}{row}\n").as_bytes());
            assert_eq!((parsed.rows.len(), parsed.unread), (0, 1), "{row}");
        }
        // Without the columns that it was asked for, as BusyBox prints it.
        let parsed = parse(
            b"Proto Recv-Q Send-Q Local Address Foreign Address State PID/Program name\n\
            tcp 0 0 :::80 :::* LISTEN 7/a b\n",
        );
        assert_eq!(parsed.rows[0].pid, Some(7));
    }
}
