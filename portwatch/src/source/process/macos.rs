//! By libproc, which lies in libSystem.

use std::{ffi::OsStr, mem, os::unix::ffi::OsStrExt, path::PathBuf, ptr};

use nix::{errno::Errno, libc};

use super::{Absent, Extras};
use crate::{
    model::{CommandLine, Evidence, Netns, ProcessId, ProcessSeen},
    source::SourceError,
};

/// Processes of this machine.
#[derive(Debug)]
pub struct Processes;

/// There are no network namespaces.
pub fn own_netns() -> Result<Option<Netns>, SourceError> {
    Ok(None)
}

/// This moment as [`ProcessId::start_ticks`] counts; `None` where the clock says nothing.
pub fn now() -> Option<u64> {
    let now = std::time::UNIX_EPOCH.elapsed().ok()?;
    u64::try_from(now.as_millis() / 10).ok()
}

impl Processes {
    /// Nothing needs to be opened.
    pub fn open() -> Result<Self, SourceError> {
        Ok(Self)
    }

    /// Forgets what a look before has found. Nothing is kept here.
    pub fn look_again(&mut self) {}

    /// The process that has `pid` now.
    pub fn identify(&mut self, pid: u32) -> Result<ProcessId, Absent> {
        identity(&bsd_info(pid)?).ok_or(Absent::Gone)
    }

    /// Facts of exactly this process.
    pub fn process(&mut self, id: ProcessId) -> Option<ProcessSeen> {
        let info = bsd_info(id.pid).ok()?;
        if identity(&info) != Some(id) {
            return None;
        }
        let command = arguments(id.pid).map(|bytes| CommandLine::from_nul_separated(&bytes, false));
        let parent_comm = bsd_info(info.pbi_ppid).ok().map(|parent| name(&parent));
        // The pid may have been given to somebody else while this was read.
        if self.identify(id.pid) != Ok(id) {
            return None;
        }
        Some(ProcessSeen {
            id,
            parent_pid: info.pbi_ppid,
            parent_comm,
            uid: Some(info.pbi_ruid),
            gid: Some(info.pbi_rgid),
            comm: name(&info),
            command: command.filter(|command| !command.args.is_empty()),
            cgroup_id: None,
            evidence: Evidence::Scan,
        })
    }

    /// Where exactly this process lies and works; `None` when it is gone.
    pub fn extras(&mut self, id: ProcessId) -> Option<Extras> {
        let pid = libc::c_int::try_from(id.pid).ok()?;
        let extras = Extras { exe: program(pid), cwd: directory(pid), user: None };
        // The pid may have been given to somebody else while this was read.
        (self.identify(id.pid) == Ok(id)).then_some(extras)
    }
}

/// The text up to its NUL.
fn path(bytes: &[u8]) -> Option<PathBuf> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let path = PathBuf::from(OsStr::from_bytes(bytes.get(..end)?));
    path.is_absolute().then_some(path)
}

/// The program's file.
fn program(pid: libc::c_int) -> Option<PathBuf> {
    let mut buffer = [0_u8; 4096];
    let length = u32::try_from(buffer.len()).ok()?;
    // SAFETY: the buffer is as long as is said.
    let written = unsafe { libc::proc_pidpath(pid, buffer.as_mut_ptr().cast(), length) };
    path(buffer.get(..usize::try_from(written).ok()?).filter(|bytes| !bytes.is_empty())?)
}

/// The working directory. Only the process's own user and root may ask.
fn directory(pid: libc::c_int) -> Option<PathBuf> {
    let length = libc::c_int::try_from(size_of::<libc::proc_vnodepathinfo>()).ok()?;
    // SAFETY: all zero is a valid value of it.
    let mut info: libc::proc_vnodepathinfo = unsafe { mem::zeroed() };
    let buffer = (&raw mut info).cast();
    // SAFETY: the buffer is as long as is said, and lives until the call returns.
    let written = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDVNODEPATHINFO, 0, buffer, length) };
    if written != length {
        return None;
    }
    let bytes: Vec<u8> = info.pvi_cdir.vip_path.as_flattened().iter().map(|c| c.cast_unsigned()).collect();
    path(&bytes)
}

fn bsd_info(pid: u32) -> Result<libc::proc_bsdinfo, Absent> {
    if pid == 0 {
        return Err(Absent::Kernel);
    }
    let pid = libc::c_int::try_from(pid).map_err(|_| Absent::Gone)?;
    let size = size_of::<libc::proc_bsdinfo>();
    let length = libc::c_int::try_from(size).map_err(|_| Absent::Gone)?;
    // SAFETY: all zero is a valid proc_bsdinfo.
    let mut info: libc::proc_bsdinfo = unsafe { mem::zeroed() };
    let buffer = (&raw mut info).cast();
    // SAFETY: the buffer is as long as is said, and lives until the call returns.
    let written = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 0, buffer, length) };
    // What is not written whole says nothing; 0 is a failure with errno.
    if written == length {
        return Ok(info);
    }
    Err(if Errno::last() == Errno::EPERM { Absent::NotPermitted } else { Absent::Gone })
}

/// The start as the kernel keeps it, to a hundredth of a second.
fn identity(info: &libc::proc_bsdinfo) -> Option<ProcessId> {
    let start_ticks = info.pbi_start_tvsec.checked_mul(100)?.checked_add(info.pbi_start_tvusec / 10_000)?;
    Some(ProcessId { pid: info.pbi_pid, start_ticks })
}

/// The longer of the two names that the kernel keeps, when it is there.
fn name(info: &libc::proc_bsdinfo) -> String {
    let text = |chars: &[libc::c_char]| {
        let bytes: Vec<u8> = chars.iter().map(|c| c.cast_unsigned()).take_while(|&b| b != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let long = text(&info.pbi_name);
    if long.is_empty() { text(&info.pbi_comm) } else { long }
}

/// The arguments, NUL-separated: `KERN_PROCARGS2` gives their count, the program's path, padding, the arguments and,
/// which is not looked at, the environment. Only the process's own user and root may ask.
fn arguments(pid: u32) -> Option<Vec<u8>> {
    let mut name = [libc::CTL_KERN, libc::KERN_PROCARGS2, libc::c_int::try_from(pid).ok()?];
    let mut size: libc::size_t = 0;
    let words = libc::c_uint::try_from(name.len()).ok()?;
    // SAFETY: with no buffer only the size is written.
    let asked =
        unsafe { libc::sysctl(name.as_mut_ptr(), words, ptr::null_mut(), &raw mut size, ptr::null_mut(), 0) };
    if asked != 0 {
        return None;
    }
    let mut bytes = vec![0_u8; size];
    // SAFETY: the buffer has the size that is said.
    let asked = unsafe {
        libc::sysctl(name.as_mut_ptr(), words, bytes.as_mut_ptr().cast(), &raw mut size, ptr::null_mut(), 0)
    };
    if asked != 0 {
        return None;
    }
    super::procargs::arguments(bytes.get(..size)?)
}
