//! May this holder be ended by a signal, and if not, what would work: a function of facts, but for whose the file is that it runs.

use std::sync::Arc;

use super::{Refusal, supervisor, supervisor::Care};
use crate::{
    model::{Container, Engine, Owner, Process, SnapshotSocket},
    platform::user::{is_privileged, own_uid, with_all_rights},
    query::{is_engine, is_forwarder},
};

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    /// This process and its ancestors.
    pub(super) own: Vec<u32>,
    /// The container this process is in.
    pub(super) container: Option<String>,
    /// Go past supervisors.
    pub(super) force: bool,
    /// The engines were asked about the ports of engines.
    pub(super) engine_told: bool,
    /// Another user, not root, who made the sockets that it holds and from whose processes it does not descend.
    pub(super) giver: Option<u32>,
}

/// The verdict on a holder.
#[derive(Debug)]
pub(super) enum Judgement {
    /// It may be signalled; with what else is to be known.
    May(Option<String>),
    /// Its unit is to be asked about: it may have to be stopped instead.
    AskUnit,
    /// It is a manager of units, systemd, which holds ports for its socket units: the one of this place is to be stopped.
    /// It itself never is; what to say where no unit has the place.
    AskSockets(Refusal),
    /// It is in a container, or forwards to one: its engine is to be asked; what to say when that does not know.
    AskEngine(Refusal),
    /// By its name an engine or a proxy of one, which may hold ports for containers: the engine's word decides. Names are
    /// anybody's to take, so one that no engine knows of is judged as any other.
    MayForward(Refusal),
    /// No.
    Refused(Refusal),
}

/// Judges a holder; `may_signal` says whether the kernel would let us.
pub(super) fn judge(
    process: &Arc<Process>,
    asker: &Asker,
    port: &str,
    may_signal: &dyn Fn(u32) -> bool,
) -> Judgement {
    let pid = process.id.pid;
    let refused = |why: String, instead: String, forceable: bool| {
        Judgement::Refused(Refusal { process: Some(Arc::clone(process)), why, instead, forceable })
    };
    let placed = placed_in(process);
    let elsewhere = placed.map(|c| c.id.as_str()) != asker.container.as_deref();
    if let Some(whose) = manages(process).filter(|_| !elsewhere) {
        if !may_signal(pid) {
            let why = format!("a socket unit of {whose}'s manager holds it");
            return refused(why, with_all_rights(&format!("portwatch free {port}")), false);
        }
        let user = if pid == 1 { "" } else { " --user" };
        return Judgement::AskSockets(Refusal {
            process: Some(Arc::clone(process)),
            why: format!("{whose}'s manager of units holds it, and everything of {whose} would end with it"),
            instead: format!("systemctl{user} list-sockets, then systemctl{user} stop NAME.socket"),
            forceable: false,
        });
    }
    if pid == 1 {
        let why = "it is pid 1, and everything in this container would end with it";
        return refused(why.to_owned(), "stop the container from outside".to_owned(), false);
    }
    if asker.own.contains(&pid) {
        let why = "this very command runs below it and would end with it".to_owned();
        return refused(why, format!("from another terminal: portwatch free {port}"), false);
    }
    // Also in a container, which would be stopped for it.
    if let Some(giver) = asker.giver.filter(|_| !asker.force && (may_signal(pid) || elsewhere)) {
        let whose = process.user.clone().or_else(|| process.uid.map(|uid| format!("uid {uid}")));
        return refused(
            format!(
                "it belongs to {}, and the socket to uid {giver}, who has handed it over: that does not make it the server",
                whose.unwrap_or_else(|| "another user".to_owned())
            ),
            format!("end first what uid {giver} has running there, if anything"),
            true,
        );
    }
    let publisher = || {
        let number = port.rsplit(':').next().unwrap_or(port);
        let number = number.split('/').next().unwrap_or(number);
        format!("docker stop $(docker ps -q --filter publish={number})")
    };
    let refusal = |why: String, instead: String, forceable: bool| Refusal {
        process: Some(Arc::clone(process)),
        why,
        instead,
        forceable,
    };
    if is_forwarder(&process.comm) && !asker.engine_told {
        let why = "it forwards to a container; the server is in there".to_owned();
        return Judgement::MayForward(refusal(why, publisher(), true));
    }
    if is_engine(&process.comm) && !asker.engine_told {
        let why = "it is a container engine, and holds ports for its containers".to_owned();
        return Judgement::MayForward(refusal(why, publisher(), true));
    }
    if let (Some(container), None) = (placed.filter(|_| elsewhere), &process.container) {
        let why = format!(
            "its control group has the name of a container ({}), as its user can name any, and no engine was found that runs it",
            named(container)
        );
        return Judgement::AskEngine(refusal(why, format!("if it is one: {}", stop(container)), true));
    }
    if let Some(container) = process.container.as_ref().filter(|_| elsewhere) {
        let engine = container.engine.map_or("its engine", Engine::as_str);
        let why = format!("it runs in the container {}, which {engine} may start again", named(container));
        return Judgement::AskEngine(refusal(why, stop(container), true));
    }
    if !may_signal(pid) {
        let whose = process.user.clone().or_else(|| process.uid.map(|uid| format!("uid {uid}")));
        let why = format!("it belongs to {}", whose.unwrap_or_else(|| "another user".to_owned()));
        return refused(why, with_all_rights(&format!("portwatch free {port}")), false);
    }
    match supervisor::care(process) {
        Some(Care::Restarts { who, instead }) if !asker.force => {
            return refused(format!("{who} would start it again at once"), instead, true);
        }
        Some(Care::Restarts { who, .. }) => {
            return Judgement::May(Some(format!("{who} will start it again")));
        }
        Some(Care::Watches { who, instead }) => {
            return Judgement::May(Some(format!(
                "{who} will start it again when a file changes; to end that too: {instead}"
            )));
        }
        None => {}
    }
    let service =
        process.unit.as_ref().is_some_and(|u| u.name.ends_with(".service") && !u.name.starts_with("user@"));
    if service { Judgement::AskUnit } else { Judgement::May(None) }
}

