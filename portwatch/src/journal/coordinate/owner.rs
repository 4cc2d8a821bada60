//! Owners as columns: kind, owner, uid, user, pid, start_ticks, boot.

use rusqlite::Row;

use crate::{
    coordinate::{EARLIER_BOOT, Owner, OwnerKind, User},
    model::ProcessId,
};

/// The owner in the columns from `first` on.
pub(super) fn owner(row: &Row<'_>, first: usize, boot: i64) -> rusqlite::Result<Owner> {
    let kind: String = row.get(first)?;
    Ok(Owner {
        kind: OwnerKind::from_word(&kind).unwrap_or(OwnerKind::Process),
        name: row.get(first + 1)?,
        user: User { uid: row.get(first + 2)?, name: row.get(first + 3)? },
        process: process(row, first + 4, boot)?,
    })
}

/// The process in three columns from `first` on; one of an earlier boot lives no more, whoever has its pid.
pub(super) fn process(row: &Row<'_>, first: usize, boot: i64) -> rusqlite::Result<Option<ProcessId>> {
    let Some(pid) = row.get::<_, Option<u32>>(first)? else { return Ok(None) };
    let ticks: Option<i64> = row.get(first + 1)?;
    let same_boot = row.get::<_, Option<i64>>(first + 2)? == Some(boot);
    let start_ticks = ticks.filter(|_| same_boot).map_or(EARLIER_BOOT, i64::cast_unsigned);
    Ok(Some(ProcessId { pid, start_ticks }))
}

/// A process as three columns.
pub(super) fn columns(process: Option<ProcessId>, boot: i64) -> (Option<u32>, Option<i64>, Option<i64>) {
    (process.map(|p| p.pid), process.map(|p| p.start_ticks.cast_signed()), process.map(|_| boot))
}
