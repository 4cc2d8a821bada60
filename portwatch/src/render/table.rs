//! Tables that fit: columns are as wide as their contents, give way in the order of their priority, and are cut last.

use std::io::{self, Write};

use super::{Look, Text, Tone, text};

/// A column.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// 0 is never dropped; the greatest number goes first.
    pub(super) priority: u8,
    /// May be cut down to so many columns before anything is dropped; 0 is never cut.
    pub(super) least: usize,
    /// Numbers stand to the right.
    pub(super) right: bool,
}

const GAP: usize = 2;

/// Writes the rows under their titles. Columns in which every cell is empty are left out.
pub(super) fn write(
    out: &mut dyn Write,
    columns: &[Column],
    rows: &[Vec<(Tone, String)>],
    look: &Look,
) -> io::Result<()> {
    table(out, columns, rows, look, true)
}

/// Writes the rows alone, for cells that say themselves what they are.
pub(super) fn untitled(
    out: &mut dyn Write,
    columns: &[Column],
    rows: &[Vec<(Tone, String)>],
    look: &Look,
) -> io::Result<()> {
    table(out, columns, rows, look, false)
}

fn table(
    out: &mut dyn Write,
    columns: &[Column],
    rows: &[Vec<(Tone, String)>],
    look: &Look,
    titled: bool,
) -> io::Result<()> {
    let cell = |row: &[(Tone, String)], at: usize| row.get(at).map_or(0, |(_, text)| measured(text, look));
    let mut shown: Vec<(usize, &Column, usize)> = columns
        .iter()
        .enumerate()
        .filter(|(at, column)| column.priority == 0 || rows.iter().any(|row| cell(row, *at) > 0))
        .map(|(at, column)| {
            let widest = rows.iter().map(|row| cell(row, at)).max().unwrap_or(0);
            (at, column, if titled { widest.max(text::width(column.title)) } else { widest })
        })
        .collect();
    if let Some(width) = look.width {
        fit(&mut shown, width);
    }
    if titled {
        let mut head = Text::new(look);
        for_each_cell(&shown, |column, width, last| {
            push_cell(&mut head, Tone::Faint, column.title, (column, width, last), look);
        });
        head.line(out)?;
    }
    for row in rows {
        let mut line = Text::new(look);
        for (index, (at, column, width)) in shown.iter().enumerate() {
            let last = index + 1 == shown.len();
            if let Some((tone, text)) = row.get(*at) {
                push_cell(&mut line, *tone, text, (column, *width, last), look);
            }
        }
        line.line(out)?;
    }
    Ok(())
}

fn for_each_cell(shown: &[(usize, &Column, usize)], mut each: impl FnMut(&Column, usize, bool)) {
    for (index, (_, column, width)) in shown.iter().enumerate() {
        each(column, *width, index + 1 == shown.len());
    }
}

fn measured(text: &str, look: &Look) -> usize {
    text::width(&super::sanitize::clean(text, look.terminal))
}

fn push_cell(
    line: &mut Text,
    tone: Tone,
    content: &str,
    (column, width, last): (&Column, usize, bool),
    look: &Look,
) {
    let mut cell = Text::new(look);
    cell.push(tone, content);
    let cell = cell.cut(width);
    let blanks = width.saturating_sub(cell.width());
    if column.right {
        line.push(Tone::Plain, &" ".repeat(blanks));
        line.append(cell);
    } else {
        line.append(cell);
        if !last {
            line.push(Tone::Plain, &" ".repeat(blanks));
        }
    }
    if !last {
        line.push(Tone::Plain, &" ".repeat(GAP));
    }
}

/// Cuts what may be cut, widest first; where that is not enough, drops the least important column and begins again.
fn fit(shown: &mut Vec<(usize, &Column, usize)>, width: usize) {
    let natural: Vec<(usize, usize)> = shown.iter().map(|(at, _, width)| (*at, *width)).collect();
    loop {
        let total = |shown: &[(usize, &Column, usize)]| {
            shown.iter().map(|(_, _, w)| w).sum::<usize>() + GAP * shown.len().saturating_sub(1)
        };
        while total(shown) > width {
            let widest = shown
                .iter_mut()
                .filter(|(_, column, w)| column.least > 0 && *w > column.least)
                .max_by_key(|(_, _, w)| *w);
            match widest {
                Some((_, _, w)) => *w -= 1,
                None => break,
            }
        }
        if total(shown) <= width {
            return;
        }
        let least = shown.iter().enumerate().max_by_key(|(_, (_, column, _))| column.priority);
        match least {
            Some((index, (_, column, _))) if column.priority > 0 => {
                shown.remove(index);
            }
            _ => return,
        }
        for (at, _, width) in shown.iter_mut() {
            if let Some((_, full)) = natural.iter().find(|(n, _)| n == at) {
                *width = *full;
            }
        }
    }
}
