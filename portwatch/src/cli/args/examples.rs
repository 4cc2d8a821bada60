//! Examples below each command's help. What a shell, a path or a privilege has to do with is said for each system.

#[cfg(not(windows))]
mod unix;
#[cfg(any(windows, test))]
#[cfg_attr(not(windows), expect(dead_code, reason = "read by a test"))]
mod windows;

#[cfg(not(windows))]
pub(super) use self::unix::*;
#[cfg(windows)]
pub(super) use self::windows::*;

pub(super) const CLAIMS: &str = "\
Examples:
  portwatch claims
  portwatch claims --worktree         this project, worktree by worktree
  portwatch claims --mine

Exit codes: 0 something found, 1 nothing found, 3 could not be seen.";

pub(super) const CLEANUP: &str = "\
Examples:
  portwatch cleanup --dry-run
  portwatch cleanup                   ended 5 minutes ago, or unused for a day
  portwatch cleanup --max-age 1h
  portwatch cleanup --project         when a runner starts: its own leftovers

Never one on whose port anything is.
Exit codes: 0 done, 3 not permitted.";

pub(super) const DRIFT: &str = "\
Examples:
  portwatch drift
  portwatch drift --project

Exit codes: 0 no drift, 1 drift, 3 could not be seen.";

pub(super) const LOCK: &str = "\
Examples:
  portwatch lock db-migrations --owner agent-db --ttl 10m
  portwatch lock deploy --wait 2m     in line, at most two minutes
  portwatch lock deploy --extend --ttl 10m

The owner is an agent (--owner, PORTWATCH_AGENT), a session (PORTWATCH_SESSION),
or else the process that ran this command, and then the lock ends with it: with
the script, or with the terminal's shell. Taking a lock that is one's own
extends it. Who waits is served in order; nobody goes before somebody who waits.
Exit codes: 0 yours, 1 held by somebody else, 2 usage, 3 not permitted.";

pub(super) const AGENTS: &str = "\
Examples:
  portwatch agents
  portwatch agents --all --json
  portwatch log --type heartbeat --filter agent-db --since 1h

Exit codes: 0 there are some, 1 there is none.";

pub(super) const SESSIONS: &str = "\
Examples:
  portwatch sessions
  portwatch sessions --files
  portwatch sessions --all --json

Exit codes: 0 there are some, 1 there is none.";

pub(super) const SALVAGE: &str = "\
Examples:
  portwatch salvage
  portwatch salvage claim agent-worker --as agent-web

A dead agent said what it does or left a session. Taking it over moves its active sessions,
with notes and files, to the agent that claims it, or to this terminal.
Exit codes: 0 done, there is some; 1 there is none, or it is not dead; 3 another user's.";

pub(super) const STATUS: &str = "\
Examples:
  portwatch status
  portwatch status --json | jq .lost

Exit codes: 0 a daemon runs, 1 none runs, 3 could not be seen.";

