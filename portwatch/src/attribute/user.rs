//! User names and home directories, from the machine's user database.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::platform::user::{self, Account};

/// The database may be a directory service: it is not asked for every process. Users are renamed rarely.
const LIFETIME: Duration = Duration::from_mins(5);
/// Bound of the cache; a machine with more users at once pays for look-ups.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Users {
    known: HashMap<u32, (Option<Arc<Account>>, Instant)>,
}

impl Users {
    /// The account of a uid; `None` when the database has none or does not answer.
    pub(super) fn account(&mut self, uid: u32) -> Option<Arc<Account>> {
        if let Some((account, at)) = self.known.get(&uid)
            && at.elapsed() < LIFETIME
        {
            return account.clone();
        }
        let account = match user::account(uid) {
            Ok(account) => account.map(Arc::new),
            Err(error) => {
                tracing::debug!(uid, %error, "user database did not answer");
                None
            }
        };
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(uid, (account.clone(), Instant::now()));
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_a_uid_without_an_account_has_none() {
        let mut users = Users::default();
        assert!(!users.account(0).unwrap().name.is_empty());
        assert!(users.account(3_999_999_999).is_none());
        assert!(users.known.contains_key(&3_999_999_999));
    }
}
