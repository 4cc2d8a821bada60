//! One question to each engine, at the same time, with a deadline.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;

use super::{Problem, Report, Running, api};
use crate::{
    model::{Engine, Netns},
    platform::local::{self, Stream},
};

type Sender = http1::SendRequest<Empty<Bytes>>;

/// Running containers; the same path in Docker's API and in Podman's compatible one. Without a version in it, each
/// answers as its newest.
const CONTAINERS: &str = "/containers/json";

/// About 2 kB a container.
const LARGEST: usize = 16 << 20;

/// An answer about one container that comes later is not waited for.
const FIRST: Duration = Duration::from_millis(250);

/// Whose an engine is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Whose {
    /// Whom it runs as; `None` in a machine of its own.
    pub(super) uid: Option<u32>,
    /// Where it publishes ports.
    pub(super) netns: Option<Netns>,
    /// Its pids are ours.
    pub(super) counts_as_we: bool,
}

/// Asks the engine behind each of `sockets`; of the containers in `doubted` also which groups their first process is in.
pub(super) fn ask(sockets: &[PathBuf], wait: Duration, doubted: &[String]) -> Report {
    let mut report = Report::default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let what = format!("cannot start asking: {error}");
            report.problems =
                sockets.iter().map(|s| Problem { socket: s.clone(), what: what.clone() }).collect();
            return report;
        }
    };
    let answers = runtime.block_on(async {
        let asked = sockets.iter().map(|socket| async move {
            let late = |_| Err(format!("it did not answer within {} s", wait.as_secs()));
            (socket, tokio::time::timeout(wait, one(socket, doubted)).await.unwrap_or_else(late))
        });
        futures_util::future::join_all(asked).await
    });
    for (socket, answer) in answers {
        match answer {
            Ok((engine, running)) => {
                report.answered.push(engine);
                report.running.extend(running);
            }
            Err(what) => report.problems.push(Problem { socket: socket.clone(), what }),
        }
    }
    // A podman socket may be linked to docker's place.
    let key = |running: &Running| (running.container.id.clone(), running.uid);
    report.running.sort_by_cached_key(key);
    report.running.dedup_by_key(|running| key(running));
    report
}

async fn one(socket: &Path, doubted: &[String]) -> Result<(Engine, Vec<Running>), String> {
    let stream = local::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "connecting is not permitted (EACCES); ask as root or as a member of its group".to_owned()
        }
        io::ErrorKind::ConnectionRefused => "nobody listens there any more".to_owned(),
        _ => format!("cannot connect: {error}"),
    })?;
    let whose = whose(&stream);
    let broken = |error: hyper::Error| format!("it broke off: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to an engine ended");
        }
    });
    let (status, server, bytes) = get(&mut sender, CONTAINERS).await?;
    let engine = if server.starts_with("Libpod") { Engine::Podman } else { Engine::Docker };
    if status != StatusCode::OK {
        return Err(format!("it answered HTTP {status}"));
    }
    let mut running = api::running(&bytes, engine, whose)
        .map_err(|error| format!("its answer is not understood: {error}"))?;
    for running in running.iter_mut().filter(|_| whose.counts_as_we) {
        if doubted.contains(&running.container.id) && running.is_systems() {
            let asked = tokio::time::timeout(FIRST, first(&mut sender, &running.container.id)).await;
            running.first = asked.unwrap_or_default();
        }
    }
    Ok((engine, running))
}

async fn get(sender: &mut Sender, path: &str) -> Result<(StatusCode, String, Bytes), String> {
    let broken = |error: hyper::Error| format!("it broke off: {error}");
    sender.ready().await.map_err(broken)?;
    let request = Request::get(path)
        .header("host", "portwatch")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let server = response.headers().get("server").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let server = server.to_owned();
    let body = Limited::new(response.into_body(), LARGEST).collect();
    let bytes = body.await.map_err(|error| format!("it broke off: {error}"))?.to_bytes();
    Ok((status, server, bytes))
}

/// The groups of a container's first process, where they are named after the container: else its pid is another's by now.
async fn first(sender: &mut Sender, id: &str) -> Option<String> {
    // Ids are the engine's own and were 64 hex digits; anything else would be another path.
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let (status, _, body) = get(sender, &format!("/containers/{id}/json")).await.ok()?;
    let pid = api::first(&body).filter(|_| status == StatusCode::OK)?;
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().filter(|groups| groups.contains(&id))
}

/// The engine's own namespace is where it publishes ports. A rootless engine lives in a namespace that its helper made,
/// and publishes outside of it.
#[cfg(target_os = "linux")]
fn whose(engine: &Stream) -> Whose {
    use std::{fs::metadata, os::unix::fs::MetadataExt as _};
    let peer = engine.peer_cred().ok();
    // One that cannot be told is nobody's.
    let uid = peer.map_or(u32::MAX, |peer| peer.uid());
    let namespace = |of: &str, kind: &str| metadata(format!("/proc/{of}/ns/{kind}")).ok().map(|m| m.ino());
    let pid = peer.and_then(|peer| peer.pid()).map(|pid| pid.to_string()).unwrap_or_default();
    let netns = namespace(&pid, "net").filter(|_| uid == 0).and_then(|inode| u32::try_from(inode).ok());
    let ours = namespace("self", "pid");
    Whose {
        uid: Some(uid),
        netns: netns.map(Netns),
        counts_as_we: ours.is_some() && namespace(&pid, "pid") == ours,
    }
}

/// Elsewhere engines run in a machine of their own, and publish on this one.
#[cfg(not(target_os = "linux"))]
fn whose(_: &Stream) -> Whose {
    Whose::default()
}
