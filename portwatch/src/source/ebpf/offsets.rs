//! The kernel's layout: the only file that names fields of kernel structures. They are looked up in the
//! BTF of the running kernel; what is not there becomes an absent capability with a name.

use portwatch_common::layout::{self, ABSENT, Layout};

use super::btf::{Btf, BtfError, Field};

/// What a field is needed for. Its absence costs this and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Capability {
    /// The network namespace of a socket.
    Namespace,
    /// A socket's cookie where the context does not give it.
    SocketCookie,
    /// SO_REUSEADDR, SO_REUSEPORT and IPV6_V6ONLY.
    Options,
    /// Telling the kernel's own sockets (MPTCP subflows) from those of programs.
    KernelSockets,
    /// The start time of processes, without which a pid is no identity.
    StartTime,
    /// The process behind a listen.
    Caller,
    /// The control group behind a listen.
    Group,
    /// A process's parent and names.
    Names,
    /// Command lines.
    CommandLine,
    /// Noticing exec.
    Exec,
    /// How processes end.
    ExitCode,
    /// The addresses of connections.
    Connections,
    /// Whether a program runs for the process that it seems to.
    Context,
    /// Whether a signal came from a process.
    Sender,
    /// Walking descriptors in the kernel.
    Descriptors,
    /// Telling a listener that is shut down from one that is closed, where the kernel has made it.
    Shutdown,
    /// The options of sockets as they are when somebody asks.
    Sharing,
    /// Sockets as arguments of kernel functions.
    Sockets,
    /// The arguments of probed functions.
    Registers,
}

impl Capability {
    /// What a person misses without it.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Namespace => "the network namespace of sockets",
            Self::SocketCookie => "the end of listening without a close",
            Self::Options => "SO_REUSEADDR, SO_REUSEPORT and IPV6_V6ONLY of sockets",
            Self::KernelSockets => "the close of MPTCP listeners",
            Self::StartTime => "the start time of processes, and with it their identity in events",
            Self::Caller => "the process behind a listen",
            Self::Group => "the container behind a listen by sockops",
            Self::Names => "the names and parents of processes in events",
            Self::CommandLine => "command lines in events",
            Self::Exec => "that a process has exec'd since its last event",
            Self::ExitCode => "how processes end",
            Self::Connections | Self::Context => "who left a connection in TIME_WAIT",
            Self::Sender => "which process sent a signal",
            Self::Descriptors => "all descriptors in one pass; /proc is read instead",
            Self::Shutdown => "MPTCP listeners that are shut down and not closed",
            Self::Sharing => "options of sockets that were set after the bind",
            Self::Sockets => "sockets by the fentry and kprobe families",
            Self::Registers => "anything by kprobes",
        }
    }
}

