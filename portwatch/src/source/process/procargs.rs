//! The bytes of macOS's `KERN_PROCARGS2`. Pure, and total.

/// The arguments, NUL-separated, without the environment behind them. `None` when the bytes are not such an area.
pub(super) fn arguments(area: &[u8]) -> Option<Vec<u8>> {
    let (count, rest) = area.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_ne_bytes(*count)).ok()?;
    // The path of the program, and NULs up to a word's end.
    let path = rest.iter().position(|&b| b == 0)?;
    let rest = rest.get(path..)?;
    let start = rest.iter().position(|&b| b != 0).unwrap_or(rest.len());
    let rest = rest.get(start..)?;
    let mut end = 0;
    for _ in 0..count {
        match rest.get(end..)?.iter().position(|&b| b == 0) {
            Some(length) => end += length + 1,
            None => return Some(rest.to_vec()),
        }
    }
    rest.get(..end).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(count: i32, rest: &[u8]) -> Vec<u8> {
        [&count.to_ne_bytes(), rest].concat()
    }

    #[test]
    fn the_environment_is_left_out() {
        let bytes = area(2, b"/usr/bin/node\0\0\0node\0server.js\0SECRET=1\0HOME=/\0");
        assert_eq!(arguments(&bytes).unwrap(), b"node\0server.js\0");
    }

    #[test]
    fn what_is_cut_or_no_such_area_gives_what_there_is_or_nothing() {
        assert_eq!(arguments(&area(2, b"/x\0\0node\0ser")).unwrap(), b"node\0ser");
        assert_eq!(arguments(&area(0, b"/x\0\0SECRET=1\0")).unwrap(), b"");
        assert_eq!(arguments(&area(i32::MAX, b"/x\0\0a\0")).unwrap(), b"a\0");
        for wrong in [&b""[..], b"\x01", &area(-1, b"/x\0a\0"), &area(1, b"/x")] {
            assert_eq!(arguments(wrong), None, "{wrong:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes: Vec<u8>) {
            let _ = arguments(&bytes);
        }
    }
}
