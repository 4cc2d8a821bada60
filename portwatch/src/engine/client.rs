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

/// Running containers; the same path in Docker's API and in Podman's compatible one. Without a version in it, each
/// answers as its newest.
const CONTAINERS: &str = "/containers/json";

/// About 2 kB a container.
const LARGEST: usize = 16 << 20;

/// Asks the engine behind each of `sockets`.
pub(super) fn ask(sockets: &[PathBuf], wait: Duration) -> Report {
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
            (socket, tokio::time::timeout(wait, one(socket)).await.unwrap_or_else(late))
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
    report.running.sort_by(|a, b| a.container.id.cmp(&b.container.id));
    report.running.dedup_by(|a, b| a.container.id == b.container.id);
    report
}

async fn one(socket: &Path) -> Result<(Engine, Vec<Running>), String> {
    let stream = local::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "connecting is not permitted (EACCES); ask as root or as a member of its group".to_owned()
        }
        io::ErrorKind::ConnectionRefused => "nobody listens there any more".to_owned(),
        _ => format!("cannot connect: {error}"),
    })?;
    let netns = publishes_in(&stream);
    let broken = |error: hyper::Error| format!("it broke off: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to an engine ended");
        }
    });
    let request = Request::get(CONTAINERS)
        .header("host", "portwatch")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let server = response.headers().get("server").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let engine = if server.starts_with("Libpod") { Engine::Podman } else { Engine::Docker };
    let body = Limited::new(response.into_body(), LARGEST).collect();
    let bytes = body.await.map_err(|error| format!("it broke off: {error}"))?.to_bytes();
    if status != StatusCode::OK {
        return Err(format!("it answered HTTP {status}"));
    }
    let running = api::running(&bytes, engine, netns)
        .map_err(|error| format!("its answer is not understood: {error}"))?;
    Ok((engine, running))
}

/// The engine's own namespace is where it publishes ports. A rootless engine lives in a namespace that its helper made,
/// and publishes outside of it.
#[cfg(target_os = "linux")]
fn publishes_in(engine: &Stream) -> Option<Netns> {
    let peer = engine.peer_cred().ok()?;
    let pid = peer.pid().filter(|_| peer.uid() == 0)?;
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(format!("/proc/{pid}/ns/net")).ok()?);
    u32::try_from(inode).ok().map(Netns)
}

/// Elsewhere engines run in a machine of their own, and publish on this one.
#[cfg(not(target_os = "linux"))]
fn publishes_in(_: &Stream) -> Option<Netns> {
    None
}
