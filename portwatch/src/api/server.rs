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
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use super::{
    ApiError, Crowd, Peer,
    turns::{self, Own},
};
use crate::{
    platform::{
        local::{Listener, OtherEnd, Stream},
        user,
    },
    wire::coordinate::FOLLOW,
};

/// Bytes of the head of a request; a longer one is not ours.
pub const MAX_HEAD: usize = 16 * 1024;

/// What one client, or all together, may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// And so many more of users other than root for what is answered at once: whoever holds something can give it back, and
    /// ask, whoever else fills the daemon.
    pub beyond: usize,
    /// So many of them of one uid.
    pub beyond_per_uid: usize,
    /// Connections at once of one uid other than root's: nobody shuts the others out.
    pub per_uid: usize,
    /// And so many more of one uid, for what is answered at once: who waits for a lock does not keep its holder from giving
    /// it back.
    pub spare: usize,
    /// Time to send the head of a request, the first and any further.
    pub header: Duration,
    /// Time from a question to the end of its answer, for everything but the live stream.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            // With the processes that are watched, within the 1024 descriptors that every process may have.
            beyond: 128,
            beyond_per_uid: 4,
            per_uid: 64,
            spare: 16,
            header: Duration::from_secs(5),
            answer: Duration::from_mins(1),
        }
    }
}

