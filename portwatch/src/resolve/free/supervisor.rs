//! Who would start a process again, recognised by its ancestors.

use std::borrow::Cow;

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
    // What is above a shell that somebody types into does not start again what was typed there.
    let below = process.lineage.iter().take_while(|ancestor| !is_interactive(ancestor));
    below.into_iter().find_map(|ancestor| of(ancestor, process))
}

const SHELLS: [&str; 8] = ["sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "busybox"];

fn args(ancestor: &Ancestor) -> &[String] {
    ancestor.command.as_ref().map_or(&[], |command| &command.args)
}

/// A shell that was given neither a command nor a script.
pub(super) fn is_interactive(ancestor: &Ancestor) -> bool {
    let args = args(ancestor);
    let plain = |arg: &String| arg.starts_with('-') && !is_command_flag(arg);
    SHELLS.contains(&ancestor.comm.as_str()) && !args.is_empty() && args.iter().skip(1).all(plain)
}

/// Programs that start what their arguments name and end with it.
const WRAPPERS: [&str; 25] = [
    "npm",
    "npx",
    "yarn",
    "pnpm",
    "bunx",
    "corepack",
    "uv",
    "poetry",
    "pipenv",
    "pdm",
    "hatch",
    "rye",
    "bundle",
    "foreman",
    "make",
    "just",
    "env",
    "sudo",
    "doas",
    "su",
    "runuser",
    "setpriv",
    "timeout",
    "tini",
    "dumb-init",
];

/// It only starts something else: a shell with a command or a script, a package manager's `run`.
fn wraps(ancestor: &Ancestor) -> bool {
    if SHELLS.contains(&ancestor.comm.as_str()) {
        return !args(ancestor).is_empty() && !is_interactive(ancestor);
    }
    // npm writes `npm run dev` over its arguments; others are scripts, named by the second.
    let named = |word: &str| WRAPPERS.contains(&word.split(' ').next().unwrap_or(word));
    let words = args(ancestor).iter().take(2).map(|arg| base(arg));
    words
        .chain([ancestor.comm.as_str()])
        .any(|word| named(word.trim_end_matches("-cli.js").trim_end_matches(".js")))
}

/// Whether a process below a unit's main one is what that unit is for: a worker of the same name, or what a main process
/// that only starts something has started. What was typed into a terminal of an editor's service is neither.
pub(super) fn works_for(process: &Process, main: u32) -> bool {
    let Some(at) = process.lineage.iter().position(|ancestor| ancestor.pid == main) else { return false };
    let same = |ancestor: &Ancestor| ancestor.comm == process.comm;
    let between = process.lineage.iter().take(at);
    match process.lineage.get(at) {
        Some(main) if wraps(main) => between.into_iter().all(|a| wraps(a) || same(a)),
        Some(main) => at == 0 && same(main),
        None => false,
    }
}

/// `-c`, also among others: `-ec`.
fn is_command_flag(arg: &str) -> bool {
    arg.starts_with('-') && !arg.starts_with("--") && arg.ends_with('c')
}

/// The command text of `sh -c TEXT`, if it never ends by itself.
fn endless(ancestor: &Ancestor) -> bool {
    let args = args(ancestor);
    if !SHELLS.contains(&ancestor.comm.as_str()) {
        return false;
    }
    let Some(text) = args.iter().position(|arg| is_command_flag(arg)).and_then(|at| args.get(at + 1)) else {
        return false;
    };
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == ';' || c == '&').filter(|w| !w.is_empty()).collect();
    words.windows(2).any(|pair| match pair {
        ["while", condition] => {
            matches!(*condition, "true" | ":" | "/bin/true" | "sleep" | "[" | "[[" | "((1))" | "((" | "1")
        }
        ["until", condition] => matches!(*condition, "false" | "/bin/false"),
        ["for", condition] => *condition == "((",
        _ => false,
    })
}

