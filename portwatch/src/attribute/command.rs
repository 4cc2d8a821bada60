//! Command lines. Every command line that leaves this stage passed [`settle`], and every one that enters it
//! [`super::bound::command`].

use super::MARK;
#[cfg(target_os = "linux")]
use super::{
    Redaction, bound,
    pid::{PidDir, Stat},
};
use crate::model::CommandLine;

/// How much of `/proc/PID/cmdline` is kept. Longer ones (Java class paths) are cut and marked.
#[cfg(target_os = "linux")]
const LIMIT: usize = 4096;

/// What /proc says now, redacted; `None` where it may not be read or the memory is gone.
#[cfg(target_os = "linux")]
pub(super) fn read(directory: &PidDir, stat: &Stat, redaction: &Redaction) -> Option<CommandLine> {
    if stat.zombie {
        return None;
    }
    let (bytes, truncated) = directory.read("cmdline", LIMIT).ok()?;
    Some(bound::command(CommandLine::from_nul_separated(&bytes, truncated), redaction))
}

/// The command line to show: what the event carried or what /proc says now.
///
/// /proc is preferred where it only says more of the same. Where they differ the process has called `exec` or
/// rewritten its title since, and the event's is what it was when it acted.
pub(super) fn settle(seen: Option<&CommandLine>, now: Option<CommandLine>) -> Option<CommandLine> {
    match (seen, now) {
        (Some(seen), Some(now)) if !continues(seen, &now) => Some(seen.clone()),
        (_, Some(now)) => Some(now),
        (Some(seen), None) => Some(seen.clone()),
        (None, None) => None,
    }
}

/// Whether `now` can be the whole of what `seen` is the beginning of.
pub(super) fn continues(seen: &CommandLine, now: &CommandLine) -> bool {
    if !seen.truncated && !now.truncated {
        return seen.args == now.args;
    }
    let Some((last, whole)) = seen.args.split_last() else { return true };
    // A character that was cut in its middle became U+FFFD; at a cut more is hidden than in the whole.
    let last = if seen.truncated { last.trim_end_matches('\u{fffd}').trim_end_matches(MARK) } else { last };
    now.args.starts_with(whole) && now.args.get(whole.len()).is_none_or(|arg| begins(last, arg))
        || now.truncated && seen.args.starts_with(&now.args)
}

/// Whether `cut` can be the beginning of an argument. The whole may hide what its beginning did not show to be
/// a secret yet.
fn begins(cut: &str, whole: &str) -> bool {
    whole.starts_with(cut) || whole.split_once(MARK).is_some_and(|(before, _)| cut.starts_with(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of redis-server 7.0's, whose title is shorter than its arguments were.
    #[test]
    fn what_is_left_of_arguments_behind_a_title_is_no_arguments() {
        let args = |bytes: &[u8]| CommandLine::from_nul_separated(bytes, false).args;
        assert_eq!(args(b"redis-server 127.0.0.1:6379\0\0\0\0\0"), ["redis-server 127.0.0.1:6379"]);
        assert_eq!(args(b"redis-server\0--save\0\0"), ["redis-server", "--save", ""]);
        assert_eq!(args(b"a\0\0b\0"), ["a", "", "b"]);
        assert!(args(b"\0\0\0").is_empty() && args(b"").is_empty());
    }

    fn line(text: &str, truncated: bool) -> CommandLine {
        CommandLine { args: text.split(' ').map(str::to_owned).collect(), truncated }
    }

    #[test]
    fn the_longer_of_two_that_agree_is_shown() {
        let (cut, whole) = (line("node serv", true), line("node server.js --port 1", false));
        assert_eq!(settle(Some(&cut), Some(whole.clone())), Some(whole));
    }

    #[test]
    fn after_an_exec_the_line_at_the_event_stands() {
        let (then, now) = (line("python3 app.py", false), line("sleep 60", false));
        assert_eq!(settle(Some(&then), Some(now)), Some(then));
    }

    #[test]
    fn a_character_cut_in_its_middle_is_no_difference() {
        let cut = CommandLine::from_nul_separated(b"node\0caf\xc3", true);
        assert!(continues(&cut, &CommandLine::from_nul_separated("node\0café.js\0".as_bytes(), false)));
    }
}
