//! The schema and its numbered forward migrations.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// `PRAGMA application_id`: "PWdb". `file(1)` and this program tell whose database it is by it.
pub(super) const APPLICATION_ID: i64 = 0x5057_6462;

/// Migration `n` makes schema `n + 1` of schema `n`. Entries are never changed once released.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("sql/0001.sql"),
    include_str!("sql/0002.sql"),
    include_str!("sql/0003.sql"),
    include_str!("sql/0004.sql"),
    include_str!("sql/0005.sql"),
    include_str!("sql/0006.sql"),
    include_str!("sql/0007.sql"),
    include_str!("sql/0008.sql"),
    include_str!("sql/0009.sql"),
    include_str!("sql/0010.sql"),
    include_str!("sql/0011.sql"),
];

/// Views hold no data, so they are made anew after a migration instead of being migrated.
const VIEWS: &str = include_str!("sql/views.sql");

/// The newest schema.
pub(super) fn latest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the schema from `from` to `to`, all or nothing.
pub(super) fn migrate(connection: &Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    // From the start a writer: two that begin as readers could both find the old schema.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let from = version(connection)?.max(from);
    for (step, sql) in (0_i64..).zip(MIGRATIONS) {
        if (from..to).contains(&step) {
            transaction.execute_batch(sql)?;
        }
    }
    transaction.execute_batch(VIEWS)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", to)?;
    transaction.commit()
}
