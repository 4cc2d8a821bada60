//! Network namespaces of a test's own.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    thread,
};

use anyhow::Context as _;
use nix::{
    libc,
    sched::{CloneFlags, setns, unshare},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

/// A network namespace with nothing but loopback, which is up. It is gone once this value and everything that was
/// started in it are.
#[derive(Debug)]
pub struct Netns {
    handle: File,
}

impl Netns {
    /// Makes one.
    pub fn new() -> anyhow::Result<Self> {
        // A namespace belongs to a thread; this one ends and leaves the handle.
        run_in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET)")?;
            loopback_up().context("lo up")?;
            let handle = File::open("/proc/thread-self/ns/net").context("/proc/thread-self/ns/net")?;
            Ok(Self { handle })
        })
    }

    /// The inode of the namespace that this thread is in.
    pub fn current() -> anyhow::Result<u64> {
        Ok(std::fs::metadata("/proc/thread-self/ns/net")?.ino())
    }

    /// That of a process.
    pub fn of_process(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        Ok(Self { handle: File::open(&path).context(path)? })
    }

    /// Its inode, as portwatch shows it.
    pub fn inode(&self) -> anyhow::Result<u64> {
        Ok(self.handle.metadata()?.ino())
    }

    /// Runs something inside, in a thread of its own. Sockets made there and programs started there stay there.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        run_in_thread(|| {
            setns(&self.handle, CloneFlags::CLONE_NEWNET).context("setns")?;
            inside()
        })
    }
}

/// Runs a test in a network namespace of its own, for whatever else listens on this machine or names its project so. Where none
/// can be made, [`require_netns`](crate::require_netns) says so.
///
/// # Panics
/// As the test does, and where no namespace can be made at a second time.
pub fn in_own_netns(test: impl FnOnce() + Send) {
    if !crate::require_netns() {
        return;
    }
    let done = Netns::new().and_then(|netns| {
        netns.enter(|| {
            test();
            Ok(())
        })
    });
    assert!(done.is_ok(), "a namespace that could be made a moment ago: {done:?}");
}

fn run_in_thread<T: Send>(task: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    thread::scope(|scope| match scope.spawn(task).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Sets the loopback interface of this namespace up.
pub(crate) fn loopback_up() -> anyhow::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = libc::c_char::try_from(*byte)?;
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP)?;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, and this one lives until the call returns.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}
