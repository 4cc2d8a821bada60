//! How long a daemon is waited for: one that is there may take its time, one that hangs may not.
//!
//! A daemon that hangs (stopped, or waiting for a disk) accepts all the same: the kernel does that for it, and keeps what is sent. Only
//! an answer tells the two apart, and the daemon gives one that needs nothing but itself, on the thread of its connections.

use std::{
    future::Future,
    sync::PoisonError,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request,
    body::{Bytes, Frame, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{pin, select, time::timeout};

use super::{ANSWER, Client, ClientError, Silence, Told};
use crate::platform::standstill::{self, Standstill};

/// Where a daemon says that it is there.
pub(in crate::api) const ALIVE: &str = "/v1/alive";
/// What is answered by then was no long wait: answers take milliseconds as a rule (`docs/benchmarks.md`).
const SOON: Duration = Duration::from_secs(1);
/// A daemon may take so long to say that it is there: it does nothing for that but to be scheduled, a few times.
const THERE: Duration = Duration::from_secs(3);
/// Between two questions whether it is still there.
const STILL: Duration = Duration::from_secs(5);
/// A stream has a sign of life every 30 s.
const SIGN: Duration = Duration::from_secs(35);

impl Client {
    /// What `work` comes to. A daemon that is there is waited for as long as an answer may take.
    pub(super) async fn attended<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        pin!(work);
        let begun = Instant::now();
        let mut pause = SOON;
        loop {
            if let Ok(done) = timeout(pause, &mut work).await {
                return done;
            }
            let is_there = select! {
                biased;
                done = &mut work => return done,
                is_there = self.is_there() => is_there,
            };
            if !is_there || begun.elapsed() >= ANSWER {
                self.hang_up().await;
                return Err(self.silent(begun.elapsed(), is_there));
            }
            if pause == SOON {
                let daemon = Silence::new(self.socket.clone(), self.pid(), begun.elapsed(), true).daemon();
                (self.tell)(&format!(
                    "{daemon} is there and has not answered yet; it is waited for, up to {} s (--no-daemon asks without it)",
                    ANSWER.as_secs()
                ));
            }
            pause = STILL.min(ANSWER.saturating_sub(begun.elapsed()));
        }
    }

    /// What `work` comes to within that time since `begun`.
    pub(super) async fn limited<T>(
        &self,
        within: Duration,
        begun: Instant,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let left = within.saturating_sub(begun.elapsed());
        if let Ok(done) = timeout(left, work).await {
            return done;
        }
        self.hang_up().await;
        Err(self.silent(within, false))
    }

    /// Before an order: a daemon that does not answer is not given any, so it carries none out later that nobody waits for.
    pub(super) async fn greet(&self, within: Option<Duration>) -> Result<(), ClientError> {
        let greeting = self.fetch(ALIVE);
        let answered = match within {
            Some(within) => self.limited(within, Instant::now(), greeting).await,
            None => self.attended(greeting).await,
        };
        match answered {
            Err(ClientError::Silent(silence)) => {
                Err(ClientError::Silent(Box::new(Silence { told: Told::NoOrder, ..*silence })))
            }
            // A refusal is an answer, and an older daemon has nothing there. What broke off the order meets itself.
            _ => Ok(()),
        }
    }

    /// The next of a stream. One that is silent for longer than its signs of life are apart is asked whether it is there.
    pub(super) async fn next(
        &self,
        body: &mut Incoming,
    ) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, ClientError> {
        let begun = Instant::now();
        loop {
            if let Ok(frame) = timeout(SIGN, body.frame()).await {
                return Ok(frame);
            }
            if !self.is_there().await {
                return Err(self.silent(begun.elapsed(), false));
            }
        }
    }

    /// Whether it answers anything, on a connection of its own. One that is gone is not silent, and one that is stopped says nothing.
    async fn is_there(&self) -> bool {
        if matches!(self.pid().and_then(standstill::of), Some(Standstill::Stopped | Standstill::Traced)) {
            return false;
        }
        let asked = async {
            let stream = self.connect().await?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
            let request = Request::get(ALIVE).header("host", "portwatch").body(Full::new(Bytes::new()));
            let request = request.map_err(|error| self.broken(&error))?;
            pin!(connection);
            select! {
                ended = &mut connection => ended.map_err(|error| self.broken(&error)),
                answer = sender.send_request(request) => answer.map(drop).map_err(|error| self.broken(&error)),
            }
        };
        !matches!(timeout(THERE, asked).await, Err(_) | Ok(Err(ClientError::Silent(_))))
    }

    /// Breaks the connection off: what was asked on it is not to be begun any more.
    async fn hang_up(&self) {
        let carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(carried) = carried {
            carried.abort();
            let _ = carried.await;
        }
    }

    fn pid(&self) -> Option<u32> {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn silent(&self, waited: Duration, is_there: bool) -> ClientError {
        ClientError::Silent(Box::new(Silence::new(self.socket.clone(), self.pid(), waited, is_there)))
    }
}