/// Serves until `stop` resolves, then closes every connection. Must run inside a `LocalSet` or any tokio runtime.
pub async fn serve(
    listener: &mut Listener,
    router: Router,
    limits: Limits,
    hidepid: bool,
    stop: impl Future<Output = ()>,
) {
    let counts = Arc::new(Counts::default());
    let silent = Arc::new(Silent::default());
    let mut connections = tokio::task::JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let incoming = match accepted {
            Ok(incoming) => incoming,
            Err(error) => {
                // Out of descriptors, or a peer that left at once. Waiting lets descriptors come back.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Whoever is not known yet counts for nobody, so these have a limit of their own.
        let Some(waiting) = Silent::enter(&silent, incoming.seems(), limits.per_uid) else { continue };
        let (router, counts) = (router.clone(), Arc::clone(&counts));
        connections.spawn(async move {
            let met = tokio::time::timeout(limits.header, incoming.identify()).await;
            drop(waiting);
            match met {
                Ok(Ok((stream, credentials))) => {
                    let peer = Peer::new(credentials.uid, credentials.pid, user::own_uid(), hidepid);
                    met_peer(stream, router, peer, limits, &counts).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a peer without credentials was refused"),
                Err(_) => tracing::debug!("a peer that said nothing was cut off"),
            }
        });
    }
    connections.shutdown().await;
}

/// Serves a peer that has a place.
async fn met_peer(stream: Stream, router: Router, peer: Peer, limits: Limits, counts: &Arc<Counts>) {
    match Counts::enter(counts, peer.uid, limits) {
        Ok(place) => {
            connection(stream, router, (peer, place.own.clone()), limits).await;
            drop(place);
        }
        Err(refusal) => refuse(stream, refusal).await,
    }
}

/// What is asked on a connection now.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// When it was asked.
    at: Instant,
    /// It has no end.
    streaming: bool,
}

/// One question after the other, as long as its peer asks; one that asks nothing is let go after `limits.header`.
async fn connection(stream: Stream, router: Router, (peer, own): (Peer, Own), limits: Limits) {
    let (asking, asked) = tokio::sync::watch::channel(Asked { at: Instant::now(), streaming: false });
    let other = OtherEnd::of(&stream);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        // The stream is open: it is part of what asks here.
        let is_gone = other.is_gone();
        let streaming = matches!(request.uri().path(), "/v1/watch" | FOLLOW);
        asking.send_replace(Asked { at: Instant::now(), streaming });
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let mut router = router.clone();
        turns::within(own.clone(), async move {
            if is_gone {
                return Err(gone(&request, peer.uid));
            }
            let answered = async { router.as_service().ready().await?.call(request).await };
            answered.await.map_err(|never: std::convert::Infallible| match never {})
        })
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let result = loop {
        let due = asked.borrow().at + limits.answer;
        tokio::select! {
            result = &mut serving => break result,
            () = tokio::time::sleep_until(due) => {
                let asked = *asked.borrow();
                if asked.streaming {
                    break serving.await;
                }
                if asked.at + limits.answer <= Instant::now() {
                    tracing::debug!(uid = peer.uid, "a client that did not read its answer was cut off");
                    return;
                }
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(uid = peer.uid, %error, "a connection ended early");
    }
}

/// Who asks and goes before it is begun (a daemon that was stopped goes on with what had come meanwhile) has been told that nothing was
/// answered, and does something else by now.
fn gone(request: &Request, uid: u32) -> io::Error {
    let path = request.uri().path();
    if request.method() == hyper::Method::GET {
        tracing::debug!(uid, path, "who asked has gone: it is not answered");
    } else {
        tracing::info!(uid, path, "who ordered this has gone: it is not carried out");
    }
    io::ErrorKind::ConnectionAborted.into()
}

/// One answer, whatever was asked.
async fn refuse(stream: Stream, refusal: Crowd) {
    let service = hyper::service::service_fn(move |_: hyper::Request<Incoming>| {
        let response = ApiError::TooMany(refusal.clone()).into_response();
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let serving = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
}

/// Connections that have said nothing yet, by whose they seem to be: whoever makes many and says nothing does not shut the others out.
#[derive(Debug, Default)]
struct Silent(Mutex<HashMap<Option<u32>, usize>>);

/// One of them; no longer on drop.
#[derive(Debug)]
struct Waiting {
    silent: Arc<Silent>,
    seems: Option<u32>,
}

impl Silent {
    /// `None`: there are `most` of that user's already.
    fn enter(silent: &Arc<Self>, seems: Option<u32>, most: usize) -> Option<Waiting> {
        let mut by_user = silent.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_user.entry(seems).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Waiting { silent: Arc::clone(silent), seems })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut by_user = self.silent.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_user.get_mut(&self.seems) {
            *count -= 1;
            if *count == 0 {
                by_user.remove(&self.seems);
            }
        }
    }
}

/// Connections now, by uid, and the turns that all of one uid share.
#[derive(Debug, Default)]
struct Counts(Mutex<HashMap<u32, OfUser>>);

/// What one uid has.
#[derive(Debug)]
struct OfUser {
    connections: usize,
    /// Of these, beyond what all together may have.
    beyond: usize,
    own: Own,
}

/// A connection's place in [`Counts`]; given back on drop.
#[derive(Debug)]
struct Place {
    counts: Arc<Counts>,
    uid: u32,
    beyond: bool,
    own: Own,
}

impl Counts {
    fn enter(counts: &Arc<Self>, uid: u32, limits: Limits) -> Result<Place, Crowd> {
        let mut by_uid = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever breaks connections off and comes again does not leave behind what is worked on for it.
        by_uid.retain(|_, user| user.connections > 0 || !user.own.is_idle());
        let total: usize = by_uid.values().map(|user| user.connections).sum();
        let user =
            by_uid.entry(uid).or_insert_with(|| OfUser { connections: 0, beyond: 0, own: Own::of(uid) });
        // Root is never shut out: who keeps the machine must be able to ask.
        let is_bounded = uid != 0;
        let many = is_bounded && user.connections >= limits.per_uid;
        if many && user.connections >= limits.per_uid + limits.spare {
            return Err(Crowd::OfUser { uid, count: user.connections });
        }
        let beyond = is_bounded && total >= limits.connections;
        if beyond && (total >= limits.connections + limits.beyond || user.beyond >= limits.beyond_per_uid) {
            return Err(Crowd::All { count: total });
        }
        let crowd = if many { Some(Crowd::Waiting) } else { beyond.then_some(Crowd::Staying) };
        user.connections += 1;
        user.beyond += usize::from(beyond);
        Ok(Place { counts: Arc::clone(counts), uid, beyond, own: user.own.briefly(crowd) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_uid = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = by_uid.get_mut(&self.uid) {
            user.connections -= 1;
            user.beyond -= usize::from(self.beyond);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_who_say_nothing_shut_out_their_own_user_and_nobody_else() {
        let silent = Arc::new(Silent::default());
        let enter = |seems| Silent::enter(&silent, seems, 64);
        let mut many: Vec<Waiting> = (0..64).map(|_| enter(Some(1000)).unwrap()).collect();
        assert!(enter(Some(1000)).is_none());
        for other in [Some(0), Some(1001), None] {
            enter(other).unwrap();
        }
        many.pop();
        many.push(enter(Some(1000)).unwrap());
        assert!(enter(Some(1000)).is_none());
        drop(many);
        assert!(silent.0.lock().unwrap().is_empty(), "who is gone is forgotten");
    }

    #[test]
    fn who_breaks_off_and_comes_again_finds_its_turns_taken_until_they_are_over() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let counts = Arc::new(Counts::default());
        let enter = |uid| Counts::enter(&counts, uid, Limits::default()).unwrap();
        let first = enter(1000);
        let turn = runtime.block_on(turns::within(first.own.clone(), turns::take()));
        drop(first);
        let again = enter(1000);
        assert!(!again.own.is_idle(), "the first question is still worked on");
        drop((again, turn));
        drop(enter(1001));
        assert_eq!(
            counts.0.lock().unwrap().keys().copied().collect::<Vec<_>>(),
            [1001],
            "who is gone is forgotten"
        );
    }

    #[test]
    fn whoever_fills_the_daemon_others_are_still_answered_at_once_and_root_always() {
        let counts = Arc::new(Counts::default());
        let limits = Limits::default();
        let enter = |uid| Counts::enter(&counts, uid, limits);
        let may_stay = |place: &Place| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(turns::within(place.own.clone(), async { turns::may_stay() }))
        };
        let mut places = Vec::new();
        for uid in 1000..1004 {
            places.extend((0..64).map(|_| enter(uid).unwrap()));
        }
        assert!(places.iter().all(|place| may_stay(place).is_ok()));
        // A fifth user, and one of the four who wants to give something back.
        for uid in [1004, 1000] {
            let brief: Vec<Place> = (0..4).map(|_| enter(uid).unwrap()).collect();
            assert!(brief.iter().all(|place| may_stay(place).is_err()));
            assert_eq!(enter(uid).unwrap_err(), Crowd::All { count: places.len() + 4 });
            drop(brief);
            enter(uid).unwrap();
        }
        let root: Vec<Place> = (0..600).map(|_| enter(0).unwrap()).collect();
        assert!(root.iter().all(|place| may_stay(place).is_ok()));
        assert!(enter(1004).is_err(), "an end there is for everybody else");
        drop(root);
        let crowd: Vec<Place> =
            (2000..2032).flat_map(|uid| (0..4).map(move |_| uid)).map(|uid| enter(uid).unwrap()).collect();
        assert!(enter(1004).is_err());
        drop(crowd);
        places.pop();
        assert!(may_stay(&enter(1004).unwrap()).is_ok());
    }
}
