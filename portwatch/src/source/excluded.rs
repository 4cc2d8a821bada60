//! Port ranges that Windows keeps back, as `netsh interface ipv4 show excludedportrange` prints them. Pure, and total.
//!
//! Headings are in the system's language and are not read: a row is two ports, and a star where an administrator made the
//! range. Those, made to keep a port for a server, are not lent to others; whether a bind of one is refused is not said
//! there. Binds in the other ranges (of Hyper-V, WSL, containers) are refused with WSAEACCES.

use std::ops::RangeInclusive;

/// What is kept back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Excluded {
    /// Binds are refused.
    pub refused: Vec<RangeInclusive<u16>>,
    /// Kept by an administrator.
    pub kept: Vec<RangeInclusive<u16>>,
}

/// Reads the output; `None` when it has no table.
pub fn parse(output: &[u8]) -> Option<Excluded> {
    // In the code page of the console: what matters is ASCII.
    let text = String::from_utf8_lossy(output);
    let mut excluded = Excluded::default();
    let mut table = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        table |= words.len() == 2 && words.iter().all(|word| word.bytes().all(|b| b == b'-'));
        let (from, to, star) = match words.as_slice() {
            [from, to] => (from, to, false),
            [from, to, "*"] => (from, to, true),
            _ => continue,
        };
        let (Ok(from), Ok(to)) = (from.parse::<u16>(), to.parse::<u16>()) else { continue };
        if from <= to {
            if star { &mut excluded.kept } else { &mut excluded.refused }.push(from..=to);
        }
    }
    table.then_some(excluded)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Captured by others, rows left out: Windows 10 with Docker (dotnet/aspnetcore issue 25562, 2020-09-03), and a Spanish
    // one, where a server on 25340 was refused (microsoft/WSL issue 5306, 2022-06-13).

    #[test]
    fn ranges_are_read_in_any_language_and_those_of_administrators_are_kept_apart() {
        let english = parse(include_bytes!("fixtures/netsh-excluded.txt")).unwrap();
        assert_eq!(english.kept, [50_000..=50_059]);
        assert_eq!(english.refused.first(), Some(&(4_800..=4_800)));
        assert_eq!(english.refused.last(), Some(&(62_554..=62_653)));
        assert_eq!(english.refused.len(), 8);
        let spanish = parse(include_bytes!("fixtures/netsh-excluded-spanish.txt")).unwrap();
        assert!(spanish.refused.contains(&(25_313..=25_412)), "{spanish:?}");
    }

    #[test]
    fn what_is_no_table_is_not_an_empty_one() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"The system cannot find the file specified.\r\n"), None);
        assert_eq!(
            parse(b"Start Port    End Port\r\n----------    --------\r\n\r\n"),
            Some(Excluded::default())
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
