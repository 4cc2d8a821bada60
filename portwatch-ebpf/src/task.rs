//! Who is running: the actor of a record, and the process record that must come before it.

use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
    bpf_probe_read_kernel_buf, bpf_probe_read_user_buf,
};
use portwatch_common::{
    counter, layout,
    record::{Actor, COMM_LEN, COMMAND_LEN, ProcessRecord, kind},
};

use crate::{
    emit,
    layout::{current_task, field, load_at, of_task, word},
    maps::{Known, PROCESSES},
};

/// The current task.
pub(crate) struct Current {
    /// `struct task_struct *`, for [`of_task`].
    pub(crate) task: u64,
    pub(crate) pid_tgid: u64,
    pub(crate) uid_gid: u64,
    /// cgroup v2 id, 0 when not readable.
    pub(crate) cgroup_id: u64,
}

impl Current {
    /// For programs of the types that have all helpers.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        if word(layout::TASK_TYPED) != layout::ABSENT {
            return Self::by_reading();
        }
        let (pid_tgid, uid_gid) = (bpf_get_current_pid_tgid(), bpf_get_current_uid_gid());
        // SAFETY: a helper without arguments.
        let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
        Self { task: current_task(), pid_tgid, uid_gid, cgroup_id }
    }

    /// From the task itself, without helpers that tell: sockops programs have none before 6.10, and loads of typed fields
    /// cost less than they do.
    #[inline(always)]
    pub(crate) fn by_reading() -> Self {
        let task = current_task();
        let process = of_task::<u32>(task, layout::TASK_TGID, 0);
        let thread = of_task::<u32>(task, layout::TASK_PID, 0);
        Self {
            task,
            pid_tgid: (u64::from(process) << 32) | u64::from(thread),
            uid_gid: uid_gid(task),
            cgroup_id: cgroup_id(task),
        }
    }

    /// Whether it is in a system call by the 32-bit convention, which no tracepoint of system calls tells (`trace_get_syscall_nr`).
    #[inline(always)]
    pub(crate) fn calls_by_32_bits(&self) -> bool {
        of_task::<u32>(self.task, layout::TASK_COMPAT, 0) & word(layout::COMPAT_MASK) != 0
    }

    /// The actor of a record; announces the process first where it is not known.
    #[inline(always)]
    pub(crate) fn actor(&self, boot_ns: u64) -> Actor {
        let pid = (self.pid_tgid >> 32) as u32;
        // Counts the exec calls in a task's history. The low half is enough and all that kernels before 5.7 have.
        let exec_id = u64::from(of_task::<u32>(self.task, layout::TASK_EXEC_ID, 0));
        let start_ns = match PROCESSES.get_ptr(&pid) {
            // SAFETY: a pointer into the map, valid while we run; the entry of a process is written by its
            // own threads only.
            Some(known) if unsafe { (*known).exec_id } == exec_id => unsafe { (*known).start_ns },
            _ => announce(self.pid_tgid, self.uid_gid, self.cgroup_id, boot_ns),
        };
        Actor {
            pid,
            tid: self.pid_tgid as u32,
            uid: self.uid_gid as u32,
            gid: (self.uid_gid >> 32) as u32,
            start_ns,
        }
    }
}

/// What `bpf_get_current_uid_gid` tells where it is allowed.
#[inline(always)]
fn uid_gid(task: u64) -> u64 {
    let cred = of_task::<u64>(task, layout::TASK_CRED, 0);
    if word(layout::TASK_TYPED) == layout::ABSENT {
        return of_task(cred, layout::CRED_UID, 0);
    }
    // Two fields, which one load may not cross.
    let uid = load_at::<u32>(cred, layout::CRED_UID, 0, 0);
    let gid = load_at::<u32>(cred, layout::CRED_UID, 4, 0);
    u64::from(uid) | u64::from(gid) << 32
}

/// What `bpf_get_current_cgroup_id` tells where it is allowed: the task's control group of version 2.
#[inline(always)]
fn cgroup_id(task: u64) -> u64 {
    let set = of_task::<u64>(task, layout::TASK_CGROUPS, 0);
    let group = of_task::<u64>(set, layout::CGROUPS_DEFAULT, 0);
    let node = of_task::<u64>(group, layout::CGROUP_NODE, 0);
    of_task::<u64>(node, layout::NODE_ID, 0)
}

