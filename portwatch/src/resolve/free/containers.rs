//! Containers: stopped by their engine, with the caller's own rights on its socket, which would start them again
//! otherwise, and whose proxies would be left without a server.

use std::{
    ffi::OsStr,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    engine::{Engines, Running},
    model::{Engine, Maker, Netns, Process, SocketSeen, addresses_overlap},
    platform::{ending::Signal, local},
    query::is_engine,
    resolve::Place,
};

/// How long an engine may take to say what runs.
const ANSWER: Duration = Duration::from_secs(2);
/// Beyond the grace that the container has, so long until the engine says that it has ended.
const STOPPING: Duration = Duration::from_secs(15);
/// An answer about one container.
const LARGEST: usize = 1 << 20;

/// A container to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStop {
    /// The container, as its engine names it.
    pub running: Running,
    /// Its engine's socket.
    pub socket: PathBuf,
    /// What else is to be known.
    pub note: Option<String>,
    /// The first signal, where one was asked for; else the container's own stop signal.
    pub signal: Option<Signal>,
}

impl ContainerStop {
    /// Its name, else the beginning of its id.
    pub fn name(&self) -> String {
        let container = &self.running.container;
        container.name.clone().unwrap_or_else(|| container.id.chars().take(12).collect())
    }

    /// Who stops it.
    pub fn engine(&self) -> &'static str {
        self.running.container.engine.map_or("docker", Engine::as_str)
    }

    /// As it would be typed.
    pub fn command(&self) -> String {
        match self.signal {
            None => format!("{} stop {}", self.engine(), self.name()),
            Some(signal) => format!("{} kill --signal {} {}", self.engine(), signal.name(), self.name()),
        }
    }
}

/// What the engines of the machine say.
#[derive(Debug, Default)]
pub(super) struct Told {
    running: Vec<(PathBuf, Running)>,
    /// Why an engine did not answer.
    pub(super) problem: Option<String>,
    /// Those that did.
    answered: Vec<Engine>,
}

impl Told {
    /// Asks the engines behind these sockets.
    pub(super) fn ask(sockets: &[PathBuf]) -> Self {
        let mut told = Self::default();
        for socket in sockets {
            let report = Engines::new([socket.clone()]).ask(Duration::ZERO, ANSWER);
            for running in &report.running {
                let same =
                    |known: &Running| known.container.id == running.container.id && known.uid == running.uid;
                if !told.running.iter().any(|(_, known)| same(known)) {
                    told.running.push((socket.clone(), running.clone()));
                }
            }
            told.answered.extend(&report.answered);
            if let Some(problem) = report.problems.first() {
                told.problem = Some(format!("{}: {}", problem.socket.display(), problem.what));
            }
        }
        told
    }

    /// Whether a process with the name of an engine or of its proxy, behind which no container was found, is none of
    /// theirs: its engine answered, or its executable is another program than its name says.
    pub(super) fn disown(&self, process: &Process) -> bool {
        let (whose, file): (Option<Engine>, &str) = match process.comm.as_str() {
            "docker-proxy" => (Some(Engine::Docker), "docker-proxy"),
            name @ ("rootlessport" | "rootlessport-ch") => (Some(Engine::Podman), name),
            // Its engine's own sockets are no container's; where none answers there is nobody to ask.
            _ if is_engine(&process.comm) => {
                return self.problem.is_none() || is_another(process, &[&process.comm]);
            }
            // These serve several engines, and users by themselves.
            "pasta" | "pasta.avx2" => {
                return is_another(process, &["pasta", "pasta.avx2", "passt", "passt.avx2"]);
            }
            name => (None, name),
        };
        whose.is_some_and(|engine| self.answered.contains(&engine)) || is_another(process, &[file])
    }

    /// The container in whose control group a process is, if its engine runs it there.
    pub(super) fn around(&self, process: &Process) -> Around {
        let named = process.unproven.as_ref();
        let maker = named.map_or(Maker::System, |named| named.maker);
        let Some(container) = named.map(|named| &named.container).or(process.container.as_ref()) else {
            return Around::Unknown;
        };
        let groups = |pid: u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
        let mut any = false;
        for (socket, running) in self.running.iter().filter(|(_, r)| r.container.id == container.id) {
            any = true;
            let inspected = Inspected::ask(socket, running);
            let first = || groups(inspected.as_ref()?.state.pid);
            let own = || groups(process.id.pid);
            if running.vouches(maker, first, own) && running.has_within(first, own) {
                let note = inspected.as_ref().and_then(Inspected::consequence);
                return Around::Container(Box::new(ContainerStop {
                    running: running.clone(),
                    socket: socket.clone(),
                    note,
                    signal: None,
                }));
            }
        }
        if any { Around::Named } else { Around::Unknown }
    }

