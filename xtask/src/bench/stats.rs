//! Medians and percentiles. A machine that does other work too is measured by the middle, never by the mean.

use std::time::Duration;

/// Measured durations, in seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, duration: Duration) {
        self.0.push(duration.as_secs_f64());
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The middle one, or the mean of the two in the middle; NaN when nothing was measured.
    pub(super) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match (sorted.get(middle), sorted.len() % 2, middle.checked_sub(1).and_then(|m| sorted.get(m))) {
            (Some(upper), 0, Some(lower)) => f64::midpoint(*lower, *upper),
            (Some(exact), _, _) => *exact,
            (None, _, _) => f64::NAN,
        }
    }

    /// The smallest value that at least `percent` of the samples do not exceed (nearest rank); NaN when nothing
    /// was measured.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let sorted = self.sorted();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    pub(super) fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<T: IntoIterator<Item = Duration>>(durations: T) -> Self {
        Self(durations.into_iter().map(|duration| duration.as_secs_f64()).collect())
    }
}

/// Wall clock and processor time of the same runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Costs {
    pub(super) wall: Samples,
    pub(super) cpu: Samples,
}

impl Costs {
    pub(super) fn push(&mut self, cost: Cost) {
        self.wall.push(cost.wall);
        self.cpu.push(cost.cpu);
    }
}

/// One run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) wall: Duration,
    /// User and system time.
    pub(super) cpu: Duration,
}

/// A count as a number to divide by or to divide.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

/// So many a second, in whole numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate: positive, far below 2^53"
)]
pub(super) fn rate(count: u64, seconds: f64) -> String {
    thousands((real(count) / seconds) as u64)
}

/// Bytes in megabytes.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", real(bytes) / 1e6)
}

/// Seconds for people: three digits and a unit.
pub(super) fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if !s.is_finite() => return "?".to_owned(),
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s if s >= 1e-6 => (s * 1e6, "µs"),
        s => (s * 1e9, "ns"),
    };
    format!("{} {unit}", digits(value))
}

/// Three digits.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => "?".to_owned(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.01 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// 1234567 as 1,234,567.
pub(super) fn thousands(number: u64) -> String {
    let plain = number.to_string();
    let mut out = String::new();
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(milliseconds: &[u64]) -> Samples {
        milliseconds.iter().map(|&ms| Duration::from_millis(ms)).collect()
    }

    fn same(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert!(same(samples(&[9, 1, 5]).median(), 0.005));
        assert!(same(samples(&[9, 1, 5, 3]).median(), 0.004));
        assert!(same(samples(&[7]).median(), 0.007));
    }

    #[test]
    fn nothing_measured_is_not_zero() {
        assert!(samples(&[]).median().is_nan());
        assert!(samples(&[]).percentile(99).is_nan());
        assert!(samples(&[]).most().is_nan());
        assert_eq!(time(samples(&[]).median()), "?");
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        let samples = samples(&hundred);
        assert!(same(samples.percentile(50), 0.050));
        assert!(same(samples.percentile(99), 0.099));
        assert!(same(samples.percentile(100), 0.100));
        assert!(same(samples.percentile(0), 0.001));
        assert!(same(samples.least(), 0.001) && same(samples.most(), 0.100));
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(time(0.001_234), "1.23 ms");
        assert_eq!(time(0.000_014_56), "14.6 µs");
        assert_eq!(time(123.4), "123 s");
        assert_eq!(digits(0.0), "0.00");
        assert_eq!(thousands(200_000), "200,000");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000_000), "1,000,000");
    }
}
