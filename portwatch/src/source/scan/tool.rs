//! lsof and netstat as tables.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Pace, Reading, Table, TableScanner};
use crate::{
    model::{Completeness, Coverage, Fact, Owner},
    source::{
        SourceError, SourceKind, lsof as lsof_output, netstat as netstat_output,
        row::{Parse, Parsed},
        run::{Output, find, output, system_folder},
    },
};

/// How long a tool may take. lsof asks file systems, too, which can hang.
const LIMIT: Duration = Duration::from_secs(10);

/// A tool costs a process and a walk over all others: it is run less often than the kernel is asked, and rests.
const PACE: Pace = Pace { fastest: Duration::from_millis(500), slowest: Duration::from_secs(3), rest: 5 };

/// TCP sockets that are bound without listening are shown by the tools of macOS only.
const SHOWS_BOUND: bool = cfg!(target_os = "macos");

/// A tool and its ways.
#[derive(Debug)]
pub struct Tool {
    kind: SourceKind,
    program: PathBuf,
    /// Arguments of each run that a reading takes.
    runs: &'static [&'static [&'static str]],
    parse: Parse,
    /// Exit code 1 without a complaint means that there is nothing.
    one_is_nothing: bool,
    /// What of others' processes it does not show to a plain user.
    hides: Hides,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hides {
    /// Their sockets.
    Sockets,
    /// That the sockets are theirs.
    Names,
    /// Nothing.
    Nothing,
}

/// lsof. `program` is used instead of the system's own, where one is named.
pub fn lsof(program: Option<PathBuf>) -> Result<TableScanner<Tool>, SourceError> {
    let places = ["/usr/bin/lsof", "/usr/sbin/lsof", "/run/current-system/sw/bin/lsof"].map(PathBuf::from);
    if cfg!(windows) {
        return Err(SourceError::Unsupported("lsof"));
    }
    TableScanner::new(Tool {
        kind: SourceKind::Lsof,
        program: program.map_or_else(|| find("lsof", &places), Ok)?,
        runs: &[&["-nPw", "-iTCP", "-iUDP", lsof_output::FIELDS]],
        parse: lsof_output::parse,
        one_is_nothing: true,
        hides: Hides::Sockets,
    })
}

/// netstat. `program` is used instead of the system's own, where one is named.
pub fn netstat(program: Option<PathBuf>) -> Result<TableScanner<Tool>, SourceError> {
    let (places, runs, parse, hides) = native_netstat();
    TableScanner::new(Tool {
        kind: SourceKind::Netstat,
        program: program.map_or_else(|| find("netstat", &places), Ok)?,
        runs,
        parse,
        one_is_nothing: false,
        hides,
    })
}

/// Where this platform's netstat is, how it is asked, what it prints.
fn native_netstat() -> (Vec<PathBuf>, &'static [&'static [&'static str]], Parse, Hides) {
    if cfg!(windows) {
        let places = vec![system_folder().join("NETSTAT.EXE")];
        return (places, &[&["-ano"]], netstat_output::windows::parse, Hides::Nothing);
    }
    if cfg!(target_os = "macos") {
        let places = vec![PathBuf::from("/usr/sbin/netstat")];
        let runs: &[&[&str]] = &[&["-anvl", "-p", "tcp"], &["-anvl", "-p", "udp"]];
        return (places, runs, netstat_output::macos::parse, Hides::Nothing);
    }
    let places = ["/usr/bin/netstat", "/bin/netstat", "/run/current-system/sw/bin/netstat"];
    // Listening TCP sockets, and UDP sockets whether connected or not.
    let runs: &[&[&str]] = &[&["-tlnpeW"], &["-uanpeW"]];
    (places.map(PathBuf::from).to_vec(), runs, netstat_output::linux::parse, Hides::Names)
}

impl Tool {
    fn run(&self, arguments: &[&str]) -> Result<Parsed, SourceError> {
        let Output { code, signal, stdout, stderr } = output(&self.program, arguments, LIMIT)?;
        let nothing = self.one_is_nothing && code == Some(1) && stderr.is_empty();
        let parsed = (self.parse)(&stdout);
        if (code == Some(0) || nothing) && parsed.recognized {
            return Ok(parsed);
        }
        let program = self.program.display().to_string();
        let Some(code) = code else { return Err(SourceError::Killed { program, signal: named(signal) }) };
        let nothing = || "without the output that was expected".to_owned();
        let said = if stderr.is_empty() { nothing() } else { stderr };
        Err(SourceError::Useless { program, code, said })
    }

    fn completeness(&self) -> Completeness {
        let name = self.kind.as_str();
        match self.hides {
            Hides::Sockets if process_is_root() => Completeness::Partial(format!(
                "{name} shows only sockets that a process it may look into has open{}",
                if SHOWS_BOUND {
                    ""
                } else {
                    ", and none that is bound without listening; use --source scan"
                }
            )),
            Hides::Sockets => Completeness::Partial(format!(
                "{name} shows a plain user only the sockets of their own processes; ask as root, or use another source"
            )),
            _ if SHOWS_BOUND => Completeness::Complete,
            _ => Completeness::PartialTcp(format!(
                "a TCP socket that is bound without listening is not shown by {name}{}",
                if cfg!(target_os = "linux") { "; use --source scan" } else { "" }
            )),
        }
    }

    /// Why a socket is shown without a process.
    fn without_process(&self) -> Owner {
        match self.hides {
            // As root too, where pid 1 is closed even to root: it could be the holder.
            Hides::Names if opens(Path::new("/proc/1/fd")) => Owner::NoProcess,
            Hides::Names | Hides::Sockets => Owner::NotPermitted,
            Hides::Nothing => Owner::Unknown,
        }
    }
}

impl Table for Tool {
    fn kind(&self) -> SourceKind {
        self.kind
    }

    fn pace(&self) -> Pace {
        PACE
    }

    fn coverage(&self) -> Vec<Coverage> {
        let name = self.kind.as_str();
        let polled = format!(
            "{name}, run every {} ms to {} s; sockets that live shorter can be missed",
            PACE.fastest.as_millis(),
            PACE.slowest.as_secs()
        );
        let hook = |fact| match fact {
            Fact::Bind | Fact::Listen | Fact::Close | Fact::UdpAutoBind => Some(polled.clone()),
            Fact::Exit => Some("process table, polled; without exit status".to_owned()),
            Fact::Holders => Some(match self.kind {
                SourceKind::Netstat => format!("{name}, one process of each socket"),
                _ => name.to_owned(),
            }),
            Fact::ProcessFacts => Some("process table, after the fact".to_owned()),
            Fact::Existing => Some(name.to_owned()),
            Fact::Refused | Fact::AskedPort | Fact::SignalSender | Fact::OutOfMemory | Fact::TimeWait => None,
        };
        Fact::ALL.into_iter().map(|fact| Coverage { fact, hook: hook(fact) }).collect()
    }

    fn read(&mut self) -> Result<Reading, SourceError> {
        let mut all = Parsed::default();
        for run in self.runs {
            let mut parsed = self.run(run)?;
            all.rows.append(&mut parsed.rows);
            all.unread += parsed.unread;
        }
        Ok(Reading {
            rows: all.rows,
            unread: all.unread,
            without_process: self.without_process(),
            bound_included: SHOWS_BOUND,
            completeness: self.completeness(),
        })
    }
}

/// Whether it can be told what this process has open: some security modules let root list descriptors and not follow them.
fn opens(descriptors: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(descriptors) else { return false };
    entries.next().is_none_or(|entry| {
        let link = entry.and_then(|entry| std::fs::read_link(entry.path()));
        // One that was closed meanwhile was not kept back.
        link.map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |_| true)
    })
}

/// A signal by its name. Real-time signals (above 31) have none of their own.
fn named(signal: Option<i32>) -> String {
    #[cfg(unix)]
    if let Some(Ok(signal)) = signal.map(nix::sys::signal::Signal::try_from) {
        return signal.as_str().to_owned();
    }
    signal.map_or_else(|| "a signal".to_owned(), |signal| format!("signal {signal}"))
}

/// Whether the tool is run by root.
fn process_is_root() -> bool {
    #[cfg(unix)]
    let root = nix::unistd::geteuid().is_root();
    #[cfg(not(unix))]
    let root = false;
    root
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::source::scan::Look;

    /// A program that prints what is told.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("tool");
        // Written by another process: a file that some thread has open to write cannot be run (ETXTBSY).
        let written = std::process::Command::new("/bin/sh")
            .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\"", "sh", script])
            .arg(&path)
            .status();
        assert!(written.unwrap().success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn sockets(look: &mut dyn Look) -> Result<usize, String> {
        look.tables(&[]).map(|tables| tables.sockets.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn lsof_with_code_1_and_no_complaint_has_found_nothing_and_anything_else_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let count = |script: &str| sockets(&mut lsof(Some(program(folder.path(), script))).unwrap());
        assert_eq!(count("exit 1"), Ok(0));
        assert_eq!(count("printf 'p1\\nf3\\ntIPv4\\nPTCP\\nn*:80\\nTST=LISTEN\\n'; exit 1"), Ok(1));
        assert!(count("echo 'no such option' >&2; exit 1").unwrap_err().contains("no such option"));
        assert!(count("exit 2").unwrap_err().contains("exit code 2"));
        // What it printed until then is the beginning of a table, which would make the rest free.
        let killed = |signal: &str| {
            count(&format!("printf 'p1\\nf3\\ntIPv4\\nPTCP\\nn*:80\\n'; kill -{signal} $$")).unwrap_err()
        };
        assert!(
            killed("KILL").ends_with("/tool was killed by SIGKILL before it was done"),
            "{}",
            killed("KILL")
        );
        #[cfg(target_os = "linux")]
        assert!(killed("40").contains("killed by signal 40"), "{}", killed("40"));
    }

    #[test]
    fn netstat_that_prints_something_else_is_a_failure_and_not_an_empty_table() {
        let folder = tempfile::tempdir().unwrap();
        let count = |script: &str| sockets(&mut netstat(Some(program(folder.path(), script))).unwrap());
        assert!(count("true").is_err());
        assert!(count("echo hello").is_err());
        assert!(count("exit 1").is_err());
        #[cfg(target_os = "linux")]
        assert_eq!(count("echo 'Proto Recv-Q Send-Q Local Address Foreign Address State'"), Ok(0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_could_not_be_understood_is_told_and_nothing_is_said_to_be_free() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo 'Proto Recv-Q Send-Q Local Address Foreign Address State'; echo 'tcp 0 0 x'";
        let mut look = netstat(Some(program(folder.path(), script))).unwrap();
        assert_eq!(sockets(&mut look), Ok(0));
        assert_eq!(look.degradations()[0].name, "entries-not-understood");
        assert!(look.completeness().missing(None).unwrap().contains("2 entries of netstat"));
    }
}
