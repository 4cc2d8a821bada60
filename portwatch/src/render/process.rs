//! Processes in words: names, command lines, places, lineage, ends.

use super::{Look, Text, Tone};
use crate::wire::{Ancestor, Container, Event, Exit, Forward, Process, UnprovenContainer};

/// `node (48291)`
pub(super) fn name(process: &Process) -> String {
    format!("{} ({})", process.comm, process.pid)
}

/// The command line as one text: arguments joined by blanks, those that hold blanks or nothing quoted, so that
/// `a b` and `'a b'` differ; by the quotes that a shell would take for it where that is as easy to read. For people.
pub(super) fn command(args: &[String], truncated: bool) -> String {
    let mut text = String::new();
    for arg in args {
        if !text.is_empty() {
            text.push(' ');
        }
        if arg.is_empty() || arg.contains(char::is_whitespace) {
            let quote =
                if arg.contains('\'') && !arg.contains(['"', '$', '`', '\\', '!']) { '"' } else { '\'' };
            text.push(quote);
            text.push_str(arg);
            text.push(quote);
        } else {
            text.push_str(arg);
        }
    }
    if truncated {
        text.push('…');
    }
    text
}

/// The command line, else the comm.
pub(super) fn command_or_name(process: &Process) -> String {
    match &process.command {
        Some(args) if !args.is_empty() => command(args, process.command_truncated),
        _ => process.comm.clone(),
    }
}

/// The command line, on a terminal cut to about so many of its lines; the verbose reader gets all of it.
pub(super) fn brief(process: &Process, lines: usize, look: &Look) -> String {
    let whole = command_or_name(process);
    match look.width {
        // What stands before and after takes a third of the first line.
        Some(columns) if !look.verbose => {
            shortened(&whole, (columns * lines).saturating_sub(columns / 3).max(20))
        }
        _ => whole,
    }
}

/// A path, with the reader's home as `~`.
pub(super) fn path(path: &str, look: &Look) -> String {
    let below = look.home.as_deref().filter(|home| home.len() > 1).and_then(|home| path.strip_prefix(home));
    match below {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    }
}

/// `~/code/myapp (worktree main)`, or the working directory when there is no project.
pub(super) fn place(process: &Process, look: &Look) -> Option<String> {
    let directory = process.cwd.as_deref().or(process.project.as_ref().map(|p| p.root.as_str()));
    let mut text = path(directory?, look);
    if let Some(project) = &process.project {
        let named = project.root.rsplit('/').next() == Some(project.name.as_str());
        let worktree = project.worktree.as_ref().map(|w| match &w.branch {
            Some(branch) if *branch != w.name => format!("worktree {}, branch {branch}", w.name),
            _ => format!("worktree {}", w.name),
        });
        let project = if named { None } else { Some(format!("project {}", project.name)) };
        let words: Vec<String> = [project, worktree].into_iter().flatten().collect();
        if !words.is_empty() {
            text = format!("{text} ({})", words.join(", "));
        }
    }
    Some(text)
}

/// `npm run dev (48277) < zsh (41002) < tmux (1201)`: the parent by its command, the rest by name.
pub(super) fn lineage(ancestors: &[Ancestor], look: &Look) -> Option<String> {
    let shown = if look.verbose { ancestors.len() } else { 4 };
    let mut words: Vec<String> = Vec::new();
    for (step, ancestor) in ancestors.iter().take(shown).enumerate() {
        let what = match &ancestor.command {
            Some(args) if !args.is_empty() && (step == 0 || look.verbose) => {
                shortened(&command(args, ancestor.command_truncated), 60)
            }
            _ => ancestor.comm.clone(),
        };
        words.push(format!("{what} ({})", ancestor.pid));
    }
    if ancestors.len() > shown {
        words.push("…".to_owned());
    }
    if words.is_empty() { None } else { Some(words.join(" < ")) }
}

fn shortened(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters.saturating_sub(1)).chain(['…']).collect()
}

/// `erich`, or `uid 1000` where nobody knows the name.
pub(super) fn user(name: Option<&str>, uid: Option<u32>) -> Option<String> {
    match (name, uid) {
        (Some(name), _) => Some(name.to_owned()),
        (None, Some(uid)) => Some(format!("uid {uid}")),
        (None, None) => None,
    }
}

