//! One HTTP request to an address that is allowed, and what came of it.
//!
//! Never: connect to an address that the list does not allow, follow where an answer points, wait or read without a bound.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, join},
    net::TcpStream,
    time::timeout,
};

use crate::webhook::{AllowList, Host, Target, forbidden};

/// From looking up the name to the head of the answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// One address may take so long to accept.
const CONNECT: Duration = Duration::from_secs(3);
/// Of an answer only the head counts, and so much is read at most, whatever comes before it.
const READ: u64 = 64 * 1024;
/// A head of more than this is none.
const HEAD: usize = 16 * 1024;
/// So many addresses of a name are tried.
const ADDRESSES: usize = 4;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// Why it is no success; `None` when it is one.
    pub problem: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// Posts `body`. Takes no longer than [`PATIENCE`].
pub async fn post(
    target: &Target,
    allowed: &AllowList,
    headers: &[(&'static str, String)],
    body: Bytes,
) -> Outcome {
    post_within(target, allowed, headers, body, PATIENCE).await
}

async fn post_within(
    target: &Target,
    allowed: &AllowList,
    headers: &[(&'static str, String)],
    body: Bytes,
    patience: Duration,
) -> Outcome {
    let begun = Instant::now();
    let late = |_| Err(format!("no answer within {} ms", patience.as_millis()));
    let answered = timeout(patience, attempt(target, allowed, headers, body)).await.unwrap_or_else(late);
    let (status, problem) = match answered {
        Ok(status) => (Some(status.as_u16()), complaint(status)),
        Err(problem) => (None, Some(problem)),
    };
    Outcome { status, problem, took: begun.elapsed() }
}

fn complaint(status: StatusCode) -> Option<String> {
    if status.is_success() {
        None
    } else if status.is_redirection() {
        Some(format!("it answered {status}; where that points is not followed"))
    } else {
        Some(format!("it answered {status}"))
    }
}

async fn attempt(
    target: &Target,
    allowed: &AllowList,
    headers: &[(&'static str, String)],
    body: Bytes,
) -> Result<StatusCode, String> {
    let stream = connect(&addresses(target, allowed).await?).await?;
    let (read, write) = stream.into_split();
    // The bound holds for everything: interim answers and trailers too.
    let stream = TokioIo::new(join(read.take(READ), write));
    let broken = |error: hyper::Error| {
        if error.is_incomplete_message() {
            "it broke off before it answered".to_owned()
        } else {
            format!("it does not speak HTTP: {error}")
        }
    };
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD).handshake::<_, Full<Bytes>>(stream).await.map_err(broken)?;
    let mut request = Request::post(target.path.as_str())
        .header("host", target.authority())
        .header("user-agent", concat!("portwatch/", env!("CARGO_PKG_VERSION")))
        .header("content-type", "application/json")
        .header("connection", "close");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request =
        request.body(Full::new(body)).map_err(|error| format!("the request cannot be made: {error}"))?;
    // Polled here and not spawned: with the timeout the connection ends too.
    tokio::pin!(connection);
    let sending = sender.send_request(request);
    tokio::pin!(sending);
    tokio::select! {
        biased;
        response = &mut sending => response.map(|response| response.status()).map_err(broken),
        ended = &mut connection => match ended {
            Err(error) => Err(broken(error)),
            Ok(()) => sending.await.map(|response| response.status()).map_err(broken),
        },
    }
}

/// The addresses that may be connected to. A name is looked up here and nowhere else, so what is judged is what is connected to.
async fn addresses(target: &Target, allowed: &AllowList) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<SocketAddr> = match &target.host {
        Host::Address(address) => vec![SocketAddr::new(*address, target.port)],
        Host::Name(name) => tokio::net::lookup_host((name.as_str(), target.port))
            .await
            .map_err(|error| format!("the name {name} cannot be looked up: {error}"))?
            .collect(),
    };
    let good: Vec<SocketAddr> =
        found.iter().copied().filter(|at| allowed.allows(*at)).take(ADDRESSES).collect();
    if good.is_empty() {
        return Err(not_allowed(target, &found));
    }
    Ok(good)
}

/// Says which address it is, and whether that could be allowed.
pub fn not_allowed(target: &Target, found: &[SocketAddr]) -> String {
    let Some(at) = found.first() else { return "the name has no address".to_owned() };
    let what = match &target.host {
        Host::Address(_) => at.to_string(),
        Host::Name(name) => format!("{name} is {at}, and that"),
    };
    match forbidden(at.ip()) {
        Some(why) => format!("{what} is never led to: {why}"),
        None => format!("{what} is not among the places that webhooks may lead to"),
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut problem = "the name has no address".to_owned();
    for at in addresses {
        problem = match timeout(CONNECT, TcpStream::connect(*at)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                format!("{at} refused the connection")
            }
            Ok(Err(error)) => format!("{at} cannot be reached: {error}"),
            Err(_) => format!("{at} did not accept within {} s", CONNECT.as_secs()),
        };
    }
    Err(problem)
}

#[cfg(test)]
mod tests;