/// Whose units it manages, when it is systemd: those of the system, or of a user.
fn manages(process: &Process) -> Option<String> {
    if !is_systemd(process) {
        return None;
    }
    let user = process.unit.as_ref().filter(|unit| unit.name == "init.scope").and_then(|unit| unit.manager);
    match user {
        Some(uid) => Some(process.user.clone().unwrap_or_else(|| format!("uid {uid}"))),
        None => (process.id.pid == 1).then(|| "the system".to_owned()),
    }
}

/// Users put any process of theirs into the `init.scope` of their manager, and give it any name. Its program is not theirs to
/// choose: a file of that name that is root's. Where the program may not be looked at, the name has to do.
fn is_systemd(process: &Process) -> bool {
    let program = process.exe.as_deref().map(|exe| {
        let path = exe.to_string_lossy();
        path.strip_suffix(" (deleted)").unwrap_or(&path).ends_with("/systemd") && is_roots(process.id.pid)
    });
    process.comm == "systemd" && program.unwrap_or(true)
}

/// Whether the file that a process runs is root's.
#[cfg(unix)]
fn is_roots(pid: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|file| file.uid() == 0)
}

/// There is no systemd.
#[cfg(not(unix))]
const fn is_roots(_: u32) -> bool {
    false
}

/// The container that the process's group is named after, proven or not: both are asked about before anything ends.
pub(super) fn placed_in(process: &Process) -> Option<&Container> {
    process.container.as_ref().or_else(|| process.unproven.as_ref().map(|unproven| &unproven.container))
}

fn named(container: &Container) -> String {
    container.name.clone().unwrap_or_else(|| container.id.chars().take(12).collect())
}

/// What stops a container, whoever runs it.
fn stop(container: &Container) -> String {
    // Of some engines, and in some groups, whoever makes one chooses any name.
    let name = named(container);
    let name = supervisor::plain(Some(&name), "NAME");
    if container.pod.is_some() {
        return "kubectl delete pod NAME, or scale its deployment down".to_owned();
    }
    match container.engine {
        None | Some(Engine::Docker) => format!("docker stop {name}"),
        Some(Engine::Podman) => format!("podman stop {name}"),
        Some(Engine::Containerd) => format!("nerdctl stop {name}, or crictl stop {name}"),
        Some(Engine::Crio) => format!("crictl stop {name}"),
        Some(Engine::Lxc) => format!("lxc stop {name}, incus stop {name} or lxc-stop -n {name}"),
        Some(Engine::Nspawn) => format!("machinectl poweroff {name}"),
    }
}

