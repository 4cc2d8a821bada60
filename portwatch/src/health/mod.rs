//! Is the program behind an address well? One HTTP request, or one TCP connection.
//!
//! Never: know where the answer is shown.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::registry;

/// How long a program may take when nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const BODY: usize = 64 * 1024;

/// What is asked of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Path of the request; without one `/`, and every answer below 500 is well: whether there is a page at `/`
    /// says nothing.
    pub path: Option<String>,
    /// Statuses that are well; empty means 200 to 399.
    pub status: Vec<u16>,
    /// Headers of the request.
    pub headers: Vec<(String, String)>,
    /// How long it may take, from connecting to the end of the answer.
    pub timeout: Duration,
    /// Only connect.
    pub tcp: bool,
}

impl Default for Check {
    fn default() -> Self {
        Self { path: None, status: Vec::new(), headers: Vec::new(), timeout: PATIENCE, tcp: false }
    }
}

impl Check {
    /// What a project says of its program.
    pub fn of(project: &registry::Health) -> Self {
        Self {
            path: project.path.clone(),
            status: project.status.clone(),
            headers: project.headers.clone(),
            timeout: project.timeout.unwrap_or(PATIENCE),
            tcp: project.tcp,
        }
    }
}

/// How a program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Well: it answered as it should.
    Healthy,
    /// It answered, and not as it should.
    WrongStatus,
    /// Nobody accepts there (ECONNREFUSED).
    Refused,
    /// No answer in time.
    Timeout,
    /// It accepts and does not speak HTTP, where HTTP was asked for.
    NoHttp(String),
    /// The address cannot be reached for another reason.
    Unreachable(String),
}

impl Health {
    /// The word used in JSON and in the database.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::WrongStatus => "wrong-status",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::NoHttp(_) => "no-http",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it is.
    pub health: Health,
    /// `GET http://127.0.0.1:3100/health`, or `connect 127.0.0.1:3100`.
    pub endpoint: String,
    /// HTTP status.
    pub status: Option<u16>,
    /// The beginning of the answer's body; bytes that are not UTF-8 were replaced.
    pub body: Option<String>,
    /// How long it took.
    pub latency: Duration,
}

impl Report {
    /// The answer in a few words: `200 OK, 12 ms`.
    pub fn sentence(&self, check: &Check) -> String {
        let ms = self.latency.as_millis();
        let reason = |status: u16| {
            let known = hyper::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
            known.map_or_else(|| status.to_string(), |reason| format!("{status} {reason}"))
        };
        match (&self.health, self.status) {
            (Health::WrongStatus, Some(status)) if !check.status.is_empty() => {
                let wanted: Vec<String> = check.status.iter().map(u16::to_string).collect();
                format!("{}, {ms} ms; wanted {}", reason(status), wanted.join(" or "))
            }
            (_, Some(status)) => format!("{}, {ms} ms", reason(status)),
            (Health::Healthy, None) => format!("accepts connections, {ms} ms"),
            (Health::Refused, None) => "connection refused".to_owned(),
            (Health::Timeout, None) => format!("timeout after {} ms", check.timeout.as_millis()),
            (Health::NoHttp(why), None) => format!("no HTTP: {why}"),
            (Health::Unreachable(why), None) => format!("unreachable: {why}"),
            (Health::WrongStatus, None) => "wrong status".to_owned(),
        }
    }

    /// The sentence of the log: whether it is well comes first.
    pub fn told(&self, check: &Check) -> String {
        told(self.health == Health::Healthy, &self.sentence(check))
    }
}

