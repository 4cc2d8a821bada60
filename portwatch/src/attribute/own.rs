//! Processes that run portwatch itself, told by the file of their program: a name is anybody's to take.

use std::{
    fs,
    num::NonZeroUsize,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use lru::LruCache;

use crate::model::ProcessId;

/// How many are remembered after they are gone.
const REMEMBERED: usize = 256;

#[derive(Debug)]
pub(super) struct Own {
    /// Path, device and inode of this program; `None` when that could not be read: then nobody is.
    program: Option<(PathBuf, u64, u64)>,
    known: LruCache<ProcessId, ()>,
}

impl Own {
    pub(super) fn new(proc: &Path) -> Self {
        let program = fs::read_link(proc.join("self/exe")).ok().and_then(|path| {
            let file = fs::metadata(proc.join("self/exe")).ok()?;
            Some((path, file.dev(), file.ino()))
        });
        let size = NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN);
        Self { program, known: LruCache::new(size) }
    }

    /// Remembers a living process if it runs this program. The path is compared first: it is at hand, and the same
    /// path in another mount namespace may be another file.
    pub(super) fn look(&mut self, id: ProcessId, proc: &Path, exe: Option<&Path>) {
        let Some((path, device, inode)) = &self.program else { return };
        if exe != Some(path) {
            return;
        }
        let same = fs::metadata(proc.join(id.pid.to_string()).join("exe"))
            .is_ok_and(|file| (file.dev(), file.ino()) == (*device, *inode));
        if same {
            self.known.put(id, ());
        }
    }

    pub(super) fn contains(&mut self, id: ProcessId) -> bool {
        self.known.get(&id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_own_and_another_of_the_same_path_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let proc = folder.path();
        let (program, other) = (proc.join("program"), proc.join("other"));
        fs::write(&program, "a").unwrap();
        fs::write(&other, "b").unwrap();
        for (name, exe) in [("self", &program), ("7", &program), ("8", &other)] {
            fs::create_dir(proc.join(name)).unwrap();
            std::os::unix::fs::symlink(exe, proc.join(name).join("exe")).unwrap();
        }
        let mut own = Own::new(proc);
        let id = |pid| ProcessId { pid, start_ticks: 1 };
        for pid in [7, 8] {
            // 8 claims the same path, as a process in another mount namespace may.
            own.look(id(pid), proc, Some(&program));
        }
        own.look(id(9), proc, Some(&other));
        assert_eq!([7, 8, 9].map(|pid| own.contains(id(pid))), [true, false, false]);
        assert!(!own.contains(ProcessId { pid: 7, start_ticks: 2 }), "another process with its pid");
    }
}
