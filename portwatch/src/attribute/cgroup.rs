//! Control groups: `/proc/PID/cgroup` on unified, hybrid and version 1 machines.

use std::{
    num::NonZeroUsize,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use lru::LruCache;

use super::placement;
use crate::model::{Cgroup, Placement};

/// v1 hierarchies from most to least telling. systemd's names the unit; container engines that manage groups
/// themselves set the others.
const V1_ORDER: [&str; 6] = ["name=systemd", "pids", "memory", "cpu", "devices", "freezer"];

/// The paths in one `/proc/PID/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Membership {
    /// Path in the version 2 hierarchy.
    pub(super) unified: Option<String>,
    /// The most telling path.
    pub(super) telling: Option<String>,
    /// What all paths together say.
    pub(super) placement: Placement,
}

impl Membership {
    /// Parses lines of `hierarchy:controllers:path` (cgroups(7)).
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut unified = None;
        let mut v1: Vec<(&str, &str)> = Vec::new();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            // A group that was removed under its last process.
            let path = path.strip_suffix(" (deleted)").unwrap_or(path);
            if number == "0" && controllers.is_empty() {
                unified = Some(path);
            } else {
                v1.push((controllers, path));
            }
        }
        let below_root = |path: &&str| *path != "/";
        let ranked = V1_ORDER.iter().find_map(|wanted| {
            v1.iter().filter(|(c, _)| c.split(',').any(|c| c == *wanted)).map(|(_, p)| *p).find(below_root)
        });
        let telling = unified
            .filter(below_root)
            .or(ranked)
            .or_else(|| v1.iter().map(|(_, p)| *p).find(below_root))
            .or(unified)
            .or_else(|| v1.first().map(|(_, p)| *p));
        // Where systemd manages the groups it names the unit; an engine may have set the others only.
        let systemd = v1.iter().find(|(c, _)| c.split(',').any(|c| c == V1_ORDER[0])).map(|(_, p)| *p);
        let mut placement = Placement::default();
        for path in unified.into_iter().chain(systemd).chain(v1.iter().map(|(_, p)| *p)) {
            let said = placement::of(path);
            if placement.container.is_none() && said.container.is_some() {
                placement = said;
            } else if placement == Placement::default() {
                placement.unit = said.unit;
            }
        }
        Self { unified: unified.map(str::to_owned), telling: telling.map(str::to_owned), placement }
    }
}

/// A group and what it says.
pub(super) type Group = (Cgroup, Placement);

/// Paths and ids. An id is a 64-bit inode that the kernel does not use twice between boots, so that a path
/// learnt from one process serves another that is gone.
#[derive(Debug)]
pub(super) struct Cgroups {
    mount: Option<PathBuf>,
    paths: LruCache<u64, String>,
}

impl Cgroups {
    /// `root` is `/sys/fs/cgroup` or a copy of it.
    pub(super) fn new(root: &Path) -> Self {
        let mount =
            [root.to_owned(), root.join("unified")].into_iter().find(|m| m.join("cgroup.procs").exists());
        Self { mount, paths: LruCache::new(NonZeroUsize::MIN.saturating_add(1023)) }
    }

    /// The group of a process whose `/proc/PID/cgroup` could be read.
    pub(super) fn of(&mut self, membership: Membership, id: Option<u64>) -> Option<Group> {
        let id = match (&membership.unified, id) {
            (Some(path), Some(id)) => {
                self.note(id, path);
                Some(id)
            }
            (Some(path), None) => self.id_of(path).inspect(|&id| self.note(id, path)),
            (None, id) => id,
        };
        Some((Cgroup { id, path: membership.telling? }, membership.placement))
    }

    /// The group of a process that is gone.
    pub(super) fn by_id(&mut self, id: u64) -> Group {
        let path = self.paths.get(&id).cloned().unwrap_or_default();
        let placement = placement::of(&path);
        (Cgroup { id: Some(id), path }, placement)
    }

    /// Whether the path of an id is known.
    pub(super) fn knows(&self, id: u64) -> bool {
        self.paths.contains(&id)
    }

    fn note(&mut self, id: u64, path: &str) {
        if self.paths.get(&id).is_none_or(|known| known != path) {
            self.paths.put(id, path.to_owned());
        }
    }

