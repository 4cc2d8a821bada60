//! Files of `/proc/sys`. What cannot be read or does not parse is not known.

use std::{fs, ops::RangeInclusive, path::Path, str::FromStr};

/// A number.
pub(super) fn number<T: FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// 0 or 1.
pub(super) fn flag(path: &Path) -> Option<bool> {
    number::<u8>(path).map(|value| value != 0)
}

/// Two numbers: from and to.
pub(super) fn pair(path: &Path) -> Option<RangeInclusive<u16>> {
    let text = fs::read_to_string(path).ok()?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// A list of numbers and ranges: `3000,8080-8090`.
pub(super) fn ranges(path: &Path) -> Option<Vec<RangeInclusive<u16>>> {
    parse_ranges(fs::read_to_string(path).ok()?.trim())
}

fn parse_ranges(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('-') {
            Some((from, to)) => Some(from.parse().ok()?..=to.parse().ok()?),
            None => part.parse().ok().map(|port| port..=port),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_ports_is_numbers_and_ranges_or_not_known() {
        assert_eq!(parse_ranges("3000,8080-8090"), Some(vec![3000..=3000, 8080..=8090]));
        assert_eq!(parse_ranges(""), Some(Vec::new()));
        for bad in ["x", "1-", "70000", "1-2-3"] {
            assert_eq!(parse_ranges(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_setting_that_is_not_there_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("setting");
        assert_eq!((number::<u16>(&file), pair(&file), ranges(&file)), (None, None, None));
        fs::write(&file, "32768\t60999\n").unwrap();
        assert_eq!((number::<u16>(&file), pair(&file)), (None, Some(32_768..=60_999)));
        fs::write(&file, "1\n").unwrap();
        assert_eq!(flag(&file), Some(true));
    }
}