/// How an exit event ended its process: `exited with code 1`, `killed by SIGKILL from systemd-oomd (612)`.
pub(super) fn end(event: &Event) -> Option<String> {
    let exit = event.exit.as_ref()?;
    let dump = if exit.core_dumped { ", core dumped" } else { "" };
    let again = if exit.sent_again { ", raised again by itself" } else { "" };
    let signal = |name: &Option<String>, number| match (name, number) {
        (Some(name), _) => Some(name.clone()),
        (None, Some(number)) => Some(format!("signal {number}")),
        (None, None) => None,
    };
    Some(match (signal(&exit.signal_name, exit.signal), exit.code) {
        (Some(_), _) if exit.sent_by.as_deref() == Some("oom-killer") => {
            format!("killed by the kernel's OOM killer{dump}")
        }
        (Some(signal), _) => format!("killed by {signal}{}{again}{dump}", origin(event, exit)),
        (None, Some(code)) => match signal(&exit.sent_signal_name, exit.sent_signal) {
            Some(asked) => format!("exited with code {code} after {asked}{}{again}", origin(event, exit)),
            None => format!("exited with code {code}"),
        },
        (None, None) => "ended, nobody saw how".to_owned(),
    })
}

/// ` from systemd-oomd (612)`; nothing where nobody knows.
fn origin(event: &Event, exit: &Exit) -> String {
    match (exit.sent_by.as_deref(), &event.other) {
        (Some("process"), Some(other)) => {
            let own =
                event.process.as_ref().is_some_and(|p| (p.pid, p.started) == (other.pid, other.started));
            if !own {
                return format!(" from {}", name(other));
            }
            // Nobody was recording yet when it came from another, or that was long ago.
            match exit.sent_signal_name.as_deref() {
                Some("SIGHUP" | "SIGINT" | "SIGQUIT" | "SIGTERM") => {
                    " from itself, as after handling one from another".to_owned()
                }
                _ => " from itself".to_owned(),
            }
        }
        (Some("process"), None) => " from a process that could not be read".to_owned(),
        (Some("kernel"), _) => match exit.sent_signal_name.as_deref() {
            // Nothing else in the kernel sends these: terminals do, for their keys and when they go.
            Some("SIGINT" | "SIGQUIT" | "SIGHUP") => " from its terminal".to_owned(),
            Some("SIGSEGV" | "SIGBUS" | "SIGILL" | "SIGFPE" | "SIGTRAP" | "SIGSYS") => {
                ", a fault of its own".to_owned()
            }
            Some("SIGPIPE") => ", writing to a closed pipe or connection".to_owned(),
            _ => " from the kernel".to_owned(),
        },
        _ => String::new(),
    }
}

/// The end was not an orderly one.
pub(super) fn is_bad_end(exit: &Exit) -> bool {
    exit.signal.is_some() || exit.code.is_some_and(|code| code != 0)
}

/// `EADDRINUSE`, or `errno 98` where the name is not known; `EADDRINUSE on listen` where the bind had succeeded.
pub(super) fn errno(event: &Event) -> Option<String> {
    let name = match (&event.errno_name, event.errno) {
        (Some(name), _) => name.clone(),
        (None, Some(number)) => format!("errno {number}"),
        (None, None) => return None,
    };
    let bound_before = event.kind == "refused" && event.state.as_deref() == Some("listening");
    Some(if bound_before { format!("{name} on listen") } else { name })
}

/// `web (docker)`; the beginning of its id where nobody told the name.
pub(super) fn container(container: &Container) -> String {
    let name = container.name.as_deref().unwrap_or_else(|| short(&container.id));
    match &container.engine {
        Some(engine) => format!("{name} ({engine})"),
        None => name.to_owned(),
    }
}