/// `healthy: 200 OK, 12 ms`, without what could not be kept.
pub fn told(well: bool, sentence: &str) -> String {
    let word = if well { "healthy" } else { "UNHEALTHY" };
    format!("{word}: {sentence}").chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The address to ask at, for a socket bound to `address`: one on every address is asked at the loopback of a family it
/// listens on.
pub fn target(address: IpAddr, port: u16, v6_only: bool) -> SocketAddr {
    let host = match address {
        IpAddr::V4(a) if a.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(a) if a.is_unspecified() && v6_only => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(a) if a.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(host, port)
}

/// Asks. Takes no longer than the check allows.
pub async fn probe(at: SocketAddr, check: &Check) -> Report {
    let begun = Instant::now();
    let path = check.path.as_deref().unwrap_or("/");
    let endpoint = if check.tcp { format!("connect {at}") } else { format!("GET http://{at}{path}") };
    let mut report =
        Report { health: Health::Timeout, endpoint, status: None, body: None, latency: Duration::ZERO };
    if let Ok(answer) = timeout(check.timeout, ask(at, path, check)).await {
        match answer {
            Ok(Some((status, body))) => {
                report.health = if is_well(check, status) { Health::Healthy } else { Health::WrongStatus };
                report.status = Some(status);
                report.body = Some(body);
            }
            Ok(None) => {
                report.health = Health::Healthy;
                report.endpoint = format!("connect {at}");
            }
            Err(health) => report.health = health,
        }
    }
    report.latency = begun.elapsed();
    report
}

fn is_well(check: &Check, status: u16) -> bool {
    match (check.status.as_slice(), &check.path) {
        ([], None) => status < 500,
        ([], Some(_)) => (200..400).contains(&status),
        (wanted, _) => wanted.contains(&status),
    }
}

/// Status and body; `None` when a connection is all that can be had and all that was wanted.
async fn ask(at: SocketAddr, path: &str, check: &Check) -> Result<Option<(u16, String)>, Health> {
    let stream = TcpStream::connect(at).await.map_err(|error| refusal(&error))?;
    if check.tcp {
        return Ok(None);
    }
    let no_http = |error: &dyn fmt::Display| {
        // Whoever did not ask for a path is content with a program that accepts.
        if check.path.is_none() && check.status.is_empty() {
            Ok(None)
        } else {
            Err(Health::NoHttp(error.to_string()))
        }
    };
    let (mut sender, connection) = match http1::handshake(TokioIo::new(stream)).await {
        Ok(parts) => parts,
        Err(error) => return no_http(&error),
    };
    let serving = tokio::spawn(connection);
    let mut request = Request::get(path).header("host", at.to_string()).header("user-agent", "portwatch");
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| Health::NoHttp(error.to_string()))?;
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        // Where the connection ended before it took the request, the reason is the connection's.
        Err(error) if error.is_canceled() => {
            return match serving.await {
                Ok(Err(error)) => no_http(&error),
                _ => no_http(&"it closed the connection"),
            };
        }
        Err(error) => {
            serving.abort();
            return no_http(&error);
        }
    };
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), BODY).collect().await;
    serving.abort();
    // A body that does not end or is too long changes nothing of the status.
    let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok(Some((status, String::from_utf8_lossy(&bytes).into_owned())))
}

fn refusal(error: &io::Error) -> Health {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Health::Refused,
        io::ErrorKind::TimedOut => Health::Timeout,
        _ => Health::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpListener},
        thread,
        time::Duration,
    };

    use super::{Check, Health, Report, probe, target};

    /// A server that reads a request's head, answers one connection with `answer` and gives the head back.
    fn server(answer: &'static [u8]) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let _ = stream.write_all(answer);
            String::from_utf8_lossy(&head).into_owned()
        });
        (at, thread)
    }

    fn run(at: SocketAddr, check: &Check) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(probe(at, check))
    }

    #[test]
    fn the_answer_decides() {
        let path = |path: &str| Check { path: Some(path.to_owned()), ..Check::default() };
        let ok: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let missing: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        let broken: &[u8] = b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";
        for (answer, check, expected) in [
            (ok, path("/health"), "healthy"),
            (ok, Check { status: vec![204], ..path("/health") }, "wrong-status"),
            (missing, Check::default(), "healthy"),
            (missing, path("/health"), "wrong-status"),
            (missing, Check { status: vec![404], ..path("/gone") }, "healthy"),
            (broken, Check::default(), "wrong-status"),
            (b"SSH-2.0-x\r\n", Check::default(), "healthy"),
            (b"SSH-2.0-x\r\n", path("/health"), "no-http"),
            (b"", Check { tcp: true, ..Check::default() }, "healthy"),
        ] {
            let (at, server) = server(answer);
            let report = run(at, &check);
            assert_eq!(report.health.as_str(), expected, "{:?} {report:?}", String::from_utf8_lossy(answer));
            server.join().unwrap();
        }
    }

    #[test]
    fn path_and_headers_are_sent_and_the_body_comes_back() {
        let (at, server) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"status\":\"ok\"}");
        let check = Check {
            path: Some("/health?deep=true".to_owned()),
            headers: vec![("Authorization".to_owned(), "Bearer x".to_owned())],
            ..Check::default()
        };
        let report = run(at, &check);
        assert_eq!(report.body.as_deref(), Some("{\"status\":\"ok\"}"));
        assert_eq!(report.endpoint, format!("GET http://{at}/health?deep=true"));
        let head = server.join().unwrap();
        assert!(head.starts_with("GET /health?deep=true HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("authorization: bearer x\r\n"), "{head}");
    }

    #[test]
    fn refused_and_too_slow_are_different_words() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let short = Check { timeout: Duration::from_millis(100), ..Check::default() };
        let report = run(at, &short);
        assert_eq!(report.health, Health::Timeout, "it accepts and never answers");
        assert!(report.latency < Duration::from_secs(2));
        drop(listener);
        assert_eq!(run(at, &short).health, Health::Refused);
    }

    #[test]
    fn a_program_is_asked_where_it_listens() {
        for (address, v6_only, expected) in [
            ("0.0.0.0", false, "127.0.0.1:80"),
            ("::", false, "127.0.0.1:80"),
            ("::", true, "[::1]:80"),
            ("::1", true, "[::1]:80"),
            ("192.0.2.7", false, "192.0.2.7:80"),
        ] {
            assert_eq!(target(address.parse().unwrap(), 80, v6_only).to_string(), expected);
        }
    }
}
