//! JSON that a terminal may be shown. The text is exact: what could drive a terminal or deceive a reader is written by its number, as JSON
//! may write any character (RFC 8259, section 7). JSON itself demands that of C0 only.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use crate::model::is_written_by_number;

/// One document on one line, as text.
pub fn text(document: &impl Serialize) -> io::Result<String> {
    let mut text = Vec::new();
    line(&mut text, document)?;
    String::from_utf8(text).map_err(io::Error::other)
}

/// One document on one line.
pub fn line(out: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    document.serialize(&mut Serializer::with_formatter(out, Escaping(CompactFormatter)))?;
    Ok(())
}

/// One document, indented.
pub fn pretty(out: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    document.serialize(&mut Serializer::with_formatter(out, Escaping(PrettyFormatter::new())))?;
    Ok(())
}

/// Writes as another formatter does, but for these characters.
struct Escaping<F>(F);

macro_rules! as_the_other {
    ($($name:ident($($argument:ident: $of:ty),*);)*) => {$(
        fn $name<W: ?Sized + Write>(&mut self, out: &mut W $(, $argument: $of)*) -> io::Result<()> {
            self.0.$name(out $(, $argument)*)
        }
    )*};
}

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some(at) = rest.find(is_written_by_number) {
            let (before, from) = rest.split_at(at);
            self.0.write_string_fragment(out, before)?;
            let mut following = from.chars();
            if let Some(c) = following.next() {
                write!(out, "\\u{:04x}", u32::from(c))?;
            }
            rest = following.as_str();
        }
        self.0.write_string_fragment(out, rest)
    }

    // How a document is laid out.
    as_the_other! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_drives_a_terminal_is_written_by_its_number_and_read_back_exactly() {
        let foreign =
            "a\u{9b}2J\u{7f}\u{85}\u{202e}b\u{2028}\u{2029}\u{2066}\u{61c}\u{200f}\n\u{1b}\"\\ \u{a0}é日🦀";
        let document = BTreeMap::from([(foreign, vec![Some(foreign), None]), ("b", Vec::new())]);
        let (mut one, mut many) = (Vec::new(), Vec::new());
        line(&mut one, &document).unwrap();
        pretty(&mut many, &document).unwrap();
        for text in [&one, &many].map(|bytes| std::str::from_utf8(bytes).unwrap()) {
            assert!(!text.contains(is_written_by_number), "{text:?}");
            assert!(
                text.contains("a\\u009b2J\\u007f\\u0085\\u202eb\\u2028\\u2029\\u2066\\u061c\\u200f\\n"),
                "{text}"
            );
            assert!(text.contains("\u{a0}é日🦀"), "{text}");
            let read: BTreeMap<String, Vec<Option<String>>> = serde_json::from_str(text).unwrap();
            assert_eq!(read.get(foreign), Some(&vec![Some(foreign.to_owned()), None]));
        }
        let plain = BTreeMap::from([("a", vec![1, 2]), ("b", Vec::new())]);
        let (mut one, mut many) = (Vec::new(), Vec::new());
        line(&mut one, &plain).unwrap();
        pretty(&mut many, &plain).unwrap();
        assert_eq!(one, serde_json::to_vec(&plain).unwrap());
        assert_eq!(many, serde_json::to_vec_pretty(&plain).unwrap());
    }
}
