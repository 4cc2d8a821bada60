//! On small trees made by hand. The form of each file is that of Linux 6.18.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, Instant},
};

use super::{Found, HolderSearch, ProcFs, Search, Wanted};
use crate::model::{Owner, ProcessId};

/// A process of the tree.
fn process(root: &Path, pid: u32, parent: u32, comm: &str, sockets: &[(u32, u64)]) {
    let dir = root.join(pid.to_string());
    fs::create_dir_all(dir.join("fd")).unwrap();
    fs::create_dir_all(dir.join(format!("task/{pid}"))).unwrap();
    let stat = format!(
        "{pid} ({comm}) S {parent} {pid} {pid} 0 -1 4194304 93 0 0 0 0 0 0 0 20 0 1 0 {} 5742592 211\n",
        ticks(pid)
    );
    fs::write(dir.join("stat"), stat).unwrap();
    fs::write(dir.join("cmdline"), format!("/bin/{comm}\0--x\0")).unwrap();
    fs::write(dir.join("status"), "Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t100\t0\t0\t0\n").unwrap();
    symlink("/dev/null", dir.join("fd/0")).unwrap();
    symlink("anon_inode:[eventpoll]", dir.join("fd/1")).unwrap();
    for (fd, inode) in sockets {
        symlink(format!("socket:[{inode}]"), dir.join(format!("fd/{fd}"))).unwrap();
    }
    let siblings = root.join(format!("{parent}/task/{parent}/children"));
    if root.join(parent.to_string()).exists() {
        let known = fs::read_to_string(&siblings).unwrap_or_default();
        fs::write(siblings, format!("{known}{pid} ")).unwrap();
    }
}

fn ticks(pid: u32) -> u64 {
    u64::from(pid) * 100
}

fn found(pid: u32, fd: u32) -> Found {
    Found { process: ProcessId { pid, start_ticks: ticks(pid) }, fd }
}

fn look(root: &Path, inode: u64, known: &[Found], mode: HolderSearch) -> Search {
    let known = HashMap::from([(inode, known.to_vec())]);
    ProcFs::open(root).unwrap().holders(&[Wanted { inode, uid: None }], &known, mode, None).unwrap()
}

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    process(root, 1, 0, "init", &[]);
    process(root, 10, 1, "launcher", &[]);
    process(root, 20, 10, "server", &[(3, 77), (5, 77), (6, 78)]);
    process(root, 21, 20, "worker) Z 1 (", &[(9, 77)]);
    process(root, 22, 10, "brother", &[(4, 77)]);
    process(root, 30, 1, "stranger", &[(4, 79), (7, 77)]);
    fs::write(root.join("loadavg"), "0.1 0.2 0.3 1/7 30\n").unwrap();
    tree
}

#[test]
fn all_holders_are_found_each_once() {
    let tree = tree();
    let search = look(tree.path(), 77, &[], HolderSearch::All);
    assert_eq!(search.found[&77].len(), 4);
    assert_eq!(search.found[&77][0], found(20, search.found[&77][0].fd));
    assert_eq!(search.found[&77][1..], [found(21, 9), found(22, 4), found(30, 7)]);
    assert_eq!(search.owner(77), Owner::Known);
}

#[test]
fn a_known_holder_brings_its_family_and_no_walk() {
    let tree = tree();
    let search = look(tree.path(), 77, &[found(20, 5)], HolderSearch::First);
    assert_eq!(search.found[&77], [found(20, 5), found(21, 9), found(22, 4)]);
}

#[test]
fn a_pid_that_was_reused_is_not_the_holder() {
    let tree = tree();
    let mut procfs = ProcFs::open(tree.path()).unwrap();
    assert!(procfs.confirm(77, found(21, 9)));
    let earlier = Found { process: ProcessId { pid: 21, start_ticks: 1 }, fd: 9 };
    assert!(!procfs.confirm(77, earlier), "another start time");
    assert!(!procfs.confirm(78, found(21, 9)), "another socket under this descriptor");
    assert!(!procfs.confirm(77, found(99, 9)), "no such process");
}

