//! The IP helper of Windows as a table.

use std::{
    ptr,
    time::{Duration, Instant},
};

use windows_sys::Win32::{
    Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_SUCCESS},
    NetworkManagement::IpHelper::{
        GetExtendedTcpTable, GetExtendedUdpTable, TCP_TABLE_OWNER_PID_ALL, UDP_TABLE_OWNER_PID,
    },
    Networking::WinSock::{AF_INET, AF_INET6},
};

use super::{
    Pace, Reading, Table, TableScanner,
    poll::{FASTEST, SLOWEST},
};
use crate::{
    model::{BindRules, Completeness, Coverage, Fact, Owner},
    source::{
        SourceError, SourceKind,
        excluded::{Excluded, parse as parse_excluded},
        iphelper::{Kind, parse},
        run::{find, output, system_folder},
    },
};

/// A table that grows while it is asked for is asked for again so often.
const ATTEMPTS: usize = 10;
/// How long netsh may take.
const LIMIT: Duration = Duration::from_secs(5);
/// So long what it said is taken for true.
const RULES_LAST: Duration = Duration::from_secs(30);

/// The tables.
#[derive(Debug, Default)]
pub struct IpHelper {
    /// Kept between readings. u64s, for the alignment of what is written into it.
    buffer: Vec<u64>,
    /// What decides a bind besides sockets, and when that was asked.
    rules: Option<(Instant, BindRules)>,
}

/// The tables of the IP helper.
pub fn iphelper() -> Result<TableScanner<IpHelper>, SourceError> {
    TableScanner::new(IpHelper::default())
}

impl IpHelper {
    /// The bytes of a table.
    fn table(&mut self, kind: Kind) -> Result<&[u8], SourceError> {
        let mut size = 0_u32;
        for _ in 0..ATTEMPTS {
            // With slack: sockets come while it is asked.
            let words = usize::try_from(size).unwrap_or(0) / 8 + 512;
            if self.buffer.len() < words {
                self.buffer.resize(words, 0);
            }
            size = u32::try_from(self.buffer.len() * 8).unwrap_or(u32::MAX);
            match fill(kind, self.buffer.as_mut_ptr().cast(), &mut size) {
                ERROR_SUCCESS => {
                    let length = usize::try_from(size).unwrap_or(0).min(self.buffer.len() * 8);
                    // SAFETY: the bytes of u64s are bytes, and the length is within them.
                    return Ok(unsafe { std::slice::from_raw_parts(self.buffer.as_ptr().cast(), length) });
                }
                ERROR_INSUFFICIENT_BUFFER => {}
                error => return Err(failed(std::io::Error::from_raw_os_error(error.cast_signed()))),
            }
        }
        Err(failed(std::io::Error::other("it grew faster than it could be read")))
    }
}

/// What netsh says.
fn excluded(protocol: &str) -> Result<Excluded, SourceError> {
    let program = find("netsh", &[system_folder().join("netsh.exe")])?;
    let words = ["interface", "ipv4", "show", "excludedportrange", protocol];
    let answer = output(&program, &words, LIMIT)?;
    parse_excluded(&answer.stdout).ok_or_else(|| SourceError::Read {
        what: program.display().to_string(),
        error: std::io::Error::other("it shows no excluded port ranges"),
    })
}

fn failed(error: std::io::Error) -> SourceError {
    SourceError::Read { what: "the IP helper's table".to_owned(), error }
}

fn fill(kind: Kind, buffer: *mut std::ffi::c_void, size: &mut u32) -> u32 {
    let family = u32::from(match kind {
        Kind::Tcp4 | Kind::Udp4 => AF_INET,
        Kind::Tcp6 | Kind::Udp6 => AF_INET6,
    });
    let size = ptr::from_mut(size);
    match kind {
        // SAFETY: the buffer is as long as `size` says, which is written to.
        Kind::Tcp4 | Kind::Tcp6 => unsafe {
            GetExtendedTcpTable(buffer, size, 0, family, TCP_TABLE_OWNER_PID_ALL, 0)
        },
        // SAFETY: as above.
        Kind::Udp4 | Kind::Udp6 => unsafe {
            GetExtendedUdpTable(buffer, size, 0, family, UDP_TABLE_OWNER_PID, 0)
        },
    }
}

impl Table for IpHelper {
    fn kind(&self) -> SourceKind {
        SourceKind::Scan
    }

    fn pace(&self) -> Pace {
        Pace { fastest: FASTEST, slowest: SLOWEST, rest: 0 }
    }

    fn coverage(&self) -> Vec<Coverage> {
        let polled = format!(
            "IP helper, polled every {} ms to {} s; sockets that live shorter can be missed",
            FASTEST.as_millis(),
            SLOWEST.as_secs()
        );
        let hook = |fact| match fact {
            Fact::Bind | Fact::Listen | Fact::Close | Fact::UdpAutoBind => Some(polled.clone()),
            Fact::Exit => Some("process table, polled; without exit code".to_owned()),
            Fact::Holders => Some("IP helper, one process of each socket".to_owned()),
            Fact::ProcessFacts => Some("process table, after the fact".to_owned()),
            Fact::Existing => Some("IP helper".to_owned()),
            Fact::Refused | Fact::AskedPort | Fact::SignalSender | Fact::OutOfMemory | Fact::TimeWait => None,
        };
        Fact::ALL.into_iter().map(|fact| Coverage { fact, hook: hook(fact) }).collect()
    }

    fn bind_rules(&mut self) -> BindRules {
        // They change when a virtual machine or a container starts, and cost two processes.
        let fresh = self.rules.as_ref().filter(|(at, _)| at.elapsed() < RULES_LAST);
        if let Some((_, rules)) = fresh {
            return rules.clone();
        }
        let rules = match (excluded("tcp"), excluded("udp")) {
            (Ok(tcp), Ok(udp)) => BindRules {
                // No port needs a privilege here.
                unprivileged_from: Some(0),
                reserved: Some(tcp.kept),
                excluded: Some([tcp.refused, udp.refused]),
                ..BindRules::default()
            },
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, "excluded port ranges are not known");
                BindRules { unprivileged_from: Some(0), ..BindRules::default() }
            }
        };
        self.rules = Some((Instant::now(), rules.clone()));
        rules
    }

    fn read(&mut self) -> Result<Reading, SourceError> {
        let mut reading = Reading {
            rows: Vec::new(),
            unread: 0,
            without_process: Owner::Unknown,
            bound_included: false,
            completeness: Completeness::PartialTcp(
                "a TCP socket that is bound without listening is not shown by the IP helper".to_owned(),
            ),
        };
        for kind in Kind::ALL {
            let mut parsed = parse(kind, self.table(kind)?);
            reading.rows.append(&mut parsed.rows);
            reading.unread += parsed.unread;
        }
        Ok(reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::row::State;

    #[test]
    fn a_listener_of_this_process_is_in_the_table_with_its_pid() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // Wine names the process of a socket only once the process has a descriptor of it.
        listener.set_ttl(64).unwrap();
        let port = listener.local_addr().unwrap().port();
        let reading = IpHelper::default().read().unwrap();
        let rows: Vec<_> = reading.rows.iter().filter(|row| row.port == port).collect();
        let [row] = rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.state, row.pid), (State::Listening, Some(std::process::id())));
        assert_eq!(row.address.to_string(), "127.0.0.1");
    }
}
