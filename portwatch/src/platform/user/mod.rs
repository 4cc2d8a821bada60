//! Users, as numbers that can be compared.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use std::path::PathBuf;

pub use self::system::{account, is_trusted, own_uid, uid_of};

/// Somebody whom the machine knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name.
    pub name: String,
    /// Home directory; empty where it is not known.
    pub home: PathBuf,
}

/// This process may do what root may; on Windows it is elevated or the system's own.
pub fn is_privileged() -> bool {
    own_uid() == 0
}

/// Who may do everything, as a sentence has it.
pub const ROOT: &str = if cfg!(windows) { "an administrator" } else { "root" };

/// How a command is given with all rights.
pub fn with_all_rights(command: &str) -> String {
    if cfg!(windows) {
        format!("{command} in a terminal that runs as administrator")
    } else {
        format!("sudo {command}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_this_process_is_always_the_same_one() {
        assert_eq!(own_uid(), own_uid());
        assert_eq!(is_privileged(), own_uid() == 0);
        assert!(is_trusted(own_uid()) && is_trusted(0) && !is_trusted(3_999_999_999));
    }

    #[test]
    fn the_user_of_this_process_has_a_name() {
        let account = account(own_uid()).unwrap();
        assert!(account.is_some_and(|account| !account.name.is_empty()));
    }

    #[test]
    fn a_number_that_nobody_has_is_nobody() {
        assert_eq!(account(3_999_999_999).unwrap(), None);
    }
}
