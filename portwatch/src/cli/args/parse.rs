//! From the words of a command line to what they mean.

use std::ffi::OsString;

use clap::{ArgMatches, Args, Command, CommandFactory, Error, FromArgMatches};

use super::{Cli, Global, names_given};

/// What the words say, the name of the program first.
///
/// # Errors
/// Help and version, which are asked for, and what cannot be understood.
pub(crate) fn parse(words: &[OsString]) -> Result<(Cli, ArgMatches), Error> {
    let whole = Cli::command();
    // Where something is wrong, the whole tree has the words for it.
    match alone(&whole, words).map(|command| taken(command, words)) {
        Some(Ok(parsed)) => Ok(parsed),
        _ => taken(whole, words),
    }
}

pub(super) fn taken(command: Command, words: &[OsString]) -> Result<(Cli, ArgMatches), Error> {
    let matches = command.try_get_matches_from(words)?;
    names_given(&matches)?;
    Ok((Cli::from_arg_matches(&matches)?, matches))
}

/// The tree with no command but the one that is named first: clap copies every global flag into each command that there is, which
/// was a third of what `portwatch who` did.
pub(super) fn alone(whole: &Command, words: &[OsString]) -> Option<Command> {
    let called = whole.find_subcommand(words.get(1)?)?.clone();
    let root = Command::new(whole.get_name().to_owned()).disable_help_subcommand(true);
    Some(Global::augment_args(root).subcommand(called))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every example that any help gives.
    fn examples() -> Vec<String> {
        let whole = Cli::command();
        let helps = whole.get_subcommands().filter_map(Command::get_after_help).map(ToString::to_string);
        let lines = helps.flat_map(|help| help.lines().map(str::to_owned).collect::<Vec<_>>());
        let typed = |line: String| {
            let line = line.trim_start().strip_prefix("portwatch ")?.to_owned();
            Some(line.split("   ").next()?.split(['|', '>', '#']).next()?.trim().to_owned())
        };
        lines.filter_map(typed).collect()
    }

    #[test]
    fn a_command_alone_understands_what_the_whole_tree_does() {
        let more = [
            "ls --all --json --netns pid:1",
            "list",
            "--json who 3100",
            "who",
            "who --help",
            "who 3100 --jsn",
            "who --version",
            "agent --json register x --as y",
            "session begin 'work' --agent ''",
            "rogue allow --list",
            "start --source scan --hooks none --state /x --redact off",
        ];
        let mut understood = 0;
        for line in examples().into_iter().chain(more.map(str::to_owned)) {
            let words: Vec<_> =
                ["portwatch"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
            let whole = taken(Cli::command(), &words);
            match (alone(&Cli::command(), &words).map(|command| taken(command, &words)), whole) {
                (Some(Ok(alone)), Ok(whole)) => {
                    assert_eq!(format!("{:?}", alone.0), format!("{:?}", whole.0), "{line}");
                    assert_eq!(
                        format!("{:?}", alone.1.subcommand()),
                        format!("{:?}", whole.1.subcommand()),
                        "{line}"
                    );
                    understood += 1;
                }
                // The whole tree says what is wrong, or that a flag came first.
                (Some(Err(_)), Err(_)) | (None, _) => {}
                (alone, whole) => panic!("{line}: {alone:?}, in the whole tree {whole:?}"),
            }
        }
        assert!(understood > 60, "{understood}");
    }
}
