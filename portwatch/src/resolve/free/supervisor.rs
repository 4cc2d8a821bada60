//! Who would start a process again, recognised by its ancestors.

use crate::model::{Ancestor, Process};

/// What an ancestor does when the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Care {
    /// Starts it again at once: ending the process would be a fight.
    Restarts {
        /// Who does, `pm2 (812)`.
        who: String,
        /// The command that stops it for good.
        instead: String,
    },
    /// Starts it again when a file changes: the port is free until then.
    Watches {
        /// Who does.
        who: String,
        /// The command that ends that too.
        instead: String,
    },
}

/// The nearest ancestor that takes care of the process.
pub(super) fn care(process: &Process) -> Option<Care> {
    process.lineage.iter().find_map(|ancestor| of(ancestor, process))
}

fn of(ancestor: &Ancestor, process: &Process) -> Option<Care> {
    let pid = ancestor.pid;
    let args: &[String] = ancestor.command.as_ref().map_or(&[], |c| &c.args);
    let is = |name: &str| ancestor.comm == name || args.iter().take(3).any(|arg| base(arg) == name);
    let restarts =
        |name: &str, instead: String| Some(Care::Restarts { who: format!("{name} ({pid})"), instead });
    let watches =
        |name: &str| Some(Care::Watches { who: format!("{name} ({pid})"), instead: format!("kill {pid}") });
    if args.first().is_some_and(|arg| arg.starts_with("PM2 ")) || ancestor.comm.starts_with("PM2 ") {
        let named = format!("pm2 stop ID (pm2 list shows the id of pid {})", child(process, ancestor));
        return restarts("pm2", named);
    }
    if is("supervisord") {
        let pid = child(process, ancestor);
        return restarts(
            "supervisord",
            format!("supervisorctl stop NAME (supervisorctl status shows the name of pid {pid})"),
        );
    }
    if ancestor.comm == "runsv" {
        return restarts("runsv", format!("sv stop {}", args.get(1).map_or("NAME", String::as_str)));
    }
    if ancestor.comm == "s6-supervise" {
        return restarts("s6-supervise", format!("s6-svc -d {}", args.get(1).map_or("DIR", String::as_str)));
    }
    if args.iter().any(|arg| arg.ends_with("forever/bin/monitor")) {
        return restarts("forever", format!("forever stop {}", child(process, ancestor)));
    }
    let own_run = ancestor.comm == "portwatch" && args.get(1).is_some_and(|arg| arg == "run");
    if own_run && args.iter().take_while(|arg| *arg != "--").any(|arg| arg.starts_with("--restart")) {
        return restarts("portwatch run --restart", format!("kill {pid}"));
    }
    for name in ["nodemon", "watchexec", "cargo-watch", "entr", "air", "reflex", "ts-node-dev"] {
        if is(name) || is(&format!("{name}.js")) {
            return watches(name);
        }
    }
    let node_watch =
        ancestor.comm == "node" && args.iter().skip(1).any(|arg| arg == "--watch" || arg == "watch");
    if node_watch { watches("node --watch") } else { None }
}

/// The ancestor's own child on the way to the process: what the supervisor knows.
fn child(process: &Process, ancestor: &Ancestor) -> u32 {
    let at = process.lineage.iter().position(|a| a.pid == ancestor.pid).unwrap_or(0);
    at.checked_sub(1).and_then(|at| process.lineage.get(at)).map_or(process.id.pid, |a| a.pid)
}

fn base(arg: &str) -> &str {
    arg.rsplit('/').next().unwrap_or(arg)
}

#[cfg(test)]
mod tests {
    use super::{Care, care};
    use crate::{
        model::{Ancestor, CommandLine},
        resolve::free::judge::tests::process,
    };

    fn ancestor(pid: u32, comm: &str, command: &str) -> Ancestor {
        let args = command.split('|').map(str::to_owned).collect();
        Ancestor {
            pid,
            start_ticks: Some(1),
            comm: comm.to_owned(),
            command: Some(CommandLine { args, truncated: false }),
        }
    }

    /// Command lines as these programs show them: nodemon 3, pm2 5, supervisord 4, runsv 2.1, s6 2.11.
    #[test]
    fn supervisors_are_recognised_by_their_command_lines() {
        let shell = ancestor(41, "sh", "sh|-c|node server.js");
        let of = |above: Ancestor| care(&process(50, vec![shell.clone(), above]));
        let restarted = |above| match of(above) {
            Some(Care::Restarts { who, instead }) => format!("{who}: {instead}"),
            other => format!("{other:?}"),
        };
        let watched = |above| matches!(of(above), Some(Care::Watches { .. }));
        assert_eq!(
            restarted(ancestor(40, "PM2 v5.3.0: God", "PM2 v5.3.0: God Daemon (/root/.pm2)")),
            "pm2 (40): pm2 stop ID (pm2 list shows the id of pid 41)"
        );
        let supervisord = ancestor(40, "supervisord", "/usr/bin/python3|/usr/bin/supervisord|-n");
        assert!(restarted(supervisord).contains("the name of pid 41"));
        assert_eq!(restarted(ancestor(40, "runsv", "runsv|web")), "runsv (40): sv stop web");
        assert!(restarted(ancestor(40, "s6-supervise", "s6-supervise|web")).ends_with("s6-svc -d web"));
        let run = "portwatch|run|3100|--restart|3|--|node|server.js";
        assert!(restarted(ancestor(40, "portwatch", run)).ends_with("kill 40"));
        assert!(watched(ancestor(40, "node", "node|/app/node_modules/.bin/nodemon|server.js")));
        assert!(watched(ancestor(40, "node", "node|--watch|server.js")));
        assert!(watched(ancestor(40, "watchexec", "watchexec|-r|--|./server")));
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        let of = |above| care(&process(50, vec![above]));
        assert_eq!(of(ancestor(40, "bash", "bash")), None);
        assert_eq!(of(ancestor(40, "vim", "vim|docs/about|in|supervisord")), None);
        assert_eq!(of(ancestor(40, "portwatch", "portwatch|run|3100|--|x|--restart")), None);
        assert_eq!(of(ancestor(40, "npm run dev", "npm run dev")), None);
    }
}
