//! Connections: accepting, limits, peers, an end.

use std::{
    collections::HashMap,
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::IntoResponse};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tower::{Service, ServiceExt};

use super::{ApiError, Peer};

/// What one client, or all together, may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one uid other than root's: nobody shuts the others out.
    pub per_uid: usize,
    /// Time to send the head of a request.
    pub header: Duration,
    /// Time from connect to the end of the answer, for everything but the live stream.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256, per_uid: 64, header: Duration::from_secs(5), answer: Duration::from_mins(1) }
    }
}

/// Serves until `stop` resolves, then closes every connection. Must run inside a `LocalSet` or any tokio runtime.
pub async fn serve(
    listener: UnixListener,
    router: Router,
    limits: Limits,
    hidepid: bool,
    stop: impl Future<Output = ()>,
) {
    let server_uid = nix::unistd::geteuid().as_raw();
    let counts = Arc::new(Counts::default());
    let mut connections = tokio::task::JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or a peer that left at once. Waiting lets descriptors come back.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let credentials = match stream.peer_cred() {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::warn!(%error, "a peer without credentials was refused");
                continue;
            }
        };
        let peer = Peer::new(credentials.uid(), credentials.pid(), server_uid, hidepid);
        match Counts::enter(&counts, peer.uid, limits) {
            Ok(place) => {
                let router = router.clone();
                connections.spawn(async move {
                    connection(stream, router, peer, limits).await;
                    drop(place);
                });
            }
            Err(refusal) => {
                connections.spawn(refuse(stream, refusal));
            }
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: UnixStream, router: Router, peer: Peer, limits: Limits) {
    let (streaming, mut is_streaming) = tokio::sync::watch::channel(false);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        if request.uri().path() == "/v1/watch" {
            let _ = streaming.send(true);
        }
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let mut router = router.clone();
        async move { router.as_service().ready().await?.call(request).await }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        // A head of more than 16 kB is not ours. Bodies are never read.
        .max_buf_size(16 * 1024)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let result = tokio::select! {
        result = &mut serving => result,
        () = tokio::time::sleep(limits.answer) => {
            if *is_streaming.borrow_and_update() {
                serving.await
            } else {
                tracing::debug!(uid = peer.uid, "a client that did not read its answer was cut off");
                return;
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(uid = peer.uid, %error, "a connection ended early");
    }
}

/// One answer, whatever was asked.
async fn refuse(stream: UnixStream, refusal: String) {
    let service = hyper::service::service_fn(move |_: hyper::Request<Incoming>| {
        let response = ApiError::TooMany(refusal.clone()).into_response();
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let serving = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
}

/// Connections now, by uid.
#[derive(Debug, Default)]
struct Counts(Mutex<HashMap<u32, usize>>);

/// A connection's place in [`Counts`]; given back on drop.
#[derive(Debug)]
struct Place {
    counts: Arc<Counts>,
    uid: u32,
}

impl Counts {
    fn enter(counts: &Arc<Self>, uid: u32, limits: Limits) -> Result<Place, String> {
        let mut by_uid = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = by_uid.values().sum();
        // Root is never shut out: who keeps the machine must be able to ask.
        if uid != 0 && total >= limits.connections {
            return Err(format!("{total} clients are connected, the daemon's limit"));
        }
        let own = by_uid.entry(uid).or_default();
        if uid != 0 && *own >= limits.per_uid {
            return Err(format!("{own} clients of uid {uid} are connected, the limit for one user"));
        }
        *own += 1;
        Ok(Place { counts: Arc::clone(counts), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_uid = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_uid.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                by_uid.remove(&self.uid);
            }
        }
    }
}

/// Binds a listening socket at `path` with `mode`. A file left there by a daemon that is gone is replaced; one
/// that a live server listens on is left alone (`AddrInUse`).
pub fn bind(path: &std::path::Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::{fs::FileTypeExt, fs::PermissionsExt, net};
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something that is not a socket is there",
            ));
        }
        Ok(_) => match net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")),
            Err(error) => return Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
