//! Loading and attaching, with an outcome for every hook.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use aya::{
    BtfError, Ebpf, EbpfError, EbpfLoader,
    maps::Array,
    programs::{CgroupAttachMode, Program as Handle, ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported},
};

use super::{
    hooks::{
        Attach, DESCRIPTORS, EXIT_LISTEN, Family, HookChoice, LADDERS, LISTEN_END, Ladder, Program,
        RETURN_LISTEN,
    },
    mounts, object,
    offsets::Offsets,
};
use crate::model::{Coverage, Degradation, Fact};

/// Where the kernel describes its types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// There where the kernel can probe its functions.
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe/type";

/// Facts without which kernel programs are no source.
const ESSENTIAL: [Fact; 3] = [Fact::Bind, Fact::Listen, Fact::Close];

/// How the programs are loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Which hooks may be used.
    pub hooks: HookChoice,
    /// Size of the ring buffer in bytes: a power of two, at least a page. Its pages count twice in RSS.
    pub ring_bytes: u32,
    /// procfs, for mount points.
    pub proc: PathBuf,
    /// The cgroup to watch; `None` for the root of cgroup v2.
    pub cgroup: Option<PathBuf>,
    /// Programs, by name, that are treated as if the kernel refused them: so the others can be tested.
    pub without: Vec<&'static str>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            hooks: HookChoice::Auto,
            ring_bytes: 2 << 20,
            proc: PathBuf::from("/proc"),
            cgroup: None,
            without: Vec::new(),
        }
    }
}

/// Programs in the kernel. They are detached when this is dropped.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    /// The iterator over descriptors can be read.
    pub(super) iterates: bool,
    /// What serves each fact.
    pub(super) coverage: Vec<Coverage>,
    /// What does not work.
    pub(super) degradations: Vec<Degradation>,
}

/// Why one program is not attached.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error("the object has no program of this name")]
    Absent,
    #[error("cgroup v2 is not mounted here, and could not be for the daemon alone: {0}")]
    NoCgroup(nix::Error),
    #[error("cannot open {path}: {error}")]
    Cgroup { path: PathBuf, error: io::Error },
    #[error("the kernel gives no BTF")]
    NoBtf,
    #[error("the kernel's BTF does not describe what these programs read")]
    NoLayout,
    #[error("left out on request")]
    Without,
    #[error("the kernel has no kprobes")]
    NoKprobes,
    #[error("{0}")]
    Family(String),
    #[error("tracefs could not be mounted: {0}")]
    TraceFs(nix::Error),
    #[error("{}", summary(.0))]
    Program(#[from] ProgramError),
}

impl AttachError {
    /// The same failure, for the next program that meets it.
    fn again(&self) -> Self {
        match self {
            Self::Cgroup { path, error } => Self::Cgroup {
                path: path.clone(),
                error: error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error),
            },
            Self::NoCgroup(errno) => Self::NoCgroup(*errno),
            _ => Self::NoCgroup(nix::Error::EINVAL),
        }
    }

    /// What would help.
    fn remedy(&self) -> &'static str {
        match self {
            Self::Absent => "rebuild the object: cargo xtask build-ebpf",
            Self::NoCgroup(_) => {
                "run as root, or mount cgroup v2: mount -t cgroup2 none /sys/fs/cgroup/unified; where ip netns exec hid it, \
                 nsenter --net=/run/netns/NAME does not"
            }
            Self::Cgroup { .. } => "run as root, or with CAP_DAC_READ_SEARCH",
            Self::NoBtf => "use a kernel with CONFIG_DEBUG_INFO_BTF",
            Self::TraceFs(_) => "mount tracefs: mount -t tracefs tracefs /sys/kernel/tracing",
            Self::Without => "start without leaving it out",
            Self::NoLayout => "report the kernel version; the other hooks work",
            Self::NoKprobes => "use a kernel with CONFIG_KPROBE_EVENTS",
            Self::Family(_) => {
                "use a kernel that lets programs attach to its functions: BPF trampolines, and no lockdown"
            }
            Self::Program(error) if code(error).is_none_or(|code| code == nix::libc::EPERM) => {
                "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; see `portwatch doctor`"
            }
            Self::Program(_) => {
                "use a newer kernel; RUST_LOG=portwatch=debug has what this one's verifier complains about"
            }
        }
    }
}

/// The cause without the verifier's log, which goes to the log.
fn summary(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            tracing::debug!(%verifier_log, "the kernel refused a program");
            format!("the kernel refused to load it: {io_error}")
        }
        other => other.to_string(),
    }
}

