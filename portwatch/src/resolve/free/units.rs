//! systemd units: stopped by their manager, which would start them again otherwise.

use std::{io, process::Command, sync::Arc, time::Duration};

use super::supervisor;
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
    /// Its processes that hold the place.
    pub holders: Vec<Arc<Process>>,
}

impl UnitStop {
    /// As it is typed.
    pub fn command(&self) -> String {
        let words: Vec<_> = self.words().map(supervisor::word).collect();
        format!("systemctl {}", words.join(" "))
    }

    /// What stops both, where both have a unit in common: a service and the socket that starts it.
    pub(super) fn joined(&mut self, other: &Self) -> bool {
        let common = self.manager == other.manager && self.names.iter().any(|n| other.names.contains(n));
        if common {
            self.names
                .extend(other.names.iter().filter(|n| !self.names.contains(n)).cloned().collect::<Vec<_>>());
            // Sockets first: one that is there starts its service again.
            self.names.sort_by_key(|name| !name.ends_with(".socket"));
            self.holders.extend(other.holders.iter().map(Arc::clone));
        }
        common
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
pub(super) fn ask(unit: &Unit, process: &Arc<Process>) -> Told {
    if !is_name(&unit.name) {
        return Told::NoManager;
    }
    let manager = manager(unit);
    show(&manager, "MainPID,ActiveState,TriggeredBy", &unit.name, |text| {
        told(text, unit, manager.clone(), process)
    })
}

/// Whether systemd may have a unit of this name (systemd.unit(5)). A control group may have others, and systemctl takes
/// some of those for patterns, which stand for other units too.
fn is_name(name: &str) -> bool {
    name.len() < 256 && name.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c))
}

/// Asks a manager for properties of units.
pub(super) fn show(manager: &[String], what: &str, units: &str, told: impl FnOnce(&str) -> Told) -> Told {
    let mut command = Command::new("systemctl");
    command.args(manager).arg("show").arg(format!("--property={what}")).args(["--", units]);
    asked(&mut command, ANSWER, told)
}

fn asked(command: &mut Command, limit: Duration, told: impl FnOnce(&str) -> Told) -> Told {
    match within(command, limit) {
        Ok(output) if output.code == Some(0) => told(&String::from_utf8_lossy(&output.stdout)),
        Err(error @ SourceError::Timeout { .. }) => Told::Silent(error.to_string()),
        _ => Told::NoManager,
    }
}

/// The flags that choose the manager of a unit.
pub(super) fn manager(unit: &Unit) -> Vec<String> {
    let me = crate::platform::user::own_uid();
    match unit.manager {
        None => Vec::new(),
        Some(uid) if uid == me => vec!["--user".to_owned()],
        Some(uid) => vec!["--user".to_owned(), format!("--machine={uid}@")],
    }
}

fn told(text: &str, unit: &Unit, manager: Vec<String>, process: &Arc<Process>) -> Told {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let main: u32 = value("MainPID").and_then(|pid| pid.parse().ok()).unwrap_or(0);
    if main == 0 || value("ActiveState").is_none_or(|state| state == "inactive") {
        return Told::NoManager;
    }
    if main != process.id.pid && !supervisor::works_for(process, main) {
        return Told::Within;
    }
    let triggers = value("TriggeredBy").unwrap_or_default().split_whitespace().map(str::to_owned);
    let names =
        triggers.filter(|name| name.ends_with(".socket")).chain(std::iter::once(unit.name.clone())).collect();
    Told::Stop(UnitStop { names, manager, holders: vec![Arc::clone(process)] })
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
    use std::{io, process::Command, sync::Arc, time::Duration};

    use super::{Told, UnitStop, asked, stopped, told};
    use crate::{
        model::{Ancestor, CommandLine, Unit},
        resolve::free::judge::tests::process,
    };

    /// The form of `systemctl show` (systemd 252).
    const NGINX: &str = "MainPID=50\nActiveState=active\nTriggeredBy=nginx.socket nginx.path\n";

    fn of(pid: u32, above: &[(u32, &str, &str)]) -> Told {
        let unit = Unit { name: "nginx.service".to_owned(), slice: None, manager: None };
        let up = above.iter().map(|(pid, comm, command)| Ancestor {
            pid: *pid,
            start_ticks: None,
            comm: (*comm).to_owned(),
            command: Some(CommandLine {
                args: command.split('|').map(str::to_owned).collect(),
                truncated: false,
            }),
        });
        told(NGINX, &unit, Vec::new(), &Arc::new(process(pid, up.collect())))
    }

    #[test]
    #[cfg_attr(windows, ignore = "the manager is systemd")]
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
        let stops = |pid: u32, above: &[(u32, &str, &str)]| match of(pid, above) {
            Told::Stop(stop) => stop.command() == "systemctl stop -- nginx.socket nginx.service",
            Told::Within => false,
            other => panic!("{other:?}"),
        };
        assert!(stops(50, &[]));
        assert!(stops(51, &[(50, "node", "node|server.js")]));
        assert!(!stops(51, &[(50, "bash", "bash")]));
        assert!(!stops(51, &[(40, "node", "node|server.js")]));
        // What only starts something else is what that is.
        let npm = [(52, "sh", "sh|-c|node server.js"), (50, "npm start", "npm start")];
        assert!(stops(53, &npm));
        assert!(stops(54, &[&[(53, "node", "node|server.js")][..], &npm].concat()));
        assert!(stops(53, &[(50, "sh", "sh|/srv/start.sh")]));
        assert!(stops(53, &[(50, "python3", "/usr/bin/python3|/usr/bin/poetry|run|gunicorn")]));
        // An editor's service, and what was typed into its terminal.
        let editor = (50, "node", "node|/usr/lib/code-server");
        assert!(!stops(53, &[(52, "bash", "/bin/bash|-l"), editor]));
        assert!(!stops(54, &[(53, "npm start", "npm start"), (52, "bash", "/bin/bash|-l"), editor]));
        assert!(!stops(53, &[(52, "node", "node|worker"), editor]));
    }

    #[test]
    fn a_pattern_is_no_units_name() {
        let asked = |name: &str| {
            let unit = Unit { name: name.to_owned(), slice: None, manager: None };
            super::ask(&unit, &Arc::new(process(50, Vec::new())))
        };
        for name in ["*.service", "ssh?.service", "[a-z]*.service", "a b.service", "\u{e9}.service"] {
            assert!(!super::is_name(name) && asked(name) == Told::NoManager, "{name}");
        }
        assert!(super::is_name("dev-disk\\x2dby@1:a_b.service"));
    }

    #[test]
    fn a_service_and_its_socket_are_stopped_together_the_socket_first() {
        let stop = |names: &[&str], pid: u32| UnitStop {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            manager: Vec::new(),
            holders: vec![Arc::new(process(pid, Vec::new()))],
        };
        let mut both = stop(&["a.service"], 50);
        assert!(!both.joined(&stop(&["b.service"], 51)));
        assert!(!both.joined(&UnitStop { manager: vec!["--user".to_owned()], ..stop(&["a.service"], 51) }));
        assert!(both.joined(&stop(&["a.socket", "a.service"], 1)));
        assert_eq!(both.command(), "systemctl stop -- a.socket a.service");
        assert_eq!(both.holders.len(), 2);
    }
}
