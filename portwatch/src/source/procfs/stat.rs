//! `/proc/PID/stat`, as far as it is needed. Pure.

/// Fields of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat<'a> {
    /// Name of the thread-group leader, 15 bytes at most. Any bytes: chosen by the process.
    pub comm: &'a [u8],
    /// `Z` and `X` are dead.
    pub state: u8,
    /// Parent's pid.
    pub parent_pid: u32,
    /// The session it is in: the pid of its leader.
    pub session: u32,
    /// Device number of its controlling terminal; 0 is none.
    pub terminal: i64,
    /// Field 22, in ticks of 1/100 s since boot.
    pub start_ticks: u64,
}

impl<'a> Stat<'a> {
    /// `None` when the bytes are not a stat line. The name may contain blanks, newlines and `)`; no field
    /// after it can, so the last `)` of the line ends the name.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let open = bytes.iter().position(|&b| b == b'(')?;
        let close = bytes.iter().rposition(|&b| b == b')')?;
        let comm = bytes.get(open + 1..close)?;
        let mut fields = bytes.get(close + 1..)?.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
        let state = *fields.next()?.first()?;
        let parent_pid = number(fields.next()?)?;
        // Fields are counted from 1 in proc(5): state is 3, ppid 4, pgrp 5, session 6, tty_nr 7, starttime 22. The session of a process
        // that is being reaped may be -1.
        let session = number(fields.nth(1)?).unwrap_or(0);
        let terminal = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let start_ticks = number(fields.nth(14)?)?;
        Some(Self { comm, state, parent_pid, session, terminal, start_ticks })
    }
}

/// A decimal number and nothing else.
pub(super) fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Captured from `sleep` renamed by prctl(PR_SET_NAME), Linux 6.18; the middle is shortened to field 22.
    const TAIL: &str = " S 4711 51202 4 0 -1 4194304 93 0 0 0 0 0 0 0 20 0 1 0 8812345 5742592 211";

    fn parse(comm: &str) -> Option<(Vec<u8>, u32, u64)> {
        let line = format!("51202 ({comm}){TAIL}");
        Stat::parse(line.as_bytes()).map(|s| {
            assert_eq!(s.session, 4);
            (s.comm.to_vec(), s.parent_pid, s.start_ticks)
        })
    }

    #[test]
    fn a_name_with_brackets_blanks_and_newlines_does_not_shift_the_fields() {
        for comm in ["sleep", "a) R 1 (b", ") S 1 2", "x\n9 (y) Z", "", ")"] {
            assert_eq!(parse(comm), Some((comm.as_bytes().to_vec(), 4711, 8_812_345)), "{comm:?}");
        }
    }

    #[test]
    fn a_line_that_is_cut_or_no_stat_line_gives_nothing() {
        for line in ["", "1", "1 (", "1 (x", "1 (x)", "1 (x) S", "1 )x(", "1 (x) S 1 2 3", "1 (x) S -7"] {
            assert_eq!(Stat::parse(line.as_bytes()), None, "{line:?}");
        }
        let whole = format!("1 (x){TAIL}");
        let before_start = whole.find("8812345").unwrap();
        assert_eq!(Stat::parse(&whole.as_bytes()[..before_start]), None);
    }
}
