//! The router without a socket, and the description of the API.

use std::sync::{Arc, Mutex};

use axum::{
    Extension, Router,
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::broadcast;
use tower::ServiceExt;

use super::{Peer, openapi, router};
use crate::{
    model::{Completeness, Event, EventFilter, EventKind, Evidence, Timestamp},
    query::{
        About, Answers, Asked, DoctorAnswer, ListAnswer, ListFilter, LogAnswer, MetricsAnswer, QueryError,
        Record, StatusAnswer, Subscription, SummaryAnswer, TargetAnswer, WhoAnswer,
        claims::{
            AllowedAnswer, Caller, ClaimAnswer, ClaimsAnswer, Office, OfficeError, ReleaseAnswer,
            RogueAnswer, Wanted,
        },
    },
    registry::{Name, Pattern},
    source::SourceKind,
};

struct Fake {
    asked: Mutex<Vec<Asked>>,
    watchers: broadcast::Sender<Arc<Record>>,
}

fn about() -> About {
    About { source: SourceKind::Fake, daemon: true, note: None, coverage: vec![], degradations: vec![] }
}

fn refused() -> OfficeError {
    OfficeError::NotPermitted {
        what: "myapp:api belongs to erich".to_owned(),
        remedy: "ask erich".to_owned(),
    }
}

impl Office for Fake {
    fn claims(&self, patterns: &[Pattern]) -> Result<ClaimsAnswer, OfficeError> {
        assert_eq!(patterns, [Pattern::all()]);
        Ok(ClaimsAnswer { time: Timestamp::UNIX_EPOCH, about: about(), claims: vec![], unclaimed: vec![] })
    }
    fn claim(&self, _: &Wanted, caller: &Caller) -> Result<ClaimAnswer, OfficeError> {
        assert_eq!(caller.uid, 1000, "whoever orders is who the socket says");
        Err(refused())
    }
    fn release(
        &self,
        _: &[Pattern],
        _: bool,
        _: Option<&str>,
        _: &Caller,
    ) -> Result<ReleaseAnswer, OfficeError> {
        Err(OfficeError::Nothing { what: "nothing is claimed".to_owned(), remedy: "look".to_owned() })
    }
    fn rogue(&self, _: &ListFilter, _: Option<Timestamp>) -> Result<RogueAnswer, OfficeError> {
        Err(OfficeError::Query(QueryError::Stopping))
    }
    fn allowed(&self) -> Result<AllowedAnswer, OfficeError> {
        Ok(AllowedAnswer { about: about(), rules: vec![], files: std::collections::BTreeMap::new() })
    }
    fn allow(&self, _: &str, _: bool, _: &Caller) -> Result<bool, OfficeError> {
        Ok(true)
    }
    fn set_health(&self, _: &Name, _: &str, _: &str, _: &Caller) -> Result<(), OfficeError> {
        Err(refused())
    }
}

impl Answers for Fake {
    fn who(&self, asked: &[Asked], _: crate::query::Space) -> Result<WhoAnswer, QueryError> {
        self.asked.lock().unwrap().extend_from_slice(asked);
        let live = |asked: &Asked| {
            let Asked::Port { .. } = asked else { panic!("only ports here") };
            TargetAnswer {
                asked: asked.clone(),
                state: crate::query::Holding::Unknown,
                reason: Some(format!("{:?}", Completeness::Complete)),
                sockets: vec![],
                other_addresses: vec![],
                elsewhere: vec![],
                left_out: 0,
                held: vec![],
                published: vec![],
                last: vec![],
                refused: vec![],
                refused_before: false,
                traffic: None,
                claim: None,
                verdict: None,
            }
        };
        Ok(WhoAnswer {
            time: Timestamp::UNIX_EPOCH,
            about: about(),
            netns: None,
            targets: asked.iter().map(live).collect(),
        })
    }
    fn list(&self, _: &ListFilter) -> Result<ListAnswer, QueryError> {
        Ok(ListAnswer {
            time: Timestamp::UNIX_EPOCH,
            about: about(),
            sockets: vec![],
            hidden: 7,
            netns: None,
            elsewhere: 0,
            missing: None,
            time_wait: None,
        })
    }
    fn log(&self, _: &EventFilter) -> Result<LogAnswer, QueryError> {
        Err(QueryError::Journal("/secret/path: disk I/O error".to_owned()))
    }
    fn summary(&self, _: &EventFilter) -> Result<SummaryAnswer, QueryError> {
        Err(QueryError::Stopping)
    }
    fn status(&self) -> Result<StatusAnswer, QueryError> {
        Err(QueryError::Stopping)
    }
    fn metrics(&self) -> Result<MetricsAnswer, QueryError> {
        Ok(MetricsAnswer {
            about: about(),
            time: Timestamp::UNIX_EPOCH,
            running: None,
            sockets: None,
            time_wait: Some(3),
            claims: None,
            coordination: None,
            webhooks: None,
            events: None,
            database_bytes: None,
        })
    }
    fn doctor(&self) -> Result<DoctorAnswer, QueryError> {
        Err(QueryError::Stopping)
    }
    fn bureau(&self) -> Result<&crate::query::coordinate::Bureau, OfficeError> {
        Err(refused())
    }
    fn subscribe(&self, _: Option<&EventFilter>) -> Result<Subscription, QueryError> {
        Ok(Subscription { backlog: vec![], cut: false, live: self.watchers.subscribe() })
    }
}

fn fake() -> Arc<Fake> {
    Arc::new(Fake { asked: Mutex::default(), watchers: broadcast::Sender::new(2) })
}

fn routes(desk: Arc<Fake>) -> Router {
    router(desk).layer(Extension(Peer::new(1000, None, 0, false)))
}

async fn get(desk: Arc<Fake>, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = routes(desk).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn who_asks_for_every_target_in_order() {
    let desk = fake();
    let (status, answer) =
        get(Arc::clone(&desk), "/v1/who?target=3100&target=%5B%3A%3A1%5D%3A53%2Fudp").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["targets"][0]["asked"], "3100");
    assert_eq!(answer["targets"][1]["asked"], "[::1]:53/udp");
    assert_eq!(desk.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_wrong_question_is_refused_with_a_sentence() {
    for (path, words) in [
        ("/v1/who", "nothing was asked"),
        ("/v1/who?target=70000", "70000"),
        ("/v1/who?port=1", "unknown parameter 'port'"),
        ("/v1/ls?sort=size", "size"),
        ("/v1/ls?from=9&to=8", "ends before it begins"),
        ("/v1/log?type=binds", "binds"),
        ("/v1/log?port=1,x", "'x' is not a port"),
        ("/v1/watch?backlog=maybe", "backlog"),
    ] {
        let (status, answer) = get(fake(), path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(answer["schema"], 1);
        assert_eq!(answer["error"]["code"], "bad-request", "{path}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{path}: {message}");
    }
}

#[tokio::test]
async fn a_failure_tells_the_client_less_than_the_log() {
    let (status, answer) = get(fake(), "/v1/log").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["error"]["code"], "not-seen");
    assert!(!answer.to_string().contains("secret"), "{answer}");
    let (status, answer) = get(fake(), "/v1/nothing").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_FOUND, &"not-found".into()));
}

#[tokio::test]
async fn a_slow_watcher_is_told_how_many_events_it_missed() {
    let desk = fake();
    let request = Request::get("/v1/watch").body(Body::empty()).unwrap();
    let response = routes(Arc::clone(&desk)).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let event = Event::new(Timestamp::UNIX_EPOCH, EventKind::Stop, Evidence::Kernel);
    for _ in 0..5 {
        let record = Record { id: None, event: event.clone(), process: None, other: None };
        desk.watchers.send(Arc::new(record)).unwrap();
    }
    let mut body = response.into_body();
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    assert!(text.starts_with("event: gap\n"), "{text}");
    assert!(text.contains("\"count\":3"), "{text}");
}

/// `PORTWATCH_BLESS=1` writes the file anew; the difference is then read.
#[test]
fn the_committed_description_of_the_api_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let served = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
    if std::env::var_os("PORTWATCH_BLESS").is_some() {
        std::fs::write(path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == served, "docs/openapi.json differs; PORTWATCH_BLESS=1 writes it anew");
}

async fn post(path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = routes(fake()).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn an_order_is_its_peers_and_a_refusal_says_what_to_do() {
    let (status, body) = post("/v1/claims", r#"{"name":"myapp:api"}"#).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(body["error"]["code"], "not-permitted");
    assert_eq!(body["error"]["remedy"], "ask erich");
    let (status, body) = post("/v1/claims/release", r#"{"patterns":["myapp:*"]}"#).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &Value::from("no-such-claim")));
    let (status, _) = get(fake(), "/v1/claims").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn an_order_that_is_none_is_refused_before_it_reaches_the_office() {
    let long = format!(r#"{{"name":"a:b","agent":"{}"}}"#, "x".repeat(300));
    let huge = format!(r#"{{"name":"{}"}}"#, "x".repeat(400_000));
    for (path, body) in [
        ("/v1/claims", "{"),
        ("/v1/claims", r#"{"name":"MyApp"}"#),
        ("/v1/claims", r#"{"name":"a:b","prot":1}"#),
        ("/v1/claims", r#"{"name":"a:b","range":"9-5"}"#),
        ("/v1/claims", r#"{"name":"a:b","port":0}"#),
        ("/v1/claims", r#"{"name":"a:b","port":70000}"#),
        ("/v1/claims", r#"{"name":"a:b","ports":65}"#),
        ("/v1/claims", r#"{"name":"a:b","protocols":["sctp"]}"#),
        ("/v1/claims", r#"{"name":"a:b","host":"example.org"}"#),
        ("/v1/claims", r#"{"name":"a:b","agent":"\u001b[31m"}"#),
        ("/v1/claims", &long),
        ("/v1/claims", &huge),
        ("/v1/claims/release", r#"{"patterns":[]}"#),
        ("/v1/claims/release", r#"{"patterns":["a::b"]}"#),
        ("/v1/claims/health", r#"{"name":"a:b","result":"All Well"}"#),
        ("/v1/rogue/allowed", r#"{"rule":"","allow":true}"#),
        ("/v1/rogue/allowed", r#"{"rule":"port:x","allow":true}"#),
    ] {
        let (status, document) = post(path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {}", &body[..body.len().min(80)]);
        assert_eq!(document["error"]["code"], "bad-request");
    }
}

/// A server on a socket of its own, on a thread of its own, until this is dropped.
#[cfg(unix)]
struct Served {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[cfg(unix)]
impl Served {
    fn at(socket: &std::path::Path, limits: super::Limits) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let socket = socket.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut listener = crate::platform::local::Listener::bind(&socket, 0o600).unwrap();
                ready.send(()).unwrap();
                let stop = async {
                    let _ = stopped.await;
                };
                super::serve(&mut listener, router(fake()), limits, false, stop).await;
                listener.close();
            });
        });
        is_ready.recv().unwrap();
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

#[cfg(unix)]
impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_path_that_is_too_long_for_a_socket_is_told_as_that() {
    use super::{Client, ClientError};
    let most = crate::platform::local::longest().unwrap();
    let probe = |bytes: usize| {
        Client::new(format!("/{}", "x".repeat(bytes - 1)).into()).unwrap().probe().unwrap_err()
    };
    assert!(matches!(probe(most), ClientError::Absent(_)));
    let error = probe(most + 1);
    assert!(matches!(error, ClientError::TooLong { .. }), "{error}");
    let said = format!("it has {} bytes, and {most} is the most", most + 1);
    assert!(error.to_string().ends_with(&said), "{error}");
}

#[cfg(unix)]
#[test]
fn one_connection_serves_one_question_after_the_other_and_is_let_go_when_none_comes() {
    use std::io::{BufRead, BufReader, Read, Write};

    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let limits = super::Limits { header: std::time::Duration::from_millis(200), ..super::Limits::default() };
    let _served = Served::at(&socket, limits);
    let mut stream = BufReader::new(std::os::unix::net::UnixStream::connect(&socket).unwrap());
    stream.get_ref().set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    for _ in 0..3 {
        stream.get_mut().write_all(b"GET /v1/ls HTTP/1.1\r\nHost: portwatch\r\n\r\n").unwrap();
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["hidden"], 7);
    }
    // Nothing is asked: an end, with nothing before it.
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[cfg(unix)]
#[test]
fn a_client_asks_again_where_the_daemon_has_let_its_connection_go() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let served = Served::at(&socket, super::Limits::default());
    let client = super::Client::new(socket.clone()).unwrap();
    let ask = || client.get::<Value>("/v1/ls").unwrap()["hidden"].clone();
    let order = || {
        let rule = crate::wire::claims::AllowRequest { rule: "jest".to_owned(), allow: true };
        client.post::<Value>("/v1/rogue/allowed", &rule).unwrap()["changed"].clone()
    };
    assert_eq!((ask(), order(), ask()), (7.into(), true.into(), 7.into()));
    drop(served);
    let served = Served::at(&socket, super::Limits::default());
    assert_eq!(ask(), 7);
    drop(served);
    let _served = Served::at(&socket, super::Limits::default());
    assert_eq!(order(), true);
}
