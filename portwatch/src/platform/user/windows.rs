//! By security identifiers.
//!
//! Windows numbers nobody. What stands for a uid here is 0 for whoever may do everything (the system, administrators
//! in an elevated process) and a number made from the security identifier for the others: users of one domain never
//! share one, and of two domains only by a chance of one in 2^30.

use std::{io, path::PathBuf, sync::OnceLock};

use super::Account;
use crate::platform::windows::{Sid, Token};

/// The number of this process's user.
pub fn own_uid() -> u32 {
    static OWN: OnceLock<u32> = OnceLock::new();
    // A process that may not look at its own token is nobody.
    *OWN.get_or_init(|| Token::own().ok().and_then(|token| token.uid()).unwrap_or(u32::MAX - 1))
}

/// Whether what this user has made may be believed by this process: the system's, administrators', its own, and that
/// which its user has made without being elevated.
pub fn is_trusted(uid: u32) -> bool {
    static PERSON: OnceLock<Option<u32>> = OnceLock::new();
    let person = || Token::own().ok().and_then(|token| token.user()).map(|user| user.uid());
    uid == 0 || uid == own_uid() || Some(uid) == *PERSON.get_or_init(person)
}

/// Names are known of identifiers that were met, and go with their processes.
pub fn uid_of(_: &str) -> Option<u32> {
    None
}

/// The account behind a number: known only of identifiers that this process has met. One without a name goes by its identifier.
pub fn account(uid: u32) -> io::Result<Option<Account>> {
    if uid == 0 {
        return Ok(Some(Account { name: "Administrators".to_owned(), home: PathBuf::new() }));
    }
    let name = Sid::met(uid).and_then(|sid| sid.account().or_else(|| sid.text().ok()));
    let own = uid == own_uid();
    let home = std::env::var_os("USERPROFILE").filter(|_| own).map(PathBuf::from).unwrap_or_default();
    Ok(name.map(|name| Account { name, home }))
}