    fn id_of(&self, path: &str) -> Option<u64> {
        // `/../x` is a group outside the observer's cgroup namespace: it has no name below the mount.
        if path.split('/').any(|part| part == "..") {
            return None;
        }
        let directory = self.mount.as_ref()?.join(path.trim_start_matches('/'));
        directory.metadata().ok().map(|m| m.ino())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A login shell where systemd has the unified hierarchy (systemd.slice(5), cgroups(7)).
    const UNIFIED: &[u8] = b"0::/user.slice/user-1000.slice/session-3.scope\n";
    /// Captured in a group made by hand on a 6.18 machine where the unified hierarchy holds no controllers;
    /// the container's name is shortened.
    const HYBRID: &[u8] = b"9:name=systemd:/probe.slice\n8:pids:/\n7:blkio:/\n6:freezer:/\n5:devices:/\n\
        4:memory:/engine/061e\n3:cpuset:/\n2:cpuacct:/\n1:cpu:/\n0::/\n";

    fn telling(bytes: &[u8]) -> Option<String> {
        Membership::parse(bytes).telling
    }

    #[test]
    fn the_unified_path_is_taken_where_it_says_something() {
        assert_eq!(telling(UNIFIED).as_deref(), Some("/user.slice/user-1000.slice/session-3.scope"));
        assert_eq!(telling(b"2:pids:/docker/abc\n0::/system.slice\n").as_deref(), Some("/system.slice"));
    }

    #[test]
    fn on_a_hybrid_machine_systemds_path_is_taken_where_the_unified_one_is_the_root() {
        let membership = Membership::parse(HYBRID);
        assert_eq!(membership.telling.as_deref(), Some("/probe.slice"));
        assert_eq!(membership.unified.as_deref(), Some("/"));
        let unused = String::from_utf8_lossy(HYBRID).replace("probe.slice", "");
        assert_eq!(telling(unused.as_bytes()).as_deref(), Some("/engine/061e"));
    }

    #[test]
    fn on_a_version_1_machine_a_container_engines_path_is_found_behind_shared_controllers() {
        let membership = Membership::parse(b"5:cpuset:/\n4:cpu,cpuacct:/docker/9f\n1:name=systemd:/\n");
        assert_eq!(membership.telling.as_deref(), Some("/docker/9f"));
        assert_eq!(membership.unified, None);
    }

    #[test]
    fn unit_and_container_may_be_told_by_different_hierarchies() {
        let id = "818bd0bbdacb9bbb063a630afeb6bd12b578d5a3aab13bac726cd596a3e7cbba";
        let said = |text: String| {
            let placement = Membership::parse(text.as_bytes()).placement;
            (placement.unit.map(|u| u.name), placement.container.map(|c| c.id))
        };
        let id = Some(id.to_owned());
        let docker = format!("/docker/{}", id.as_deref().unwrap());
        assert_eq!(said(format!("4:pids:{docker}\n1:name=systemd:/\n0::/\n")), (None, id.clone()));
        assert_eq!(said(format!("4:pids:{docker}\n1:name=systemd:/a.service\n")), (None, id));
        let unit = Some("a.service".to_owned());
        assert_eq!(said("4:pids:/\n1:name=systemd:/system.slice/a.service\n0::/\n".to_owned()), (unit, None));
        // Only systemd names units: a group of the same name elsewhere counts where systemd says nothing.
        let both = "4:pids:/b.service\n1:name=systemd:/a.service\n".to_owned();
        assert_eq!(said(both).0.as_deref(), Some("a.service"));
    }

    #[test]
    fn a_path_may_hold_colons_and_a_removed_group_keeps_its_name() {
        assert_eq!(telling(b"0::/a:b (deleted)\n").as_deref(), Some("/a:b"));
        assert_eq!(telling(b""), None);
    }

    #[test]
    fn the_id_is_the_inode_and_serves_later_when_only_the_id_is_known() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("unified/app")).unwrap();
        std::fs::write(dir.path().join("unified/cgroup.procs"), "").unwrap();
        let ino = dir.path().join("unified/app").metadata().unwrap().ino();
        let mut cgroups = Cgroups::new(dir.path());
        let unknown = Cgroup { id: Some(ino), path: String::new() };
        assert_eq!(cgroups.by_id(ino), (unknown, Placement::default()));
        let group = cgroups.of(Membership::parse(b"0::/app\n"), None).unwrap();
        assert_eq!(group.0, Cgroup { id: Some(ino), path: "/app".into() });
        assert_eq!(cgroups.by_id(ino), group);
        assert_eq!(cgroups.of(Membership::parse(b"0::/../app\n"), None).unwrap().0.id, None);
    }
}
