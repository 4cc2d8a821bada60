//! The client: one question after the other on one connection, with deadlines, on a runtime of its own.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{runtime::Runtime, task::JoinHandle, time::timeout};

mod attend;
mod error;

pub(super) use attend::ALIVE;
pub use error::{ClientError, Silence, Told};

use crate::platform::{
    local::{self, Stream},
    user,
};

/// How long a daemon may take to accept.
const CONNECT: Duration = Duration::from_secs(2);
/// Between two tries where it lets nobody in.
const AGAIN: Duration = Duration::from_millis(50);
/// How long it may take to answer, as long as it is there.
pub const ANSWER: Duration = Duration::from_mins(1);
/// A connection that was made to see whether a daemon accepts, or that has given an answer, serves the next question if that
/// comes so soon; the daemon ends one on which nothing is asked.
const FRESH: Duration = Duration::from_secs(1);
/// An answer larger than this is not one.
const LARGEST: usize = 256 << 20;

/// Asks one daemon.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    /// The connection of [`Client::probe`], for the first question.
    probed: Mutex<Option<(Stream, Instant)>>,
    /// The connection of the last answer, for the next question.
    kept: Mutex<Option<(Sender, Instant)>>,
    /// What carries the connection that was made last.
    carried: Mutex<Option<JoinHandle<()>>>,
    /// Who served that, where the system tells.
    server: Mutex<Option<u32>>,
    /// Is told that an answer takes long.
    tell: fn(&str),
    runtime: Runtime,
}

type Sender = SendRequest<Full<Bytes>>;

