//! Control groups of a test's own.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use nix::unistd::{Uid, chown};

use crate::{DEADLINE, wait_until};

/// A control group of the version 2 hierarchy, taken away when it is empty again, with those above it that are empty then.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    root: PathBuf,
}

impl Group {
    /// Makes it, and those above it that are missing.
    pub fn new(path: &str) -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root = lines.find_map(|line| match line[..] {
            [_, path, "cgroup2", ..] => Some(PathBuf::from(path)),
            _ => None,
        });
        let root = root.context("no hierarchy of version 2 is mounted")?;
        let group = Self { path: root.join(path), root };
        fs::create_dir_all(&group.path)?;
        Ok(group)
    }

    /// Moves a process into it.
    pub fn hold(&self, pid: u32) -> anyhow::Result<()> {
        Ok(fs::write(self.path.join("cgroup.procs"), pid.to_string())?)
    }

    /// Makes it and those above it a user's, as delegation does.
    pub fn give_to(&self, uid: u32) -> anyhow::Result<()> {
        for group in self.path.ancestors().take_while(|group| *group != self.root) {
            chown(group, Some(Uid::from_raw(uid)), None)?;
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let emptied = || fs::remove_dir(&self.path).is_ok().then_some(());
        let _ = wait_until("the group to be empty", DEADLINE, emptied);
        // Those above it, where they were ours.
        for above in self.path.ancestors().skip(1).take_while(|above| *above != self.root) {
            if fs::remove_dir(above).is_err() {
                break;
            }
        }
    }
}

/// Groups of one name in every hierarchy, made by an engine, given to a user, and taken away with this.
#[derive(Debug)]
pub struct Delegated(Vec<PathBuf>);

impl Delegated {
    /// They may not be there yet.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        Ok(Self(crate::docker::cgroups(name)?))
    }

    /// Makes those that are there a user's.
    pub fn give_to(&self, uid: u32) -> anyhow::Result<()> {
        let there: Vec<_> = self.0.iter().filter(|group| group.exists()).collect();
        anyhow::ensure!(!there.is_empty(), "no group was made");
        for group in there {
            chown(group, Some(Uid::from_raw(uid)), None)?;
        }
        Ok(())
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for group in self.0.iter().filter(|group| group.exists()) {
            let emptied = || fs::remove_dir(group).is_ok().then_some(());
            let _ = wait_until("the group to be empty", DEADLINE, emptied);
        }
    }
}
