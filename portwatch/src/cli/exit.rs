//! Exit codes: the only place with their numbers. `docs/exit-codes.md` says the same in the same words.

use crate::access::AccessError;

/// How a command ends. Ordered: with several targets the worst, which is the greatest, wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Yes, or done.
    Yes = 0,
    /// No: free, nothing found, refused, not running.
    No = 1,
    /// The command line, the configuration file or a pattern was wrong.
    Usage = 2,
    /// It could not be seen, or is not permitted. Never to be read as "free".
    NotSeen = 3,
    /// Several answers where one was needed.
    Ambiguous = 4,
    /// A daemon or source is required and there is none.
    NoDaemon = 5,
    /// Our fault.
    Internal = 70,
}

impl Exit {
    /// Every code, smallest first.
    pub const ALL: [Self; 7] =
        [Self::Yes, Self::No, Self::Usage, Self::NotSeen, Self::Ambiguous, Self::NoDaemon, Self::Internal];

    /// The number the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The sentence of the documentation.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Yes => "yes, or done",
            Self::No => "no: free, nothing found, refused, not running",
            Self::Usage => "usage: the command line or the configuration file is wrong",
            Self::NotSeen => "not permitted or unknown: it could not be seen, and may be anything",
            Self::Ambiguous => "ambiguous: several answers where one was needed",
            Self::NoDaemon => "no daemon or source where one is required",
            Self::Internal => "internal error: a defect of portwatch",
        }
    }
}

impl From<&AccessError> for Exit {
    fn from(error: &AccessError) -> Self {
        match error {
            AccessError::Usage(_) => Self::Usage,
            AccessError::Refused { .. } => Self::No,
            AccessError::NotSeen { .. } | AccessError::Silent { .. } => Self::NotSeen,
            AccessError::Ambiguous { .. } => Self::Ambiguous,
            AccessError::NoDaemon { .. } => Self::NoDaemon,
            AccessError::Internal(_) => Self::Internal,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    const DOCUMENT: &str = include_str!("../../../docs/exit-codes.md");

    #[test]
    fn every_code_is_documented_in_the_same_words_and_no_other() {
        let rows: Vec<&str> = DOCUMENT
            .lines()
            .filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 1)
            .skip(1)
            .collect();
        let expected: Vec<String> =
            Exit::ALL.iter().map(|exit| format!("| {} | {} |", exit.code(), exit.meaning())).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn the_worst_of_several_is_the_greatest_number() {
        let mut by_badness = Exit::ALL;
        by_badness.sort();
        assert!(by_badness.windows(2).all(|pair| pair[0].code() < pair[1].code()));
        assert_eq!([Exit::Yes, Exit::NotSeen, Exit::No].into_iter().max(), Some(Exit::NotSeen));
    }
}
