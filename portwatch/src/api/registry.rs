//! The claims office over HTTP. Whoever orders is who the socket says it is.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{
        DefaultBodyLimit, Query, RawQuery, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::Response,
    routing::{get, post},
};

use super::{
    ApiError, Peer, names,
    orders::Orders,
    router::{self, Desk, form, json},
};
use crate::{
    model::Protocol,
    query::{
        ListFilter, QueryError,
        claims::{Caller, OfficeError},
    },
    registry::Pattern,
    wire::{
        self, Room,
        claims::{
            AllowRequest, ClaimRequest, CleanupRequest, DriftQuery, HealthReport, ReleaseRequest, RogueQuery,
            Sweep, convert,
        },
    },
};

/// An order is a small document.
const LARGEST: usize = 256 * 1024;
/// Bytes that the processes in the answer to a claim may take.
const ROOM_OF_ORDER: usize = 256 * 1024;

/// The office's routes.
pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/v1/claims", get(claims).post(claim))
        .route("/v1/claims/release", post(release))
        .route("/v1/claims/cleanup", post(cleanup))
        .route("/v1/claims/health", post(health))
        .route("/v1/drift", get(drift))
        .route("/v1/rogue", get(rogue))
        .route("/v1/rogue/allowed", get(allowed).post(allow))
        .layer(DefaultBodyLimit::max(LARGEST))
        .layer(Extension(Arc::<Orders>::default()))
}

impl From<OfficeError> for ApiError {
    fn from(error: OfficeError) -> Self {
        match error {
            OfficeError::Bad(sentence) => Self::BadRequest(sentence),
            OfficeError::NotPermitted { what, remedy } => Self::Forbidden { what, remedy },
            OfficeError::Refused { what, remedy } => Self::Conflict { what, remedy },
            OfficeError::Nothing { what, remedy } => Self::Nothing { what, remedy },
            OfficeError::Absent { what, remedy } => Self::Absent { what, remedy },
            OfficeError::Ambiguous { what, remedy } => Self::Ambiguous { what, remedy },
            OfficeError::Query(error) => Self::Query(error),
        }
    }
}

/// Off the connections' thread, as every answer.
pub(super) async fn office<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OfficeError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = router::blocking(move || Ok::<_, QueryError>(work())).await?;
    Ok(done?)
}

pub(super) fn body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, ApiError> {
    body.map(|Json(order)| order).map_err(|error| ApiError::BadRequest(error.body_text()))
}

fn caller(peer: Peer) -> Caller {
    Caller::of(peer.uid)
}

/// `pattern` may be given several times; none means all.
async fn claims(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut texts = Vec::new();
    for (name, value) in form(query.as_deref().unwrap_or_default()) {
        if name != "pattern" {
            return Err(ApiError::BadRequest(format!("unknown parameter '{name}'; say pattern=myapp:*")));
        }
        texts.push(value);
    }
    if texts.is_empty() {
        texts.push("*".to_owned());
    }
    let patterns = convert::patterns(&texts)?;
    router::told(move |room| {
        let answer = desk.claims(&patterns)?;
        Ok::<_, OfficeError>(convert::claims(&answer, Room::new(room).view(peer.viewer)))
    })
    .await
}

async fn claim(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    Extension(orders): Extension<Arc<Orders>>,
    order: Result<Json<ClaimRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let wanted = convert::wanted(&body(order)?)?;
    let answer = match wanted.port {
        // Whether it is in use is looked at first; nobody else waits for that.
        Some(_) => office(move || desk.claim(&wanted, &caller(peer))).await?,
        None => orders.claim(desk, wanted, peer.uid).await?,
    };
    json(&convert::claimed(&answer, Room::new(ROOM_OF_ORDER).view(peer.viewer)))
}

async fn release(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    order: Result<Json<ReleaseRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let order = body(order)?;
    let (patterns, reason) = convert::release(&order)?;
    router::told(move |room| {
        let answer = desk.release(&patterns, order.only_dead, reason.as_deref(), &caller(peer))?;
        Ok::<_, OfficeError>(convert::released(&answer, Room::new(room).view(peer.viewer)))
    })
    .await
}

async fn cleanup(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    order: Result<Json<CleanupRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let order = body(order)?;
    let sweep = convert::sweep(&order)?;
    let caller = caller(peer);
    router::told(move |room| {
        // What is looked through does not keep out what is told of.
        let half = [Room::new(room / 2), Room::new(room / 2)];
        let [looked_at, told] = half.each_ref().map(|room| room.view(peer.viewer));
        let found = convert::claims(&desk.claims(&[Pattern::all()])?, looked_at);
        let stale = sweep.stale(found.claims, found.time, caller.uid);
        if order.dry_run || stale.is_empty() {
            return Ok(sweep.preview(stale, found.time, found.source, order.dry_run));
        }
        // What came to life since it was looked at is kept.
        let done = desk.release(&Sweep::patterns(&stale), true, Some(Sweep::REASON), &caller)?;
        Ok::<_, OfficeError>(convert::released(&done, told))
    })
    .await
}

async fn drift(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<DriftQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = router::parameters(query)?;
    router::told(move |room| {
        let claims = desk.claims(&[Pattern::all()])?;
        let filter = ListFilter { protocol: Some(Protocol::Tcp), ..ListFilter::default() };
        let list = desk.list(&filter)?;
        Ok::<_, OfficeError>(convert::drift(&claims, list, query.project.as_deref(), (peer.viewer, room)))
    })
    .await
}

async fn rogue(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<RogueQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = router::parameters(query)?;
    let uid = names::uid_of(query.user.as_deref()).await?;
    router::told(move |room| {
        let filter = convert::rogue_filter(&query, uid);
        let answer = desk.rogue(&filter, query.since)?;
        Ok::<_, OfficeError>(convert::rogue(&answer, Room::new(room).view(peer.viewer)))
    })
    .await
}

async fn allowed(State(desk): State<Desk>) -> Result<Response, ApiError> {
    let answer = office(move || desk.allowed()).await?;
    json(&convert::allowed(&answer, false))
}

async fn allow(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    order: Result<Json<AllowRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let order = body(order)?;
    let rule = convert::rule(&order)?;
    let (changed, answer) = office(move || {
        let changed = desk.allow(&rule, order.allow, &caller(peer))?;
        Ok((changed, desk.allowed()?))
    })
    .await?;
    json(&convert::allowed(&answer, changed))
}

async fn health(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    order: Result<Json<HealthReport>, JsonRejection>,
) -> Result<Response, ApiError> {
    let (name, result, sentence) = convert::health(&body(order)?)?;
    office(move || desk.set_health(&name, &result, &sentence, &caller(peer))).await?;
    json(&serde_json::json!({ "schema": wire::SCHEMA }))
}
