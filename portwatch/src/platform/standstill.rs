//! What keeps another process from doing anything, and who would start it again, as `/proc` says: where there is none, nothing is known.

use std::{fmt, fs};

/// Why a process does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standstill {
    /// By SIGSTOP, or from its terminal.
    Stopped,
    /// A debugger has it.
    Traced,
    /// It waits for a disk or a file system, and hears no signal meanwhile.
    Disk,
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "it is stopped (by SIGSTOP, or from a terminal)",
            Self::Traced => "a debugger has stopped it",
            Self::Disk => "it waits for a disk",
        })
    }
}

/// What keeps `pid`: what its first thread is at.
pub fn of(pid: u32) -> Option<Standstill> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The state is the field behind the name in brackets, which may hold brackets itself (proc_pid_stat(5)).
fn parse(stat: &[u8]) -> Option<Standstill> {
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    match stat.get(close + 1..)?.trim_ascii_start().first()? {
        b'T' => Some(Standstill::Stopped),
        b't' => Some(Standstill::Traced),
        b'D' => Some(Standstill::Disk),
        _ => None,
    }
}

/// The unit of systemd that `pid` is the service of, where it is one of portwatch's own: `systemctl restart portwatch.service`.
pub fn restarted_by(pid: u32) -> Option<String> {
    unit(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// A daemon that was started by hand lies in the control group of whatever its terminal belongs to.
fn unit(groups: &str) -> Option<String> {
    let path = groups.lines().find_map(|line| {
        line.strip_prefix("0::").or_else(|| line.split_once("name=systemd:").map(|(_, path)| path))
    })?;
    let name = path.rsplit('/').next()?.strip_suffix(".service")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '@' | '.');
    if !name.starts_with("portwatch") || !name.chars().all(is_plain) {
        return None;
    }
    let user = if path.contains("/user@") { "--user " } else { "" };
    Some(format!("systemctl {user}restart {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_process_is_the_field_behind_its_name() {
        for (stat, found) in [
            (&b"12 (portwatch) T 1 12 12 0 -1"[..], Some(Standstill::Stopped)),
            (b"12 (a) D) t 1 12", Some(Standstill::Traced)),
            (b"12 (a\n) D 1 12", Some(Standstill::Disk)),
            (b"12 (a) T) S 1 12", None),
            (b"12 (a)", None),
            (b"", None),
        ] {
            assert_eq!(parse(stat), found, "{}", String::from_utf8_lossy(stat));
        }
    }

    #[test]
    fn only_a_service_of_its_own_is_to_be_restarted() {
        for (groups, words) in [
            ("0::/system.slice/portwatch.service\n", Some("systemctl restart portwatch")),
            (
                "12:pids:/x\n1:name=systemd:/system.slice/portwatch.service\n",
                Some("systemctl restart portwatch"),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/portwatch.service\n",
                Some("systemctl --user restart portwatch"),
            ),
            ("0::/system.slice/ssh.service\n", None),
            ("0::/system.slice/portwatch;reboot.service\n", None),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
            ("", None),
        ] {
            assert_eq!(unit(groups).as_deref(), words, "{groups}");
        }
    }
}
