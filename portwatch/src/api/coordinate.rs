//! Coordination over HTTP. Whoever orders is who the socket says it is: user and process.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{
        DefaultBodyLimit, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::{
        Response,
        sse::{Event as Message, KeepAlive, Sse},
    },
    routing::{get, post},
};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    ApiError, Peer,
    registry::{body, office},
    router::{self, Desk, json},
    turns,
    watch::HEARTBEAT,
};
use crate::{
    query::coordinate::Asker,
    wire::{
        coordinate::{FOLLOW, FollowQuery, Followed, LONGEST_WAIT, Method, Serve, Visit, every},
        escaped,
    },
};

/// An order is a small document.
const LARGEST: usize = 256 * 1024;
/// What another process changed in the database is noticed so late by those who wait.
const LOOK: Duration = Duration::from_millis(250);

/// The bureau's routes.
pub(super) fn routes() -> Router<Desk> {
    let mut routes = Routes(Router::new());
    every(&mut routes);
    routes.0.route(FOLLOW, get(follow)).layer(DefaultBodyLimit::max(LARGEST))
}

struct Routes(Router<Desk>);

impl Visit for Routes {
    fn visit<A: Serve>(&mut self) {
        let route = match A::PLACE.method {
            Method::Get => get(question::<A>),
            Method::Post => post(order::<A>),
        };
        self.0 = std::mem::take(&mut self.0).route(A::PLACE.path, route);
    }
}

async fn question<A: Serve>(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<A>, QueryRejection>,
) -> Result<Response, ApiError> {
    answer(desk, peer, router::parameters(query)?).await
}

async fn order<A: Serve>(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    order: Result<Json<A>, JsonRejection>,
) -> Result<Response, ApiError> {
    answer(desk, peer, body(order)?).await
}

/// Answers at once, or when there is something else to say than "not yet".
async fn answer<A: Serve>(desk: Desk, peer: Peer, order: A) -> Result<Response, ApiError> {
    if !order.wait().is_zero() {
        turns::may_stay()?;
    }
    let until = Instant::now() + order.wait().min(LONGEST_WAIT);
    let mut news = desk.bureau()?.news();
    let mut order = order;
    let mut seen = None;
    loop {
        // Seen from here on: what changes while the answer is computed is looked at again.
        news.mark_unchanged();
        let at_desk = Desk::clone(&desk);
        let ((next, who, response), turn) = router::in_turn(move |_| {
            let who = seen.unwrap_or_else(|| Asker::of(peer.uid, pid(peer)));
            let answer = order.serve(at_desk.bureau()?, &who)?;
            // Written here too: that takes its time, and the connections' thread is everybody's.
            let response = (!A::is_pending(&answer) || Instant::now() >= until).then(|| json(&answer));
            Ok((order.again(&answer), who, response))
        })
        .await?;
        if let Some(response) = response {
            return Ok(turn.until_read(response?));
        }
        drop(turn);
        order = next;
        seen = Some(who);
        let _ = tokio::time::timeout_at(until.min(Instant::now() + LOOK), news.changed()).await;
    }
}

/// Messages as they are published. Each client reads the database page by page, as fast as it takes them: none is lost to one
/// that is slow.
async fn follow(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<FollowQuery>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, ApiError> {
    let FollowQuery { channel, after } = router::parameters(query)?;
    turns::may_stay()?;
    let published = desk.bureau()?.published();
    let at_desk = Desk::clone(&desk);
    let follower =
        office(move || at_desk.bureau()?.follow(&channel, after, &Asker::of(peer.uid, pid(peer)))).await?;
    let state = Some((desk, published, follower));
    let own = turns::own();
    let pages = stream::unfold(state, move |state| {
        turns::within(own.clone(), async {
            let (desk, mut published, mut follower) = state?;
            loop {
                published.mark_unchanged();
                let at_desk = Desk::clone(&desk);
                let heard = office(move || {
                    let heard = follower.hear(at_desk.bureau()?)?;
                    // Here and not on the connections' thread, which is everybody's.
                    let messages: Vec<Message> =
                        heard.into_iter().map(|heard| message(&heard.into())).collect();
                    Ok((follower, messages))
                })
                .await;
                match heard {
                    // The channel was shared and is private again, or the database cannot be read.
                    Err(error) => return Some((vec![refusal(&error)], None)),
                    Ok((back, messages)) if messages.is_empty() => follower = back,
                    Ok((back, messages)) => return Some((messages, Some((desk, published, back)))),
                }
                published.changed().await.ok()?;
            }
        })
    });
    let messages = pages.flat_map(stream::iter).map(Ok);
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

fn message(followed: &Followed) -> Message {
    let message = match followed {
        Followed::Message(inner) => Message::default().event("message").id(inner.id.to_string()),
        Followed::Gap(_) => Message::default().event("gap"),
    };
    data(message, followed)
}

/// The last that is sent: why no more comes.
fn refusal(error: &ApiError) -> Message {
    tracing::debug!(%error, "a follower was refused");
    let (_, document) = error.document();
    data(Message::default().event("error"), &document)
}

/// A message with a document on one line: the fields of this protocol are lines.
pub(super) fn data(message: Message, document: &impl Serialize) -> Message {
    match escaped::text(document) {
        Ok(text) => message.data(text),
        Err(error) => {
            tracing::error!(%error, "a message could not be written as JSON");
            message.comment("a message could not be written")
        }
    }
}

fn pid(peer: Peer) -> Option<u32> {
    peer.pid.and_then(|pid| u32::try_from(pid).ok())
}
