//! Lines made of toned pieces: measured, cut, wrapped and written. Every piece passes [`super::sanitize`].

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar;

use super::{Look, sanitize::clean};

/// What a piece of text means to the eye. Colour marks trouble only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Plain.
    Plain,
    /// The answer itself.
    Strong,
    /// Labels and notes.
    Faint,
    /// Incomplete, unknown.
    Warn,
    /// Refused, lost, failed.
    Bad,
}

impl Tone {
    const fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
        }
    }
}

/// A line of text.
#[derive(Debug, Clone)]
pub struct Text {
    pieces: Vec<(Tone, String)>,
    terminal: bool,
    color: bool,
    columns: Option<usize>,
}

impl Text {
    /// An empty line for this reader.
    pub const fn new(look: &Look) -> Self {
        Self { pieces: Vec::new(), terminal: look.terminal, color: look.color, columns: look.width }
    }

    /// Appends a piece, made harmless.
    pub fn push(&mut self, tone: Tone, text: &str) -> &mut Self {
        if !text.is_empty() {
            self.pieces.push((tone, clean(text, self.terminal).into_owned()));
        }
        self
    }

    /// Appends plain text.
    pub fn plain(&mut self, text: &str) -> &mut Self {
        self.push(Tone::Plain, text)
    }

    /// Appends another line's pieces.
    pub(super) fn append(&mut self, other: Self) -> &mut Self {
        self.pieces.extend(other.pieces);
        self
    }

    /// Blanks up to this column, and at least one when something is there already.
    pub(super) fn pad_to(&mut self, column: usize) -> &mut Self {
        let width = self.width();
        let blanks = column.saturating_sub(width).max(usize::from(width > 0));
        self.pieces.push((Tone::Plain, " ".repeat(blanks)));
        self
    }

    /// Nothing yet, or a blank last.
    pub(super) fn ends_blank(&self) -> bool {
        self.pieces.last().is_none_or(|(_, text)| text.ends_with(' '))
    }

    /// Columns it takes on a terminal.
    pub(super) fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| width(text)).sum()
    }

    /// The same, at most `columns` wide, with `…` where it was cut.
    pub(super) fn cut(mut self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut left = columns.saturating_sub(1);
        let mut kept = Vec::new();
        for (tone, text) in self.pieces {
            let mut part = String::new();
            for c in text.chars() {
                let wide = c.width().unwrap_or(0);
                if wide > left {
                    left = 0;
                    break;
                }
                left -= wide;
                part.push(c);
            }
            kept.push((tone, part));
            if left == 0 {
                break;
            }
        }
        if columns > 0 {
            kept.push((Tone::Plain, "…".to_owned()));
        }
        self.pieces = kept;
        self
    }

    /// Writes it as one line, cut to the width of the terminal if there is one.
    pub(super) fn line(mut self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(columns) = self.columns {
            self = self.cut(columns);
        }
        self.write(out)
    }

    /// Writes it, wrapped at blanks to the width of the terminal if there is one; later lines are indented.
    pub fn wrapped(self, out: &mut dyn Write, indent: usize) -> io::Result<()> {
        let columns = self.columns.unwrap_or(usize::MAX);
        if self.width() <= columns {
            return self.write(out);
        }
        let (terminal, color) = (self.terminal, self.color);
        // A terminal narrower than twice the indentation has no room for it.
        let indent = if indent * 2 > columns { columns.min(20) / 10 } else { indent };
        let mut line = Self { pieces: Vec::new(), ..self };
        let (mut used, mut fresh) = (0, true);
        for (tone, text) in self.pieces {
            for word in text.split_inclusive(' ') {
                let wanted = width(word.trim_end_matches(' '));
                if !fresh && used + wanted > columns && (wanted <= columns - indent || used >= columns) {
                    line.write(out)?;
                    line = Self {
                        pieces: vec![(Tone::Plain, " ".repeat(indent))],
                        terminal,
                        color,
                        columns: Some(columns),
                    };
                    used = indent;
                    fresh = true;
                    if word.trim_end_matches(' ').is_empty() {
                        continue;
                    }
                }
                let mut rest = word;
                while used + width(rest.trim_end_matches(' ')) > columns {
                    let (head, tail) = split_at_width(rest, columns.saturating_sub(used).max(1));
                    line.pieces.push((tone, head.to_owned()));
                    line.write(out)?;
                    line = Self {
                        pieces: vec![(Tone::Plain, " ".repeat(indent))],
                        terminal,
                        color,
                        columns: Some(columns),
                    };
                    used = indent;
                    rest = tail;
                }
                used += width(rest);
                fresh = fresh && rest.trim().is_empty();
                line.pieces.push((tone, rest.to_owned()));
            }
        }
        if fresh { Ok(()) } else { line.write(out) }
    }

    fn write(self, out: &mut dyn Write) -> io::Result<()> {
        self.unterminated(out)?;
        writeln!(out)
    }

    /// Writes it and stays on the line.
    pub(super) fn unterminated(mut self, out: &mut dyn Write) -> io::Result<()> {
        while let Some((_, last)) = self.pieces.last_mut() {
            last.truncate(last.trim_end_matches(' ').len());
            if !last.is_empty() {
                break;
            }
            self.pieces.pop();
        }
        for (tone, text) in &self.pieces {
            let style = if self.color { tone.style() } else { Style::new() };
            write!(out, "{style}{text}{style:#}")?;
        }
        Ok(())
    }
}

/// Columns a text takes, character by character.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Splits after at most `columns` columns, and after one character at least.
fn split_at_width(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns && at > 0 {
            return text.split_at(at);
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::{Text, Tone};
    use crate::render::sample;

    fn wrapped(text: &str, columns: usize) -> String {
        let mut line = Text::new(&sample::look(columns));
        line.plain(text);
        let mut out = Vec::new();
        line.wrapped(&mut out, 2).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_wraps_at_blanks_and_long_words_are_broken() {
        assert_eq!(wrapped("one two three", 7), "one two\n  three\n");
        assert_eq!(wrapped("abcdefghij k", 6), "abcdef\n  ghij\n  k\n");
        assert_eq!(wrapped("日本語日本語", 5), "日本\n  語\n  日\n  本\n  語\n");
        assert_eq!(wrapped("exactly", 7), "exactly\n");
    }

    #[test]
    fn no_width_is_too_small_to_end() {
        for columns in 0..5 {
            assert!(wrapped("日本語 abc def", columns).contains('日'), "{columns}");
        }
    }

    #[test]
    fn a_cut_never_splits_a_wide_character() {
        let mut line = Text::new(&sample::look(80));
        line.plain("日本語").push(Tone::Bad, "abc");
        assert_eq!(line.clone().cut(4).width(), 3);
        assert_eq!(line.clone().cut(9).width(), 9);
        assert_eq!(line.clone().cut(8).width(), 8);
        assert_eq!(line.cut(0).width(), 0);
    }
}
