//! Operations through io_uring: binds, listens and shutdowns that pass no system call of their own.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

use nix::{
    libc::{self, c_int, c_long, c_void},
    sys::socket::{SockaddrIn, SockaddrLike as _},
};

// include/uapi/linux/io_uring.h
const SETUP: c_long = 425;
const ENTER: c_long = 426;
const GETEVENTS: c_long = 1;
const OFF_SQ_RING: libc::off_t = 0;
const OFF_CQ_RING: libc::off_t = 0x0800_0000;
const OFF_SQES: libc::off_t = 0x1000_0000;
const OP_SHUTDOWN: u8 = 34;
const OP_BIND: u8 = 56;
const OP_LISTEN: u8 = 57;

/// `struct io_sqring_offsets`, and as far as it matters `io_cqring_offsets`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    /// Of the completion queue: overflow.
    flags: u32,
    /// Of the completion queue: where the entries begin.
    dropped: u32,
    array: u32,
    more: [u32; 3],
}

/// `struct io_uring_params`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    more: [u32; 7],
    submission: Offsets,
    completion: Offsets,
}

const _: () = assert!(size_of::<Params>() == 120);

/// `struct io_uring_sqe`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Entry {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    /// `addr2`: the length of a bind's address.
    offset: u64,
    address: u64,
    /// A listen's backlog.
    length: u32,
    more: [u32; 9],
}

const _: () = assert!(size_of::<Entry>() == 64);

/// A mapping of a page.
struct Mapped(*mut c_void);

const PAGE: usize = 4096;

impl Mapped {
    fn new(ring: &OwnedFd, offset: libc::off_t) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), PAGE, access, libc::MAP_SHARED, ring.as_raw_fd(), offset)
        };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self(at)) }
    }

    fn word(&self, offset: u32) -> *mut u32 {
        assert!(offset as usize + 4 <= PAGE, "rings of one entry fit a page");
        self.0.wrapping_byte_add(offset as usize).cast()
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        unsafe { libc::munmap(self.0, PAGE) };
    }
}

/// Runs operations, all issued before the first is completed, and gives their results: an errno where it is negative.
fn run<const N: usize>(entries: [Entry; N]) -> io::Result<[i32; N]> {
    let count = u32::try_from(N).map_err(io::Error::other)?;
    let mut params = Params::default();
    // SAFETY: the kernel fills the structure, whose size is asserted; the descriptor is nobody else's.
    let ring = unsafe {
        let fd = libc::syscall(SETUP, count, &raw mut params);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(c_int::try_from(fd).map_err(io::Error::other)?)
    };
    let submission = Mapped::new(&ring, OFF_SQ_RING)?;
    let completion = Mapped::new(&ring, OFF_CQ_RING)?;
    let room = Mapped::new(&ring, OFF_SQES)?;
    let mut results = [0; N];
    // SAFETY: offsets that the kernel gave, inside the mappings; nobody else uses the rings.
    unsafe {
        for (number, mut entry) in (0..count).zip(entries) {
            let [_, id, ..] = &mut entry.more;
            *id = number;
            room.0.cast::<Entry>().add(number as usize).write_volatile(entry);
            submission.word(params.submission.array + 4 * number).write_volatile(number);
        }
        submission.word(params.submission.tail).write_volatile(count);
        let none = ptr::null::<c_void>();
        if libc::syscall(ENTER, ring.as_raw_fd(), count, count, GETEVENTS, none, 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        // An operation that the kernel does not know keeps those behind it from being issued.
        for number in 0..completion.word(params.completion.tail).read_volatile() {
            // `struct io_uring_cqe`: user data (8 bytes), then the result.
            let at = params.completion.dropped + 16 * number;
            let id = completion.word(at).read_volatile();
            let result = completion.word(at + 8).read_volatile().cast_signed();
            *results.get_mut(id as usize).ok_or(io::ErrorKind::InvalidData)? = result;
        }
    }
    Ok(results)
}

fn result(code: i32) -> io::Result<()> {
    if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(()) }
}

/// What of an operation came.
fn run_one(entry: Entry) -> io::Result<()> {
    let [code] = run([entry])?;
    result(code)
}

fn bind_entry(fd: &OwnedFd, address: &SockaddrIn) -> Entry {
    Entry {
        opcode: OP_BIND,
        fd: fd.as_raw_fd(),
        offset: u64::from(address.len()),
        address: address.as_ptr().expose_provenance() as u64,
        ..Entry::default()
    }
}

/// Binds a socket.
pub(super) fn bind(fd: &OwnedFd, address: Ipv4Addr, port: u16) -> io::Result<()> {
    run_one(bind_entry(fd, &SocketAddrV4::new(address, port).into()))
}

/// Binds two in one batch.
pub(super) fn bind_both(binds: [(&OwnedFd, SocketAddrV4); 2]) -> io::Result<[io::Result<()>; 2]> {
    let addresses = binds.map(|(_, address)| SockaddrIn::from(address));
    let [first, second] = &addresses;
    let [(one, _), (other, _)] = binds;
    Ok(run([bind_entry(one, first), bind_entry(other, second)])?.map(result))
}

/// Listens on it.
pub(super) fn listen(fd: &OwnedFd) -> io::Result<()> {
    run_one(Entry { opcode: OP_LISTEN, fd: fd.as_raw_fd(), length: 1, ..Entry::default() })
}

/// Shuts it down, by one of the constants of shutdown(2).
pub(super) fn shutdown(fd: &OwnedFd, how: c_int) -> io::Result<()> {
    let length = how.cast_unsigned();
    run_one(Entry { opcode: OP_SHUTDOWN, fd: fd.as_raw_fd(), length, ..Entry::default() })
}