#[test]
fn a_known_holder_that_is_gone_leads_to_a_walk() {
    let tree = tree();
    fs::remove_dir_all(tree.path().join("20")).unwrap();
    let search = look(tree.path(), 77, &[found(20, 5)], HolderSearch::First);
    assert_eq!(search.found[&77], [found(30, 7)], "the newest process first; it has no family");
}

#[test]
fn a_socket_without_any_descriptor_has_no_process_when_everything_could_be_read() {
    let tree = tree();
    let search = look(tree.path(), 4711, &[], HolderSearch::First);
    assert_eq!(search.owner(4711), Owner::NoProcess);
}

#[test]
fn a_process_that_vanishes_during_the_walk_is_skipped() {
    let tree = tree();
    // A zombie still has its directory, and no descriptors.
    fs::remove_dir_all(tree.path().join("21/fd")).unwrap();
    // One that ends between the two reads has no stat any more.
    fs::remove_file(tree.path().join("22/stat")).unwrap();
    let search = look(tree.path(), 77, &[], HolderSearch::All);
    let pids: Vec<u32> = search.found[&77].iter().map(|f| f.process.pid).collect();
    assert_eq!(pids, [20, 30]);
    assert_eq!(search.owner(4711), Owner::NoProcess);
}

#[test]
fn where_only_some_processes_are_shown_a_missing_holder_is_not_permitted() {
    let tree = tree();
    // hidepid=2 hides everybody else's processes, pid 1 among them.
    fs::remove_dir_all(tree.path().join("1")).unwrap();
    assert_eq!(look(tree.path(), 4711, &[], HolderSearch::All).owner(4711), Owner::NotPermitted);
    assert_eq!(look(tree.path(), 77, &[], HolderSearch::All).owner(77), Owner::Known);
}

#[test]
fn an_unreadable_descriptor_folder_is_not_permitted() {
    let tree = tree();
    let folder = tree.path().join("30/fd");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o0)).unwrap();
    if fs::read_dir(&folder).is_ok() {
        eprintln!(
            "SKIPPED: root reads every folder of a plain tree; the scan tests cover it by another user"
        );
        return;
    }
    assert_eq!(look(tree.path(), 79, &[], HolderSearch::All).owner(79), Owner::NotPermitted);
}

#[test]
fn facts_are_those_of_the_process_and_its_parent() {
    let tree = tree();
    let mut procfs = ProcFs::open(tree.path()).unwrap();
    let worker = procfs.process(found(21, 9).process).unwrap();
    assert_eq!(worker.comm, "worker) Z 1 (");
    assert_eq!((worker.parent_pid, worker.parent_comm.as_deref()), (20, Some("server")));
    assert_eq!((worker.uid, worker.gid), (Some(1000), Some(100)), "real ids, not effective ones");
    assert_eq!(worker.command.unwrap().args, ["/bin/worker) Z 1 (", "--x"]);
    assert_eq!(procfs.process(ProcessId { pid: 21, start_ticks: 1 }), None);
}

#[test]
fn a_tree_that_is_not_there_is_an_error() {
    let tree = tempfile::tempdir().unwrap();
    assert!(ProcFs::open(&tree.path().join("none")).is_err());
}

#[test]
fn the_sockets_of_a_process_are_not_looked_at_for_longer_than_there_is_time() {
    let tree = tree();
    let namespaces = tree.path().join("20/ns");
    fs::create_dir(&namespaces).unwrap();
    fs::write(namespaces.join("net"), "").unwrap();
    let mut procfs = ProcFs::open(tree.path()).unwrap();
    let now = Instant::now();
    let (process, _, inodes) = procfs.sockets_of(20, now + Duration::from_mins(1)).unwrap();
    assert_eq!((process.pid, inodes), (20, [77, 78].into()));
    assert_eq!(procfs.sockets_of(20, now), None);
}