/// The machine as the loader needs it.
struct Machine {
    cgroup: Result<File, AttachError>,
    btf: Option<aya::Btf>,
    /// tracefs is mounted where everybody sees it.
    tracefs: bool,
    /// What programs on kernel functions read is known.
    sockets: bool,
    /// Why no probe can serve.
    no_probe: Option<fn() -> AttachError>,
    without: Vec<&'static str>,
}

impl Machine {
    fn look(options: &LoadOptions, offsets: &Offsets) -> Self {
        use portwatch_common::layout;
        let all = |words: &[usize]| words.iter().all(|&word| offsets.has(word));
        Self {
            cgroup: cgroup(options),
            btf: aya::Btf::from_sys_fs().ok(),
            tracefs: mounts::find(&options.proc, "tracefs").is_ok_and(|point| point.is_some()),
            sockets: all(&[
                layout::SOCKET_SK,
                layout::SOCK_PROTOCOL,
                layout::SOCK_STATE,
                layout::SOCK_COOKIE,
                layout::SOCK_FAMILY,
                layout::SOCK_LOCAL4,
                layout::SOCK_LOCAL6,
                layout::SOCK_LOCAL_PORT,
            ]),
            no_probe: if !Path::new(KPROBES).exists() {
                Some(|| AttachError::NoKprobes)
            } else if offsets.has(layout::REGISTER_RETURN) {
                None
            } else {
                Some(|| AttachError::NoLayout)
            },
            without: options.without.clone(),
        }
    }

    /// Why a program needs not be tried.
    fn excludes(&self, program: Program) -> Option<AttachError> {
        match (program.attach.family(), self.no_probe) {
            _ if self.without.contains(&program.name) => Some(AttachError::Without),
            (Some(Family::Kprobe), Some(reason)) => Some(reason()),
            (Some(Family::Kprobe | Family::Fentry), _) if !self.sockets => Some(AttachError::NoLayout),
            _ => None,
        }
    }
}

/// Loads the object and attaches what the table asks for.
///
/// Fails only when nothing at all can be loaded; the caller then goes on with another source.
pub(super) fn load(options: &LoadOptions) -> Result<Loaded, Degradation> {
    if options.hooks == HookChoice::None {
        return Err(Degradation {
            name: "hooks-none",
            what: "kernel programs are switched off by --hooks none".to_owned(),
            remedy: "start without --hooks none".to_owned(),
        });
    }
    let mut degradations = Vec::new();
    let mut offsets = offsets(&mut degradations);
    if task_is_typed() {
        offsets.task_is_typed();
    }
    let mut ebpf = EbpfLoader::new()
        .btf(None)
        .override_global("LAYOUT", offsets.layout.as_slice(), true)
        .map_max_entries("RECORDS", options.ring_bytes)
        .load(object::bytes())
        .map_err(|error| refused(&error))?;
    let machine = Machine::look(options, &offsets);
    let mut climb = Climb {
        ebpf: &mut ebpf,
        machine: &machine,
        outcomes: HashMap::new(),
        refused: None,
        serving: HashMap::new(),
        unserved: Vec::new(),
        degradations,
    };
    let mut coverage: Vec<Coverage> = LADDERS.iter().map(|ladder| climb.up(ladder, options.hooks)).collect();
    climb.let_go();
    climb.share_out().map_err(|error| Degradation {
        name: "hooks-unusable",
        what: format!("kernel programs cannot be told what they serve ({error})"),
        remedy: "rebuild the object: cargo xtask build-ebpf".to_owned(),
    })?;
    let iterates = offsets.has(portwatch_common::layout::SUPER_MAGIC)
        && offsets.has(portwatch_common::layout::FILE_INODE)
        && climb.outcomes.get(DESCRIPTORS.name).is_some_and(Option::is_none);
    if let Some(blind) = climb.blind(options.hooks) {
        return Err(blind);
    }
    let degradations = climb.degradations;
    coverage.push(process_facts(&offsets));
    Ok(Loaded { ebpf, iterates, coverage, degradations })
}

/// Offsets of this kernel, with a degradation for each capability that is absent.
fn offsets(degradations: &mut Vec<Degradation>) -> Offsets {
    let found = std::fs::read(BTF)
        .map_err(|error| format!("{BTF}: {error}"))
        .and_then(|blob| Offsets::from_btf(&blob).map_err(|error| format!("{BTF}: {error}")));
    let offsets = match found {
        Ok(offsets) => offsets,
        Err(reason) => Offsets::absent(&reason),
    };
    for (capability, field) in &offsets.missing {
        degradations.push(Degradation {
            name: "btf-field-missing",
            what: format!("not known: {} (this kernel does not describe {field})", capability.what()),
            remedy: "report the kernel version; everything else works".to_owned(),
        });
    }
    offsets
}

