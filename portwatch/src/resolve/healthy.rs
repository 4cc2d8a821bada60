//! Does the server that listens at a place answer?

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::model::Port;

/// More of an answer than this says nothing about its status.
const FIRST_LINE: usize = 512;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path of the HTTP request.
    pub path: String,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { path: "/".to_owned(), timeout: Duration::from_secs(2) }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// An HTTP status.
    Status(u16),
    /// It accepts, and does not speak HTTP.
    Accepts,
    /// Nothing in time.
    Silent,
    /// The connection was refused or broke.
    Failed(String),
}

impl Health {
    /// Good: a status of success or redirection, or a server that accepts and speaks something else.
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Accepts | Self::Status(200..=399))
    }

    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Status(status) => format!("answers {status}"),
            Self::Accepts => "accepts, and does not speak HTTP".to_owned(),
            Self::Silent => "accepts and does not answer".to_owned(),
            Self::Failed(why) => format!("does not accept: {why}"),
        }
    }
}

/// Asks the server that listens on this address; a wildcard is asked on loopback.
pub(super) fn ask(address: IpAddr, port: Port, check: &HealthCheck) -> Health {
    let address = match address {
        IpAddr::V4(a) if a.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(a) if a.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    let place = SocketAddr::new(address, port.get());
    match exchange(place, check) {
        Ok(head) => match status(&head) {
            Some(status) => Health::Status(status),
            None => Health::Accepts,
        },
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Health::Silent
        }
        Err(error) => Health::Failed(error.to_string()),
    }
}

fn exchange(place: SocketAddr, check: &HealthCheck) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&place, check.timeout)?;
    stream.set_read_timeout(Some(check.timeout))?;
    stream.set_write_timeout(Some(check.timeout))?;
    let path = &check.path;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: portwatch\r\nConnection: close\r\n\r\n"
    )?;
    let mut head = Vec::new();
    let mut buffer = [0; FIRST_LINE];
    while head.len() < FIRST_LINE && !head.contains(&b'\n') {
        match stream.read(&mut buffer)? {
            0 => break,
            read => head.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    Ok(head)
}

/// The number in `HTTP/1.1 200 OK`.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|&b| b == b'\r' || b == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/")?;
    line.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, thread, time::Duration};

    use super::{Health, HealthCheck, ask};
    use crate::model::Port;

    fn answered(answer: &'static [u8]) -> Health {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Reads the request, so that closing does not reset.
            let mut buffer = [0; 1024];
            let _ = std::io::Read::read(&mut stream, &mut buffer);
            stream.write_all(answer).unwrap();
            stream
        });
        let check = HealthCheck { timeout: Duration::from_millis(300), ..HealthCheck::default() };
        let health = ask(address.ip(), Port::new(address.port()).unwrap(), &check);
        drop(server.join().unwrap());
        health
    }

    #[test]
    fn the_status_decides_and_a_server_without_http_is_asked_for_no_more_than_to_accept() {
        assert_eq!(answered(b"HTTP/1.0 200 OK\r\n\r\n"), Health::Status(200));
        assert_eq!(answered(b"HTTP/1.1 503 Service Unavailable\r\n"), Health::Status(503));
        assert_eq!(answered(b"SSH-2.0-x\r\n"), Health::Accepts);
        assert_eq!(answered(b""), Health::Silent);
        assert!(Health::Status(302).is_good() && !Health::Status(404).is_good() && !Health::Silent.is_good());
    }
}
