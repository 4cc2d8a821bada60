//! Whose word counts for what: the one rule by which a process is said to be in a container that an engine names.
//!
//! Whoever has control groups of their own (delegation, cgroups(7)) gives those below any name, also that of another's
//! container. So a name counts where only the system can have made the group; else an engine must say so that runs as the very
//! user who can have made it, or as root, whose container's first process is in that group then.

use super::Running;
use crate::model::Maker;

impl Running {
    /// Whether its engine is the system's and no user's own.
    pub fn is_systems(&self) -> bool {
        matches!(self.uid, None | Some(0))
    }

    /// The user whose own engine runs it.
    pub fn owner(&self) -> Option<u32> {
        self.uid.filter(|&uid| uid != 0)
    }

    /// Whether a process is in it whose control group has its name. `maker` is who can have made that group; `first` and
    /// `process` give `/proc/PID/cgroup` of the container's first process and of this one, and are asked for where they decide.
    pub fn vouches(
        &self,
        maker: Maker,
        first: impl FnOnce() -> Option<String>,
        process: impl FnOnce() -> Option<String>,
    ) -> bool {
        match maker {
            Maker::System => self.is_systems(),
            Maker::User(user) if self.uid == Some(user) => true,
            Maker::Container | Maker::User(_) | Maker::Unknown => {
                self.is_systems() && self.has_within(first, process)
            }
        }
    }

    /// Whether a process is in the group of the container's first process: what is ended for it is looked at so.
    pub fn has_within(
        &self,
        first: impl FnOnce() -> Option<String>,
        process: impl FnOnce() -> Option<String>,
    ) -> bool {
        let within = |(first, process): (String, String)| is_within(&self.container.id, &first, &process);
        first().zip(process()).is_some_and(within)
    }

    /// Whether a program of this user may be what forwards to it: an engine's helpers run as the engine does. Names of
    /// programs and their arguments are anybody's to choose.
    pub fn has_helper(&self, uid: Option<u32>) -> bool {
        self.uid.is_none() || self.uid == uid
    }
}

/// Whether a process is in the groups of a container's first process, or below (both are `/proc/PID/cgroup`).
fn is_within(id: &str, first: &str, process: &str) -> bool {
    let path = |line: &'_ str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let mut containers = first.lines().filter_map(|line| {
        let (hierarchy, path) = (line.split(':').next()?, path(line)?);
        let after = path.find(id)? + id.len();
        let end = path.get(after..)?.find('/').map_or(path.len(), |more| after + more);
        Some((hierarchy, path.get(..end)?.to_owned()))
    });
    let here = |(hierarchy, container): (&str, String)| {
        let theirs = process.lines().find(|line| line.split(':').next() == Some(hierarchy)).and_then(path);
        let below = theirs.as_deref().and_then(|theirs| theirs.strip_prefix(&container).map(str::to_owned));
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    let mut any = false;
    containers.all(|container| {
        any = true;
        here(container)
    }) && any
}

#[cfg(test)]
mod tests {
    use super::{super::*, is_within};
    use crate::model::Maker;

    const ID: &str = "8133c8f7e08ccb075ee12979caafe3e86a38eb96465ec7d9e14925492a2fe457";

    #[test]
    fn a_users_engine_speaks_for_groups_of_that_user_and_roots_for_its_own() {
        let of = |uid| Running {
            container: Container {
                engine: Some(Engine::Docker),
                id: ID.to_owned(),
                pod: None,
                name: Some("web".to_owned()),
                image: None,
                compose: None,
                owner: None,
            },
            uid,
            first: None,
            netns: None,
            addresses: Vec::new(),
            published: Vec::new(),
        };
        let first = format!("0::/system.slice/docker-{ID}.scope\n");
        let forged = format!("0::/user.slice/user-1000.slice/user@1000.service/docker-{ID}.scope\n");
        let says = |uid, maker, process: &str| {
            of(uid).vouches(maker, || Some(first.clone()), || Some(process.to_owned()))
        };
        for roots in [Some(0), None] {
            assert!(says(roots, Maker::System, ""));
            for maker in [Maker::User(1000), Maker::Container, Maker::Unknown] {
                assert!(!says(roots, maker, &forged), "{maker:?}");
                assert!(says(roots, maker, &first), "{maker:?}");
            }
        }
        assert!(says(Some(1000), Maker::User(1000), &forged), "a rootless engine");
        for maker in [Maker::System, Maker::User(1001), Maker::Container, Maker::Unknown] {
            assert!(!says(Some(1000), maker, &first), "{maker:?}");
        }
        assert!(!of(Some(0)).vouches(Maker::User(1000), || None, || Some(first.clone())), "nobody knows");
        assert!(of(Some(0)).has_helper(Some(0)) && of(Some(1000)).has_helper(Some(1000)));
        assert!(!of(Some(0)).has_helper(Some(1000)) && !of(Some(0)).has_helper(None));
        assert!(of(None).has_helper(Some(501)), "where engines run in a machine of their own");
    }

    #[test]
    fn a_group_is_a_containers_by_where_it_is_and_not_by_its_name() {
        let id = ID;
        let unified = |path: &str| format!("0::{path}\n");
        let first = unified(&format!("/system.slice/docker-{id}.scope"));
        let within = |path: String| is_within(id, &first, &unified(&path));
        assert!(within(format!("/system.slice/docker-{id}.scope")));
        assert!(within(format!("/system.slice/docker-{id}.scope/init.scope")), "made inside");
        let own = "/user.slice/user-1000.slice/user@1000.service";
        assert!(!within(format!("{own}/app.slice/docker-{id}.scope")), "a user's own group of that name");
        assert!(!within(format!("{own}/system.slice/docker-{id}.scope")));
        assert!(!within(format!("/system.slice/docker-{id}.scope.d")));
        // Its first process may have made itself a group inside.
        let inside = unified(&format!("/system.slice/docker-{id}.scope/init.scope"));
        assert!(is_within(
            id,
            &inside,
            &unified(&format!("/system.slice/docker-{id}.scope/system.slice/a.service"))
        ));
        // Version 1: in each hierarchy that the engine manages; captured from Docker 20.10.
        let first = format!("9:name=systemd:/docker/{id}\n4:memory:/docker/{id}\n1:cpu:/\n0::/docker/{id}\n");
        assert!(is_within(id, &first, &first.replace("cpu:/", "cpu:/other")));
        assert!(!is_within(
            id,
            &first,
            &format!("9:name=systemd:/\n4:memory:/mine/docker/{id}\n1:cpu:/\n0::/\n")
        ));
        assert!(!is_within(id, &first, &first.replace("0::/docker", "0::/mine/docker")));
        assert!(!is_within(id, "", &first) && !is_within(id, "0::/\n", "0::/\n"), "nothing is known of it");
    }
}
