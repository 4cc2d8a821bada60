//! What the server counts of its requests. Labels are its own routes and known methods, so the number of series is bounded
//! whatever clients ask for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::{meter::Histogram, wire::metrics};

/// Requests since the server began.
#[derive(Debug, Default)]
pub(super) struct Requests {
    by_route: Mutex<BTreeMap<(String, &'static str), OfRoute>>,
    streams: AtomicU64,
}

#[derive(Debug, Default)]
struct OfRoute {
    took: Histogram,
    answered: BTreeMap<u16, u64>,
}

/// An open stream; it is not any more when this is dropped.
#[derive(Debug)]
pub(super) struct Stream(Arc<Requests>);

impl Requests {
    /// Begins a stream.
    pub(super) fn stream(requests: &Arc<Self>) -> Stream {
        requests.streams.fetch_add(1, Ordering::Relaxed);
        Stream(Arc::clone(requests))
    }

    fn count(&self, route: String, method: &'static str, status: u16, begun: Instant) {
        let mut by_route = self.by_route.lock().unwrap_or_else(PoisonError::into_inner);
        let of_route = by_route.entry((route, method)).or_default();
        of_route.took.record(begun.elapsed());
        *of_route.answered.entry(status).or_default() += 1;
    }

    /// Until now.
    pub(super) fn read(&self) -> metrics::Requests {
        let by_route = self.by_route.lock().unwrap_or_else(PoisonError::into_inner);
        let mut read = metrics::Requests {
            streams: self.streams.load(Ordering::Relaxed),
            ..metrics::Requests::default()
        };
        for ((route, method), of_route) in by_route.iter() {
            read.took.push((route.clone(), (*method).to_owned(), of_route.took.read()));
            for (status, count) in &of_route.answered {
                read.answered.push((route.clone(), (*method).to_owned(), *status, *count));
            }
        }
        read
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a request when its answer begins.
pub(super) async fn measure(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "other".to_owned(), |matched| matched.as_str().to_owned());
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "other",
    };
    let response = next.run(request).await;
    requests.count(route, method, response.status().as_u16(), begun);
    response
}