    /// Containers to which a socket of a forwarder or of an engine leads that runs as this user.
    pub(super) fn behind(&self, seen: &SocketSeen, uid: Option<u32>) -> Vec<ContainerStop> {
        let here = (seen.endpoint.address, seen.options.v6_only);
        self.published(
            seen.endpoint.netns,
            |running| running.has_helper(uid),
            |p| {
                p.port == seen.endpoint.port
                    && p.protocol == seen.endpoint.protocol
                    && p.address.is_none_or(|address| addresses_overlap(here, (address, None)))
            },
        )
    }

    /// Containers that are published at a place without any socket: by a rule of the kernel's alone.
    pub(super) fn at(&self, place: &Place, netns: Option<Netns>) -> Vec<ContainerStop> {
        // A user's own engine publishes by sockets only.
        self.published(netns, Running::is_systems, |p| {
            let meets = |host| p.address.is_none_or(|a| addresses_overlap((host, None), (a, None)));
            p.port == place.port
                && p.protocol == place.protocol
                && (place.hosts.is_empty() || place.hosts.iter().any(|&host| meets(host)))
        })
    }

    fn published(
        &self,
        netns: Option<Netns>,
        whose: impl Fn(&Running) -> bool,
        wanted: impl Fn(&crate::engine::Published) -> bool,
    ) -> Vec<ContainerStop> {
        let same = |there: Option<Netns>| there.is_none() || netns.is_none() || there == netns;
        let fits = |running: &Running| {
            same(running.netns) && whose(running) && running.published.iter().any(&wanted)
        };
        self.running.iter().filter(|(_, running)| fits(running)).map(Self::stop).collect()
    }

    fn stop((socket, running): &(PathBuf, Running)) -> ContainerStop {
        let note = Inspected::ask(socket, running).and_then(|inspected| inspected.consequence());
        ContainerStop { running: running.clone(), socket: socket.clone(), note, signal: None }
    }
}

/// Where a process in a group with a container's name is.
#[derive(Debug)]
pub(super) enum Around {
    /// In that container.
    Container(Box<ContainerStop>),
    /// Elsewhere, as far as can be seen: only its group has the name.
    Named,
    /// No engine that answers knows the container.
    Unknown,
}

/// The executable is known, and is none of these programs. Names of processes are cut at 15 bytes.
fn is_another(process: &Process, programs: &[&str]) -> bool {
    let Some(exe) = process.exe.as_deref().and_then(Path::file_name).and_then(OsStr::to_str) else {
        return false;
    };
    let exe = exe.strip_suffix(" (deleted)").unwrap_or(exe);
    !programs.iter().any(|program| exe.get(..15).unwrap_or(exe) == *program)
}

/// The part of ContainerInspect that is read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(default)]
    state: State,
    host_config: HostConfig,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct State {
    /// Its first process, as the engine's machine counts.
    #[serde(default)]
    pid: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    auto_remove: bool,
    #[serde(default)]
    restart_policy: RestartPolicy,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    #[serde(default)]
    name: String,
}

impl Inspected {
    fn ask(socket: &Path, running: &Running) -> Option<Self> {
        let (status, body) = call(socket, Method::GET, &path(running, "json"), ANSWER).ok()?;
        serde_json::from_slice(&body).ok().filter(|_| status == StatusCode::OK)
    }

    /// What stopping means for it beyond its end.
    fn consequence(&self) -> Option<String> {
        if self.host_config.auto_remove {
            return Some("it was started with --rm: it is removed when it stops".to_owned());
        }
        match self.host_config.restart_policy.name.as_str() {
            "always" => Some(
                "its restart policy is always: stopped so, it stays stopped until the engine itself starts again"
                    .to_owned(),
            ),
            policy @ ("unless-stopped" | "on-failure") => {
                Some(format!("its restart policy is {policy}: stopped so, it stays stopped"))
            }
            _ => None,
        }
    }
}