/// A container with all that is known of it: `web, image nginx:1, compose shop/web, docker 818bd0bbdacb`.
pub(super) fn container_in_full(container: &Container) -> String {
    let mut words: Vec<String> = container.name.iter().cloned().collect();
    words.extend(container.image.as_ref().map(|image| format!("image {image}")));
    if let (Some(project), Some(service)) = (&container.compose_project, &container.compose_service) {
        words.push(format!("compose {project}/{service}"));
    }
    words.extend(container.pod.as_ref().map(|pod| format!("pod {pod}")));
    let named_by_id = container.name.as_ref() == Some(&container.id);
    let id = if named_by_id { "" } else { short(&container.id) };
    let engine = container.engine.as_deref().unwrap_or_default();
    let owner = container.owner.map(|uid| format!(" of uid {uid}")).unwrap_or_default();
    let by = format!("{engine} {id}{owner}");
    words.push(by.trim().to_owned());
    words.retain(|word| !word.is_empty());
    words.join(", ")
}

/// `unproven: the control group is named after docker 818bd0bbdacb, and uid 1000 can name it so`.
pub(super) fn unproven(unproven: &UnprovenContainer) -> String {
    let engine = unproven.engine.as_deref().unwrap_or("a container,");
    let who = match unproven.uid {
        Some(uid) => format!("uid {uid} can name it so"),
        None => "who made it cannot be told".to_owned(),
    };
    format!("unproven: the control group is named after {engine} {}, and {who}", short(&unproven.id))
}

/// Where a port leads: `httpd (22240), port 80 in container web (docker)`.
pub(super) fn forward(forward: &Forward) -> String {
    let port = forward.port.map(|port| format!("port {port}"));
    let place = forward.container.as_ref().map(|c| format!("container {}", container(c)));
    let place = place.or_else(|| forward.address.as_ref().map(|address| format!("address {address}")));
    let inner = match (port, place) {
        (Some(port), Some(place)) => format!("{port} in {place}"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => {
            return match forward.evidence.as_str() {
                "ambiguous" => "one of several containers that publish this port".to_owned(),
                _ => "a container that is not known: its engine was not asked or did not answer".to_owned(),
            };
        }
    };
    match &forward.process {
        Some(process) => format!("{}, {inner}", name(process)),
        None if forward.evidence == "ambiguous" => format!("{inner}, which several containers have"),
        None => format!("{inner}, where nothing was found listening"),
    }
}

/// The first twelve digits, as engines show ids.
fn short(id: &str) -> &str {
    if id.len() == 64 { id.get(..12).unwrap_or(id) } else { id }
}

/// What stands behind a process that no claim names: `container`, or `unit` for a service (a scope is only a place).
pub(super) fn kind(process: &Process) -> Option<&'static str> {
    if process.container.is_some() {
        return Some("container");
    }
    service(process).map(|_| "unit")
}

/// The service it runs in, unless that is the manager of a whole user.
pub(super) fn service(process: &Process) -> Option<&str> {
    let name = process.unit.as_ref()?.name.as_str();
    let is_service = [".service", ".socket"].iter().any(|suffix| name.ends_with(suffix));
    (is_service && !name.starts_with("user@")).then_some(name)
}

/// `unit nginx.service`, else `cgroup /user.slice/…`.
pub(super) fn group(process: &Process) -> Option<String> {
    let cgroup = || process.cgroup.as_ref().map(|c| format!("cgroup {}", c.path));
    let Some(service) = service(process) else { return cgroup() };
    Some(match process.unit.as_ref().and_then(|u| u.manager) {
        Some(uid) => format!("unit {service} of uid {uid}"),
        None => format!("unit {service}"),
    })
}

/// Appends ` [scan]` where evidence was asked for.
pub(super) fn evidence(text: &mut Text, evidence: &str, look: &Look) {
    if look.verbose {
        text.push(Tone::Faint, &format!(" [{evidence}]"));
    }
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn an_argument_is_quoted_by_what_is_not_in_it() {
        let shown =
            |args: &[&str]| command(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>(), false);
        assert_eq!(shown(&["sh", "-c", "a b", ""]), "sh -c 'a b' ''");
        assert_eq!(
            shown(&["python3", "-c", "s.bind(('::', 80)); f()"]),
            "python3 -c \"s.bind(('::', 80)); f()\""
        );
        assert_eq!(shown(&["sh", "-c", "echo 'it' $HOME"]), "sh -c 'echo 'it' $HOME'");
    }
}
