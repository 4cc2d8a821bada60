//! How large texts are as JSON: what others choose is measured as it is stored and told. A control character is one byte in
//! memory and six there (RFC 8259, section 7).

use super::{Ancestor, CommandLine, Container, Event, LoggedEvent, Process, Project, Unit};

/// Names of fields and numbers of a process, and of a row around it.
const FIELDS: usize = 1024;
/// The same of an ancestor.
const ANCESTOR: usize = 160;

/// DEL, C1, the separators that some readers take for line ends, and what turns the direction of text (Unicode's Bidi_Control): what answers
/// write by its number.
pub const fn is_written_by_number(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Bytes of a text within its quotation marks.
pub fn json_bytes(text: &str) -> usize {
    let of = |c: char| match u8::try_from(c) {
        _ if is_written_by_number(c) => 6,
        Ok(byte) if byte.is_ascii() => escaped(byte),
        _ => c.len_utf8(),
    };
    text.chars().map(of).sum()
}

const fn escaped(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        0..=0x1f => 6,
        _ => 1,
    }
}

impl CommandLine {
    /// Bytes of its list.
    pub fn json_bytes(&self) -> usize {
        // Quotation marks and a comma.
        self.args.iter().map(|arg| json_bytes(arg) + 3).sum()
    }

    /// As much of its beginning as takes at most so many bytes as JSON; marked where that is not all.
    #[must_use]
    pub fn within(mut self, most: usize) -> Self {
        let mut left = most;
        for at in 0..self.args.len() {
            let Some(arg) = self.args.get_mut(at) else { break };
            let whole = json_bytes(arg) + 3;
            if whole <= left {
                left -= whole;
                continue;
            }
            left = left.saturating_sub(3);
            let mut end = 0;
            for c in arg.chars() {
                let Some(less) = left.checked_sub(json_bytes(c.encode_utf8(&mut [0; 4]))) else { break };
                left = less;
                end += c.len_utf8();
            }
            arg.truncate(end);
            self.args.truncate(if end == 0 { at } else { at + 1 });
            self.args.shrink_to_fit();
            self.truncated = true;
            break;
        }
        self
    }
}

impl Process {
    /// Bytes that its description takes in an answer, or somewhat fewer.
    pub fn json_bytes(&self) -> usize {
        let texts = [Some(&self.comm), self.user.as_ref(), self.cgroup.as_ref().map(|group| &group.path)];
        let paths = [&self.exe, &self.cwd].into_iter().flatten();
        FIELDS
            + texts.into_iter().flatten().map(|text| json_bytes(text)).sum::<usize>()
            + paths.map(|path| json_bytes(&path.to_string_lossy())).sum::<usize>()
            + self.command.as_ref().map_or(0, CommandLine::json_bytes)
            + self.unit.as_ref().map_or(0, Unit::json_bytes)
            + self.container.as_ref().map_or(0, Container::json_bytes)
            + self.unproven.as_ref().map_or(0, |unproven| unproven.container.json_bytes())
            + self.lineage.iter().map(Ancestor::json_bytes).sum::<usize>()
            + self.project.as_ref().map_or(0, Project::json_bytes)
    }
}

impl Ancestor {
    fn json_bytes(&self) -> usize {
        ANCESTOR + json_bytes(&self.comm) + self.command.as_ref().map_or(0, CommandLine::json_bytes)
    }
}

impl Unit {
    fn json_bytes(&self) -> usize {
        json_bytes(&self.name) + self.slice.as_deref().map_or(0, json_bytes)
    }
}

impl Container {
    /// Bytes of its texts.
    pub fn json_bytes(&self) -> usize {
        let compose = self.compose.iter().flat_map(|compose| [&compose.project, &compose.service]);
        let texts = [&self.pod, &self.name, &self.image].into_iter().flatten().chain(compose);
        json_bytes(&self.id) + texts.map(|text| json_bytes(text)).sum::<usize>()
    }
}

impl Project {
    fn json_bytes(&self) -> usize {
        let worktree = self.worktree.as_ref().map_or(0, |worktree| {
            json_bytes(&worktree.name)
                + json_bytes(&worktree.root.to_string_lossy())
                + worktree.branch.as_deref().map_or(0, json_bytes)
        });
        json_bytes(&self.name) + json_bytes(&self.root.to_string_lossy()) + worktree
    }
}

impl Event {
    /// Bytes that it takes in an answer without its processes, or somewhat fewer.
    pub fn json_bytes(&self) -> usize {
        let texts = [&self.message, &self.claim, &self.subject].into_iter().flatten();
        FIELDS + texts.map(|text| json_bytes(text)).sum::<usize>()
    }
}

impl LoggedEvent {
    /// The same with its processes.
    pub fn json_bytes(&self) -> usize {
        let processes = self.process.iter().chain(&self.other);
        self.event.json_bytes() + processes.map(|process| process.json_bytes()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(args: &[&str]) -> CommandLine {
        CommandLine { args: args.iter().map(|&arg| arg.to_owned()).collect(), truncated: false }
    }

    #[test]
    fn a_text_is_as_large_as_it_is_written() {
        let all: String = (0..=0x2100_u32).filter_map(char::from_u32).collect();
        for text in [&all, "", "node server.js", "\u{1}\u{fffd}é\"\\"] {
            let by_number = text.chars().filter(|&c| is_written_by_number(c));
            let more: usize = by_number.map(|c| 6 - c.len_utf8()).sum();
            assert_eq!(json_bytes(text) + 2, serde_json::to_string(text).unwrap().len() + more, "{text:?}");
        }
    }

    #[test]
    fn a_command_line_is_cut_where_it_is_too_large_as_json_and_says_so() {
        let short = line(&["node", "server.js", ""]);
        assert_eq!(short.clone().within(100), short);
        for most in 0..200 {
            let cut = line(&["node", "é\u{1}\u{1}", &"\u{1}".repeat(4096), "rest"]).within(most);
            assert!(cut.truncated, "{cut:?}");
            assert!(serde_json::to_string(&cut.args).unwrap().len() <= most + 2, "{most}: {cut:?}");
            assert!(most < 60 || cut.args.len() == 3, "{most}: {cut:?}");
        }
    }
}
