//! System calls by the 32-bit convention of x86, which a 64-bit program may use too: `int 0x80`. No tracepoint of system calls tells them.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{FromRawFd as _, OwnedFd},
    ptr,
};

use nix::libc;

// arch/x86/entry/syscalls/syscall_32.tbl
const SOCKET: u32 = 359;
const BIND: u32 = 361;
const LISTEN: u32 = 363;

/// Ends the process by SIGSEGV where the kernel has no such calls.
#[cfg(target_arch = "x86_64")]
fn call(number: u32, arguments: [u32; 3]) -> io::Result<u32> {
    let [first, second, third] = arguments.map(u64::from);
    let mut result = u64::from(number);
    // SAFETY: the calls made here write no memory of ours. rbx, which carries the first argument, is the compiler's, and is given back.
    unsafe {
        std::arch::asm!(
            "xchg {first}, rbx",
            "int 0x80",
            "xchg {first}, rbx",
            first = inout(reg) first => _,
            inout("rax") result,
            in("rcx") second,
            in("rdx") third,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    #[expect(clippy::cast_possible_truncation, reason = "a result of 32 bits")]
    let result = result as u32;
    let failed = result.cast_signed();
    if (-4095..0).contains(&failed) { Err(io::Error::from_raw_os_error(-failed)) } else { Ok(result) }
}

#[cfg(not(target_arch = "x86_64"))]
fn call(_: u32, _: [u32; 3]) -> io::Result<u32> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// A listener on any port of this address.
pub(super) fn listener(address: Ipv4Addr) -> io::Result<OwnedFd> {
    let socket = call(SOCKET, [libc::AF_INET.cast_unsigned(), libc::SOCK_STREAM.cast_unsigned(), 0])?;
    // SAFETY: a new descriptor, nobody else's.
    let socket_fd = unsafe { OwnedFd::from_raw_fd(socket.cast_signed()) };
    let (place, room) = low_memory()?;
    // SAFETY: `room` bytes that are ours and zero; an address is 16.
    unsafe {
        let at = place.cast::<libc::sockaddr_in>();
        (*at).sin_family = u16::try_from(libc::AF_INET).map_err(io::Error::other)?;
        (*at).sin_addr.s_addr = u32::from(address).to_be();
    }
    let low = u32::try_from(place.expose_provenance()).map_err(io::Error::other)?;
    let length = u32::try_from(size_of::<libc::sockaddr_in>()).map_err(io::Error::other)?;
    let bound = call(BIND, [socket, low, length]).and_then(|_| call(LISTEN, [socket, 1, 0]));
    // SAFETY: our own mapping, which nobody uses any more.
    unsafe { libc::munmap(place, room) };
    bound.map(|_| socket_fd)
}

/// A page that a pointer of 32 bits reaches.
fn low_memory() -> io::Result<(*mut libc::c_void, usize)> {
    const PAGE: usize = 4096;
    #[cfg(target_arch = "x86_64")]
    const LOW: libc::c_int = libc::MAP_32BIT;
    #[cfg(not(target_arch = "x86_64"))]
    const LOW: libc::c_int = 0;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let place = unsafe {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        libc::mmap(ptr::null_mut(), PAGE, access, kind | LOW, -1, 0)
    };
    if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok((place, PAGE)) }
}
