//! Where the running kernel keeps what the programs read: one table of words, filled by user space from the
//! kernel's own BTF before loading and frozen, so that the verifier sees constants.
//!
//! Rust emits no CO-RE relocations; an offset compiled in would be silently wrong on the next kernel.

/// The table, indexed by the constants below.
pub type Layout = [u32; END];

/// The value of a field that this kernel does not have: what depends on it is left out, never read wrongly.
pub const ABSENT: u32 = u32::MAX;

/// Byte offset of `sock.__sk_common.skc_net` (`struct net *`).
pub const SOCK_NET: usize = 0;
/// Byte offset of `sock.__sk_common.skc_cookie`.
pub const SOCK_COOKIE: usize = 1;
/// Byte offset of the byte that holds the three option bit fields.
pub const SOCK_OPTIONS: usize = 2;
/// Mask of `skc_reuse` in that byte.
pub const SOCK_REUSE_MASK: usize = 3;
/// Mask of `skc_reuseport` in that byte.
pub const SOCK_REUSEPORT_MASK: usize = 4;
/// Mask of `skc_ipv6only` in that byte.
pub const SOCK_IPV6ONLY_MASK: usize = 5;
/// Byte offset of the byte that holds `sk_kern_sock`.
pub const SOCK_KERN: usize = 6;
/// Mask of `sk_kern_sock` in that byte.
pub const SOCK_KERN_MASK: usize = 7;
/// Byte offset of `net.ns.inum`.
pub const NET_INODE: usize = 8;
/// Byte offset of `task_struct.group_leader`.
pub const TASK_LEADER: usize = 9;
/// Byte offset of `task_struct.real_parent`.
pub const TASK_PARENT: usize = 10;
/// Byte offset of `task_struct.tgid`.
pub const TASK_TGID: usize = 11;
/// Byte offset of `task_struct.pid`.
pub const TASK_PID: usize = 12;
/// Byte offset of `task_struct.comm`.
pub const TASK_COMM: usize = 13;
/// Byte offset of `task_struct.start_boottime` (`real_start_time` before 5.5).
pub const TASK_START: usize = 14;
/// Byte offset of `task_struct.mm`.
pub const TASK_MM: usize = 15;
/// Byte offset of `task_struct.self_exec_id`.
pub const TASK_EXEC_ID: usize = 16;
/// Byte offset of `task_struct.exit_code`.
pub const TASK_EXIT_CODE: usize = 17;
/// Byte offset of `task_struct.signal`.
pub const TASK_SIGNAL: usize = 18;
/// Byte offset of `task_struct.cred`.
pub const TASK_CRED: usize = 19;
/// Byte offset of `cred.uid`; `gid` is the word after it, which user space checks.
pub const CRED_UID: usize = 20;
/// Byte offset of `mm_struct.arg_start`.
pub const MM_ARG_START: usize = 21;
/// Byte offset of `mm_struct.arg_end`.
pub const MM_ARG_END: usize = 22;
/// Byte offset of `signal_struct.live`.
pub const SIGNAL_LIVE: usize = 23;
/// Byte offset of `signal_struct.group_exit_code`.
pub const SIGNAL_EXIT_CODE: usize = 24;
/// Byte offset of `signal_struct.flags`.
pub const SIGNAL_FLAGS: usize = 25;
/// Byte offset of `sock.__sk_common.skc_family`.
pub const SOCK_FAMILY: usize = 26;
/// Byte offset of `sock.__sk_common.skc_daddr`.
pub const SOCK_PEER4: usize = 27;
/// Byte offset of `sock.__sk_common.skc_rcv_saddr`.
pub const SOCK_LOCAL4: usize = 28;
/// Byte offset of `sock.__sk_common.skc_v6_daddr`.
pub const SOCK_PEER6: usize = 29;
/// Byte offset of `sock.__sk_common.skc_v6_rcv_saddr`.
pub const SOCK_LOCAL6: usize = 30;
/// Byte offset of `sock.__sk_common.skc_dport`, network byte order.
pub const SOCK_PEER_PORT: usize = 31;
/// Byte offset of `sock.__sk_common.skc_num`, host byte order.
pub const SOCK_LOCAL_PORT: usize = 32;
/// Byte offset of `sock.sk_lock.owned`.
pub const SOCK_OWNED: usize = 33;
/// Byte offset of `task_struct.flags`.
pub const TASK_FLAGS: usize = 34;
/// Byte offset of `kernel_siginfo.si_code`.
pub const SIGINFO_CODE: usize = 35;
/// Byte offset of `file.f_inode`.
pub const FILE_INODE: usize = 36;
/// Byte offset of `inode.i_ino`.
pub const INODE_NUMBER: usize = 37;
/// Byte offset of `inode.i_sb`.
pub const INODE_SUPER: usize = 38;
/// Byte offset of `super_block.s_magic`.
pub const SUPER_MAGIC: usize = 39;
/// Byte offset of `socket.sk`.
pub const SOCKET_SK: usize = 40;
/// Byte offset of `sock.sk_protocol`.
pub const SOCK_PROTOCOL: usize = 41;
/// Byte offset of `sock.__sk_common.skc_state`.
pub const SOCK_STATE: usize = 42;
/// Byte offset in `pt_regs` of the register with a function's first argument.
pub const REGISTER_FIRST: usize = 43;
/// The second.
pub const REGISTER_SECOND: usize = 44;
/// The third.
pub const REGISTER_THIRD: usize = 45;
/// The register with what a function returned.
pub const REGISTER_RETURN: usize = 46;
/// Byte offset of `task_struct.cgroups`.
pub const TASK_CGROUPS: usize = 47;
/// Byte offset of `css_set.dfl_cgrp`.
pub const CGROUPS_DEFAULT: usize = 48;
/// Byte offset of `cgroup.kn`.
pub const CGROUP_NODE: usize = 49;
/// Byte offset of `kernfs_node.id`: one word since 5.5.
pub const NODE_ID: usize = 50;
/// Byte offset of `sock.sk_shutdown`.
pub const SOCK_SHUTDOWN: usize = 51;
/// Not a place: 1 where programs of every type may have the current task as a typed pointer (`bpf_get_current_task_btf`).
pub const TASK_TYPED: usize = 52;
/// Byte offset of `file.private_data`: of a socket's file, the `struct socket`.
pub const FILE_PRIVATE: usize = 53;
/// Byte offset of `sock.sk_socket`: of the first subflow of MPTCP, the `struct socket` of the program's socket.
pub const SOCK_SOCKET: usize = 54;
/// Byte offset of `task_struct.files`.
pub const TASK_FILES: usize = 55;
/// Byte offset of `files_struct.fdt`.
pub const FILES_TABLE: usize = 56;
/// Byte offset of `fdtable.max_fds`.
pub const TABLE_SIZE: usize = 57;
/// Byte offset of `fdtable.fd`.
pub const TABLE_FILES: usize = 58;
/// Byte offset of `socket.file`.
pub const SOCKET_FILE: usize = 59;
/// Byte offset of `sock.sk_receive_queue.qlen`.
pub const SOCK_QUEUED: usize = 60;
/// Byte offset of `sock.__sk_common.skc_flags`.
pub const SOCK_FLAGS: usize = 61;
/// Byte offset of `sock.sk_lingertime`.
pub const SOCK_LINGER: usize = 62;
/// Byte offset of `mptcp_sock.first`: of a program's MPTCP socket, the first subflow, which is what binds and listens.
pub const MPTCP_FIRST: usize = 63;
/// Byte offset of `inet_sock.inet_sport`, network byte order: the port of a connection that has ended and given it up.
pub const SOCK_SOURCE_PORT: usize = 64;
/// Byte offset in `pt_regs` of the register with a system call's first argument, also when it ends.
pub const CALL_FIRST: usize = 65;
/// Byte offset of the word of `task_struct` that tells a system call by the 32-bit convention.
pub const TASK_COMPAT: usize = 66;
/// The bit of it.
pub const COMPAT_MASK: usize = 67;
/// Byte offset of `io_kiocb.opcode`.
pub const REQUEST_OPCODE: usize = 68;
/// Byte offset of `io_kiocb.file`.
pub const REQUEST_FILE: usize = 69;
/// Byte offset of `io_kiocb.cqe.res`.
pub const REQUEST_RESULT: usize = 70;
/// The register with the second.
pub const CALL_SECOND: usize = 71;
/// Byte offset of `io_shutdown.how`, which is where the request begins.
pub const REQUEST_HOW: usize = 72;
/// Number of words.
pub const END: usize = 73;
