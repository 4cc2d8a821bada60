//! systemd units: stopped by their manager, which would start them again otherwise.

use std::{io, process::Command, time::Duration};

use crate::{
    model::{Process, Unit},
    source::{SourceError, run::within},
};

/// How long systemd may take to say what a unit is.
const ANSWER: Duration = Duration::from_secs(5);
/// How long it may take to stop one: it kills after 90 s by default (TimeoutStopSec).
const STOPPING: Duration = Duration::from_secs(100);

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
    /// It did not answer in time, and how that showed.
    Silent(String),
}

/// Asks the unit's manager what the process is to it.
pub(super) fn ask(unit: &Unit, process: &Process) -> Told {
    let manager = manager(unit);
    let mut command = Command::new("systemctl");
    command.args(&manager);
    command.args(["show", "--property=MainPID,ActiveState,TriggeredBy", "--", &unit.name]);
    asked(&mut command, ANSWER, |text| told(text, unit, manager, process))
}

fn asked(command: &mut Command, limit: Duration, told: impl FnOnce(&str) -> Told) -> Told {
    match within(command, limit) {
        Ok(output) if output.code == Some(0) => told(&String::from_utf8_lossy(&output.stdout)),
        Err(error @ SourceError::Timeout { .. }) => Told::Silent(error.to_string()),
        _ => Told::NoManager,
    }
}

fn manager(unit: &Unit) -> Vec<String> {
    let me = crate::platform::user::own_uid();
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
    let mut command = Command::new("systemctl");
    command.arg("--no-ask-password").args(unit.words());
    stopped(&mut command, STOPPING)
}

fn stopped(command: &mut Command, limit: Duration) -> io::Result<()> {
    match within(command, limit) {
        Ok(output) if output.code == Some(0) => Ok(()),
        Ok(output) => {
            let words = output.stderr.lines().next().unwrap_or("it failed without a word");
            Err(io::Error::other(words.to_owned()))
        }
        Err(SourceError::Timeout { seconds, .. }) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "it did not end within {seconds} s; systemd goes on with it, systemctl list-jobs shows how it is"
            ),
        )),
        Err(SourceError::Read { error, .. }) => Err(error),
        Err(error) => Err(io::Error::other(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::{io, process::Command, time::Duration};

    use super::{Told, UnitStop, asked, stopped, told};
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
    fn a_manager_that_hangs_is_no_manager_that_is_not_there() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let limit = Duration::from_millis(50);
        let hangs = "exec cat /dev/zero >/dev/null";
        let told = asked(&mut shell(hangs), limit, |_| Told::Within);
        assert!(matches!(&told, Told::Silent(why) if why.contains("sh")), "{told:?}");
        assert_eq!(asked(&mut Command::new("no-such-systemctl"), limit, |_| Told::Within), Told::NoManager);
        let error = stopped(&mut shell(hangs), limit).unwrap_err();
        assert!(
            error.kind() == io::ErrorKind::TimedOut && error.to_string().contains("list-jobs"),
            "{error}"
        );
        let error =
            stopped(&mut shell("echo Access denied >&2; exit 4"), Duration::from_mins(1)).unwrap_err();
        assert_eq!(error.to_string(), "Access denied");
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