/// A socket without a process to be seen.
pub(super) fn without_holder(socket: &SnapshotSocket, port: &str) -> Refusal {
    let whose = match socket.socket.uid {
        Some(uid) if uid == own_uid() => "of your own user".to_owned(),
        Some(uid) => format!("of another user (uid {uid})"),
        None => "of another user".to_owned(),
    };
    let (why, instead) = match socket.owner {
        Owner::NotPermitted => (
            format!("a process {whose} holds it, which may not be looked into"),
            if is_privileged() {
                "somebody with the right to look into it (CAP_SYS_PTRACE), which this user has not".to_owned()
            } else {
                with_all_rights(&format!("portwatch free {port}"))
            },
        ),
        Owner::Kernel(Some(tunnel)) => {
            let name = tunnel.name();
            let down =
                format!("ip link set {} down, which closes it", supervisor::plain(Some(&name), "NAME"));
            (format!("the kernel itself holds it, for {} device {name}", tunnel.kind), down)
        }
        Owner::Kernel(None) if cfg!(windows) => (
            "the system itself holds it (a web server in the kernel, file sharing)".to_owned(),
            "end what it holds it for; for whom the web server does: netsh http show servicestate".to_owned(),
        ),
        Owner::Kernel(None) => (
            "the kernel itself holds it".to_owned(),
            "end what it holds it for: a network file system (exportfs, umount), a tunnel (ip link)"
                .to_owned(),
        ),
        // The tables go on naming the process that made a socket when it has ended and its child has inherited it.
        Owner::Known | Owner::NoProcess | Owner::Unknown if cfg!(windows) && is_privileged() => (
            "the process that made it has ended, and one that inherited it has it still, as a rule"
                .to_owned(),
            format!("end what that one had started; portwatch log --port {port} says which it was"),
        ),
        Owner::Known | Owner::NoProcess | Owner::Unknown if cfg!(not(target_os = "linux")) => (
            "which process has it was not seen: another user's or the system's, as a rule".to_owned(),
            with_all_rights(&format!("portwatch free {port}")),
        ),
        Owner::Known | Owner::NoProcess | Owner::Unknown => (
            "no process has it: the kernel holds it (NFS, WireGuard), or its descriptor is on its way"
                .to_owned(),
            format!(
                "end what it belongs to: a network file system (exportfs, umount), a tunnel (ip link), or, as portwatch \
                 who {port} may say, who bound it"
            ),
        ),
    };
    Refusal { process: None, why, instead, forceable: false }
}

#[cfg(test)]
pub(in crate::resolve::free) mod tests {
    use std::sync::Arc;

    use super::{Asker, Judgement, is_roots, judge};
    use crate::model::{Ancestor, Container, Engine, Evidence, Process, ProcessId, Unit};

    pub(in crate::resolve::free) fn process(pid: u32, lineage: Vec<Ancestor>) -> Process {
        Process {
            id: ProcessId { pid, start_ticks: 7 },
            started: None,
            comm: "node".to_owned(),
            command: None,
            exe: None,
            cwd: None,
            uid: Some(1000),
            user: Some("erich".to_owned()),
            cgroup: None,
            unit: None,
            container: None,
            unproven: None,
            lineage,
            project: None,
            evidence: Evidence::Scan,
        }
    }

    fn verdict(process: Process, may: bool) -> String {
        let asker =
            Asker { own: vec![900, 800], container: None, force: false, engine_told: false, giver: None };
        match judge(&Arc::new(process), &asker, "127.0.0.1:3100", &|_| may) {
            Judgement::May(note) => format!("may {note:?}"),
            Judgement::AskUnit => "unit".to_owned(),
            Judgement::AskSockets(refusal) => {
                format!("socket unit, else {} | {}", refusal.why, refusal.instead)
            }
            Judgement::AskEngine(refusal) => format!("engine, else {} | {}", refusal.why, refusal.instead),
            Judgement::MayForward(_) => "engine first".to_owned(),
            Judgement::Refused(refusal) => format!("{} | {}", refusal.why, refusal.instead),
        }
    }

    #[test]
    #[cfg_attr(windows, ignore = "the advice is of Unix")]
    fn a_process_of_ones_own_may_be_ended_and_a_strangers_may_not() {
        assert_eq!(verdict(process(50, Vec::new()), true), "may None");
        let stranger = verdict(process(50, Vec::new()), false);
        assert_eq!(stranger, "it belongs to erich | sudo portwatch free 127.0.0.1:3100");
    }

    #[test]
    fn what_stops_a_container_is_named_by_who_runs_it() {
        let run = |engine, pod: Option<&str>| {
            let container = Container {
                engine,
                id: "0123456789abcdef".to_owned(),
                pod: pod.map(str::to_owned),
                name: None,
                image: None,
                compose: None,
                owner: None,
            };
            verdict(Process { container: Some(container), ..process(50, Vec::new()) }, true)
        };
        assert!(run(Some(Engine::Docker), None).ends_with("docker stop 0123456789ab"));
        let named = |name: &str| Container {
            engine: Some(Engine::Lxc),
            id: name.to_owned(),
            pod: None,
            name: Some(name.to_owned()),
            image: None,
            compose: None,
            owner: None,
        };
        assert!(super::stop(&named("web")).ends_with("lxc-stop -n web"));
        assert!(
            super::stop(&named("$(reboot)")).ends_with("lxc-stop -n NAME"),
            "who pastes it runs nothing else"
        );
        assert!(run(Some(Engine::Crio), None).ends_with("crictl stop 0123456789ab"));
        assert!(run(Some(Engine::Containerd), Some("uid")).contains("kubectl"));
        let dockerd = Process { comm: "dockerd".to_owned(), ..process(50, Vec::new()) };
        assert_eq!(verdict(dockerd, true), "engine first");
    }

