//! What `netstat` prints, on each platform in its own way.
//!
//! A heading is never cut at its character positions: columns overflow and headings are translated. Rows are taken
//! word by word.

pub mod linux;
pub mod macos;
pub mod windows;

use super::row::{Parsed, Row, State, place, state};

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::{super::row::Parse, linux, macos, windows};

    const CAPTURES: [(&[u8], Parse); 7] = [
        (include_bytes!("../fixtures/netstat-linux.txt"), linux::parse),
        (include_bytes!("../fixtures/netstat-macos-14.txt"), macos::parse),
        (include_bytes!("../fixtures/netstat-macos-15.txt"), macos::parse),
        (include_bytes!("../fixtures/netstat-macos-26.txt"), macos::parse),
        (include_bytes!("../fixtures/netstat-windows.txt"), windows::parse),
        (include_bytes!("../fixtures/netstat-windows-german.txt"), windows::parse),
        (include_bytes!("../fixtures/netstat-windows-languages.txt"), windows::parse),
    ];

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes: Vec<u8>, which in 0..CAPTURES.len()) {
            let parsed = CAPTURES[which].1(&bytes);
            prop_assert!(parsed.rows.iter().all(|row| row.port != 0));
        }

        #[test]
        fn damaged_output_makes_no_more_rows_than_it_has_lines(
            which in 0..CAPTURES.len(),
            at: prop::sample::Index,
            byte: u8,
            cut: prop::sample::Index,
        ) {
            let (capture, parse) = CAPTURES[which];
            let mut bytes = capture.to_vec();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            bytes.truncate(cut.index(capture.len()));
            let lines = bytes.split(|&b| b == b'\n').count();
            let parsed = parse(&bytes);
            prop_assert!(parsed.rows.len() + parsed.unread <= lines);
        }
    }
}
