//! Control groups: `/proc/PID/cgroup` on unified, hybrid and version 1 machines.

use std::{
    fs::Metadata,
    num::NonZeroUsize,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use lru::LruCache;

use super::placement;
use crate::model::{Cgroup, Maker, Placement};

/// v1 hierarchies from most to least telling. systemd's names the unit; container engines that manage groups
/// themselves set the others.
const V1_ORDER: [&str; 6] = ["name=systemd", "pids", "memory", "cpu", "devices", "freezer"];

/// `/proc/sys/kernel/overflowuid`, unless somebody has changed it.
const UNMAPPED: u32 = 65534;

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
    /// Parses lines of `hierarchy:controllers:path` (cgroups(7)). `maker` tells who could have made a group in another, by
    /// the hierarchy's controllers (none for version 2) and the steps to that other.
    pub(super) fn parse(bytes: &[u8], maker: &dyn Fn(&str, &[&str]) -> Maker) -> Self {
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
        let systemd = v1.iter().find(|(c, _)| c.split(',').any(|c| c == V1_ORDER[0]));
        let mut placement = Placement::default();
        for (controllers, path) in unified.map(|path| ("", path)).iter().chain(systemd).chain(&v1) {
            let outside = path.split('/').any(|part| part == "..");
            let said = placement::of(path, &|above| {
                if outside { Maker::Unknown } else { maker(controllers, above) }
            });
            if placement.container.is_none() && said.container.is_some() {
                placement = said;
            } else if placement.container.is_none() {
                placement.unit = placement.unit.or(said.unit);
                placement.unproven = placement.unproven.or(said.unproven);
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
    root: PathBuf,
    mount: Option<PathBuf>,
    known: LruCache<u64, (String, Placement)>,
}

impl Cgroups {
    /// `root` is `/sys/fs/cgroup` or a copy of it.
    pub(super) fn new(root: &Path) -> Self {
        let mount =
            [root.to_owned(), root.join("unified")].into_iter().find(|m| m.join("cgroup.procs").exists());
        Self { root: root.to_owned(), mount, known: LruCache::new(NonZeroUsize::MIN.saturating_add(1023)) }
    }

    /// The group of a process with this `/proc/PID/cgroup`.
    pub(super) fn of(&mut self, bytes: &[u8], id: Option<u64>) -> Option<Group> {
        let membership = Membership::parse(bytes, &|controllers, above| self.maker(controllers, above));
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
        let (path, placement) = self.known.get(&id).cloned().unwrap_or_default();
        (Cgroup { id: Some(id), path }, placement)
    }

    /// Whether the path of an id is known.
    pub(super) fn knows(&self, id: u64) -> bool {
        self.known.contains(&id)
    }

    /// While it is there: who made a group cannot be told once those above it are gone.
    fn note(&mut self, id: u64, path: &str) {
        if self.known.get(&id).is_none_or(|(known, _)| known != path) {
            let placement = Membership::parse(format!("0::{path}").as_bytes(), &|controllers, above| {
                self.maker(controllers, above)
            });
            self.known.put(id, (path.to_owned(), placement.placement));
        }
    }

    /// Who can make a group in the one with these steps: whoever may write there or to one above it.
    fn maker(&self, controllers: &str, above: &[&str]) -> Maker {
        let mount = match controllers {
            "" => self.mount.clone(),
            named => Some(self.root.join(named.strip_prefix("name=").unwrap_or(named))),
        };
        let Some(mut directory) = mount else { return Maker::Unknown };
        let Ok(root) = directory.metadata() else { return Maker::Unknown };
        if is_open(&root) {
            return Maker::Unknown;
        }
        let mut maker = Maker::System;
        for step in above {
            directory.push(step);
            let Ok(group) = directory.symlink_metadata() else { return Maker::Unknown };
            let user = (group.uid() != root.uid()).then_some(Maker::User(group.uid()));
            maker = match (maker, user) {
                _ if is_open(&group) => return Maker::Unknown,
                (Maker::System, Some(user)) => user,
                (maker, Some(user)) if maker != user => return Maker::Unknown,
                (maker, _) => maker,
            };
        }
        maker
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

/// Whether it cannot be told who may make a group in this one: it is writable for a group of users or for all, or owned by
/// somebody whom the observer's user namespace does not know, who may be anybody (user_namespaces(7)).
fn is_open(group: &Metadata) -> bool {
    group.mode() & 0o022 != 0 || group.uid() == UNMAPPED
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

    /// Where everything is root's.
    fn parse(bytes: &[u8]) -> Membership {
        Membership::parse(bytes, &|_, _| Maker::System)
    }

    fn telling(bytes: &[u8]) -> Option<String> {
        parse(bytes).telling
    }

    #[test]
    fn the_unified_path_is_taken_where_it_says_something() {
        assert_eq!(telling(UNIFIED).as_deref(), Some("/user.slice/user-1000.slice/session-3.scope"));
        assert_eq!(telling(b"2:pids:/docker/abc\n0::/system.slice\n").as_deref(), Some("/system.slice"));
    }

    #[test]
    fn on_a_hybrid_machine_systemds_path_is_taken_where_the_unified_one_is_the_root() {
        let membership = parse(HYBRID);
        assert_eq!(membership.telling.as_deref(), Some("/probe.slice"));
        assert_eq!(membership.unified.as_deref(), Some("/"));
        let unused = String::from_utf8_lossy(HYBRID).replace("probe.slice", "");
        assert_eq!(telling(unused.as_bytes()).as_deref(), Some("/engine/061e"));
    }

    #[test]
    fn on_a_version_1_machine_a_container_engines_path_is_found_behind_shared_controllers() {
        let membership = parse(b"5:cpuset:/\n4:cpu,cpuacct:/docker/9f\n1:name=systemd:/\n");
        assert_eq!(membership.telling.as_deref(), Some("/docker/9f"));
        assert_eq!(membership.unified, None);
    }

    #[test]
    fn unit_and_container_may_be_told_by_different_hierarchies() {
        let id = "818bd0bbdacb9bbb063a630afeb6bd12b578d5a3aab13bac726cd596a3e7cbba";
        let said = |text: String| {
            let placement = parse(text.as_bytes()).placement;
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
        let group = cgroups.of(b"0::/app\n", None).unwrap();
        assert_eq!(group.0, Cgroup { id: Some(ino), path: "/app".into() });
        assert_eq!(cgroups.by_id(ino), group);
        assert_eq!(cgroups.of(b"0::/../app\n", None).unwrap().0.id, None);
    }
    #[test]
    fn a_container_is_believed_where_all_groups_above_it_belong_to_the_owner_of_the_hierarchy() {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        let dir = tempfile::tempdir().unwrap();
        let id = "818bd0bbdacb9bbb063a630afeb6bd12b578d5a3aab13bac726cd596a3e7cbba";
        for group in ["memory/docker", "unified/own/docker"] {
            std::fs::create_dir_all(dir.path().join(group)).unwrap();
        }
        std::fs::write(dir.path().join("unified/cgroup.procs"), "").unwrap();
        let mut cgroups = Cgroups::new(dir.path());
        let mut placed = |text: String| {
            let placement = cgroups.of(text.as_bytes(), None).unwrap().1;
            (placement.container.map(|c| c.id), placement.unproven.map(|u| u.maker))
        };
        let proven = (Some(id.to_owned()), None);
        let below = format!("0::/own/docker/{id}\n");
        assert_eq!(placed(below.clone()), proven);
        assert_eq!(placed(format!("4:memory:/docker/{id}\n0::/\n")), proven);
        // The group itself may belong to who is root in the container.
        assert_eq!(placed(format!("0::/own/docker-{id}.scope/init.scope\n")), proven);
        // Nobody can tell who made what is not there, or what lies outside.
        for unseen in [format!("0::/gone/docker-{id}.scope\n"), format!("0::/../docker-{id}.scope\n")] {
            assert_eq!(placed(unseen), (None, Some(Maker::Unknown)));
        }
        let own = dir.path().join("unified/own");
        let mode = |mode| std::fs::set_permissions(&own, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o775);
        assert_eq!(placed(below.clone()), (None, Some(Maker::Unknown)), "a group of users may write");
        mode(0o755);
        if !crate::platform::user::is_privileged() {
            return;
        }
        chown(&own, Some(1000), None).unwrap();
        assert_eq!(placed(below.clone()), (None, Some(Maker::User(1000))));
        // What another hierarchy proves stands.
        let both = format!("4:memory:/docker/{id}\n0::/own/docker/{}\n", "a".repeat(64));
        assert_eq!(placed(both), proven);
        chown(own.join("docker"), Some(1001), None).unwrap();
        assert_eq!(placed(below.clone()), (None, Some(Maker::Unknown)), "of several users");
        for whole in [&own, &own.join("docker")] {
            chown(whole, Some(UNMAPPED), None).unwrap();
        }
        assert_eq!(placed(below.clone()), (None, Some(Maker::Unknown)), "of anybody outside");
        for whole in [dir.path().join("unified"), own.clone(), own.join("docker")] {
            chown(whole, Some(UNMAPPED), None).unwrap();
        }
        assert_eq!(placed(below.clone()), (None, Some(Maker::Unknown)), "so may the hierarchy be");
        for whole in [dir.path().join("unified"), own.clone(), own.join("docker")] {
            chown(whole, Some(0), None).unwrap();
        }
        assert_eq!(placed(below.clone()), proven);
        let all = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(dir.path().join("unified"), all).unwrap();
        assert_eq!(placed(below), (None, Some(Maker::Unknown)), "all may write to the hierarchy");
    }
}