/// Sends a process record and returns the start of the process, 0 when not readable.
///
/// Exported, because verifiers walk a global function once, and any other one once for each way that leads to it: of
/// which there are enough to take 5.10 half a second a program.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn announce(pid_tgid: u64, uid_gid: u64, cgroup_id: u64, boot_ns: u64) -> u64 {
    // SAFETY: a helper without arguments. A number, which a global function could not be given where it is typed.
    let task = unsafe { bpf_get_current_task() };
    let pid = (pid_tgid >> 32) as u32;
    let leader = field::<u64>(task, layout::TASK_LEADER).unwrap_or(0);
    let start_ns = field::<u64>(leader, layout::TASK_START).unwrap_or(0);
    let Some(mut entry) = emit::reserve::<ProcessRecord>(kind::PROCESS) else {
        return start_ns;
    };
    let record = entry.as_mut_ptr();
    let parent = field::<u64>(leader, layout::TASK_PARENT).unwrap_or(0);
    // SAFETY: `record` points to reserved memory of this type; every field is written before it is submitted.
    unsafe {
        (*record).header = emit::header::<ProcessRecord>(kind::PROCESS, boot_ns);
        (*record).actor =
            Actor { pid, tid: pid_tgid as u32, uid: uid_gid as u32, gid: (uid_gid >> 32) as u32, start_ns };
        (*record).cgroup_id = cgroup_id;
        (*record).parent_pid = field::<u32>(parent, layout::TASK_TGID).unwrap_or(0);
        (*record).command_truncated = 0;
        (*record).pad = 0;
        comm(leader, &raw mut (*record).comm);
        comm(parent, &raw mut (*record).parent_comm);
        for word in (*record).command.as_chunks_mut::<8>().0 {
            (&raw mut *word).write_volatile([0; 8]);
        }
        (*record).command_len = 0;
        command_line(task, record);
    }
    entry.submit(0);
    // A process without memory has ended but for its descriptors, which are closed after its exit was told: nobody
    // would remove its entry.
    if field::<u64>(task, layout::TASK_MM) == Some(0) {
        return start_ns;
    }
    // Known only now: a record that was lost is sent again with the next event.
    let exec_id = u64::from(field::<u32>(task, layout::TASK_EXEC_ID).unwrap_or(0));
    let known = Known { start_ns, exec_id };
    if PROCESSES.insert(&pid, &known, 0).is_err() {
        emit::count(counter::PROCESSES_FULL);
    }
    start_ns
}

/// Copies a comm; zeros when not readable.
#[inline(always)]
unsafe fn comm(task: u64, out: *mut [u8; COMM_LEN]) {
    // SAFETY: the caller's pointer is to reserved memory. In words: a `memset` is a function, which takes stack of those that there are three of here.
    for word in unsafe { &mut *out }.as_chunks_mut::<8>().0 {
        // SAFETY: a word of it.
        unsafe { (&raw mut *word).write_volatile([0; 8]) };
    }
    let offset = word(layout::TASK_COMM);
    if offset == layout::ABSENT || task == 0 {
        return;
    }
    let from = core::ptr::with_exposed_provenance((task + u64::from(offset)) as usize);
    // SAFETY: as above; a failing read leaves zeros behind.
    let _ = unsafe { bpf_probe_read_kernel_buf(from, &mut *out) };
}

/// Copies the argument area from the task's own memory.
#[inline(always)]
unsafe fn command_line(task: u64, record: *mut ProcessRecord) {
    let Some(mm) = field::<u64>(task, layout::TASK_MM) else { return };
    let (Some(start), Some(end)) =
        (field::<u64>(mm, layout::MM_ARG_START), field::<u64>(mm, layout::MM_ARG_END))
    else {
        return;
    };
    if end <= start {
        return;
    }
    let size = end - start;
    let kept = if size > COMMAND_LEN as u64 { COMMAND_LEN } else { size as usize };
    let from = core::ptr::with_exposed_provenance(start as usize);
    // SAFETY: the caller's pointer is to reserved memory, and `kept` is at most the length of `command`.
    unsafe {
        let out = core::slice::from_raw_parts_mut((&raw mut (*record).command).cast::<u8>(), kept);
        if bpf_probe_read_user_buf(from, out).is_ok() {
            (*record).command_len = kept as u16;
            (*record).command_truncated = u8::from(size > COMMAND_LEN as u64);
        }
    }
}
