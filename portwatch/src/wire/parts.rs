//! The things answers are made of.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A process. Everything but pid and comm may be null: then it was not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Thread-group id.
    pub pid: u32,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Name of the thread-group leader, at most 15 bytes.
    pub comm: String,
    /// Command line, one string an argument.
    pub command: Option<Vec<String>>,
    /// The command line was longer than what was kept.
    pub command_truncated: bool,
    /// Executable.
    pub exe: Option<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Real user id.
    pub uid: Option<u32>,
    /// User name.
    pub user: Option<String>,
    /// Control group.
    pub cgroup: Option<Cgroup>,
    /// systemd unit, by the control group.
    pub unit: Option<Unit>,
    /// Container: by the control group where only the system can have made that, else by an engine that may say so.
    pub container: Option<Container>,
    /// A container that the control group is named after, where `container` does not say so: a user can have made the group,
    /// and it may be no container's.
    #[serde(default)]
    pub unproven_container: Option<UnprovenContainer>,
    /// Parent first.
    pub lineage: Vec<Ancestor>,
    /// Project it works in.
    pub project: Option<Project>,
    /// How these facts were obtained: kernel, scan, inherited, inferred, ambiguous, unknown.
    pub evidence: String,
}

/// One step up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ancestor {
    /// Pid.
    pub pid: u32,
    /// Comm.
    pub comm: String,
    /// Command line.
    pub command: Option<Vec<String>>,
    /// The command line was longer than what is kept of an ancestor's.
    #[serde(default)]
    pub command_truncated: bool,
}

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cgroup {
    /// cgroup v2 id.
    pub id: Option<u64>,
    /// Path below the mount.
    pub path: String,
}

/// A systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unit {
    /// Name, as `systemctl` takes it. In a container: of the unit inside, else of the service made to run it.
    pub name: String,
    /// The slice it lies in.
    pub slice: Option<String>,
    /// Uid of the user whose manager runs it; null for the system's.
    pub manager: Option<u32>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// docker, podman, containerd, cri-o, lxc, nspawn; null where the control group does not tell.
    pub engine: Option<String>,
    /// 64 hex digits; the name where the engine has names only (lxc, nspawn).
    pub id: String,
    /// Uid of its Kubernetes pod.
    pub pod: Option<String>,
    /// Its name; null until its engine has told, or where that may not be asked.
    pub name: Option<String>,
    /// Its image, as the engine names it.
    pub image: Option<String>,
    /// Compose project.
    pub compose_project: Option<String>,
    /// Compose service.
    pub compose_service: Option<String>,
    /// Uid of the user whose own engine runs it; null for one of the system's.
    #[serde(default)]
    pub owner: Option<u32>,
}

/// What the name of a control group says that proves no container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnprovenContainer {
    /// As in a container.
    pub engine: Option<String>,
    /// The id in the name.
    pub id: String,
    /// Uid of the user who can have made the group; null where that cannot be told, or several can.
    pub uid: Option<u32>,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Project {
    /// Name.
    pub name: String,
    /// Directory.
    pub root: String,
    /// What marked it: portwatch, node, rust, python, go, git.
    pub kind: String,
    /// Git worktree.
    pub worktree: Option<Worktree>,
    /// `scan`: the working directory lies in it; `inferred`: the script on the command line does.
    pub evidence: String,
}

/// A git worktree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Worktree {
    /// `main` or the linked worktree's name.
    pub name: String,
    /// Directory.
    pub root: String,
    /// Branch; null when detached.
    pub branch: Option<String>,
}

/// A process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// Who.
    pub process: Process,
    /// How it is known that it holds the socket.
    pub evidence: String,
}

/// A socket of the live table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Socket {
    /// tcp or udp.
    pub protocol: String,
    /// Local address.
    pub address: String,
    /// Local port.
    pub port: u16,
    /// Network namespace inode.
    pub netns: Option<u32>,
    /// `listening` or `bound`.
    pub state: String,
    /// Port asked for; 0 when any port was asked for; null when nobody saw the request.
    pub asked_port: Option<u16>,
    /// The kernel chose the port.
    pub random: Option<bool>,
    /// SO_REUSEADDR.
    pub reuse_addr: Option<bool>,
    /// SO_REUSEPORT.
    pub reuse_port: Option<bool>,
    /// IPV6_V6ONLY. A wildcard IPv6 socket where this is false takes IPv4 too.
    pub v6_only: Option<bool>,
    /// Socket cookie.
    pub cookie: Option<u64>,
    /// Socket inode.
    pub inode: Option<u64>,
    /// Uid the socket belongs to.
    pub uid: Option<u32>,
    /// User name of `uid`.
    pub user: Option<String>,
    /// When it was bound, or first seen when `evidence` is scan.
    pub since: Timestamp,
    /// When it began to listen.
    pub listening_since: Option<Timestamp>,
    /// Who bound it; null when nobody saw it.
    pub creator: Option<Process>,
    /// Who holds it now.
    pub holders: Vec<Holder>,
    /// known, kernel, not-permitted, no-process, unknown.
    pub owner: String,
    /// The network device for which the kernel holds it, with its kind: `vxlan vx0`; null for every other socket.
    #[serde(default)]
    pub device: Option<String>,
    /// What `ip netns` calls its network namespace; null for the observer's own and for those without a name.
    pub netns_name: Option<String>,
    /// Where it leads, when a forwarder of a container engine holds it; null for every other socket.
    pub forwards_to: Option<Forward>,
    /// The claim on its port; null when there is none.
    pub claim: Option<String>,
    /// What explains it: `claim` (its own), `conflict` (the claim on its port is another's), `kernel`, `container`, `unit`,
    /// `init`, `project`, `allowed`, `self`, `rogue` (nothing does), `unknown` (its process could not be seen); null where
    /// that was not asked.
    #[serde(default)]
    pub standing: Option<String>,
    /// Name of the unit, container, project or rule that explains it.
    #[serde(default)]
    pub explained_by: Option<String>,
    /// How its existence is known.
    pub evidence: String,
    /// The interface that it is bound to, by SO_BINDTODEVICE or as the zone of its address: its name, else its number; null for a socket that
    /// is bound to none, and where `interface_index` is null.
    #[serde(default)]
    pub interface: Option<String>,
    /// Its number in the network namespace of the socket; 0 for none, null when it is not known.
    #[serde(default)]
    pub interface_index: Option<u32>,
}

