//! Loading and attaching, with an outcome for every hook.

mod attach;
mod climb;
mod machine;

use std::{fs::File, path::PathBuf};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use portwatch_common::layout;

use super::{
    hooks::{DESCRIPTORS, HookChoice, LADDERS, Program},
    object,
    offsets::Offsets,
};
use crate::model::{Coverage, Degradation, Fact};
use attach::{AttachError, attach_loaded};
use climb::Climb;
use machine::Machine;

/// Where the kernel describes its types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

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
    /// What is attached once there is a need.
    waiting: Vec<Program>,
    cgroup: Result<File, AttachError>,
    /// What serves each fact.
    pub(super) coverage: Vec<Coverage>,
    /// What does not work.
    pub(super) degradations: Vec<Degradation>,
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
    let mut climb = Climb::new(&mut ebpf, &machine, degradations);
    let mut coverage: Vec<Coverage> = LADDERS.iter().map(|ladder| climb.up(ladder, options.hooks)).collect();
    climb.let_go();
    climb.share_out().map_err(|error| Degradation {
        name: "hooks-unusable",
        what: format!("kernel programs cannot be told what they serve ({error})"),
        remedy: "rebuild the object: cargo xtask build-ebpf".to_owned(),
    })?;
    let iterates =
        offsets.has(layout::SUPER_MAGIC) && offsets.has(layout::FILE_INODE) && climb.is_attached(DESCRIPTORS);
    if let Some(blind) = climb.blind(options.hooks) {
        return Err(blind);
    }
    let waiting = climb.waiting();
    let degradations = climb.degradations;
    coverage.push(process_facts(&offsets));
    Ok(Loaded { ebpf, iterates, waiting, cgroup: machine.cgroup, coverage, degradations })
}

impl Loaded {
    /// There is a socket whose listen or end only the programs at need tell. Returns whether it is to be looked for: what became of it before they were attached, nobody
    /// told.
    pub(super) fn attach_at_need(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.waiting);
        for &program in &waiting {
            if let Err(error) = attach_loaded(&mut self.ebpf, &self.cgroup, program) {
                self.degradations.push(Degradation {
                    name: "weaker-hook",
                    what: format!(
                        "listens of 32-bit programs and of the kernel, and their end, are not observed ({}: {error})",
                        program.name
                    ),
                    remedy: "restart the daemon".to_owned(),
                });
            }
        }
        !waiting.is_empty()
    }
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