pub(super) const VERSION: &str = "\
Examples:
  portwatch version
  portwatch version --json";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory as _;

    use crate::cli::args::{Cli, expand};

    /// What is shown for Windows is made from what is shown elsewhere, by hand: nothing of another system may be left in it.
    #[test]
    fn nothing_that_windows_has_not_is_in_its_examples() {
        let text = include_str!("examples/windows.rs");
        for foreign in [
            "sudo",
            "root",
            "$(",
            "eval",
            "export ",
            " jq ",
            "| man",
            "./",
            "/etc",
            "/var",
            "~/",
            "$XDG",
            "SIG",
            "systemctl",
            "EADDRINUSE",
            "socket.",
            "&&",
        ] {
            assert!(!text.contains(foreign), "{foreign}");
        }
        // Single quotes are text to cmd; PowerShell takes double ones, too.
        let commands = text.lines().filter_map(|line| line.strip_prefix("  portwatch ")?.split("  ").next());
        for command in commands {
            assert!(!command.contains('\'') || command.contains("| %"), "{command}");
        }
    }

    /// The words of a command line up to what a shell or a reader takes: a pipe, a file, the end of a substitution, or the two
    /// blanks before what is said of it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for (at, letter) in line.char_indices() {
            match (quote, letter) {
                (Some(open), _) if open == letter => quote = None,
                // Text to cmd, and the end of what `for /f` runs.
                (None, '\'') if cfg!(windows) => break,
                (None, '\'' | '"') => (quote, word) = (Some(letter), Some(word.unwrap_or_default())),
                (None, '|' | '>' | ')' | '&') => break,
                (None, ' ') if line[at..].starts_with("  ") => break,
                (None, ' ') => words.extend(word.take()),
                _ => word.get_or_insert_default().push(letter),
            }
        }
        words.extend(word);
        words
    }

    /// The commands that a help shows, and those below it. `$$` is the shell's pid.
    fn shown(command: &clap::Command) -> Vec<Vec<String>> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = help.split("\n\n").next().unwrap_or_default();
        let lines = examples.lines().filter(|line| line.starts_with("  "));
        let own =
            lines.filter_map(|line| Some(words(&line[line.find("portwatch ")?..].replace("$$", "4711"))));
        own.chain(command.get_subcommands().flat_map(shown)).collect()
    }

    #[test]
    fn every_command_that_the_help_shows_is_understood() {
        let all = shown(&Cli::command());
        assert!(all.len() > 150, "{}", all.len());
        for words in all {
            let expanded = expand(words.iter().map(Into::into).collect());
            // The line above it gives the name by PORTWATCH_AGENT, whose value another test's environment may lack.
            if words.join(" ") == "portwatch agent heartbeat" {
                continue;
            }
            let parsed = Cli::command().try_get_matches_from(expanded);
            assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
        }
    }

    const UNIX: &str = include_str!("../snapshots/portwatch__cli__tests__help_of_every_command.snap");
    const WINDOWS: &str =
        include_str!("../snapshots/portwatch__cli__tests__help_of_every_command_on_windows.snap");

    /// What is said of each option and argument, by command and name; without the folds of its lines.
    fn said(help: &str) -> BTreeMap<(&str, &str), String> {
        let (mut all, mut command, mut name, mut options) = (BTreeMap::new(), "", "", false);
        for line in help.lines() {
            if let Some(words) = line.strip_prefix("$ ") {
                command = words;
                all.insert((command, ""), String::new());
            }
            if !line.starts_with(' ') && !line.is_empty() {
                options = matches!(line, "Arguments:" | "Options:" | "Commands:" | "Global options:");
                continue;
            }
            let word = |first: &str| line.split([' ', ',']).find(|word| word.starts_with(first));
            let entry = line.bytes().take_while(|byte| *byte == b' ').count() <= 6;
            name = if entry {
                word("--").or_else(|| word("<")).or_else(|| word("[")).unwrap_or(line)
            } else {
                name
            };
            if options {
                let text: &mut String = all.entry((command, name)).or_default();
                text.extend(line.split_whitespace().flat_map(|word| [" ", word]));
            }
        }
        all
    }

    /// The Windows program's help is compared where that program is tested; that it became old is seen here, too. It is made anew by
    /// `INSTA_UPDATE=always cargo xtask cross --only x86_64-pc-windows-gnu --test`.
    #[test]
    #[cfg_attr(windows, ignore = "there it is compared with what is said")]
    fn the_help_that_is_kept_of_windows_says_what_this_one_says() {
        let (here, there) = (said(UNIX), said(WINDOWS));
        let only_here: Vec<_> = here.keys().filter(|key| !there.contains_key(*key)).collect();
        insta::assert_debug_snapshot!(only_here);
        for (key, text) in there {
            if key.1 != "--socket" {
                assert_eq!(Some(&text), here.get(&key), "{key:?}");
            }
        }
        let folded = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let kept = folded(WINDOWS);
        let examples = include_str!("examples/windows.rs").replace("\\\\", "\\").replace("\\\"", "\"");
        for line in examples.lines().skip(2) {
            let line = line.trim_end_matches([';', '"']);
            assert!(line.contains(": &str =") || kept.contains(&folded(line)), "{line}");
        }
    }
}
