//! The routes. Built by a function, so that tests call them without a socket.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Query, RawQuery, State, rejection::QueryRejection},
    http::Uri,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use super::{
    ApiError, Peer,
    client::ALIVE,
    coordinate, names, openapi, registry,
    requests::{self, Requests},
    turns::{self, Turn},
    watch,
};
use crate::{
    query::{Answers, QueryError},
    wire::{self, ListQuery, LogQuery, Room, Target, convert, escaped, metrics::CONTENT_TYPE},
};

/// What handlers share.
pub(super) type Desk = Arc<dyn Answers>;

/// Largest number of events in one answer. A client that wants more asks for the next page, so that no answer
/// has to fit the daemon's memory.
pub(super) const PAGE: u64 = 10_000;

/// And about so many bytes.
pub(super) const LARGEST_PAGE: usize = 4 << 20;

/// Most things one `who` may ask about.
pub const MAX_TARGETS: usize = 256;

/// The routes over `desk`. Every request must carry a [`Peer`] as extension.
pub fn router(desk: Desk) -> Router {
    let requests = Arc::new(Requests::default());
    Router::new()
        .route("/v1/who", get(who))
        .route("/v1/ls", get(list))
        .route("/v1/log", get(log))
        .route("/v1/summary", get(summary))
        .route("/v1/status", get(status))
        .route("/v1/doctor", get(doctor))
        .route("/v1/metrics", get(metrics))
        .route("/v1/watch", get(watch::watch))
        .route(ALIVE, get(alive))
        .route("/v1/openapi.json", get(|| async { Json(openapi()) }))
        .merge(registry::routes())
        .merge(coordinate::routes())
        .fallback(|uri: Uri| async move { ApiError::NotFound(uri.path().to_owned()) })
        .method_not_allowed_fallback(|uri: Uri| async move { ApiError::Method(uri.path().to_owned()) })
        .layer(middleware::from_fn_with_state(Arc::clone(&requests), requests::measure))
        .layer(Extension(requests))
        .with_state(desk)
}

/// Answers are computed off the connections' thread, and in the turns of who asks: a long one, or many, delay nobody else.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
) -> Result<T, ApiError> {
    in_turn(|_| Ok(work()?)).await.map(|(answer, _)| answer)
}

/// The same, with the turn: for whoever has something to write that is not read at once.
pub(super) async fn in_turn<T: Send + 'static>(
    work: impl FnOnce(&mut Turn) -> Result<T, ApiError> + Send + 'static,
) -> Result<(T, Turn), ApiError> {
    in_this_turn(turns::take().await, work).await
}

/// The same in a turn that was taken before.
pub(super) async fn in_this_turn<T: Send + 'static>(
    mut turn: Turn,
    work: impl FnOnce(&mut Turn) -> Result<T, ApiError> + Send + 'static,
) -> Result<(T, Turn), ApiError> {
    let in_turn = move || {
        let done = work(&mut turn)?;
        Ok((done, turn))
    };
    let task = tokio::task::spawn_blocking(in_turn);
    // What waits for a thread when who asked goes is not begun any more.
    let _asked = Asked(task.abort_handle());
    match task.await {
        Ok(answer) => answer,
        Err(error) => Err(ApiError::Internal(format!("an answer was not finished: {error}"))),
    }
}

/// Somebody waits for the answer; no longer on drop. What has begun goes on.
struct Asked(tokio::task::AbortHandle);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Computed and written there too; of processes no more is told than there is room for.
pub(super) async fn told<T: Serialize, E: Into<ApiError>>(
    work: impl FnOnce(usize) -> Result<T, E> + Send + 'static,
) -> Result<Response, ApiError> {
    let written = |turn: &mut Turn| {
        let document = work(turn.room()).map_err(Into::into)?;
        json(&document)
    };
    let (answer, turn) = in_turn(written).await?;
    Ok(turn.until_read(answer))
}

pub(super) fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query.map(|Query(parameters)| parameters).map_err(|error| ApiError::BadRequest(error.body_text()))
}

pub(super) fn json(document: &impl Serialize) -> Result<Response, ApiError> {
    // One buffer of the whole document: its length is then known, and the desk is not held while a client reads.
    let mut body = escaped::text(document).map_err(|error| ApiError::Internal(error.to_string()))?;
    body.shrink_to_fit();
    Ok(([("content-type", "application/json")], body).into_response())
}

/// `target` may be given several times.
async fn who(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut asked = Vec::new();
    let (mut netns, mut all) = (None, false);
    for (name, value) in form(query.as_deref().unwrap_or_default()) {
        let wrong = |what: &str| ApiError::BadRequest(format!("'{value}' is not {what}"));
        match name.as_ref() {
            "target" => {}
            "netns" => {
                netns = Some(value.parse().map_err(|_| wrong("the inode of a network namespace"))?);
                continue;
            }
            "all_namespaces" => {
                all = value.parse().map_err(|_| wrong("true or false"))?;
                continue;
            }
            _ => return Err(ApiError::BadRequest(format!("unknown parameter '{name}'; say target=3100"))),
        }
        let target: Target = value.parse().map_err(|e| ApiError::BadRequest(format!("{e}")))?;
        let target = convert::asked(&target).map_err(|error| ApiError::BadRequest(error.to_string()))?;
        asked.push(target);
    }
    if asked.is_empty() {
        return Err(ApiError::BadRequest("nothing was asked; say target=3100".to_owned()));
    }
    if asked.len() > MAX_TARGETS {
        return Err(ApiError::BadRequest(format!("at most {MAX_TARGETS} targets in one request")));
    }
    let space = convert::space(netns, all);
    told(move |room| {
        let answer = desk.who(&asked, space)?;
        Ok::<_, QueryError>(convert::who(&answer, Room::new(room).view(peer.viewer)))
    })
    .await
}

