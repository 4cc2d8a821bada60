//! Which kernel programs serve which fact: a table. Each fact's ladder is climbed by itself, and what
//! really attaches decides. A new family of hooks is a file of programs and rows here.

use crate::model::Fact;

/// Families of hooks; a run can be confined to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Programs at the entry and exit of kernel functions, through the kernel's trampolines.
    Fentry,
    /// Probes on the same functions.
    Kprobe,
    /// cgroup, sockops, tracepoints: contexts with a stable layout.
    Stable,
}

/// Which hooks may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HookChoice {
    /// The best that attaches, fact by fact.
    #[default]
    Auto,
    /// One family alone.
    Only(Family),
    /// None: as on a machine that refuses every program.
    None,
}

impl HookChoice {
    /// The words that `--hooks` takes.
    pub const WORDS: [&'static str; 5] = ["auto", "fentry", "kprobe", "stable", "none"];

    /// From a word of [`HookChoice::WORDS`].
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "fentry" => Some(Self::Only(Family::Fentry)),
            "kprobe" => Some(Self::Only(Family::Kprobe)),
            "stable" => Some(Self::Only(Family::Stable)),
            "none" => Some(Self::None),
            _ => None,
        }
    }

    /// The inverse of [`HookChoice::from_word`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(Family::Fentry) => "fentry",
            Self::Only(Family::Kprobe) => "kprobe",
            Self::Only(Family::Stable) => "stable",
            Self::None => "none",
        }
    }

    /// `None` stands for hooks that belong to every family.
    pub(super) fn allows(self, family: Option<Family>) -> bool {
        match (self, family) {
            (Self::None, _) => false,
            (Self::Auto, _) | (_, None) => true,
            (Self::Only(only), Some(family)) => only == family,
        }
    }
}

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attach {
    /// To the root of cgroup v2.
    CgroupSock,
    /// To the root of cgroup v2.
    CgroupSockAddr,
    /// To the root of cgroup v2.
    SockOps,
    /// A classic tracepoint, which needs tracefs.
    TracePoint(&'static str, &'static str),
    /// A tracepoint with typed arguments.
    BtfTracePoint(&'static str),
    /// The same, for what not every kernel has; where there is none, nothing is missing.
    BtfTracePointIfThere(&'static str),
    /// An iterator, which runs when its file is read.
    Iterator(&'static str),
    /// To the entry of a kernel function.
    FEntry(&'static str),
    /// To the exit of a kernel function.
    FExit(&'static str),
    /// To the exit of a function that not every kernel has; where there is none, nothing is missing.
    FExitIfThere(&'static str),
    /// To the entry or the return (the program knows which) of all of the first functions, and of those of the second
    /// that this kernel has.
    KProbe(&'static [&'static str], &'static [&'static str]),
}

impl Attach {
    /// Whose programs a kernel refuses all together.
    pub(super) const fn family(self) -> Option<Family> {
        match self {
            Self::FEntry(_) | Self::FExit(_) | Self::FExitIfThere(_) => Some(Family::Fentry),
            Self::KProbe(..) => Some(Family::Kprobe),
            _ => None,
        }
    }
}

/// A kernel program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    /// Its name in the object.
    pub(super) name: &'static str,
    /// How it is attached.
    pub(super) attach: Attach,
}

pub(super) const BIND4: Program = Program { name: "bind4", attach: Attach::CgroupSockAddr };
pub(super) const BIND6: Program = Program { name: "bind6", attach: Attach::CgroupSockAddr };
pub(super) const POST_BIND4: Program = Program { name: "post_bind4", attach: Attach::CgroupSock };
pub(super) const POST_BIND6: Program = Program { name: "post_bind6", attach: Attach::CgroupSock };
pub(super) const SOCK_RELEASE: Program = Program { name: "sock_release", attach: Attach::CgroupSock };
pub(super) const SOCK_LISTEN: Program = Program { name: "sock_listen", attach: Attach::SockOps };
pub(super) const BIND_EXIT: Program =
    Program { name: "bind_exit", attach: Attach::TracePoint("syscalls", "sys_exit_bind") };
pub(super) const LISTEN_EXIT: Program =
    Program { name: "listen_exit", attach: Attach::TracePoint("syscalls", "sys_exit_listen") };
pub(super) const SHUTDOWN_EXIT: Program =
    Program { name: "shutdown_exit", attach: Attach::TracePoint("syscalls", "sys_exit_shutdown") };
pub(super) const URING_COMPLETE: Program =
    Program { name: "uring_complete", attach: Attach::BtfTracePointIfThere("io_uring_complete") };
pub(super) const LISTEN_END: Program =
    Program { name: "listen_end", attach: Attach::BtfTracePoint("inet_sock_set_state") };
pub(super) const PROCESS_EXIT: Program =
    Program { name: "process_exit", attach: Attach::BtfTracePoint("sched_process_exit") };

pub(super) const SIGNAL_GENERATE: Program =
    Program { name: "signal_generate", attach: Attach::BtfTracePoint("signal_generate") };
pub(super) const MARK_VICTIM: Program =
    Program { name: "mark_victim", attach: Attach::TracePoint("oom", "mark_victim") };
pub(super) const PROCESS_FORK: Program =
    Program { name: "process_fork", attach: Attach::BtfTracePoint("sched_process_fork") };
pub(super) const PROCESS_EXEC: Program =
    Program { name: "process_exec", attach: Attach::BtfTracePoint("sched_process_exec") };
pub(super) const SHARING: Program = Program { name: "sharing", attach: Attach::Iterator("task_file") };
pub(super) const DESCRIPTORS: Program =
    Program { name: "descriptors", attach: Attach::Iterator("task_file") };

/// Give sockets their cookies, for programs that can only read them: by the functions that give out ports, which
/// kernels let tracing programs do since 5.12 …
const COOKIE_TCP: Program = Program { name: "cookie_tcp", attach: Attach::FEntry("inet_csk_get_port") };
const COOKIE_UDP: Program = Program { name: "cookie_udp", attach: Attach::FEntry("udp_lib_get_port") };
/// … or by cgroup hooks, when a socket is made, or bound where the kernel made it.
const COOKIE_CREATE: Program = Program { name: "cookie_create", attach: Attach::CgroupSock };
const COOKIE_BIND4: Program = Program { name: "cookie_bind4", attach: Attach::CgroupSock };
const COOKIE_BIND6: Program = Program { name: "cookie_bind6", attach: Attach::CgroupSock };

const EXIT_BIND4: Program = Program { name: "exit_bind4", attach: Attach::FExit("inet_bind") };
const EXIT_BIND6: Program = Program { name: "exit_bind6", attach: Attach::FExit("inet6_bind") };
const EXIT_BIND4_SK: Program =
    Program { name: "exit_bind4_sk", attach: Attach::FExitIfThere("inet_bind_sk") };
const EXIT_BIND6_SK: Program =
    Program { name: "exit_bind6_sk", attach: Attach::FExitIfThere("inet6_bind_sk") };
const EXIT_REFUSED4: Program = Program { name: "exit_refused4", attach: Attach::FExit("inet_bind") };
const EXIT_REFUSED6: Program = Program { name: "exit_refused6", attach: Attach::FExit("inet6_bind") };
const EXIT_REFUSED_MPTCP: Program =
    Program { name: "exit_refused_mptcp", attach: Attach::FExitIfThere("mptcp_bind") };
const EXIT_AUTOBIND: Program = Program { name: "exit_autobind", attach: Attach::FExit("inet_autobind") };
pub(super) const EXIT_LISTEN: Program =
    Program { name: "exit_listen", attach: Attach::FExit("inet_csk_listen_start") };
const ENTRY_SEND_FIN: Program = Program { name: "entry_send_fin", attach: Attach::FEntry("tcp_send_fin") };
const ENTRY_RELEASE: Program = Program { name: "entry_release", attach: Attach::FEntry("inet_release") };
const ENTRY_LISTEN_STOP: Program =
    Program { name: "entry_listen_stop", attach: Attach::FEntry("inet_csk_listen_stop") };
const ENTRY_PUT_PORT: Program = Program { name: "entry_put_port", attach: Attach::FEntry("inet_put_port") };

const PROBE_BIND: Program =
    Program { name: "probe_bind", attach: Attach::KProbe(&["inet_bind", "inet6_bind"], &["mptcp_bind"]) };
const PROBE_BIND_SK: Program =
    Program { name: "probe_bind_sk", attach: Attach::KProbe(&[], &["inet_bind_sk", "inet6_bind_sk"]) };
const RETURN_BIND: Program = Program {
    name: "return_bind",
    attach: Attach::KProbe(&["inet_bind", "inet6_bind"], &["inet_bind_sk", "inet6_bind_sk"]),
};
const RETURN_REFUSED: Program =
    Program { name: "return_refused", attach: Attach::KProbe(&["inet_bind", "inet6_bind"], &[]) };
const RETURN_REFUSED_MPTCP: Program =
    Program { name: "return_refused_mptcp", attach: Attach::KProbe(&[], &["mptcp_bind"]) };
const PROBE_AUTOBIND: Program =
    Program { name: "probe_autobind", attach: Attach::KProbe(&["inet_autobind"], &[]) };
const RETURN_AUTOBIND: Program =
    Program { name: "return_autobind", attach: Attach::KProbe(&["inet_autobind"], &[]) };
const PROBE_LISTEN: Program =
    Program { name: "probe_listen", attach: Attach::KProbe(&["inet_csk_listen_start"], &[]) };
pub(super) const RETURN_LISTEN: Program =
    Program { name: "return_listen", attach: Attach::KProbe(&["inet_csk_listen_start"], &[]) };
const PROBE_SEND_FIN: Program =
    Program { name: "probe_send_fin", attach: Attach::KProbe(&["tcp_send_fin"], &[]) };
const PROBE_RELEASE: Program =
    Program { name: "probe_release", attach: Attach::KProbe(&["inet_release"], &[]) };
const PROBE_LISTEN_STOP: Program =
    Program { name: "probe_listen_stop", attach: Attach::KProbe(&["inet_csk_listen_stop"], &[]) };
const PROBE_PUT_PORT: Program =
    Program { name: "probe_put_port", attach: Attach::KProbe(&["inet_put_port"], &[]) };

/// One way to learn a fact.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rung {
    /// Family; `None` where every family uses it, for want of another way.
    pub(super) family: Option<Family>,
    /// What `status` shows.
    pub(super) hook: &'static str,
    /// All of these must attach.
    pub(super) programs: &'static [Program],
    /// These must be able to, and are attached once there is a socket that they alone tell of: each connection of the machine pays for them.
    pub(super) at_need: &'static [Program],
    /// What this rung does not see, when it is not the best; shown to people.
    pub(super) blind: Option<&'static str>,
}

/// A fact and the ways to learn it, best first.
pub(super) struct Ladder {
    /// The fact.
    pub(super) fact: Fact,
    /// Best first. Each attaches for its own fact, whatever serves the others: no two rungs of different ladders tell
    /// the same record but for binds, which are told once for each port of a socket.
    pub(super) rungs: &'static [Rung],
    /// What serves where no rung attaches, and what it does not see.
    pub(super) otherwise: Option<(&'static str, &'static str)>,
}

const fn rung(family: Family, hook: &'static str, programs: &'static [Program]) -> Rung {
    Rung { family: Some(family), hook, programs, at_need: &[], blind: None }
}

const fn every(hook: &'static str, programs: &'static [Program]) -> Rung {
    Rung { family: None, hook, programs, at_need: &[], blind: None }
}

impl Rung {
    const fn blind_to(self, blind: &'static str) -> Self {
        Self { blind: Some(blind), ..self }
    }

    const fn at_need(self, at_need: &'static [Program]) -> Self {
        Self { at_need, ..self }
    }
}

const FEXIT_BIND: &str = "fexit inet_bind, inet6_bind";
const KPROBE_BIND: &str = "kprobe, kretprobe inet_bind, inet6_bind";
const LATE_BIND: &str = "with its caller, a bind of a socket that was made before portwatch started";
const NARROW_REFUSED: &str = "binds and listens of 32-bit programs that are refused";
const NARROW_LISTEN: &str = "with its caller, the first listen of a 32-bit program or of the kernel itself, one through io_uring that wants no completion, and listens without a \
     bind of those, of MPTCP sockets and of sockets made before portwatch started";
const NARROW_CLOSE: &str = "listeners that the kernel itself had before portwatch started, and those that are ended and not closed by connect(2), by another process \
     (ss -K), through io_uring without a completion, or by a 32-bit program that had them before";
const LATE_LISTEN: &str = "with their caller, listens without a bind of MPTCP sockets, and of sockets made before portwatch started";

/// A bind and the port it asked for come together.
const FENTRY_BIND: Rung = rung(
    Family::Fentry,
    FEXIT_BIND,
    &[COOKIE_TCP, COOKIE_UDP, EXIT_BIND4, EXIT_BIND6, EXIT_BIND4_SK, EXIT_BIND6_SK],
);
const FENTRY_BIND_CGROUP_COOKIE: Rung = rung(
    Family::Fentry,
    FEXIT_BIND,
    &[COOKIE_CREATE, COOKIE_BIND4, COOKIE_BIND6, EXIT_BIND4, EXIT_BIND6, EXIT_BIND4_SK, EXIT_BIND6_SK],
)
.blind_to(LATE_BIND);
const KPROBE_BINDS: Rung = rung(
    Family::Kprobe,
    KPROBE_BIND,
    &[COOKIE_CREATE, COOKIE_BIND4, COOKIE_BIND6, PROBE_BIND, PROBE_BIND_SK, RETURN_BIND],
)
.blind_to(LATE_BIND);

/// The table. Order matters where programs share state: what is asked for is noted before a bind is reported. Probes
/// come last where the stable family sees as much: they cost more, and depend on cgroup hooks for cookies.
pub(super) const LADDERS: &[Ladder] = &[
    Ladder {
        fact: Fact::AskedPort,
        rungs: &[
            FENTRY_BIND,
            rung(Family::Stable, "cgroup/bind4, bind6", &[BIND4, BIND6]),
            FENTRY_BIND_CGROUP_COOKIE,
            KPROBE_BINDS,
        ],
        otherwise: None,
    },
    Ladder {
        fact: Fact::Bind,
        rungs: &[
            FENTRY_BIND,
            rung(Family::Stable, "cgroup/post_bind4, post_bind6", &[POST_BIND4, POST_BIND6]),
            FENTRY_BIND_CGROUP_COOKIE,
            KPROBE_BINDS,
        ],
        otherwise: None,
    },
    Ladder {
        fact: Fact::Refused,
        rungs: &[
            rung(
                Family::Fentry,
                FEXIT_BIND,
                &[EXIT_REFUSED4, EXIT_REFUSED6, EXIT_REFUSED_MPTCP, EXIT_LISTEN],
            ),
            rung(
                Family::Kprobe,
                KPROBE_BIND,
                &[PROBE_BIND, RETURN_REFUSED, RETURN_REFUSED_MPTCP, PROBE_LISTEN, RETURN_LISTEN],
            ),
            rung(
                Family::Stable,
                "cgroup/bind4, bind6 with syscalls:sys_exit_bind, sys_exit_listen and tp_btf io_uring_complete",
                &[BIND4, BIND6, BIND_EXIT, LISTEN_EXIT, URING_COMPLETE],
            )
            .blind_to(NARROW_REFUSED),
            rung(
                Family::Stable,
                "cgroup/bind4, bind6 with syscalls:sys_exit_bind and tp_btf inet_sock_set_state",
                &[BIND4, BIND6, BIND_EXIT, LISTEN_END],
            )
            .blind_to("binds through io_uring that are refused"),
            rung(
                Family::Stable,
                "cgroup/bind4, bind6 with syscalls:sys_exit_bind",
                &[BIND4, BIND6, BIND_EXIT],
            )
            .blind_to("binds through io_uring that are refused, and listens that are"),
        ],
        otherwise: None,
    },
    Ladder {
        fact: Fact::Listen,
        rungs: &[
            rung(Family::Fentry, "fexit inet_csk_listen_start", &[COOKIE_TCP, EXIT_LISTEN]),
            rung(
                Family::Stable,
                "syscalls:sys_exit_listen with tp_btf io_uring_complete, at need sockops LISTEN_CB",
                &[COOKIE_CREATE, LISTEN_EXIT, URING_COMPLETE],
            )
            .at_need(&[SOCK_LISTEN])
            .blind_to(NARROW_LISTEN),
            rung(Family::Stable, "sockops LISTEN_CB", &[SOCK_LISTEN]),
            rung(
                Family::Fentry,
                "fexit inet_csk_listen_start",
                &[COOKIE_CREATE, COOKIE_BIND4, COOKIE_BIND6, EXIT_LISTEN],
            )
            .blind_to(LATE_LISTEN),
            rung(
                Family::Kprobe,
                "kprobe, kretprobe inet_csk_listen_start",
                &[COOKIE_CREATE, COOKIE_BIND4, COOKIE_BIND6, PROBE_LISTEN, RETURN_LISTEN],
            )
            .blind_to(LATE_LISTEN),
        ],
        otherwise: None,
    },
    Ladder {
        fact: Fact::Close,
        rungs: &[
            rung(
                Family::Fentry,
                "fentry inet_release, inet_csk_listen_stop, inet_put_port",
                &[ENTRY_RELEASE, ENTRY_LISTEN_STOP, ENTRY_PUT_PORT],
            ),
            rung(
                Family::Stable,
                "cgroup/sock_release with syscalls:sys_exit_shutdown and tp_btf io_uring_complete, at need tp_btf inet_sock_set_state",
                &[SOCK_RELEASE, SHUTDOWN_EXIT, URING_COMPLETE],
            )
            .at_need(&[LISTEN_END])
            .blind_to(NARROW_CLOSE),
            rung(
                Family::Stable,
                "cgroup/sock_release with tp_btf inet_sock_set_state",
                &[SOCK_RELEASE, LISTEN_END],
            )
            .blind_to("the close of MPTCP sockets that were bound and never listened, on some kernels"),
            rung(
                Family::Kprobe,
                "kprobe inet_release, inet_csk_listen_stop, inet_put_port",
                &[PROBE_RELEASE, PROBE_LISTEN_STOP, PROBE_PUT_PORT],
            ),
            rung(Family::Stable, "cgroup/sock_release", &[SOCK_RELEASE])
                .blind_to("listeners that are shut down without being closed, and MPTCP listeners"),
        ],
        otherwise: None,
    },
    Ladder {
        fact: Fact::UdpAutoBind,
        rungs: &[
            rung(Family::Fentry, "fexit inet_autobind", &[COOKIE_UDP, EXIT_AUTOBIND]),
            rung(Family::Fentry, "fexit inet_autobind", &[COOKIE_CREATE, EXIT_AUTOBIND]).blind_to(LATE_BIND),
            rung(
                Family::Kprobe,
                "kprobe, kretprobe inet_autobind",
                &[COOKIE_CREATE, PROBE_AUTOBIND, RETURN_AUTOBIND],
            )
            .blind_to(LATE_BIND),
        ],
        otherwise: Some((
            "sock_diag, when a snapshot is taken",
            "UDP sockets that got a port without a bind and are gone before the next look",
        )),
    },
    Ladder {
        fact: Fact::Exit,
        rungs: &[every("tp_btf sched_process_exit", &[PROCESS_EXIT])],
        otherwise: None,
    },
    Ladder {
        fact: Fact::TimeWait,
        rungs: &[
            rung(Family::Fentry, "fentry tcp_send_fin", &[ENTRY_SEND_FIN]),
            rung(
                Family::Stable,
                "cgroup/sock_release with syscalls:sys_exit_shutdown and tp_btf io_uring_complete",
                &[SOCK_RELEASE, SHUTDOWN_EXIT, URING_COMPLETE],
            ),
            rung(Family::Stable, "tp_btf inet_sock_set_state", &[LISTEN_END]),
            rung(Family::Kprobe, "kprobe tcp_send_fin", &[PROBE_SEND_FIN]),
        ],
        otherwise: None,
    },
    Ladder {
        fact: Fact::SignalSender,
        rungs: &[every("tp_btf signal_generate", &[SIGNAL_GENERATE, PROCESS_EXIT])],
        otherwise: None,
    },
    Ladder {
        fact: Fact::OutOfMemory,
        rungs: &[every(
            "oom:mark_victim with tp_btf signal_generate",
            &[SIGNAL_GENERATE, PROCESS_EXIT, MARK_VICTIM],
        )],
        otherwise: None,
    },
    Ladder {
        fact: Fact::Holders,
        rungs: &[
            every(
                "tp_btf sched_process_fork, sched_process_exec with iter/task_file",
                &[PROCESS_FORK, PROCESS_EXEC, DESCRIPTORS, SHARING],
            ),
            every("tp_btf sched_process_fork, sched_process_exec with procfs", &[PROCESS_FORK, PROCESS_EXEC])
                .blind_to("a descriptor passed to an unrelated process, until its other holders are gone"),
        ],
        otherwise: Some(("sock_diag and procfs", "who holds a socket between two looks")),
    },
];

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn every_fact_that_a_family_can_see_has_a_rung_of_it() {
        for ladder in LADDERS {
            for family in [Family::Fentry, Family::Kprobe, Family::Stable] {
                let choice = HookChoice::Only(family);
                let served = ladder.rungs.iter().any(|rung| choice.allows(rung.family));
                assert!(served || ladder.otherwise.is_some(), "{:?} by {family:?}", ladder.fact);
            }
        }
    }

    /// What the page for users says of limits, by the table.
    fn limits() -> String {
        let mut rows = String::from("| fact | family | hook | does not see |\n|---|---|---|---|\n");
        for ladder in LADDERS {
            let rungs = ladder.rungs.iter().filter_map(|rung| {
                Some((
                    rung.family.map_or("every", |family| HookChoice::Only(family).as_str()),
                    rung.hook,
                    rung.blind?,
                ))
            });
            let otherwise = ladder.otherwise.map(|(hook, blind)| ("none", hook, blind));
            for (family, hook, blind) in rungs.chain(otherwise) {
                let _ = writeln!(rows, "| {} | {family} | {hook} | {blind} |", ladder.fact.as_str());
            }
        }
        rows
    }

    /// `PORTWATCH_BLESS=1` writes them anew; the difference is then read.
    #[test]
    fn the_page_for_users_lists_the_limits_of_this_table() {
        const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kernels.md");
        let page = std::fs::read_to_string(PAGE).unwrap();
        let (before, rest) = page.split_once("<!-- limits: begin -->\n").unwrap();
        let (written, after) = rest.split_once("<!-- limits: end -->").unwrap();
        let limits = limits();
        if std::env::var_os("PORTWATCH_BLESS").is_some() {
            let page = format!("{before}<!-- limits: begin -->\n{limits}<!-- limits: end -->{after}");
            std::fs::write(PAGE, page).unwrap();
            return;
        }
        assert!(written == limits, "docs/kernels.md lists other limits; PORTWATCH_BLESS=1 writes them anew");
    }

    #[test]
    fn the_page_for_users_has_every_kernel_function_and_tracepoint_that_is_hooked() {
        let page = include_str!("../../../../docs/kernels.md");
        let missing: Vec<&str> = LADDERS
            .iter()
            .flat_map(|ladder| ladder.rungs)
            .flat_map(|rung| rung.programs.iter().chain(rung.at_need))
            .flat_map(|program| match program.attach {
                Attach::TracePoint(_, name)
                | Attach::BtfTracePoint(name)
                | Attach::BtfTracePointIfThere(name)
                | Attach::Iterator(name)
                | Attach::FEntry(name)
                | Attach::FExit(name)
                | Attach::FExitIfThere(name) => vec![name],
                Attach::KProbe(all, some) => [all, some].concat(),
                Attach::CgroupSock | Attach::CgroupSockAddr | Attach::SockOps => Vec::new(),
            })
            .filter(|name| !page.contains(&format!("{name}`")) && !page.contains(&format!("{name},")))
            .collect();
        assert_eq!(missing, <[&str; 0]>::default(), "docs/kernels.md does not speak of them");
    }

    #[test]
    fn words_and_choices_are_inverse() {
        for word in HookChoice::WORDS {
            assert_eq!(HookChoice::from_word(word).map(HookChoice::as_str), Some(word));
        }
        assert_eq!(HookChoice::from_word("all"), None);
    }

    #[test]
    fn a_forced_family_takes_no_rung_of_another_but_what_all_share() {
        let kprobe = HookChoice::Only(Family::Kprobe);
        assert!(kprobe.allows(Some(Family::Kprobe)) && kprobe.allows(None));
        assert!(!kprobe.allows(Some(Family::Stable)) && !kprobe.allows(Some(Family::Fentry)));
        assert!(!HookChoice::None.allows(None));
    }
}
