//! How something is known, and what cannot be known here.

/// How an answer was obtained. Unknown is never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// A kernel program saw it happen.
    Kernel,
    /// Found by reading the kernel's tables (sock_diag, procfs).
    Scan,
    /// Known for an ancestor or parent socket and passed on.
    Inherited,
    /// Concluded from other facts.
    Inferred,
    /// Several candidates, none better than the others.
    Ambiguous,
    /// Not known.
    Unknown,
}

impl Evidence {
    /// Every value, in order of strength.
    pub const ALL: [Self; 6] =
        [Self::Kernel, Self::Scan, Self::Inherited, Self::Inferred, Self::Ambiguous, Self::Unknown];

    /// The word used in JSON and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Scan => "scan",
            Self::Inherited => "inherited",
            Self::Inferred => "inferred",
            Self::Ambiguous => "ambiguous",
            Self::Unknown => "unknown",
        }
    }

    /// The inverse of [`Evidence::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.as_str() == word)
    }
}

/// What a source can find out; each is served by the best hook that attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// A bind succeeded.
    Bind,
    /// A bind was refused.
    Refused,
    /// A socket began to listen.
    Listen,
    /// A bound or listening socket was closed.
    Close,
    /// A UDP socket got a port without bind (sendto, connect).
    UdpAutoBind,
    /// A process that holds or held a socket ended.
    Exit,
    /// Who sent the signal that ended a process.
    SignalSender,
    /// A process was ended for want of memory.
    OutOfMemory,
    /// Command line and start time taken at the event itself.
    ProcessFacts,
    /// The port asked for, as against the one given.
    AskedPort,
    /// Which processes hold a socket now.
    Holders,
    /// Sockets that existed before the source started.
    Existing,
    /// Who left a connection in TIME_WAIT.
    TimeWait,
}

impl Fact {
    /// Every fact, in the order in which `status` shows them.
    pub const ALL: [Self; 13] = [
        Self::Bind,
        Self::Refused,
        Self::Listen,
        Self::Close,
        Self::UdpAutoBind,
        Self::Exit,
        Self::SignalSender,
        Self::OutOfMemory,
        Self::ProcessFacts,
        Self::AskedPort,
        Self::Holders,
        Self::Existing,
        Self::TimeWait,
    ];

    /// The word used in JSON, `status` and `doctor`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Refused => "refused",
            Self::Listen => "listen",
            Self::Close => "close",
            Self::UdpAutoBind => "udp-auto-bind",
            Self::Exit => "exit",
            Self::SignalSender => "signal-sender",
            Self::OutOfMemory => "oom",
            Self::ProcessFacts => "process-facts",
            Self::AskedPort => "asked-port",
            Self::Holders => "holders",
            Self::Existing => "existing",
            Self::TimeWait => "time-wait",
        }
    }
}

/// Which hook serves a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// The fact.
    pub fact: Fact,
    /// The hook or method that serves it (`cgroup/post_bind4`, `sock_diag poll`…); `None` when nothing does.
    pub hook: Option<String>,
}

/// Something that does not work here, with its cause and its cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degradation {
    /// Stable, kebab-case name (`no-bpf-permission`, `no-cgroup2`, `btf-field-missing`…).
    pub name: &'static str,
    /// What is missing and why, one sentence, with errno where there is one.
    pub what: String,
    /// What would restore it, one sentence that a person can act on.
    pub remedy: String,
}