/// Has the engine stop it: by its own stop signal or the one that was asked for, and by SIGKILL when the grace is over.
pub fn stop_container(stop: &ContainerStop, grace: Duration) -> io::Result<()> {
    let mut left = grace;
    if let Some(signal) = stop.signal {
        // Engines before API 1.42 take no signal with a stop.
        let kill = path(&stop.running, &format!("kill?signal={}", signal.name()));
        let (status, body) = call(&stop.socket, Method::POST, &kill, STOPPING)?;
        // A conflict is a container that runs no more.
        if !matches!(status, StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::CONFLICT) {
            return Err(io::Error::other(refusal(&body).unwrap_or_else(|| format!("HTTP {status}"))));
        }
        let ended = path(&stop.running, "wait?condition=not-running");
        match call(&stop.socket, Method::POST, &ended, grace) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => return Err(error),
        }
        // What its restart policy may have started again is stopped too.
        left = Duration::ZERO;
    }
    let what = path(&stop.running, &format!("stop?t={}", left.as_secs()));
    let (status, body) = call(&stop.socket, Method::POST, &what, left + STOPPING)?;
    match status {
        // Stopped, or stopped already.
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::OK => Ok(()),
        status => Err(io::Error::other(refusal(&body).unwrap_or_else(|| format!("HTTP {status}")))),
    }
}

fn refusal(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    serde_json::from_slice::<Message>(body).ok().map(|said| said.message)
}

/// Ids are the engine's own and were 64 hex digits; anything else would be another path.
fn path(running: &Running, what: &str) -> String {
    let id: String = running.container.id.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("/containers/{id}/{what}")
}

fn call(socket: &Path, method: Method, path: &str, wait: Duration) -> io::Result<(StatusCode, Bytes)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", wait.as_secs()));
    runtime.block_on(async {
        timeout(wait, exchange(socket, method, path)).await.unwrap_or_else(|_| Err(late()))
    })
}

async fn exchange(socket: &Path, method: Method, path: &str) -> io::Result<(StatusCode, Bytes)> {
    let stream = local::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "portwatch")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(io::Error::other)?;
    Ok((status, body.to_bytes()))
}

impl fmt::Display for ContainerStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {} ({})", self.name(), self.engine())
    }
}

#[cfg(test)]
mod tests {
    use super::{Inspected, Told};
    use crate::{
        model::{Engine, Process},
        resolve::free::judge::tests::process,
    };

    #[test]
    fn a_name_alone_makes_nobody_a_proxy() {
        let named = |comm: &str, exe: Option<&str>| Process {
            comm: comm.to_owned(),
            exe: exe.map(Into::into),
            ..process(50, Vec::new())
        };
        let proxy = |exe| named("docker-proxy", exe);
        let nobody = Told::default();
        let docker = Told { answered: vec![Engine::Docker], ..Told::default() };
        let broken = Told { problem: Some("it hangs".to_owned()), ..Told::default() };
        // Its own engine does not know it; another program has taken its name; nothing is known against it.
        assert!(docker.disown(&proxy(Some("/usr/sbin/docker-proxy"))));
        for told in [&nobody, &broken] {
            assert!(told.disown(&proxy(Some("/usr/bin/python3.11"))));
            assert!(!told.disown(&proxy(Some("/usr/sbin/docker-proxy (deleted)"))));
            assert!(!told.disown(&proxy(None)));
        }
        let rootless = named("rootlesskit-doc", Some("/usr/bin/rootlesskit-docker-proxy"));
        assert!(!docker.disown(&rootless), "docker is not the only one that has these");
        assert!(!docker.disown(&named("pasta", Some("/usr/bin/passt"))));
        assert!(nobody.disown(&named("dockerd", Some("/usr/bin/dockerd"))), "its own socket");
        assert!(!broken.disown(&named("dockerd", Some("/usr/bin/dockerd"))));
    }

    #[test]
    fn what_a_stop_means_is_told_by_the_restart_policy() {
        let said = |body: &str| serde_json::from_str::<Inspected>(body).ok()?.consequence();
        let of = |host: &str| said(&format!("{{\"HostConfig\":{host}}}"));
        let policy =
            |name: &str| of(&format!("{{\"AutoRemove\":false,\"RestartPolicy\":{{\"Name\":\"{name}\"}}}}"));
        assert!(of("{\"AutoRemove\":true}").unwrap().contains("removed"));
        assert!(policy("always").unwrap().contains("until the engine itself starts again"));
        assert!(policy("unless-stopped").unwrap().contains("stays stopped"));
        assert_eq!((policy("no"), policy("")), (None, None));
        assert_eq!(said("<html>"), None);
    }
}
