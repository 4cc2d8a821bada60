//! Which kernel programs serve which fact: a table. Each fact's ladder is climbed by itself, and what
//! really attaches decides. A new family of hooks is a file of programs and rows here.

use crate::model::Fact;

/// Families of hooks; a run can be confined to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
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
    pub const WORDS: [&'static str; 3] = ["auto", "stable", "none"];

    /// From a word of [`HookChoice::WORDS`].
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "stable" => Some(Self::Only(Family::Stable)),
            "none" => Some(Self::None),
            _ => None,
        }
    }

    /// The inverse of [`HookChoice::from_word`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(Family::Stable) => "stable",
            Self::None => "none",
        }
    }

    pub(super) fn allows(self, family: Family) -> bool {
        match self {
            Self::Auto => true,
            Self::Only(only) => only == family,
            Self::None => false,
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
    /// An iterator, which runs when its file is read.
    Iterator(&'static str),
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
pub(super) const DESCRIPTORS: Program =
    Program { name: "descriptors", attach: Attach::Iterator("task_file") };

/// One way to learn a fact.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rung {
    /// Family.
    pub(super) family: Family,
    /// What `status` shows.
    pub(super) hook: &'static str,
    /// All of these must attach.
    pub(super) programs: &'static [Program],
    /// What this rung does not see, when it is not the best; shown to people.
    pub(super) blind: Option<&'static str>,
}

/// A fact and the ways to learn it, best first.
pub(super) struct Ladder {
    /// The fact.
    pub(super) fact: Fact,
    /// Best first.
    pub(super) rungs: &'static [Rung],
}

/// The table. Order matters where programs share state: what is asked for is noted before a bind is reported.
pub(super) const LADDERS: &[Ladder] = &[
    Ladder {
        fact: Fact::AskedPort,
        rungs: &[Rung {
            family: Family::Stable,
            hook: "cgroup/bind4, bind6",
            programs: &[BIND4, BIND6],
            blind: None,
        }],
    },
    Ladder {
        fact: Fact::Bind,
        rungs: &[Rung {
            family: Family::Stable,
            hook: "cgroup/post_bind4, post_bind6",
            programs: &[POST_BIND4, POST_BIND6],
            blind: None,
        }],
    },
    Ladder {
        fact: Fact::Refused,
        rungs: &[Rung {
            family: Family::Stable,
            hook: "cgroup/bind4, bind6 with syscalls:sys_exit_bind",
            programs: &[BIND4, BIND6, BIND_EXIT],
            blind: Some("binds through io_uring that are refused"),
        }],
    },
    Ladder {
        fact: Fact::Listen,
        rungs: &[Rung {
            family: Family::Stable,
            hook: "sockops LISTEN_CB",
            programs: &[SOCK_LISTEN],
            blind: None,
        }],
    },
    Ladder {
        fact: Fact::Close,
        rungs: &[
            Rung {
                family: Family::Stable,
                hook: "cgroup/sock_release with tp_btf inet_sock_set_state",
                programs: &[SOCK_RELEASE, LISTEN_END],
                blind: None,
            },
            Rung {
                family: Family::Stable,
                hook: "cgroup/sock_release",
                programs: &[SOCK_RELEASE],
                blind: Some("listeners that are shut down without being closed, and MPTCP listeners"),
            },
        ],
    },
    Ladder {
        fact: Fact::Exit,
        rungs: &[Rung {
            family: Family::Stable,
            hook: "tp_btf sched_process_exit",
            programs: &[PROCESS_EXIT],
            blind: None,
        }],
    },
    Ladder {
        fact: Fact::TimeWait,
        rungs: &[Rung {
            family: Family::Stable,
            hook: "tp_btf inet_sock_set_state",
            programs: &[LISTEN_END],
            blind: None,
        }],
    },
    Ladder {
        fact: Fact::SignalSender,
        rungs: &[Rung {
            family: Family::Stable,
            hook: "tp_btf signal_generate",
            programs: &[SIGNAL_GENERATE, PROCESS_EXIT],
            blind: None,
        }],
    },
    Ladder {
        fact: Fact::OutOfMemory,
        rungs: &[Rung {
            family: Family::Stable,
            hook: "oom:mark_victim with tp_btf signal_generate",
            programs: &[SIGNAL_GENERATE, PROCESS_EXIT, MARK_VICTIM],
            blind: None,
        }],
    },
    Ladder {
        fact: Fact::Holders,
        rungs: &[
            Rung {
                family: Family::Stable,
                hook: "tp_btf sched_process_fork, sched_process_exec with iter/task_file",
                programs: &[PROCESS_FORK, PROCESS_EXEC, DESCRIPTORS],
                blind: None,
            },
            Rung {
                family: Family::Stable,
                hook: "tp_btf sched_process_fork, sched_process_exec with procfs",
                programs: &[PROCESS_FORK, PROCESS_EXEC],
                blind: Some("a descriptor passed to an unrelated process, until its other holders are gone"),
            },
        ],
    },
];