/// Whether programs of every type here may have the current task as a pointer whose type the verifier knows. Tracing programs have since
/// 5.11; the verifier is asked about the others.
fn task_is_typed() -> bool {
    let types = [ProgramType::CgroupSock, ProgramType::SockOps, ProgramType::TracePoint, ProgramType::KProbe];
    // A probe that fails says nothing, and reading by helpers works everywhere.
    types.into_iter().all(|program| {
        is_helper_supported(program, BpfHelper::BPF_FUNC_get_current_task_btf).unwrap_or(false)
    })
}

fn process_facts(offsets: &Offsets) -> Coverage {
    use portwatch_common::layout;
    let needed = [layout::TASK_LEADER, layout::TASK_START, layout::TASK_MM, layout::MM_ARG_START];
    let complete = needed.iter().all(|&index| offsets.has(index));
    Coverage { fact: Fact::ProcessFacts, hook: complete.then(|| "read at the event".to_owned()) }
}

fn refused(error: &EbpfError) -> Degradation {
    let permission = nix::unistd::geteuid().is_root();
    Degradation {
        name: if permission { "bpf-unusable" } else { "no-bpf-permission" },
        what: format!("kernel programs cannot be loaded: {}", causes(error)),
        remedy: if permission {
            "use a kernel with CONFIG_BPF_SYSCALL that lets this process use bpf(2)".to_owned()
        } else {
            "run the daemon as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN".to_owned()
        },
    }
}

/// An error with the causes beneath it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The group whose sockets are watched. `ip netns exec` puts a /sys of its own in place, without what was mounted below it: the
/// hierarchy is one whoever mounts it, and is then mounted where nobody else sees it.
fn cgroup(options: &LoadOptions) -> Result<File, AttachError> {
    let open = |path: PathBuf| File::open(&path).map_err(|error| AttachError::Cgroup { path, error });
    if let Some(path) = &options.cgroup {
        return open(path.clone());
    }
    let mounted = mounts::find(&options.proc, "cgroup2").ok().flatten().map(open);
    match mounted {
        // Another mount may lie above it.
        Some(Ok(file)) if mounts::is_cgroup2(&file) => Ok(file),
        Some(Err(AttachError::Cgroup { path, error })) if error.kind() != io::ErrorKind::NotFound => {
            Err(AttachError::Cgroup { path, error })
        }
        _ => mounts::cgroup2().map_err(AttachError::NoCgroup),
    }
}

struct Climb<'a> {
    ebpf: &'a mut Ebpf,
    machine: &'a Machine,
    /// What became of each program that was tried: `None` when it is attached, else why not.
    outcomes: HashMap<&'static str, Option<(String, &'static str)>>,
    /// Why the kernel lets no program on its functions.
    refused: Option<String>,
    /// Programs of the rungs that serve.
    serving: HashMap<Fact, &'static [Program]>,
    /// Facts that nothing serves, with the cause and what would help.
    unserved: Vec<(Fact, String, &'static str)>,
    degradations: Vec<Degradation>,
}

