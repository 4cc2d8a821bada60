//! Spans of time as people write them: `500ms`, `90s`, `10m`, `2h30m`, `3d`.

use std::time::Duration;

/// Why a text is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a span of time; write 500ms, 90s, 10m, 2h30m, 3d")]
pub struct DurationError(String);

/// A span of time, from one millisecond to about a hundred years.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    let refused = || DurationError(text.to_owned());
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let factor = match unit.trim() {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(refused()),
        };
        let number: u64 = number.parse().map_err(|_| refused())?;
        total = number.checked_mul(factor).and_then(|ms| total.checked_add(ms)).ok_or_else(refused)?;
        rest = after;
    }
    // Longer spans leave the calendar.
    if total == 0 || total > 36_500 * 86_400_000 {
        return Err(refused());
    }
    Ok(Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn spans_are_numbers_with_units() {
        for (text, ms) in
            [("500ms", 500), ("90s", 90_000), ("2h30m", 9_000_000), ("3d", 259_200_000), ("1w", 604_800_000)]
        {
            assert_eq!(duration(text).unwrap().as_millis(), ms, "{text}");
        }
        for bad in ["", "5", "s", "-5s", "5x", "0s", "99999999999999999999s", "999999w", "1h 5"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
