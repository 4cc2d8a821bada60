//! Somebody started it again while it was ended: who, so that it is stopped there and not fought here.

use super::{Ended, Plan, supervisor};
use crate::model::{Ancestor, Process};

/// Who holds the place now although it was ended, and who started that; `None` when nobody does.
///
/// `own` is this process and its ancestors: what both have in common with them (a terminal, a session's manager) started
/// neither.
pub(super) fn again(ended: &[Ended], now: &Plan, own: &[u32]) -> Option<String> {
    let new = |process: &Process| !ended.iter().any(|e| e.process.id == process.id);
    let process = now.members.iter().map(|m| &m.process).find(|p| new(p))?;
    let name = format!("{} ({})", process.comm, process.id.pid);
    let Some(above) = ended.iter().find_map(|e| shared(&e.process, process, own)) else {
        return Some(format!("{name} has it now, which came since"));
    };
    let who = format!("{} ({})", above.comm, above.pid);
    Some(if above.pid == 1 {
        let unit =
            process.unit.as_ref().map(|unit| format!(": systemctl stop {}", supervisor::word(&unit.name)));
        format!("{who} has started it again, as {name}{}", unit.unwrap_or_default())
    } else if supervisor::is_interactive(above) {
        format!("a command typed into {who} has started it again, as {name}; end that there (Ctrl-C)")
    } else {
        format!("{who} has started it again, as {name}; end that first: kill {}", above.pid)
    })
}

/// The nearest ancestor that both have.
fn shared<'a>(before: &Process, now: &'a Process, own: &[u32]) -> Option<&'a Ancestor> {
    let same = |a: &Ancestor, b: &Ancestor| a.pid == b.pid && a.start_ticks == b.start_ticks;
    let both = |a: &&Ancestor| before.lineage.iter().any(|b| same(a, b));
    // Pid 1 starts services again, and is above everybody.
    now.lineage
        .iter()
        .find(both)
        .filter(|a| a.pid == 1 || supervisor::is_interactive(a) || !own.contains(&a.pid))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::again;
    use crate::{
        model::{Ancestor, CommandLine, Process},
        resolve::{
            Place,
            free::{Ended, Image, Member, Outcome, Plan, Role, judge::tests::process},
        },
    };

    fn said_to(own: &[u32], above: &[(u32, &str, &str)], same: bool) -> Option<String> {
        let lineage = |pid: u32| {
            above
                .iter()
                .map(|(pid, comm, command)| Ancestor {
                    pid: *pid,
                    start_ticks: Some(1),
                    comm: (*comm).to_owned(),
                    command: Some(CommandLine {
                        args: command.split('|').map(str::to_owned).collect(),
                        truncated: false,
                    }),
                })
                .filter(|a| a.pid != pid)
                .collect::<Vec<_>>()
        };
        let before = Arc::new(process(50, lineage(50)));
        let now: Arc<Process> = if same { Arc::clone(&before) } else { Arc::new(process(60, lineage(60))) };
        let ended = [Ended { process: before, outcome: Outcome::Killed }];
        let place: Place = "3100".parse().unwrap();
        let member = Member {
            process: now,
            inodes: Vec::new(),
            sockets: Vec::new(),
            image: Image::default(),
            role: Role::Alone,
            note: None,
        };
        again(&ended, &Plan { members: vec![member], ..Plan::of(place) }, own)
    }

    fn said(above: &[(u32, &str, &str)], same: bool) -> Option<String> {
        said_to(&[900, 1], above, same)
    }

    #[test]
    fn who_started_it_again_is_named_with_what_ends_that() {
        let script = said(&[(40, "bash", "bash|run.sh"), (1, "systemd", "/sbin/init")], false).unwrap();
        assert_eq!(script, "bash (40) has started it again, as node (60); end that first: kill 40");
        let typed = said(&[(40, "bash", "-bash")], false).unwrap();
        assert!(typed.contains("typed into bash (40)"), "{typed}");
        assert!(
            said(&[(1, "systemd", "/sbin/init")], false)
                .unwrap()
                .starts_with("systemd (1) has started it again")
        );
        assert_eq!(said(&[], false).unwrap(), "node (60) has it now, which came since");
        assert_eq!(said(&[(40, "bash", "bash|run.sh")], true), None);
        let stranger = said_to(&[900, 40, 1], &[(40, "tmux: server", "tmux")], false).unwrap();
        assert_eq!(stranger, "node (60) has it now, which came since");
    }
}
