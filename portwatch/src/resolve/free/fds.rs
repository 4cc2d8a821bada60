//! Whether a process holds a socket, by its descriptors.

use std::{fs, io};

use super::Member;
use crate::model::ProcessId;

/// Whether whoever has this pid has one of these sockets: ask after whether it is still the same. Not found where it is gone.
pub(super) fn holds(process: ProcessId, member: &Member) -> io::Result<bool> {
    let wanted: Vec<String> = member.inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for entry in fs::read_dir(format!("/proc/{}/fd", process.pid))? {
        if let Ok(target) = fs::read_link(entry?.path())
            && wanted.iter().any(|wanted| target.as_os_str() == wanted.as_str())
        {
            return Ok(true);
        }
    }
    Ok(false)
}
