//! Where the kernel's own file systems are mounted, read from a `mountinfo`; and a mount of one's own where they are not.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs},
};

/// First mount point of a file system type; `None` when it is not mounted. Reads `proc/self/mountinfo`.
pub(super) fn find(proc: &Path, kind: &str) -> io::Result<Option<PathBuf>> {
    let text = std::fs::read(proc.join("thread-self/mountinfo"))?;
    Ok(find_in(&text, kind))
}

/// Whether this was opened in the hierarchy of cgroup v2.
pub(super) fn is_cgroup2(file: &File) -> bool {
    fstatfs(file).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// The root of cgroup v2, mounted for the one who asks. The mount goes with the file.
pub(super) fn cgroup2() -> nix::Result<File> {
    const POINT: &str = "/sys/fs/cgroup";
    let open = || File::open(POINT).map_err(|error| nix::Error::from_raw(error.raw_os_error().unwrap_or(0)));
    with_own("cgroup2", POINT, open)?
}

/// Runs `work` in a thread with a mount namespace of its own, where a file system of this kind is mounted. The machine's mounts are left
/// as they are.
pub(super) fn with_own<T: Send>(kind: &str, point: &str, work: impl FnOnce() -> T + Send) -> nix::Result<T> {
    thread::scope(|scope| {
        let helper = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)?;
            let none = None::<&Path>;
            // Without this the mount would spread to the machine.
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some(kind), point, Some(kind), flags, none)?;
            Ok(work())
        });
        helper.join().unwrap_or(Err(nix::Error::EIO))
    })
}

/// Fields: id, parent, device, root, mount point, options, optional fields, "-", type, source, options.
/// A mount of a subdirectory (root other than "/") is a container's view, not the whole tree, but better
/// than none: it comes last.
fn find_in(mountinfo: &[u8], kind: &str) -> Option<PathBuf> {
    let mut part = None;
    for line in mountinfo.split(|&b| b == b'\n') {
        let mut fields = line.split(|&b| b == b' ');
        let Some(root) = fields.nth(3) else { continue };
        let Some(point) = fields.next() else { continue };
        let mut after = fields.skip_while(|&f| f != b"-");
        if after.nth(1) != Some(kind.as_bytes()) {
            continue;
        }
        let point = unescape(point);
        if root == b"/" {
            return Some(point);
        }
        part.get_or_insert(point);
    }
    part
}

/// The kernel writes blanks, tabs, line ends and backslashes as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = code {
            out.push(byte);
            rest = tail.get(3..).unwrap_or_default();
        } else {
            out.push(first);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    // From a hybrid machine (cgroup v1 controllers, v2 below them) and a hand-made escape.
    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn the_second_hierarchy_is_found_on_a_hybrid_machine() {
        assert_eq!(find_in(HYBRID, "cgroup2"), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn what_is_not_mounted_is_not_found() {
        assert_eq!(find_in(HYBRID, "tracefs"), None);
        assert_eq!(find_in(b"garbage\n- cgroup2\n\n", "cgroup2"), None);
    }

    #[test]
    fn the_whole_tree_is_preferred_to_a_part_of_it() {
        let text = b"1 1 0:1 /docker/x /a rw - cgroup2 c rw\n2 1 0:1 / /b rw - cgroup2 c rw\n";
        assert_eq!(find_in(text, "cgroup2"), Some(PathBuf::from("/b")));
        assert_eq!(find_in(&text[..39], "cgroup2"), Some(PathBuf::from("/a")));
    }

    #[test]
    fn a_mount_point_with_a_blank_is_read_as_it_is() {
        let text = b"1 1 0:1 / /my\\040cgroup\\134x rw - cgroup2 c rw\n";
        assert_eq!(find_in(text, "cgroup2"), Some(PathBuf::from("/my cgroup\\x")));
    }
}