async fn list(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let uid = names::uid_of(query.user.as_deref()).await?;
    told(move |room| {
        let filter = convert::list_filter(&query, uid, peer.viewer)
            .map_err(|error| ApiError::BadRequest(error.to_string()))?;
        let answer = desk.list(&filter)?;
        Ok::<_, ApiError>(convert::list(&answer, Room::new(room).view(peer.viewer)))
    })
    .await
}

async fn log(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let mut filter = convert::event_filter(&parameters(query)?, peer.viewer)
        .map_err(|e| ApiError::BadRequest(e.to_string()))?;
    filter.limit = Some(filter.limit.unwrap_or(PAGE).min(PAGE));
    told(move |room| {
        filter.bytes = Some(room.min(LARGEST_PAGE));
        let answer = desk.log(&filter)?;
        Ok::<_, QueryError>(convert::log(&answer, peer.viewer))
    })
    .await
}

async fn summary(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let filter = convert::event_filter(&parameters(query)?, peer.viewer)
        .map_err(|e| ApiError::BadRequest(e.to_string()))?;
    let answer = blocking(move || desk.summary(&filter)).await?;
    json(&convert::summary(&answer))
}

async fn status(State(desk): State<Desk>) -> Result<Response, ApiError> {
    let answer = blocking(move || desk.status()).await?;
    json(&convert::status(&answer))
}

/// Needs nothing but the connections' thread: where this comes late, everything does.
async fn alive() -> Json<wire::Alive> {
    Json(wire::Alive { schema: wire::SCHEMA, pid: std::process::id() })
}

async fn doctor(State(desk): State<Desk>) -> Result<Response, ApiError> {
    let answer = blocking(move || desk.doctor()).await?;
    json(&convert::doctor(&answer))
}

/// For Prometheus as it reads it; `format=json` for everybody else.
async fn metrics(
    State(desk): State<Desk>,
    Extension(requests): Extension<Arc<Requests>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let as_json = match query.as_deref() {
        None | Some("" | "format=text") => false,
        Some("format=json") => true,
        Some(_) => {
            return Err(ApiError::BadRequest("format is text or json, and there is no other".to_owned()));
        }
    };
    let answer = blocking(move || desk.metrics()).await?;
    let answer = wire::metrics::metrics(&answer).with_requests(&requests.read());
    if as_json {
        return json(&answer);
    }
    Ok(([("content-type", CONTENT_TYPE)], answer.text()).into_response())
}

/// Pairs of an `application/x-www-form-urlencoded` text, decoded.
pub(super) fn form(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(name), unescape(value))
    })
}

/// `%41` is `A`, `+` is a blank; a `%` that begins no escape stands for itself.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'%', [high, low, remaining @ ..]) if let Some(byte) = hex(*high, *low) => {
                bytes.push(byte);
                rest = remaining;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |c: u8| char::from(c).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_drives_a_terminal_is_written_by_its_number_in_every_answer() {
        let hostile = "a\u{9b}2J\u{202e}b\u{2028}";
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let refusal = ApiError::BadRequest(hostile.to_owned()).into_response();
        for answer in [json(&[hostile]).unwrap(), refusal] {
            assert_eq!(answer.headers()["content-type"], "application/json");
            let body = http_body_util::BodyExt::collect(answer.into_body());
            let text = String::from_utf8(runtime.block_on(body).unwrap().to_bytes().to_vec()).unwrap();
            assert!(text.contains("a\\u009b2J\\u202eb\\u2028"), "{text}");
        }
        let message = coordinate::data(axum::response::sse::Event::default(), &[hostile]);
        let said = format!("{message:?}");
        assert!(!said.contains("\\u{9b}") && !said.contains('\u{9b}'), "{said}");
    }

    #[test]
    fn what_waits_for_a_thread_is_not_begun_when_who_asked_goes() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let (end, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        runtime.block_on(async {
            let first = tokio::spawn(blocking(move || {
                let _ = wait.recv();
                Ok(())
            }));
            let order = |name: &'static str| {
                let tell = tell.clone();
                tokio::spawn(blocking(move || {
                    let _ = tell.send(name);
                    Ok(())
                }))
            };
            let (gone, stays) = (order("gone"), order("stays"));
            tokio::task::yield_now().await;
            gone.abort();
            assert!(gone.await.is_err());
            drop(end);
            first.await.unwrap().unwrap();
            stays.await.unwrap().unwrap();
        });
        assert_eq!(told.try_iter().collect::<Vec<_>>(), ["stays"]);
    }
}
