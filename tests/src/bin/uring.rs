//! `uring bound|unbound|direct|refused ADDRESS PORT`: binds and listens through io_uring, so that no system call says
//! so, prints the port (or the errno), and keeps the socket until its input ends.
//!
//! `direct` makes the socket in the ring's own table of files: no process has a descriptor of it.

use std::{
    env,
    io::{self, Read as _, Write as _},
    mem::offset_of,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd},
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrLike as _, getsockname, socket},
};

// include/uapi/linux/io_uring.h
const OP_SOCKET: u8 = 45;
const OP_BIND: u8 = 56;
const OP_LISTEN: u8 = 57;
const FIXED_FILE: u8 = 1 << 0;
const ENTER_GETEVENTS: u32 = 1 << 0;
const OFF_SQ_RING: libc::off_t = 0;
const OFF_SQES: libc::off_t = 0x1000_0000;
const FEAT_SINGLE_MMAP: u32 = 1 << 0;
const REGISTER_FILES2: u32 = 13;
const RSRC_REGISTER_SPARSE: u32 = 1 << 0;

/// `struct io_sqring_offsets`, and `struct io_cqring_offsets` with the same places for what is used here.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    /// `flags`; `overflow` of completions.
    fourth: u32,
    /// `dropped`; `cqes` of completions.
    fifth: u32,
    /// `array`; `flags` of completions.
    sixth: u32,
    resv: u32,
    user_addr: u64,
}

/// `struct io_uring_params`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    resv: [u32; 3],
    sq_off: Offsets,
    cq_off: Offsets,
}

/// `struct io_uring_sqe`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Entry {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    off: u64,
    addr: u64,
    len: u32,
    op_flags: u32,
    user_data: u64,
    buf_index: u16,
    personality: u16,
    /// One more than the slot of a direct descriptor.
    file_index: u32,
    addr3: u64,
    pad: u64,
}

/// `struct io_uring_rsrc_register`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Register {
    nr: u32,
    flags: u32,
    resv2: u64,
    data: u64,
    tags: u64,
}

const _: () = assert!(size_of::<Params>() == 120 && size_of::<Entry>() == 64 && size_of::<Register>() == 32);
const _: () = assert!(offset_of!(Entry, file_index) == 44);

/// A ring for one operation at a time.
struct Ring {
    fd: OwnedFd,
    params: Params,
    /// Both rings, in one mapping.
    rings: *mut AtomicU32,
    entries: *mut Entry,
}

impl Ring {
    fn new() -> anyhow::Result<Self> {
        let mut params = Params::default();
        // SAFETY: the kernel writes a structure of this size.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4_u32, &raw mut params) };
        let fd = i32::try_from(Errno::result(fd).context("io_uring_setup")?)?;
        // SAFETY: the kernel gave it just now.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        ensure!(params.features & FEAT_SINGLE_MMAP != 0, "a kernel before 5.4");
        let submissions = params.sq_off.sixth + params.sq_entries * 4;
        let completions = params.cq_off.fifth + params.cq_entries * 16;
        let rings = map(&fd, submissions.max(completions) as usize, OFF_SQ_RING)?.cast();
        let entries = map(&fd, params.sq_entries as usize * size_of::<Entry>(), OFF_SQES)?.cast();
        Ok(Self { fd, params, rings, entries })
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: a word of the mapping, which lives as long as the process; the kernel's offsets are aligned.
        unsafe { &*self.rings.byte_add(offset as usize) }
    }

    /// Does one operation, and gives its result: negative is an errno.
    fn run(&self, entry: Entry) -> anyhow::Result<i32> {
        let (sq, cq) = (self.params.sq_off, self.params.cq_off);
        let tail = self.word(sq.tail).load(Ordering::Acquire);
        let index = tail & self.word(sq.ring_mask).load(Ordering::Relaxed);
        // SAFETY: inside the mapping of `sq_entries` entries.
        unsafe { self.entries.add(index as usize).write(entry) };
        self.word(sq.sixth + 4 * index).store(index, Ordering::Relaxed);
        self.word(sq.tail).store(tail.wrapping_add(1), Ordering::Release);
        // SAFETY: no pointers are handed over.
        let done = unsafe {
            let nothing = ptr::null::<libc::c_void>();
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                1_u32,
                1_u32,
                ENTER_GETEVENTS,
                nothing,
                0_usize,
            )
        };
        ensure!(Errno::result(done).context("io_uring_enter")? == 1, "the operation was not submitted");
        let head = self.word(cq.head).load(Ordering::Acquire);
        ensure!(head != self.word(cq.tail).load(Ordering::Acquire), "no completion");
        let index = head & self.word(cq.ring_mask).load(Ordering::Relaxed);
        // `struct io_uring_cqe`: user_data, res, flags.
        let result = self.word(cq.fifth + 16 * index + 8).load(Ordering::Relaxed).cast_signed();
        self.word(cq.head).store(head.wrapping_add(1), Ordering::Release);
        Ok(result)
    }

    /// A table for one file of the ring's own.
    fn register_slot(&self) -> anyhow::Result<()> {
        let register = Register { nr: 1, flags: RSRC_REGISTER_SPARSE, ..Register::default() };
        // SAFETY: the kernel reads a structure of this size.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.fd.as_raw_fd(),
                REGISTER_FILES2,
                &raw const register,
                u32::try_from(size_of::<Register>())?,
            )
        };
        Errno::result(done).map(drop).context("io_uring_register")
    }
}

fn map(fd: &OwnedFd, length: usize, offset: libc::off_t) -> anyhow::Result<*mut u8> {
    // SAFETY: a new mapping where the kernel wants it.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            fd.as_raw_fd(),
            offset,
        )
    };
    ensure!(at != libc::MAP_FAILED, "mmap: {}", Errno::last());
    Ok(at.cast())
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [kind, address, port] = arguments.as_slice() else {
        bail!("usage: uring bound|unbound|direct|refused ADDRESS PORT")
    };
    let place = SockaddrIn::from(SocketAddrV4::new(address.parse::<Ipv4Addr>()?, port.parse()?));
    let ring = Ring::new()?;
    let direct = kind == "direct";
    let socket = if direct {
        ring.register_slot()?;
        let made = ring.run(Entry {
            opcode: OP_SOCKET,
            fd: libc::AF_INET,
            off: u64::try_from(libc::SOCK_STREAM)?,
            file_index: 1,
            ..Entry::default()
        })?;
        ensure!(made == 0, "socket through io_uring: {}", Errno::from_raw(-made));
        None
    } else {
        Some(socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
    };
    let mut entry = Entry { flags: if direct { FIXED_FILE } else { 0 }, ..Entry::default() };
    entry.fd = socket.as_ref().map_or(0, AsRawFd::as_raw_fd);
    if kind != "unbound" {
        let bound = ring.run(Entry {
            opcode: OP_BIND,
            addr: place.as_ptr().expose_provenance() as u64,
            off: u64::from(place.len()),
            ..entry
        })?;
        if kind == "refused" {
            return say(-bound);
        }
        ensure!(bound == 0, "bind through io_uring: {}", Errno::from_raw(-bound));
    }
    let listening = ring.run(Entry { opcode: OP_LISTEN, len: 16, ..entry })?;
    ensure!(listening == 0, "listen through io_uring: {}", Errno::from_raw(-listening));
    match &socket {
        None => say(port.parse()?)?,
        Some(socket) => say(i32::from(getsockname::<SockaddrIn>(socket.as_raw_fd())?.port()))?,
    }
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn say(number: i32) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{number}").context("standard output")
}