/// Which word of the table, which capability, which structure, and the field; alternatives in order, newest
/// kernel first.
type Row = (usize, Capability, &'static str, &'static [&'static str]);

const FIELDS: &[Row] = &[
    (layout::SOCK_NET, Capability::Namespace, "sock", &["__sk_common.skc_net.net"]),
    (layout::NET_INODE, Capability::Namespace, "net", &["ns.inum"]),
    (layout::SOCK_COOKIE, Capability::SocketCookie, "sock", &["__sk_common.skc_cookie"]),
    (layout::TASK_LEADER, Capability::StartTime, "task_struct", &["group_leader"]),
    // Renamed in 5.5.
    (layout::TASK_START, Capability::StartTime, "task_struct", &["start_boottime", "real_start_time"]),
    (layout::TASK_TGID, Capability::Caller, "task_struct", &["tgid"]),
    (layout::TASK_PID, Capability::Caller, "task_struct", &["pid"]),
    (layout::TASK_CRED, Capability::Caller, "task_struct", &["cred"]),
    (layout::TASK_CGROUPS, Capability::Group, "task_struct", &["cgroups"]),
    (layout::CGROUPS_DEFAULT, Capability::Group, "css_set", &["dfl_cgrp"]),
    (layout::CGROUP_NODE, Capability::Group, "cgroup", &["kn"]),
    (layout::NODE_ID, Capability::Group, "kernfs_node", &["id"]),
    (layout::TASK_PARENT, Capability::Names, "task_struct", &["real_parent"]),
    (layout::TASK_COMM, Capability::Names, "task_struct", &["comm"]),
    (layout::TASK_MM, Capability::CommandLine, "task_struct", &["mm"]),
    (layout::MM_ARG_START, Capability::CommandLine, "mm_struct", &["arg_start"]),
    (layout::MM_ARG_END, Capability::CommandLine, "mm_struct", &["arg_end"]),
    (layout::TASK_EXEC_ID, Capability::Exec, "task_struct", &["self_exec_id"]),
    (layout::TASK_EXIT_CODE, Capability::ExitCode, "task_struct", &["exit_code"]),
    (layout::TASK_SIGNAL, Capability::ExitCode, "task_struct", &["signal"]),
    (layout::SIGNAL_LIVE, Capability::ExitCode, "signal_struct", &["live"]),
    (layout::SIGNAL_EXIT_CODE, Capability::ExitCode, "signal_struct", &["group_exit_code"]),
    (layout::SIGNAL_FLAGS, Capability::ExitCode, "signal_struct", &["flags"]),
    (layout::SOCK_FAMILY, Capability::Connections, "sock", &["__sk_common.skc_family"]),
    (layout::SOCK_PEER4, Capability::Connections, "sock", &["__sk_common.skc_daddr"]),
    (layout::SOCK_LOCAL4, Capability::Connections, "sock", &["__sk_common.skc_rcv_saddr"]),
    (layout::SOCK_PEER6, Capability::Connections, "sock", &["__sk_common.skc_v6_daddr"]),
    (layout::SOCK_LOCAL6, Capability::Connections, "sock", &["__sk_common.skc_v6_rcv_saddr"]),
    (layout::SOCK_PEER_PORT, Capability::Connections, "sock", &["__sk_common.skc_dport"]),
    (layout::SOCK_LOCAL_PORT, Capability::Connections, "sock", &["__sk_common.skc_num"]),
    (layout::SOCK_OWNED, Capability::Context, "sock", &["sk_lock.owned"]),
    (layout::TASK_FLAGS, Capability::Context, "task_struct", &["flags"]),
    (layout::SIGINFO_CODE, Capability::Sender, "kernel_siginfo", &["si_code"]),
    (layout::SOCK_SHUTDOWN, Capability::Shutdown, "sock", &["sk_shutdown"]),
    (layout::SOCK_SOCKET, Capability::Shutdown, "sock", &["sk_socket"]),
    (layout::FILE_INODE, Capability::Descriptors, "file", &["f_inode"]),
    (layout::FILE_PRIVATE, Capability::Sharing, "file", &["private_data"]),
    (layout::INODE_NUMBER, Capability::Descriptors, "inode", &["i_ino"]),
    (layout::INODE_SUPER, Capability::Descriptors, "inode", &["i_sb"]),
    (layout::SUPER_MAGIC, Capability::Descriptors, "super_block", &["s_magic"]),
    (layout::SOCKET_SK, Capability::Sockets, "socket", &["sk"]),
    (layout::SOCK_PROTOCOL, Capability::Sockets, "sock", &["sk_protocol"]),
    (layout::SOCK_STATE, Capability::Sockets, "sock", &["__sk_common.skc_state"]),
];

/// Where these are not there, other programs serve, or there is nothing to serve (MPTCP, io_uring, 32-bit programs).
const OPTIONAL: &[(usize, &str, &str)] = &[
    (layout::TASK_FILES, "task_struct", "files"),
    (layout::FILES_TABLE, "files_struct", "fdt"),
    (layout::TABLE_SIZE, "fdtable", "max_fds"),
    (layout::TABLE_FILES, "fdtable", "fd"),
    (layout::SOCKET_FILE, "socket", "file"),
    (layout::SOCK_QUEUED, "sock", "sk_receive_queue.qlen"),
    (layout::SOCK_FLAGS, "sock", "__sk_common.skc_flags"),
    (layout::SOCK_LINGER, "sock", "sk_lingertime"),
    (layout::SOCK_SOURCE_PORT, "inet_sock", "inet_sport"),
    (layout::MPTCP_FIRST, "mptcp_sock", "first"),
    (layout::REQUEST_OPCODE, "io_kiocb", "opcode"),
    (layout::REQUEST_FILE, "io_kiocb", "file"),
    (layout::REQUEST_RESULT, "io_kiocb", "cqe.res"),
    // What a system call was called with stays there on x86-64; on ARM the result is written over it, and it is kept besides.
    (layout::CALL_FIRST, "pt_regs", if cfg!(target_arch = "aarch64") { "orig_x0" } else { "di" }),
    (layout::CALL_SECOND, "pt_regs", "si"),
    (layout::REQUEST_HOW, "io_shutdown", "how"),
    (
        layout::TASK_COMPAT,
        "task_struct",
        if cfg!(target_arch = "aarch64") { "thread_info.flags" } else { "thread_info.status" },
    ),
];

/// `TIF_32BIT` of a thread on ARM, `TS_COMPAT` of a system call on x86-64.
const COMPAT: u32 = if cfg!(target_arch = "aarch64") { 1 << 22 } else { 1 << 1 };

/// What was found on this kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offsets {
    /// The words for the kernel side.
    pub(super) layout: Layout,
    /// Fields that this kernel does not have, with what they cost.
    pub(super) missing: Vec<(Capability, String)>,
}

impl Offsets {
    /// Nothing is known: every capability is absent.
    pub(super) fn absent(reason: &str) -> Self {
        Self { layout: [ABSENT; layout::END], missing: vec![(Capability::StartTime, reason.to_owned())] }
    }

    /// Resolves every field in a kernel's BTF.
    pub(super) fn from_btf(blob: &[u8]) -> Result<Self, BtfError> {
        let btf = Btf::parse(blob)?;
        let mut offsets = Self { layout: [ABSENT; layout::END], missing: Vec::new() };
        for &(index, capability, structure, names) in FIELDS {
            let offset = names
                .iter()
                .find_map(|name| btf.field(structure, name))
                .filter(|f| f.bits == 0 && f.bit_offset % 8 == 0)
                .map(|f| f.bit_offset / 8);
            match offset {
                Some(offset) => offsets.set(index, offset),
                None => offsets.miss(capability, structure, names),
            }
        }
        for &(index, structure, name) in OPTIONAL {
            if let Some(field) = btf.field(structure, name).filter(|f| f.bits == 0) {
                offsets.set(index, field.bit_offset / 8);
            }
        }
        if cfg!(target_arch = "aarch64")
            && let Some(registers) = btf.field("pt_regs", "regs")
        {
            offsets.set(layout::CALL_SECOND, registers.bit_offset / 8 + 8);
        }
        offsets.set(layout::COMPAT_MASK, if offsets.has(layout::TASK_COMPAT) { COMPAT } else { 0 });
        offsets.options(&btf);
        offsets.kernel_sockets(&btf);
        offsets.credentials(&btf);
        offsets.registers(&btf);
        Ok(offsets)
    }

    /// Whether a word was found.
    pub(super) fn has(&self, index: usize) -> bool {
        self.layout.get(index).is_some_and(|&word| word != ABSENT)
    }

    /// Programs of every type may have the current task as a typed pointer.
    pub(super) fn task_is_typed(&mut self) {
        self.set(layout::TASK_TYPED, 1);
    }

    fn set(&mut self, index: usize, value: u32) {
        if let Some(word) = self.layout.get_mut(index) {
            *word = value;
        }
    }

    fn miss(&mut self, capability: Capability, structure: &str, names: &[&str]) {
        self.missing.push((capability, format!("{structure}.{}", names.join(" or "))));
    }

    /// Where a probed function's arguments and result are, by the calling conventions of x86-64 and of ARM, 64 bits.
    fn registers(&mut self, btf: &Btf<'_>) {
        let find = |name| btf.field("pt_regs", name).map(|f| f.bit_offset / 8);
        let registers = match (find("di"), find("si"), find("dx"), find("ax"), find("regs")) {
            (Some(first), Some(second), Some(third), Some(result), _) => [first, second, third, result],
            (.., Some(regs)) if cfg!(target_arch = "aarch64") => [regs, regs + 8, regs + 16, regs],
            _ => {
                self.miss(Capability::Registers, "pt_regs", &["the registers of x86-64", "ARM"]);
                return;
            }
        };
        let words = [
            layout::REGISTER_FIRST,
            layout::REGISTER_SECOND,
            layout::REGISTER_THIRD,
            layout::REGISTER_RETURN,
        ];
        for (index, offset) in words.into_iter().zip(registers) {
            self.set(index, offset);
        }
    }

    /// Three bit fields which the kernel side reads as one byte.
    fn options(&mut self, btf: &Btf<'_>) {
        let find = |name| btf.field("sock", name).and_then(byte_and_mask);
        let (reuse, port, only) = (
            find("__sk_common.skc_reuse"),
            find("__sk_common.skc_reuseport"),
            find("__sk_common.skc_ipv6only"),
        );
        match (reuse, port, only) {
            (Some(reuse), Some(port), Some(only)) if reuse.0 == port.0 && port.0 == only.0 => {
                self.set(layout::SOCK_OPTIONS, reuse.0);
                self.set(layout::SOCK_REUSE_MASK, reuse.1);
                self.set(layout::SOCK_REUSEPORT_MASK, port.1);
                self.set(layout::SOCK_IPV6ONLY_MASK, only.1);
            }
            _ => self.miss(
                Capability::Options,
                "sock",
                &["__sk_common.skc_reuse, skc_reuseport and skc_ipv6only in one byte"],
            ),
        }
    }

    fn kernel_sockets(&mut self, btf: &Btf<'_>) {
        match btf.field("sock", "sk_kern_sock").and_then(byte_and_mask) {
            Some((byte, mask)) => {
                self.set(layout::SOCK_KERN, byte);
                self.set(layout::SOCK_KERN_MASK, mask);
            }
            None => self.miss(Capability::KernelSockets, "sock", &["sk_kern_sock"]),
        }
    }

    /// uid and gid are read as one 64-bit word.
    fn credentials(&mut self, btf: &Btf<'_>) {
        match (btf.field("cred", "uid"), btf.field("cred", "gid")) {
            (Some(uid), Some(gid)) if uid.bit_offset.checked_add(32) == Some(gid.bit_offset) => {
                self.set(layout::CRED_UID, uid.bit_offset / 8);
            }
            _ => self.miss(Capability::Caller, "cred", &["uid followed by gid"]),
        }
    }
}

/// The byte of a bit field and its mask there (little endian: bits count from the lowest); `None` for a
/// field that is not a bit field or crosses a byte.
fn byte_and_mask(field: Field) -> Option<(u32, u32)> {
    let shift = field.bit_offset % 8;
    if field.bits == 0 || shift + field.bits > 8 {
        return None;
    }
    Some((field.bit_offset / 8, ((1 << field.bits) - 1) << shift))
}