/// Where a port leads. `holders` of the socket stay what the kernel says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Forward {
    /// The program that forwards (`docker-proxy`), or the engine whose rule in the kernel's NAT does.
    pub forwarder: String,
    /// Address inside.
    pub address: Option<String>,
    /// Port inside.
    pub port: Option<u16>,
    /// The container.
    pub container: Option<Container>,
    /// Network namespace of the process inside.
    pub netns: Option<u32>,
    /// The process inside that has the port; null when none was found there.
    pub process: Option<Process>,
    /// inferred; ambiguous: several containers fit; unknown: nobody could be asked.
    pub evidence: String,
}

/// A port that an engine forwards without a socket of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// Address of the machine; null for all.
    pub address: Option<String>,
    /// Port of the machine.
    pub port: u16,
    /// tcp or udp.
    pub protocol: String,
    /// Where it leads.
    pub to: Forward,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exit {
    /// Exit code.
    pub code: Option<u8>,
    /// Signal number.
    pub signal: Option<u8>,
    /// Signal name (`SIGKILL`).
    pub signal_name: Option<String>,
    /// A core was dumped.
    pub core_dumped: bool,
    /// The signal that ended the process; where it ended by itself, the one that had asked for that. Null when
    /// nobody saw one.
    pub sent_signal: Option<u8>,
    /// That signal's name.
    pub sent_signal_name: Option<String>,
    /// Where that signal came from: `process` (it is the event's `other`), `kernel` or `oom-killer`.
    pub sent_by: Option<String>,
    /// The process was seen to send that signal to itself again after it had got it from there, as programs do that handle
    /// it first. Then `sent_by` is where it came from the first time.
    #[serde(default)]
    pub sent_again: bool,
}

/// Lost records by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "each field counts the records its name says")]
pub struct LostCounts {
    pub total: u64,
    pub process: u64,
    pub bind: u64,
    pub refused: u64,
    pub listen: u64,
    pub close: u64,
    pub exit: u64,
    pub undecodable: u64,
}

/// Something may be missing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// buffer-full, not-running, paused, source-changed, not-written.
    pub reason: String,
    /// Beginning, as far as known; the event's time is the end.
    pub since: Option<Timestamp>,
    /// Lost records; null when they cannot be counted.
    pub lost: Option<LostCounts>,
}

/// One line of the flight record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Row id; null for live events that no journal has kept.
    pub id: Option<i64>,
    /// When.
    pub time: Timestamp,
    /// Event type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How it is known.
    pub evidence: String,
    /// tcp or udp.
    pub protocol: Option<String>,
    /// Local address.
    pub address: Option<String>,
    /// Local port.
    pub port: Option<u16>,
    /// Network namespace inode.
    pub netns: Option<u32>,
    /// Socket cookie.
    pub cookie: Option<u64>,
    /// `listening` or `bound`: what was closed. Of a refusal `listening` where the bind had succeeded and the listen was refused.
    pub state: Option<String>,
    /// Port asked for; 0 when any; null when unknown.
    pub asked_port: Option<u16>,
    /// The kernel chose the port.
    pub random: Option<bool>,
    /// Who did it.
    pub process: Option<Process>,
    /// The other party: holder at the time of a refused bind; creator where another process closed; for an exit, who
    /// sent the signal.
    pub other: Option<Process>,
    /// Claim name.
    pub claim: Option<String>,
    /// The lock, agent, session or channel it is about, by name.
    #[serde(default)]
    pub subject: Option<String>,
    /// errno, positive.
    pub errno: Option<i32>,
    /// errno's name (`EADDRINUSE`).
    pub errno_name: Option<String>,
    /// How the process ended.
    pub exit: Option<Exit>,
    /// Gap details.
    pub gap: Option<Gap>,
    /// Beginning of what a summary covers; of a close that was found out later, the last moment before it.
    pub since: Option<Timestamp>,
    /// Events this line stands for.
    pub count: u64,
    /// A sentence for people.
    pub message: Option<String>,
}

/// Something that does not work here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Degradation {
    /// Stable name.
    pub name: String,
    /// What is missing and why.
    pub what: String,
    /// What would restore it.
    pub remedy: String,
}

/// Where an answer came from: shown with every answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceInfo {
    /// ebpf, scan, replay, fake.
    pub source: String,
    /// Answered by a daemon (true) or by a snapshot in this process (false).
    pub daemon: bool,
    /// One line on what is missing, when something is.
    pub note: Option<String>,
    /// Everything that does not work here.
    pub degradations: Vec<Degradation>,
}
