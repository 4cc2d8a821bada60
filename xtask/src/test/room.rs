//! Whether a machine has room for twenty thousand processes at once: pids, and memory.

use std::{fs, path::Path};

/// Those of the largest test, and what else runs.
const NEEDED: u64 = 25_000;

/// What is in the way; `None` where nothing is known to be.
pub(super) fn missing() -> Option<String> {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    if let Some(short) = short_of_memory(&memory) {
        return Some(short);
    }
    let kernel = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].map(str::to_owned);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    first_below(kernel.into_iter().chain(limits(&groups)), |path| fs::read_to_string(path).ok())
}

/// Each of them is a process of a few hundred kilobytes in the kernel and outside.
fn short_of_memory(meminfo: &str) -> Option<String> {
    const NEEDED_KB: u64 = 6 << 20;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    (available < NEEDED_KB)
        .then(|| format!("{available} kB of memory are available, and {NEEDED_KB} are needed"))
}

/// Files with the limits of this process's control groups, theirs and of those above, of both versions.
fn limits(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mounts = match controllers {
            "" => ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].as_slice(),
            "pids" => &["/sys/fs/cgroup/pids"],
            _ => continue,
        };
        for group in Path::new(path).ancestors() {
            files.extend(
                mounts.iter().map(|mount| format!("{mount}{}/pids.max", group.display()).replace("//", "/")),
            );
        }
    }
    files
}

fn first_below(
    files: impl IntoIterator<Item = String>,
    read: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    files.into_iter().find_map(|file| {
        let limit: u64 = read(&file)?.trim().parse().ok()?;
        (limit < NEEDED).then(|| format!("{file} is {limit}, and {NEEDED} are needed"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_groups_above_count_too() {
        let files = limits("9:name=systemd:/\n8:pids:/ci/job\n0::/ci\n");
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/pids/ci/job/pids.max",
                "/sys/fs/cgroup/pids/ci/pids.max",
                "/sys/fs/cgroup/pids/pids.max",
                "/sys/fs/cgroup/ci/pids.max",
                "/sys/fs/cgroup/unified/ci/pids.max",
                "/sys/fs/cgroup/pids.max",
                "/sys/fs/cgroup/unified/pids.max"
            ]
        );
    }

    #[test]
    fn no_limit_is_none_and_a_low_one_is_named() {
        let read = |limit: &str| {
            let limit = limit.to_owned();
            first_below(["f".to_owned()], move |_| Some(limit.clone()))
        };
        assert_eq!(read("max\n"), None);
        assert_eq!(read("32768\n"), None);
        assert_eq!(read("4096\n").as_deref(), Some("f is 4096, and 25000 are needed"));
        assert_eq!(short_of_memory("MemTotal: 9 kB\nMemAvailable:   23000000 kB\n"), None);
        assert!(short_of_memory("MemAvailable:   3000000 kB\n").is_some());
        assert_eq!(first_below(["absent".to_owned()], |_| None), None);
    }
}
