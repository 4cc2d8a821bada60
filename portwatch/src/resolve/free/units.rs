//! systemd units: stopped by their manager, which would start them again otherwise.

use std::{
    io,
    process::{Command, Stdio},
};

use crate::model::{Process, Unit};

/// A unit to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitStop {
    /// Its name, with the socket units that would start it again before it.
    pub names: Vec<String>,
    /// The flags that choose its manager.
    pub manager: Vec<String>,
    /// Its main process.
    pub main: u32,
}

impl UnitStop {
    /// As it is typed.
    pub fn command(&self) -> String {
        let words: Vec<&str> = self.words().collect();
        format!("systemctl {}", words.join(" "))
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let manager = self.manager.iter().map(String::as_str);
        manager.chain(["stop", "--"]).chain(self.names.iter().map(String::as_str))
    }
}

/// What its manager says about a unit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The process is what the unit is for: stop the unit.
    Stop(UnitStop),
    /// The process only runs within it.
    Within,
    /// There is no such manager here.
    NoManager,
}

/// Asks the unit's manager what the process is to it.
pub(super) fn ask(unit: &Unit, process: &Process) -> Told {
    let manager = manager(unit);
    let output = Command::new("systemctl")
        .args(&manager)
        .args(["show", "--property=MainPID,ActiveState,TriggeredBy", "--", &unit.name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            told(&String::from_utf8_lossy(&output.stdout), unit, manager, process)
        }
        _ => Told::NoManager,
    }
}

fn manager(unit: &Unit) -> Vec<String> {
    let me = nix::unistd::geteuid().as_raw();
    match unit.manager {
        None => Vec::new(),
        Some(uid) if uid == me => vec!["--user".to_owned()],
        Some(uid) => vec!["--user".to_owned(), format!("--machine={uid}@")],
    }
}

fn told(text: &str, unit: &Unit, manager: Vec<String>, process: &Process) -> Told {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let main: u32 = value("MainPID").and_then(|pid| pid.parse().ok()).unwrap_or(0);
    if main == 0 || value("ActiveState").is_none_or(|state| state == "inactive") {
        return Told::NoManager;
    }
    // Workers are children of the same name. A shell that an editor's service has opened is not what that is for.
    let child = process.lineage.first().is_some_and(|a| a.pid == main && a.comm == process.comm);
    if main != process.id.pid && !child {
        return Told::Within;
    }
    let triggers = value("TriggeredBy").unwrap_or_default().split_whitespace().map(str::to_owned);
    let names =
        triggers.filter(|name| name.ends_with(".socket")).chain(std::iter::once(unit.name.clone())).collect();
    Told::Stop(UnitStop { names, manager, main })
}

/// Has it stopped by its manager, with the caller's own rights.
pub fn stop_unit(unit: &UnitStop) -> io::Result<()> {
    let output = Command::new("systemctl")
        .arg("--no-ask-password")
        .args(unit.words())
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(words.lines().next().unwrap_or("it failed without a word").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Told, UnitStop, told};
    use crate::{
        model::{Ancestor, Unit},
        resolve::free::judge::tests::process,
    };

    /// The form of `systemctl show` (systemd 252).
    const NGINX: &str = "MainPID=50\nActiveState=active\nTriggeredBy=nginx.socket nginx.path\n";

    fn of(pid: u32, parent: Option<(u32, &str)>) -> Told {
        let unit = Unit { name: "nginx.service".to_owned(), slice: None, manager: None };
        let up = parent.map(|(pid, comm)| Ancestor {
            pid,
            start_ticks: None,
            comm: comm.to_owned(),
            command: None,
        });
        told(NGINX, &unit, Vec::new(), &process(pid, up.into_iter().collect()))
    }

    #[test]
    fn the_main_process_and_its_like_are_the_unit_and_others_only_run_within() {
        let names = vec!["nginx.socket".to_owned(), "nginx.service".to_owned()];
        let stop = UnitStop { names, manager: Vec::new(), main: 50 };
        assert_eq!(stop.command(), "systemctl stop -- nginx.socket nginx.service");
        assert_eq!(of(50, None), Told::Stop(stop.clone()));
        assert_eq!(of(51, Some((50, "node"))), Told::Stop(stop));
        assert_eq!(of(51, Some((50, "bash"))), Told::Within);
        assert_eq!(of(51, Some((40, "node"))), Told::Within);
    }
}