    #[test]
    #[cfg_attr(windows, ignore = "the advice is of Unix")]
    fn pid_1_ancestors_and_forwarders_are_never_ended() {
        assert!(verdict(process(1, Vec::new()), true).contains("pid 1"));
        let systemd = Process { comm: "systemd".to_owned(), ..process(1, Vec::new()) };
        let asked = verdict(systemd.clone(), true);
        assert!(
            asked.starts_with("socket unit, else ") && asked.contains("systemctl list-sockets"),
            "{asked}"
        );
        assert!(verdict(systemd, false).ends_with("sudo portwatch free 127.0.0.1:3100"));
        assert!(verdict(process(800, Vec::new()), true).contains("another terminal"));
        let proxy = Process { comm: "docker-proxy".to_owned(), ..process(50, Vec::new()) };
        assert_eq!(verdict(proxy, true), "engine first");
    }

    #[test]
    fn a_proxy_that_no_engine_knows_is_judged_as_any_other_and_who_was_handed_a_socket_is_left_alone() {
        let with = |asker: Asker, comm: &str| {
            let process = Process { comm: comm.to_owned(), ..process(50, Vec::new()) };
            match judge(&Arc::new(process), &asker, "3100", &|_| true) {
                Judgement::May(note) => format!("may {note:?}"),
                Judgement::Refused(refusal) => format!("{} | {}", refusal.why, refusal.forceable),
                other => format!("{other:?}"),
            }
        };
        let asker = Asker { own: Vec::new(), container: None, force: false, engine_told: true, giver: None };
        assert_eq!(with(asker.clone(), "docker-proxy"), "may None");
        let given = Asker { giver: Some(1001), ..asker };
        assert_eq!(
            with(given.clone(), "sshd"),
            "it belongs to erich, and the socket to uid 1001, who has handed it over: that does not make it the \
             server | true"
        );
        assert_eq!(with(Asker { force: true, ..given.clone() }, "sshd"), "may None");
        // Nor is a container stopped because somebody outside has sent it a socket.
        let container = Container {
            engine: Some(Engine::Docker),
            id: "0123456789abcdef".to_owned(),
            pod: None,
            name: None,
            image: None,
            compose: None,
            owner: None,
        };
        let inside = Arc::new(Process { container: Some(container), ..process(50, Vec::new()) });
        for may in [true, false] {
            let judged = judge(&inside, &given, "3100", &|_| may);
            assert!(
                matches!(&judged, Judgement::Refused(r) if r.why.contains("handed it over")),
                "{judged:?}"
            );
        }
    }

    #[test]
    fn a_service_is_asked_about_and_a_scope_is_not() {
        let unit = |name: &str| {
            let unit = Unit { name: name.to_owned(), slice: None, manager: None };
            Process { unit: Some(unit), ..process(50, Vec::new()) }
        };
        assert_eq!(verdict(unit("web.service"), true), "unit");
        assert_eq!(verdict(unit("user@1000.service"), true), "may None");
        assert_eq!(verdict(unit("session-3.scope"), true), "may None");
        // `systemd --user`: a user's whole session.
        let scope = Unit { name: "init.scope".to_owned(), slice: None, manager: Some(1000) };
        let manager = Process { comm: "systemd".to_owned(), unit: Some(scope), ..process(812, Vec::new()) };
        let asked = verdict(manager, true);
        assert!(
            asked.starts_with("socket unit, else erich's manager")
                && asked.ends_with("systemctl --user stop NAME.socket"),
            "{asked}"
        );
        // Whatever else a user has put there is a program like any other.
        let inside = |comm: &str, exe: &str| {
            let scope = Unit { name: "init.scope".to_owned(), slice: None, manager: Some(1000) };
            let own = process(std::process::id(), Vec::new());
            Process { comm: comm.to_owned(), exe: Some(exe.into()), unit: Some(scope), ..own }
        };
        for (comm, exe) in [("python3", "/usr/bin/python3"), ("systemd", "/usr/bin/python3")] {
            assert_eq!(verdict(inside(comm, exe), true), "may None");
        }
        assert_eq!(verdict(inside("systemd", "/none/systemd (deleted)"), true), {
            let roots = is_roots(std::process::id());
            if roots { asked } else { "may None".to_owned() }
        });
    }
}
