//! Coordination over HTTP. Whoever orders is who the socket says it is: user and process.

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    extract::{
        DefaultBodyLimit, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::Response,
    routing::{get, post},
};
use tokio::time::Instant;

use super::{
    ApiError, Peer,
    registry::{body, office},
    router::{self, Desk, json},
};
use crate::{
    query::coordinate::Asker,
    wire::coordinate::{LONGEST_WAIT, Method, Serve, Visit, every},
};

/// An order is a small document.
const LARGEST: usize = 256 * 1024;
/// What another process changed in the database is noticed so late by those who wait.
const LOOK: Duration = Duration::from_millis(250);

/// The bureau's routes.
pub(super) fn routes() -> Router<Desk> {
    let mut routes = Routes(Router::new());
    every(&mut routes);
    routes.0.layer(DefaultBodyLimit::max(LARGEST))
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
    let until = Instant::now() + order.wait().min(LONGEST_WAIT);
    let mut news = desk.bureau()?.news();
    let mut order = order;
    let mut seen = None;
    loop {
        // Seen from here on: what changes while the answer is computed is looked at again.
        news.mark_unchanged();
        let at_desk = Desk::clone(&desk);
        let (sent, who, answer) = office(move || {
            let who = seen.unwrap_or_else(|| Asker::of(peer.uid, pid(peer)));
            let answer = order.serve(at_desk.bureau()?, &who)?;
            Ok((order, who, answer))
        })
        .await?;
        let now = Instant::now();
        if !A::is_pending(&answer) || now >= until {
            return json(&answer);
        }
        order = sent.again(&answer);
        seen = Some(who);
        let _ = tokio::time::timeout_at(until.min(now + LOOK), news.changed()).await;
    }
}

fn pid(peer: Peer) -> Option<u32> {
    peer.pid.and_then(|pid| u32::try_from(pid).ok())
}
