//! Moments as the database keeps them: nanoseconds since 1970-01-01 UTC.

use crate::model::Timestamp;

/// Saturates in the years 1677 and 2262.
pub(super) fn to_ns(at: Timestamp) -> i64 {
    let ns = at.as_nanosecond();
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// Every `i64` of nanoseconds lies within jiff's range.
pub(super) fn from_ns(ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default()
}
