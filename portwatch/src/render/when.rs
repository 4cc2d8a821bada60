//! Moments and spans of time for people.

use jiff::{Timestamp, Zoned};

use super::Look;

/// Two units at most: `12s`, `3m 20s`, `6h 12m`, `3d 4h`.
pub(super) fn span(seconds: i64) -> String {
    let (value, unit, rest, rest_unit) = units(seconds);
    if rest == 0 { format!("{value}{unit}") } else { format!("{value}{unit} {rest}{rest_unit}") }
}

/// One unit: `12s`, `3m`, `6h`, `3d`.
pub(super) fn span_short(seconds: i64) -> String {
    let (value, unit, ..) = units(seconds);
    format!("{value}{unit}")
}

fn units(seconds: i64) -> (i64, &'static str, i64, &'static str) {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => (seconds, "s", 0, ""),
        60..3600 => (seconds / 60, "m", seconds % 60, "s"),
        3600..86400 => (seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => (seconds / 86400, "d", seconds % 86400 / 3600, "h"),
    }
}

/// Whole seconds from `then` to now, never negative.
pub(super) fn age(then: Timestamp, look: &Look) -> i64 {
    look.now.as_second().saturating_sub(then.as_second()).max(0)
}

/// Local time; with the date when that is not today's.
pub(super) fn clock(then: Timestamp, look: &Look) -> String {
    let local = then.to_zoned(look.zone.clone());
    if is_today(&local, look) {
        local.strftime("%H:%M:%S").to_string()
    } else {
        local.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

pub(super) fn is_today(local: &Zoned, look: &Look) -> bool {
    local.date() == look.now.to_zoned(look.zone.clone()).date()
}

/// The zone by name and offset: `CET (UTC+01:00)`.
pub(super) fn zone(look: &Look) -> String {
    let now = look.now.to_zoned(look.zone.clone());
    let name = now.strftime("%Z").to_string();
    let offset = now.strftime("%:z").to_string();
    if name == "UTC" {
        name
    } else if name.starts_with(['+', '-']) || name.is_empty() {
        format!("UTC{offset}")
    } else {
        format!("{name} (UTC{offset})")
    }
}

#[cfg(test)]
mod tests {
    use super::{clock, span, span_short, zone};
    use crate::render::sample;

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, long, short) in [
            (-5, "0s", "0s"),
            (59, "59s", "59s"),
            (60, "1m", "1m"),
            (200, "3m 20s", "3m"),
            (22_320, "6h 12m", "6h"),
            (273_600, "3d 4h", "3d"),
        ] {
            assert_eq!((span(seconds).as_str(), span_short(seconds).as_str()), (long, short));
        }
    }

    #[test]
    fn the_date_is_shown_when_it_is_not_today() {
        let look = sample::look(80);
        assert_eq!(clock("2026-03-02T01:14:05Z".parse().unwrap(), &look), "02:14:05");
        assert_eq!(clock("2026-03-01T19:14:30Z".parse().unwrap(), &look), "2026-03-01 20:14:30");
        assert_eq!(zone(&look), "CET (UTC+01:00)");
    }
}