impl Climb<'_> {
    /// The first rung whose programs all attach.
    fn up(&mut self, ladder: &Ladder, choice: HookChoice) -> Coverage {
        let fact = ladder.fact;
        let (mut why, mut nearest) = (None, None);
        for rung in ladder.rungs.iter().filter(|r| choice.allows(r.family)) {
            match self.attach_all(rung.programs) {
                Ok(()) => {
                    self.serving.insert(fact, rung.programs);
                    return self.served(fact, rung.hook, rung.blind, why);
                }
                Err(cause) => {
                    tracing::debug!(
                        fact = fact.as_str(),
                        hook = rung.hook,
                        cause = cause.0,
                        "hook not available"
                    );
                    let cause = (format!("{}: {}", rung.hook, cause.0), cause.1);
                    why.get_or_insert_with(|| cause.clone());
                    // The stable family asks least of a kernel: what it lacks is the nearest to a remedy.
                    if nearest.is_none() || rung.family == Some(Family::Stable) {
                        nearest = Some(cause);
                    }
                }
            }
        }
        if let Some((hook, blind)) = ladder.otherwise {
            return self.served(fact, hook, Some(blind), why);
        }
        if let Some((cause, remedy)) = nearest {
            self.degradations.push(Degradation {
                name: "hook-unavailable",
                what: format!("{} is not observed ({cause})", fact.as_str()),
                remedy: remedy.to_owned(),
            });
            self.unserved.push((fact, cause, remedy));
        }
        Coverage { fact, hook: None }
    }

    /// Why these programs are no source: a live table that is not told of a listener would call its port free.
    fn blind(&self, choice: HookChoice) -> Option<Degradation> {
        let (fact, cause, remedy) = self.unserved.iter().find(|(fact, ..)| ESSENTIAL.contains(fact))?;
        let forced = matches!(choice, HookChoice::Only(_));
        Some(Degradation {
            name: "hooks-unusable",
            what: format!(
                "kernel programs{} do not serve: {} is not observed ({cause})",
                if forced { format!(" of --hooks {}", choice.as_str()) } else { String::new() },
                fact.as_str()
            ),
            remedy: if forced { "start with --hooks auto".to_owned() } else { (*remedy).to_owned() },
        })
    }

    /// A hook serves. What it does not see is said with it, and is a degradation where a better one was tried.
    fn served(
        &mut self,
        fact: Fact,
        hook: &str,
        blind: Option<&str>,
        why: Option<(String, &'static str)>,
    ) -> Coverage {
        let Some(blind) = blind else { return Coverage { fact, hook: Some(hook.to_owned()) } };
        if let Some((cause, remedy)) = why {
            self.degradations.push(Degradation {
                name: "weaker-hook",
                what: format!("{}: {hook} does not see {blind} ({cause})", fact.as_str()),
                remedy: remedy.to_owned(),
            });
        }
        Coverage { fact, hook: Some(format!("{hook}; not seen: {blind}")) }
    }

    fn attach_all(&mut self, programs: &[Program]) -> Result<(), (String, &'static str)> {
        for program in programs {
            if !self.outcomes.contains_key(program.name) {
                let begun = Instant::now();
                let outcome = self
                    .attach(*program)
                    .err()
                    .map(|error| (format!("{}: {error}", program.name), error.remedy()));
                let took = begun.elapsed();
                tracing::debug!(program = program.name, attached = outcome.is_none(), ?took, "tried");
                self.outcomes.insert(program.name, outcome);
            }
            if let Some(Some(failure)) = self.outcomes.get(program.name) {
                return Err(failure.clone());
            }
        }
        Ok(())
    }

    /// A kernel that does not let one program on its functions lets none: the others are not tried.
    fn attach(&mut self, program: Program) -> Result<(), AttachError> {
        let family = program.attach.family();
        if let Some(reason) = self.machine.excludes(program) {
            return Err(reason);
        }
        if family == Some(Family::Fentry)
            && let Some(reason) = &self.refused
        {
            return Err(AttachError::Family(reason.clone()));
        }
        match attach(self.ebpf, self.machine, program) {
            Err(AttachError::Program(error)) if family == Some(Family::Fentry) && forbids(&error) => {
                let reason = summary(&error);
                self.refused = Some(reason.clone());
                Err(AttachError::Family(reason))
            }
            outcome => outcome,
        }
    }

    /// Takes programs out of the kernel that were attached for a rung which does not serve.
    fn let_go(&mut self) {
        let attached = self.outcomes.iter().filter(|(_, outcome)| outcome.is_none());
        let used = |name: &str| self.serving.values().copied().flatten().any(|p| p.name == name);
        let unused: Vec<&str> = attached.map(|(name, _)| *name).filter(|name| !used(name)).collect();
        for name in unused {
            let Some(handle) = self.ebpf.program_mut(name) else { continue };
            if let Err(error) = unload(handle) {
                tracing::warn!(program = name, %error, "a program that is not used stays attached");
            }
        }
    }

    /// Tells the programs that could tell of several facts which of them they serve.
    fn share_out(&mut self) -> Result<(), String> {
        use portwatch_common::serves;
        let map = self.ebpf.map_mut("SERVES").ok_or("the object has no map SERVES")?;
        let mut map = Array::<_, u32>::try_from(map).map_err(|error| error.to_string())?;
        for (word, fact, program) in [
            (serves::LEFT_BY_STATE, Fact::TimeWait, LISTEN_END),
            (serves::CLOSE_BY_STATE, Fact::Close, LISTEN_END),
            (serves::REFUSED_BY_STATE, Fact::Refused, LISTEN_END),
            (serves::LISTEN_BY_EXIT, Fact::Listen, EXIT_LISTEN),
            (serves::REFUSED_BY_EXIT, Fact::Refused, EXIT_LISTEN),
            (serves::LISTEN_BY_RETURN, Fact::Listen, RETURN_LISTEN),
            (serves::REFUSED_BY_RETURN, Fact::Refused, RETURN_LISTEN),
        ] {
            let serving = self.serving.get(&fact).is_some_and(|programs| programs.contains(&program));
            map.set(word, u32::from(serving), 0).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// What the kernel answered.
fn code(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// Whether an error is about every program of its family.
fn forbids(error: &ProgramError) -> bool {
    // EPERM: lockdown. ENOTSUPP, which the C library does not know: no trampolines.
    matches!(code(error), Some(nix::libc::EPERM | 524))
}

fn unload(handle: &mut Handle) -> Result<(), ProgramError> {
    match handle {
        Handle::CgroupSock(p) => p.unload(),
        Handle::CgroupSockAddr(p) => p.unload(),
        Handle::SockOps(p) => p.unload(),
        Handle::BtfTracePoint(p) => p.unload(),
        Handle::Iter(p) => p.unload(),
        Handle::TracePoint(p) => p.unload(),
        Handle::FEntry(p) => p.unload(),
        Handle::FExit(p) => p.unload(),
        Handle::KProbe(p) => p.unload(),
        _ => Ok(()),
    }
}

fn attach(ebpf: &mut Ebpf, machine: &Machine, program: Program) -> Result<(), AttachError> {
    let handle = ebpf.program_mut(program.name).ok_or(AttachError::Absent)?;
    let cgroup = || match &machine.cgroup {
        Ok(file) => Ok(file),
        Err(failure) => Err(failure.again()),
    };
    // A link is multi by nature; aya hands the mode on as flags, of which a link takes none.
    let mode = CgroupAttachMode::Single;
    match (program.attach, handle) {
        (Attach::CgroupSock, Handle::CgroupSock(p)) => {
            p.load()?;
            p.attach(cgroup()?, mode)?;
        }
        (Attach::CgroupSockAddr, Handle::CgroupSockAddr(p)) => {
            p.load()?;
            p.attach(cgroup()?, mode)?;
        }
        (Attach::SockOps, Handle::SockOps(p)) => {
            p.load()?;
            p.attach(cgroup()?, mode)?;
        }
        (Attach::BtfTracePoint(name), Handle::BtfTracePoint(p)) => {
            p.load(name, machine.btf.as_ref().ok_or(AttachError::NoBtf)?)?;
            p.attach()?;
        }
        (Attach::Iterator(name), Handle::Iter(p)) => {
            p.load(name, machine.btf.as_ref().ok_or(AttachError::NoBtf)?)?;
            // Each pass attaches by itself; that it can is known now.
            let link = p.attach()?;
            p.detach(link)?;
        }
        (Attach::FEntry(function), Handle::FEntry(p)) => {
            p.load(function, machine.btf.as_ref().ok_or(AttachError::NoBtf)?)?;
            p.attach()?;
        }
        (Attach::FExit(function), Handle::FExit(p)) => {
            p.load(function, machine.btf.as_ref().ok_or(AttachError::NoBtf)?)?;
            p.attach()?;
        }
        (Attach::FExitIfThere(function), Handle::FExit(p)) => {
            match p.load(function, machine.btf.as_ref().ok_or(AttachError::NoBtf)?) {
                Err(ProgramError::Btf(BtfError::UnknownBtfTypeName { .. })) => return Ok(()),
                outcome => outcome?,
            }
            p.attach()?;
        }
        (Attach::KProbe(all, some), Handle::KProbe(p)) => {
            p.load()?;
            for function in all {
                p.attach(function, 0)?;
            }
            for function in some {
                match p.attach(function, 0) {
                    Err(ProgramError::SyscallError(error))
                        if error.io_error.raw_os_error() == Some(nix::libc::ENOENT) => {}
                    outcome => {
                        outcome?;
                    }
                }
            }
        }
        (Attach::TracePoint(category, name), Handle::TracePoint(p)) => {
            p.load()?;
            if machine.tracefs {
                p.attach(category, name)?;
            } else {
                let attach = || p.attach(category, name).map(drop);
                mounts::with_own("tracefs", "/sys/kernel/tracing", attach)
                    .map_err(AttachError::TraceFs)??;
            }
        }
        _ => return Err(AttachError::Absent),
    }
    Ok(())
}