fn of(ancestor: &Ancestor, process: &Process) -> Option<Care> {
    let pid = ancestor.pid;
    let args: &[String] = ancestor.command.as_ref().map_or(&[], |c| &c.args);
    let is = |name: &str| base(&ancestor.comm) == name || args.iter().take(3).any(|arg| base(arg) == name);
    let restarts =
        |name: &str, instead: String| Some(Care::Restarts { who: format!("{name} ({pid})"), instead });
    let watches =
        |name: &str| Some(Care::Watches { who: format!("{name} ({pid})"), instead: format!("kill {pid}") });
    if args.first().is_some_and(|arg| arg.starts_with("PM2 ")) || ancestor.comm.starts_with("PM2 ") {
        let named = format!("pm2 stop ID (pm2 list shows the id of pid {})", child(process, ancestor));
        return restarts("pm2", named);
    }
    // The service control manager of Windows: a service may be set to be started again when it fails.
    if ancestor.comm.eq_ignore_ascii_case("services.exe") {
        let pid = child(process, ancestor);
        let instead = format!("sc stop NAME (tasklist /svc /fi \"PID eq {pid}\" shows the name)");
        return restarts("the service control manager", instead);
    }
    if is("supervisord") {
        let pid = child(process, ancestor);
        return restarts(
            "supervisord",
            format!("supervisorctl stop NAME (supervisorctl status shows the name of pid {pid})"),
        );
    }
    if endless(ancestor) {
        return restarts(
            &format!("a loop in {}", ancestor.comm),
            format!("kill {pid}, which ends the loop, then portwatch free again"),
        );
    }
    if ancestor.comm == "runsv" {
        return restarts("runsv", format!("sv stop {}", plain(args.get(1), "NAME")));
    }
    if ancestor.comm == "s6-supervise" {
        return restarts("s6-supervise", format!("s6-svc -d {}", plain(args.get(1), "DIR")));
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
        base(&ancestor.comm) == "node" && args.iter().skip(1).any(|arg| arg == "--watch" || arg == "watch");
    if node_watch { watches("node --watch") } else { None }
}

/// The ancestor's own child on the way to the process: what the supervisor knows.
fn child(process: &Process, ancestor: &Ancestor) -> u32 {
    let at = process.lineage.iter().position(|a| a.pid == ancestor.pid).unwrap_or(0);
    at.checked_sub(1).and_then(|at| process.lineage.get(at)).map_or(process.id.pid, |a| a.pid)
}

/// A word of somebody's command line that is safe to paste into a shell; else what stands for it.
pub(super) fn plain<'a>(word: Option<&'a String>, stand_in: &'a str) -> &'a str {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./@:-".contains(c);
    word.map(String::as_str)
        .filter(|w| w.starts_with(|c| safe(c) && c != '-') && w.chars().all(safe))
        .unwrap_or(stand_in)
}

/// A unit's name as it is typed into a shell: names hold backslashes for characters that they cannot hold themselves.
pub(super) fn word(unit: &str) -> Cow<'_, str> {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./@:-".contains(c);
    if unit.chars().all(safe) {
        return unit.into();
    }
    format!("'{}'", unit.replace('\'', "'\\''")).into()
}

/// The file's name, without the ending that programs of Windows have.
fn base(arg: &str) -> &str {
    let name = arg.rsplit(['/', '\\']).next().unwrap_or(arg);
    name.strip_suffix(".exe").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::{Care, care, word};
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
        let hostile = restarted(ancestor(40, "runsv", "runsv|;touch x;"));
        assert_eq!(hostile, "runsv (40): sv stop NAME");
        assert!(restarted(ancestor(40, "s6-supervise", "s6-supervise|web")).ends_with("s6-svc -d web"));
        let run = "portwatch|run|3100|--restart|3|--|node|server.js";
        assert!(restarted(ancestor(40, "portwatch", run)).ends_with("kill 40"));
        assert!(watched(ancestor(40, "node", "node|/app/node_modules/.bin/nodemon|server.js")));
        assert!(watched(ancestor(40, "node", "node|--watch|server.js")));
        let nodemon =
            r"C:\Program Files\nodejs\node.exe|C:\app\node_modules\nodemon\bin\nodemon.js|server.js";
        assert!(watched(ancestor(40, "node.exe", nodemon)));
        let service = ancestor(40, "services.exe", r"C:\Windows\system32\services.exe");
        assert!(restarted(service).starts_with("the service control manager (40): sc stop NAME"));
        assert!(watched(ancestor(40, "watchexec", "watchexec|-r|--|./server")));
    }

    #[test]
    fn a_loop_of_a_shell_is_named_and_one_that_ends_is_none() {
        let of = |text: &str| {
            care(&process(
                50,
                vec![
                    ancestor(41, "npm run dev", "npm run dev"),
                    ancestor(40, "bash", &format!("bash|-c|{text}")),
                ],
            ))
        };
        for text in [
            "while true; do npm run dev; done",
            "cd /app && while :; do node server.js; sleep 1; done",
            "until false; do node server.js; done",
            "for ((;;)); do node server.js; done",
            "while sleep 1; do node server.js; done",
        ] {
            let Some(Care::Restarts { who, instead }) = of(text) else { panic!("{text}") };
            assert!(who == "a loop in bash (40)" && instead.starts_with("kill 40,"), "{who} {instead}");
        }
        for text in [
            "until docker info; do sleep 1; done; npm start",
            "for f in *; do x; done; npm start",
            "npm start",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_above_a_shell_that_somebody_types_into_is_none() {
        let looped = || ancestor(40, "bash", "bash|-c|while true; do tmux; done");
        for typed in ["bash", "-bash", "bash|-l", "bash|--norc|-i"] {
            assert_eq!(care(&process(50, vec![ancestor(41, "bash", typed), looped()])), None, "{typed}");
        }
        assert!(care(&process(50, vec![ancestor(41, "bash", "bash|run.sh"), looped()])).is_some());
    }

    #[test]
    fn names_of_units_are_typed_as_a_shell_takes_them() {
        assert_eq!(word("web@1.service"), "web@1.service");
        assert_eq!(word("a\\x2db.service"), "'a\\x2db.service'");
        assert_eq!(word("a';reboot;'.service"), "'a'\\'';reboot;'\\''.service'");
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
