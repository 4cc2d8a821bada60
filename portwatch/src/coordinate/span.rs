//! Spans of time in few words.

use std::time::Duration;

/// `10m`, `1h 30m`, `4m 15s`, `250ms`: two units at most.
pub fn spell(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |big: u64, unit: &str, rest: u64, small: &str| {
        if rest == 0 { format!("{big}{unit}") } else { format!("{big}{unit} {rest}{small}") }
    };
    match seconds {
        0 => format!("{}ms", span.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86400, "d", seconds % 86400 / 3600, "h"),
    }
}

/// `1 byte`, `24 bytes`
pub fn spell_bytes(count: usize) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_two_units_at_most() {
        for (ms, words) in [(250, "250ms"), (600_000, "10m"), (255_000, "4m 15s"), (5_400_000, "1h 30m")] {
            assert_eq!(spell(Duration::from_millis(ms)), words);
        }
    }
}
