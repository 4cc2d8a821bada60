//! Loss on purpose.
#![expect(clippy::unwrap_used, reason = "a scenario asserts")]

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, time::Duration};

use portwatch::{
    model::Seen,
    source::ebpf::{HookChoice, LoadOptions},
};

use crate::kernel::{
    Outcome, Watch,
    child::{Role, TURNS},
    watch::me,
};

/// A cgroup of its own, removed when it is dropped: programs attached to it see nothing else.
struct OwnCgroup {
    path: PathBuf,
}

impl OwnCgroup {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = mounts.lines().find(|l| l.contains(" - cgroup2 ")).and_then(|l| l.split(' ').nth(4));
        let path = PathBuf::from(root.unwrap()).join(format!("portwatch-test-{}", me()));
        fs::create_dir(&path).unwrap();
        Self { path }
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

pub(super) fn what_is_lost_is_counted_exactly_and_followed_by_the_truth(hooks: HookChoice) -> Outcome {
    let cgroup = OwnCgroup::new();
    let cgroup_path = Some(cgroup.path.clone());
    // The id of a group is the inode of its directory, on every 64-bit kernel since 5.5 (`kernfs_node.id`).
    let group = fs::metadata(&cgroup.path).unwrap().ino();
    let options = LoadOptions { hooks, ring_bytes: 4096, cgroup: cgroup_path, ..LoadOptions::default() };
    let mut watch = Watch::with(&options);
    let mut busy = Role::BindOften.start_in(&cgroup.path).unwrap();
    assert!(busy.wait().unwrap().success());
    let pid = busy.id();
    // Told when it was not lost itself; the buffer is emptied by then at any rate.
    for _ in 0..20 {
        watch.take(Duration::from_millis(5));
    }
    let (mut binds, mut listens, mut closes, mut exits, mut gaps) = (0, 0, 0, 0, 0);
    for (at, seen) in watch.seen.iter().enumerate() {
        match seen {
            Seen::Bound(event) => {
                assert_eq!(event.socket.cgroup_id, Some(group), "who binds is in our group");
                binds += 1;
            }
            Seen::Listening(event) => {
                assert_eq!(event.socket.cgroup_id, Some(group), "who listens is in our group");
                listens += 1;
            }
            Seen::Closed(_) => closes += 1,
            Seen::Exited(e) if e.process.pid == pid => exits += 1,
            Seen::Gap { lost, .. } => {
                gaps += 1;
                binds += lost.bind;
                listens += lost.listen;
                closes += lost.close;
                exits += lost.exit;
                let next = watch.seen.iter().skip(at).find(|s| matches!(s, Seen::Snapshot(_)));
                assert!(next.is_some(), "a gap is followed by a snapshot");
            }
            _ => {}
        }
    }
    assert!(gaps > 0, "a page holds a few records only");
    assert_eq!((binds, listens, closes), (TURNS, TURNS, TURNS));
    assert!(exits <= 1);
    Outcome::Held
}
