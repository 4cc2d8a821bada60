//! `/v1/watch`: the live stream as server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Query, RawQuery, State},
    http::Uri,
    response::sse::{Event as Message, KeepAlive, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{ApiError, Peer, coordinate, requests::Requests, router, turns};
use crate::{
    model::{Event, EventFilter, EventKind, Evidence, Timestamp},
    query::{self, Record, Viewer},
    wire::{LogQuery, convert},
};

/// A client that is gone is noticed at the latest after this time without events.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(30);

/// About so many bytes of events from before: they are in memory until the client has read them.
const LARGEST_BACKLOG: usize = 1 << 20;

/// Events as they happen. Each client has the broadcast's bounded queue and no more: one that reads too slowly
/// loses the oldest and is told how many.
pub(super) async fn watch(
    State(desk): State<router::Desk>,
    Extension(peer): Extension<Peer>,
    Extension(requests): Extension<Arc<Requests>>,
    RawQuery(query): RawQuery,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, ApiError> {
    turns::may_stay()?;
    let (backlog, query) = parameters(query.as_deref().unwrap_or_default())?;
    let mut filter = convert::event_filter(&query, peer.viewer)
        .map_err(|error| ApiError::BadRequest(error.to_string()))?;
    filter.limit = Some(filter.limit.unwrap_or(router::PAGE).min(router::PAGE));
    filter.bytes = Some(LARGEST_BACKLOG);
    let wanted = filter.clone();
    let subscription = router::blocking(move || desk.subscribe(backlog.then_some(&wanted))).await?;
    let cut = subscription.cut.then(too_much);
    let before = cut.into_iter().chain(subscription.backlog);
    let before = stream::iter(before).map(move |record| message(&record, peer.viewer));
    let begin = (subscription.live, filter, Requests::stream(&requests));
    let live = stream::unfold(begin, move |(mut receiver, filter, open)| async move {
        let record = next(&mut receiver, &filter).await?;
        Some((message(&record, peer.viewer), (receiver, filter, open)))
    });
    Ok(Sse::new(before.chain(live).map(Ok)).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// The log's parameters, and `backlog=true` for events from before.
fn parameters(text: &str) -> Result<(bool, LogQuery), ApiError> {
    let (own, rest): (Vec<_>, Vec<_>) = text.split('&').partition(|pair| pair.starts_with("backlog="));
    let backlog = match own.last().copied() {
        None | Some("backlog=false") => false,
        Some("backlog=true") => true,
        Some(_) => return Err(ApiError::BadRequest("backlog is true or false".to_owned())),
    };
    let uri: Uri = format!("/?{}", rest.join("&"))
        .parse()
        .map_err(|error| ApiError::BadRequest(format!("unreadable parameters: {error}")))?;
    Ok((backlog, router::parameters(Query::try_from_uri(&uri))?))
}

/// The next wanted record; `None` when the daemon ends.
async fn next(receiver: &mut Receiver<Arc<Record>>, filter: &EventFilter) -> Option<Arc<Record>> {
    loop {
        match receiver.recv().await {
            Ok(record) if query::matches(&record, filter) => return Some(record),
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => return Some(Arc::new(too_slow(missed))),
            Err(RecvError::Closed) => return None,
        }
    }
}

/// A row for the client alone; the journal has the events it missed.
fn too_slow(missed: u64) -> Record {
    let mut event = Event::new(Timestamp::now(), EventKind::Gap, Evidence::Kernel);
    event.count = missed;
    event.message = Some(format!(
        "{missed} events were not sent because this reader was too slow; `portwatch log` has them"
    ));
    Record { id: None, event, process: None, other: None }
}

/// The same where the backlog was cut.
fn too_much() -> Record {
    let mut event = Event::new(Timestamp::now(), EventKind::Gap, Evidence::Kernel);
    event.message = Some("older events were too much to be sent first; `portwatch log` has them".to_owned());
    Record { id: None, event, process: None, other: None }
}

fn message(record: &Record, viewer: Viewer) -> Message {
    let event = convert::event(record, viewer);
    let message = Message::default().event(event.kind.clone());
    let message = match event.id {
        Some(id) => message.id(id.to_string()),
        None => message,
    };
    coordinate::data(message, &event)
}
