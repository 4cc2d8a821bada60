//! Tests that need more than a plain user has, and say so.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::Context as _;
use nix::libc;

use crate::{Docker, Netns, Podman, Systemd};

/// Whether BPF programs load here. Where they do not, the test is skipped aloud; where the run declares that
/// they do (`PORTWATCH_REQUIRE=ebpf`), it fails.
pub fn require_bpf() -> bool {
    require("ebpf", "BPF programs do not load here", load_bpf_program())
}

/// Whether a daemon that is started here has kernel programs. Where it has none, the same test holds with what a look can tell.
pub fn kernel_tells() -> bool {
    load_bpf_program().is_ok()
}

/// Whether Debian's Python has this module, as [`require_bpf`] (`PORTWATCH_REQUIRE=tools`; a run that requires `ebpf` requires
/// this too).
pub fn require_python(module: &str) -> bool {
    let import = format!("import {module}");
    let tried = Command::new("/usr/bin/python3").args(["-c", &import]).stderr(Stdio::null()).status();
    let outcome = match tried {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("its import fails".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    require("tools", &format!("the Python module {module} is not installed"), outcome)
}

/// Whether what the first process has open is kept back even from root, as some machines do: then it could hold any socket that
/// nobody else has.
pub fn init_is_closed() -> bool {
    fs::read_link("/proc/1/fd/0").is_err()
}

/// Whether network namespaces can be made here, as [`require_bpf`] (`PORTWATCH_REQUIRE=netns`; a run that
/// requires `ebpf` requires this too).
pub fn require_netns() -> bool {
    require("netns", "network namespaces cannot be made here", Netns::new().map(drop))
}

/// Whether this is root, which alone can become another user, as [`require_bpf`] (`PORTWATCH_REQUIRE=root`; a run that requires
/// `ebpf` requires this too).
pub fn require_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    require("root", "only root can become another user", is_root.then_some(()).ok_or("this is a plain user"))
}

/// Whether io_uring binds and listens here (Linux 6.11, and not switched off), as [`require_bpf`]
/// (`PORTWATCH_REQUIRE=uring`; a run that requires `ebpf` requires this too). `uring` is the program that tries it.
pub fn require_uring(uring: &str) -> bool {
    let tried = Command::new(uring).args(["bound", "127.0.0.1", "0"]).stdin(Stdio::null()).output();
    let outcome = match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    };
    require("uring", "io_uring does not bind here", outcome)
}

/// Whether a program is here, as [`require_bpf`] (`PORTWATCH_REQUIRE=tools`; a run that requires `ebpf` requires this
/// too).
pub fn require_program(name: &str) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).any(|folder| folder.join(name).is_file());
    let outcome = if found { Ok(()) } else { Err("it is not on the PATH") };
    require("tools", &format!("{name} is not installed"), outcome)
}

/// Where a program for node is that `cargo xtask test` installs from the npm registry (`target/tools/node`), as
/// [`require_bpf`] (`PORTWATCH_REQUIRE=tools`; a run that requires `ebpf` requires this too).
pub fn require_node(name: &str) -> Option<PathBuf> {
    if !require_program("node") {
        return None;
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        |dir| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(dir),
    );
    let program = target.join("tools/node/node_modules/.bin").join(name);
    let outcome = if program.is_file() { Ok(()) } else { Err("cargo xtask test installs it, with npm") };
    require("tools", &format!("{name} is not in target/tools/node"), outcome).then_some(program)
}

/// The Windows program that `cargo xtask cross --test` built and names in `PORTWATCH_EXE`. The tests that need it are ignored
/// elsewhere, so that none counts that did not run.
///
/// # Errors
/// None is named.
pub fn windows_program() -> anyhow::Result<PathBuf> {
    env::var_os("PORTWATCH_EXE")
        .map(PathBuf::from)
        .context("PORTWATCH_EXE names no program: cargo xtask cross --test")
}

/// Whether Debian's dockerd runs here with a bridge and published ports, as [`require_bpf`]
/// (`PORTWATCH_REQUIRE=docker`; a run that requires `ebpf` requires this too). Gives the engine, in `netns`.
pub fn require_docker(netns: &Netns, arguments: &[&str]) -> Option<Docker> {
    let started = Docker::start(netns, arguments);
    let (docker, outcome) = match started {
        Ok(docker) => (Some(docker), Ok(())),
        Err(error) => (None, Err(format!("{error:#}"))),
    };
    require("docker", "dockerd does not run here (packages docker.io, busybox-static)", outcome)
        .then_some(docker)?
}

/// Whether Debian's podman runs here, as [`require_docker`] (`PORTWATCH_REQUIRE=podman`; a run that requires `ebpf` requires
/// this too).
pub fn require_podman(netns: &Netns) -> Option<Podman> {
    let (podman, outcome) = match Podman::start(netns) {
        Ok(podman) => (Some(podman), Ok(())),
        Err(error) => (None, Err(format!("{error:#}"))),
    };
    require("podman", "podman does not run here (packages podman, runc, busybox-static)", outcome)
        .then_some(podman)?
}

/// Whether Debian's systemd runs here as pid 1 of namespaces of its own, as [`require_docker`] (`PORTWATCH_REQUIRE=systemd`; a
/// run that requires `ebpf` requires this too). Gives it, in `netns`, with these units.
pub fn require_systemd(netns: &Netns, units: &[(&str, &str)]) -> Option<Systemd> {
    let (systemd, outcome) = match Systemd::start(netns, units) {
        Ok(systemd) => (Some(systemd), Ok(())),
        Err(error) => (None, Err(format!("{error:#}"))),
    };
    require("systemd", "systemd does not run here (package systemd, cgroup2, overlayfs)", outcome)
        .then_some(systemd)?
}

#[expect(clippy::print_stderr, reason = "a skipped test is visible")]
fn require<E: std::fmt::Display>(capability: &str, problem: &str, outcome: Result<(), E>) -> bool {
    let Err(error) = outcome else { return true };
    let required = env::var("PORTWATCH_REQUIRE").unwrap_or_default();
    let current = thread::current();
    let test = current.name().unwrap_or("a test");
    let is_required = required.split(',').any(|word| word == capability || word == "ebpf");
    assert!(!is_required, "PORTWATCH_REQUIRE={required}, and {problem}: {error}");
    eprintln!("SKIPPED {test}: {problem}: {error}");
    false
}

/// Loads (and drops at once) the smallest program of a type that portwatch cannot do without.
fn load_bpf_program() -> io::Result<()> {
    use std::os::fd::{FromRawFd as _, OwnedFd};

    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_CGROUP_SOCK: u32 = 9;
    const BPF_CGROUP_INET4_POST_BIND: u32 = 12;

    /// The beginning of `union bpf_attr` as BPF_PROG_LOAD reads it (include/uapi/linux/bpf.h).
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log: [u64; 2],
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }

    // r0 = 1; exit
    let program: [u64; 2] =
        [u64::from_ne_bytes([0xb7, 0, 0, 0, 1, 0, 0, 0]), u64::from_ne_bytes([0x95, 0, 0, 0, 0, 0, 0, 0])];
    let attributes = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_SOCK,
        insn_cnt: 2,
        insns: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        kern_version: 0,
        prog_flags: 0,
        prog_name: [0; 16],
        prog_ifindex: 0,
        expected_attach_type: BPF_CGROUP_INET4_POST_BIND,
    };
    // SAFETY: the attributes, the program and the licence live until the call returns, the size is theirs, and the
    // kernel only reads them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<Load>()) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to nobody else.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}
