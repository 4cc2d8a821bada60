//! Network namespaces other than our own: finding them, and looking into them.
//!
//! A namespace has no list of its own in the kernel. It is found by a process in it, or by a file that keeps it
//! (`ip netns`, container engines). Looking into it means to enter it, with a thread made for that, which ends
//! afterwards. A handle is held only while reading: it would keep the namespace alive.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};

use super::procfs::ProcFs;
use crate::model::Netns;

/// Where `ip netns` keeps namespaces by name.
pub const NAMED: &str = "/run/netns";

/// Where namespaces are kept that may have no process: by `ip netns`, and by Docker under names that say nothing.
pub const KEPT: [&str; 2] = [NAMED, "/run/docker/netns"];

/// Namespaces and where each can be opened.
pub type Places = BTreeMap<Netns, PathBuf>;

/// Every namespace but `own` that can be found: of processes that may be looked into, and those kept by name. And whether there
/// are processes that may not be looked into, whose namespaces are not known.
pub fn discover(procfs: &ProcFs, kept: &[&Path], own: Option<Netns>) -> io::Result<(Places, bool)> {
    let mut places = Places::new();
    for directory in kept {
        // Most machines have no such directory, and an entry may be gone.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if let Some(netns) = inode(&entry.path()) {
                places.entry(netns).or_insert_with(|| entry.path());
            }
        }
    }
    let (of_processes, closed) = procfs.namespaces()?;
    for (pid, netns) in of_processes {
        places.entry(netns).or_insert_with(|| procfs.path().join(format!("{pid}/ns/net")));
    }
    if let Some(own) = own {
        places.remove(&own);
    }
    Ok((places, closed))
}

/// The namespace behind a file; `None` when the file keeps none.
pub fn inode(path: &Path) -> Option<Netns> {
    of_file(&std::fs::metadata(path).ok()?)
}

/// nsfs files lie on the kernel's own mount without a device, which no other file here does; a namespace that was
/// taken down leaves an empty file of the directory's own file system behind.
fn of_file(metadata: &std::fs::Metadata) -> Option<Netns> {
    let nsfs = std::fs::metadata("/proc/self/ns/net").ok()?.dev();
    (metadata.dev() == nsfs).then(|| u32::try_from(metadata.ino()).ok().map(Netns)).flatten()
}

/// Namespaces with the names that `ip netns` gives them.
pub fn names(kept: &Path) -> BTreeMap<Netns, String> {
    let entries = std::fs::read_dir(kept).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((inode(&entry.path())?, entry.file_name().to_string_lossy().into_owned())))
        .collect()
}

/// Why a namespace could not be looked into.
#[derive(Debug, thiserror::Error)]
#[error("network namespace {netns} could not be entered: {error}")]
pub struct EnterError {
    /// Which.
    pub netns: Netns,
    /// errno.
    pub error: io::Error,
}

/// Calls `look` inside each namespace, one after the other. One that is gone is passed over; the first that may not
/// be entered ends it, for then none may be.
pub fn visit(places: &Places, look: &mut (dyn FnMut(Netns) + Send)) -> Result<(), EnterError> {
    if places.is_empty() {
        return Ok(());
    }
    let visited = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
            for (&netns, path) in places {
                let Ok(file) = File::open(path) else { continue };
                // A pid may have passed to another process since.
                if file.metadata().ok().as_ref().and_then(of_file) != Some(netns) {
                    continue;
                }
                setns(&file, CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| EnterError { netns, error: errno.into() })?;
                look(netns);
            }
            Ok(())
        });
        thread.map(std::thread::ScopedJoinHandle::join)
    });
    match visited {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Ok(()),
        Err(error) => Err(EnterError { netns: Netns(0), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_keeps_no_namespace_is_none() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("left-behind"), "").unwrap();
        assert_eq!(inode(&directory.path().join("left-behind")), None);
        assert_eq!(inode(&directory.path().join("absent")), None);
        assert!(inode(Path::new("/proc/self/ns/net")).is_some());
        assert_ne!(inode(Path::new("/proc/self/ns/net")), None);
    }

    #[test]
    fn a_namespace_of_another_process_is_found_and_entered_and_ours_is_left_out() {
        if !nix::unistd::geteuid().is_root() {
            assert!(
                std::env::var_os("PORTWATCH_REQUIRE").is_none(),
                "only root makes a namespace and enters it"
            );
            eprintln!("SKIPPED: only root makes a namespace and enters it");
            return;
        }
        let mut sleeper = match std::process::Command::new("unshare")
            .args(["--net", "sleep", "1000"])
            .stdout(std::process::Stdio::null())
            .spawn()
        {
            Ok(child) => child,
            Err(error) => panic!("unshare of util-linux: {error}"),
        };
        let own = inode(Path::new("/proc/self/ns/net"));
        let theirs = || inode(&PathBuf::from(format!("/proc/{}/ns/net", sleeper.id())));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while theirs() == own {
            assert!(std::time::Instant::now() < deadline, "unshare needs root: {:?}", theirs());
            std::thread::yield_now();
        }
        let theirs = theirs().unwrap();
        let procfs = ProcFs::open(Path::new("/proc")).unwrap();
        let (places, _) = discover(&procfs, &[], own).unwrap();
        assert!(places.contains_key(&theirs), "{places:?}");
        assert!(!places.contains_key(&own.unwrap()));
        let only: Places = places.into_iter().filter(|(netns, _)| *netns == theirs).collect();
        let mut seen = Vec::new();
        visit(&only, &mut |netns| {
            seen.push((netns, inode(Path::new("/proc/thread-self/ns/net"))));
        })
        .unwrap();
        assert_eq!(seen, [(theirs, Some(theirs))]);
        assert_eq!(inode(Path::new("/proc/thread-self/ns/net")), own, "this thread stayed where it was");
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        visit(&only, &mut |netns| panic!("{netns} is gone")).unwrap();
    }
}