impl Client {
    /// A client of the daemon at `socket`. Connects with the first question.
    pub fn new(socket: PathBuf) -> Result<Self, ClientError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClientError::Start)?;
        Ok(Self {
            socket,
            probed: Mutex::default(),
            kept: Mutex::default(),
            carried: Mutex::default(),
            server: Mutex::default(),
            tell: |_| {},
            runtime,
        })
    }

    /// The same, where `tell` is told of an answer that takes long.
    #[must_use]
    pub fn telling(self, tell: fn(&str)) -> Self {
        Self { tell, ..self }
    }

    /// Where it is asked.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The process that was connected to last, where it is seen from here.
    pub fn server(&self) -> Option<u32> {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a daemon accepts: as [`ClientError`] says, when it does not.
    pub fn probe(&self) -> Result<(), ClientError> {
        let stream = self.runtime.block_on(self.connect())?;
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = Some((stream, Instant::now()));
        Ok(())
    }

    /// The document at `path` (with its query). Waits as long as an answer may take, where the daemon says meanwhile that it is there.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let bytes = self.runtime.block_on(self.attended(self.fetch(path)))?;
        serde_json::from_slice(&bytes).map_err(|error| self.alien(&error))
    }

    /// The same, where the daemon may take so long to answer, and is not asked whether it is there.
    pub fn get_within<T: DeserializeOwned>(&self, path: &str, within: Duration) -> Result<T, ClientError> {
        let bytes = self.runtime.block_on(self.limited(within, Instant::now(), self.fetch(path)))?;
        serde_json::from_slice(&bytes).map_err(|error| self.alien(&error))
    }

    /// The document that `order` at `path` is answered with. It is sent to a daemon that has just answered, and to no other.
    pub fn post<T: DeserializeOwned>(&self, path: &str, order: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(order).map_err(|error| self.alien(&error))?;
        let bytes = self.runtime.block_on(async {
            self.greet(None).await?;
            self.attended(self.carry(path, body)).await.map_err(ClientError::of_order)
        })?;
        serde_json::from_slice(&bytes).map_err(|error| self.alien(&error))
    }

    /// The same, where the daemon may take so long to answer.
    pub fn post_within<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
        within: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(order).map_err(|error| self.alien(&error))?;
        let begun = Instant::now();
        let bytes = self.runtime.block_on(async {
            self.greet(Some(within)).await?;
            self.limited(within, begun, self.carry(path, body)).await.map_err(ClientError::of_order)
        })?;
        serde_json::from_slice(&bytes).map_err(|error| self.alien(&error))
    }

    /// Server-sent events at `path`; `each` is given the data of one, and ends it by `false`.
    pub fn stream(&self, path: &str, mut each: impl FnMut(&str) -> bool) -> Result<(), ClientError> {
        self.runtime.block_on(async {
            let (mut body, _sender) = self.attended(self.send(path, None)).await?;
            let mut lines = Lines::default();
            while let Some(frame) = self.next(&mut body).await? {
                let frame = match frame {
                    Ok(frame) => frame,
                    // The daemon ended, in order or not (ECONNRESET where it had not read all): an end, not a failure.
                    Err(error) => {
                        tracing::debug!(%error, "the stream broke off");
                        return Ok(());
                    }
                };
                if let Ok(data) = frame.into_data()
                    && !lines.feed(&data, &mut each)
                {
                    return Ok(());
                }
            }
            Ok(())
        })
    }

    async fn connect(&self) -> Result<Stream, ClientError> {
        let path = || self.socket.clone();
        if let Some(most) = local::longest().filter(|&most| self.socket.as_os_str().len() > most) {
            return Err(ClientError::TooLong { path: path(), most });
        }
        let stream = timeout(CONNECT, self.let_in())
            .await
            .map_err(|_| self.silent(CONNECT, false))?
            .map_err(|error| self.unconnected(&error))?;
        let server = local::served_by(&stream).map_err(|error| self.broken(&error))?;
        if !user::is_trusted(server.uid) {
            return Err(ClientError::Foreign { path: path(), uid: server.uid });
        }
        let pid = server.pid.and_then(|pid| u32::try_from(pid).ok());
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = pid;
        Ok(stream)
    }

    /// Connects. Where its queue is full (EAGAIN of `unix_stream_connect`), the daemon has accepted nobody for a while.
    async fn let_in(&self) -> io::Result<Stream> {
        loop {
            match local::connect(&self.socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(AGAIN).await,
                connected => return connected,
            }
        }
    }

    fn unconnected(&self, error: &io::Error) -> ClientError {
        let path = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound => ClientError::Absent(path),
            // ECONNRESET and EPIPE: it ended before it accepted (`unix_release_sock` resets who is in its queue).
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                ClientError::Stale(path)
            }
            io::ErrorKind::InvalidInput => ClientError::NoSocket(path),
            io::ErrorKind::PermissionDenied => ClientError::NotPermitted { path },
            _ => self.broken(error),
        }
    }

    /// A connection that is ready to be asked on.
    async fn fresh(&self) -> Result<Sender, ClientError> {
        let probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = match probed {
            Some((stream, at)) if at.elapsed() < FRESH => stream,
            _ => self.connect().await?,
        };
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        let carried = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the daemon ended");
            }
        });
        *self.carried.lock().unwrap_or_else(PoisonError::into_inner) = Some(carried);
        Ok(sender)
    }

    /// The body of a good answer to a question, or to an order where there is one; and its connection.
    async fn send(&self, path: &str, order: Option<Vec<u8>>) -> Result<(Incoming, Sender), ClientError> {
        let is_question = order.is_none();
        let body = Bytes::from(order.unwrap_or_default());
        let request = || {
            let request = if is_question {
                Request::get(path)
            } else {
                Request::post(path).header("content-type", "application/json")
            };
            let request = request.header("host", "portwatch").body(Full::new(body.clone()));
            request.map_err(|error| self.broken(&error))
        };
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((mut sender, at)) = kept
            && at.elapsed() < FRESH
        {
            match sender.try_send_request(request()?).await {
                Ok(response) => return self.good(response, sender).await,
                // The daemon has closed it. A question may be asked again; an order, where nobody can have carried it out.
                Err(mut failed) => {
                    let is_unsent = failed.take_message().is_some();
                    let error = failed.into_error();
                    if !is_question && !is_unsent && !was_cut(&error) {
                        return Err(self.broken(&error));
                    }
                }
            }
        }
        let mut sender = self.fresh().await?;
        let response = sender.send_request(request()?).await.map_err(|error| self.broken(&error))?;
        self.good(response, sender).await
    }

    /// The body of an answer that is none of an error.
    async fn good(
        &self,
        response: hyper::Response<Incoming>,
        sender: Sender,
    ) -> Result<(Incoming, Sender), ClientError> {
        let status = response.status();
        let body = response.into_body();
        if status == StatusCode::OK {
            return Ok((body, sender));
        }
        let bytes = self.whole(body, sender).await?;
        match serde_json::from_slice(&bytes) {
            Ok(document) => {
                Err(ClientError::Refused { status: status.as_u16(), document: Box::new(document) })
            }
            Err(_) => Err(self.alien(&format!("HTTP {status}"))),
        }
    }

    async fn fetch(&self, path: &str) -> Result<Bytes, ClientError> {
        let (body, sender) = self.send(path, None).await?;
        self.whole(body, sender).await
    }

    async fn carry(&self, path: &str, order: Vec<u8>) -> Result<Bytes, ClientError> {
        let (body, sender) = self.send(path, Some(order)).await?;
        self.whole(body, sender).await
    }

    /// The whole answer; its connection is kept for the next question.
    async fn whole(&self, body: Incoming, sender: Sender) -> Result<Bytes, ClientError> {
        let bytes = self.collect(body).await?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((sender, Instant::now()));
        Ok(bytes)
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let body = http_body_util::Limited::new(body, LARGEST);
        body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &impl ToString) -> ClientError {
        ClientError::Broken { path: self.socket.clone(), problem: error.to_string() }
    }

    fn alien(&self, error: &impl ToString) -> ClientError {
        ClientError::Alien { path: self.socket.clone(), problem: error.to_string() }
    }
}

/// Whether a connection ended before all of a request was written to it (EPIPE): then its server has no whole request.
fn was_cut(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The `data:` lines of a stream of server-sent events. Ours are one line each.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// `false` when `each` wanted no more.
    fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(&str) -> bool) -> bool {
        self.rest.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(length) = self.rest.get(from..).and_then(|rest| rest.iter().position(|&b| b == b'\n'))
        {
            let line = self.rest.get(from..from + length).unwrap_or_default();
            from += length + 1;
            if let Some(data) = line.strip_prefix(b"data: ").or_else(|| line.strip_prefix(b"data:"))
                && !each(&String::from_utf8_lossy(data))
            {
                return false;
            }
        }
        self.rest.drain(..from);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{io, path::PathBuf};

    use super::{Client, ClientError};

    #[test]
    fn who_ended_before_it_accepted_is_gone() {
        let client = Client::new(PathBuf::from("s")).unwrap();
        for kind in
            [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe]
        {
            let error = client.unconnected(&kind.into());
            assert!(matches!(error, ClientError::Stale(_)), "{kind}: {error}");
        }
        let error = client.unconnected(&io::ErrorKind::WouldBlock.into());
        assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    }
}
