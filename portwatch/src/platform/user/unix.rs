//! By uid and the user database.

use std::io;

use nix::unistd::{Uid, User};

use super::Account;

/// The effective uid.
pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Whether what this user has made may be believed by this process: its own, and root's.
pub fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == own_uid()
}

/// The uid of this name; `None` when the database has none, or does not answer.
pub fn uid_of(name: &str) -> Option<u32> {
    User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

/// The account of a uid; `None` when the database has none. It may be a directory service that does not answer.
pub fn account(uid: u32) -> io::Result<Option<Account>> {
    let user = User::from_uid(Uid::from_raw(uid))?;
    Ok(user.map(|user| Account { name: user.name, home: user.dir }))
}
