//! The machine, described without naming it.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::stats::real;

/// Words and values, from the proc tree at `proc`.
pub(super) fn describe(proc: &Path) -> Result<Vec<(String, String)>> {
    let read = |name: &str| {
        let path = proc.join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let cpuinfo = read("cpuinfo")?;
    let field = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let virtual_machine =
        field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let meminfo = read("meminfo")?;
    let memory = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map_or_else(|| "unknown".to_owned(), |kib| format!("{:.1} GiB", real(kib) / f64::from(1 << 20)));
    let load: Vec<String> = read("loadavg")?.split(' ').take(3).map(str::to_owned).collect();
    let model = field("model name").unwrap_or_else(|| "unknown".to_owned());
    let kind = if virtual_machine { " (virtual machine)" } else { "" };
    Ok([
        ("processor", format!("{model}{kind}")),
        ("cores", cores.to_string()),
        ("memory", memory),
        ("kernel", read("sys/kernel/osrelease")?.trim().to_owned()),
        ("load at the start (1, 5, 15 min)", load.join(", ")),
    ]
    .map(|(what, value)| (what.to_owned(), value))
    .to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_described_from_its_proc_tree() {
        let proc = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = proc.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let cpu = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu hypervisor\n\n";
        put("cpuinfo", &format!("{cpu}{cpu}"));
        put("meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");
        put("loadavg", "0.10 0.20 0.30 1/100 4242\n");
        put("sys/kernel/osrelease", "6.18.0\n");
        let described: Vec<String> = describe(proc.path())
            .unwrap()
            .into_iter()
            .map(|(what, value)| format!("{what}={value}"))
            .collect();
        assert_eq!(
            described,
            [
                "processor=Some CPU (virtual machine)",
                "cores=2",
                "memory=16.0 GiB",
                "kernel=6.18.0",
                "load at the start (1, 5, 15 min)=0.10, 0.20, 0.30"
            ]
        );
    }

    #[test]
    fn a_proc_tree_that_is_not_there_is_an_error() {
        assert!(describe(Path::new("/nonexistent")).is_err());
    }
}
