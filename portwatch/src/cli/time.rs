//! `--since` and `--until`: how people write moments.

use jiff::{Span, Timestamp, ToSpan, Zoned, civil, fmt::friendly::SpanParser};

/// Why a text is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimeError {
    /// None of the forms.
    #[error(
        "'{0}' is not a time; write how long ago (90s, 2h30m, 3d), a time of day (14:00), a date (2026-03-01), \
         both (\"2026-03-01 14:00\"), RFC 3339 (2026-03-01T14:00:00Z), or now, today, yesterday"
    )]
    Form(String),
    /// A form we know, but no such moment.
    #[error("'{text}' is no moment that can be told: {problem}")]
    Range { text: String, problem: String },
    /// `--since` after `--until`.
    #[error("--since {since} lies after --until {until}, so nothing can match")]
    Order { since: Timestamp, until: Timestamp },
}

/// The moment `text` means at `now`, whose zone is the reader's. A duration is how long ago; a time of day is
/// its latest occurrence that is not in the future; a date is its beginning.
pub(crate) fn parse(text: &str, now: &Zoned) -> Result<Timestamp, TimeError> {
    let word = text.trim();
    let range = |error: jiff::Error| TimeError::Range { text: word.to_owned(), problem: error.to_string() };
    match word.to_ascii_lowercase().as_str() {
        "now" => return Ok(now.timestamp()),
        "today" => return now.start_of_day().map(|day| day.timestamp()).map_err(range),
        "yesterday" => {
            let day = now.checked_sub(1.day()).and_then(|day| day.start_of_day());
            return day.map(|day| day.timestamp()).map_err(range);
        }
        _ => {}
    }
    if let Some(span) = duration(word) {
        return now.checked_sub(span).map(|then| then.timestamp()).map_err(range);
    }
    if let Ok(moment) = word.parse::<Timestamp>() {
        return Ok(moment);
    }
    let local = |moment: civil::DateTime| moment.to_zoned(now.time_zone().clone()).map(|z| z.timestamp());
    if let Some(time) = time_of_day(word) {
        let today = local(now.date().to_datetime(time)).map_err(range)?;
        if today <= now.timestamp() {
            return Ok(today);
        }
        return now.date().yesterday().and_then(|day| local(day.to_datetime(time))).map_err(range);
    }
    let has_offset = word.ends_with(['Z', 'z', ']']);
    match word.parse::<civil::DateTime>() {
        Ok(moment) if !has_offset => local(moment).map_err(range),
        _ => Err(TimeError::Form(word.to_owned())),
    }
}

/// Checks that the two ends are in order.
pub(crate) fn in_order(since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(), TimeError> {
    match (since, until) {
        (Some(since), Some(until)) if since > until => Err(TimeError::Order { since, until }),
        _ => Ok(()),
    }
}

/// `90s`, `2h30m`, `3d`, `1 week`: digits first and a letter last, so that a bare number stays an error.
fn duration(word: &str) -> Option<Span> {
    let shaped = word.starts_with(|c: char| c.is_ascii_digit())
        && word.ends_with(|c: char| c.is_ascii_alphabetic())
        && !word.contains([':', '-', '/']);
    if !shaped {
        return None;
    }
    let word = word.strip_suffix(" ago").unwrap_or(word);
    SpanParser::new().parse_span(word).ok()
}

fn time_of_day(word: &str) -> Option<civil::Time> {
    let shaped = word.contains(':') && word.chars().all(|c| c.is_ascii_digit() || c == ':' || c == '.');
    if shaped { word.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp, Zoned};

    use super::{TimeError, in_order, parse};

    fn now() -> Zoned {
        "2026-03-29T10:30:00+02:00[Europe/Berlin]".parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        parse(text, &now()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_duration_is_how_long_ago() {
        let now = now().timestamp();
        for (text, ago) in
            [("90s", 90), ("1h", 3600), ("2h30m", 9000), ("1h 30m", 5400), ("10 minutes ago", 600)]
        {
            assert_eq!(at(text), now - SignedDuration::from_secs(ago), "{text}");
        }
        // The clocks went forward that night: a day ago is the same time of day, 23 hours earlier.
        assert_eq!(at("1d"), now - SignedDuration::from_secs(23 * 3600));
    }

    #[test]
    fn a_time_of_day_is_its_latest_occurrence() {
        assert_eq!(at("10:00"), moment("2026-03-29T08:00:00Z"));
        assert_eq!(at("10:00:30"), moment("2026-03-29T08:00:30Z"));
        assert_eq!(at("23:00"), moment("2026-03-28T22:00:00Z"));
    }

    #[test]
    fn dates_are_local_and_offsets_are_kept() {
        assert_eq!(at("2026-03-01"), moment("2026-02-28T23:00:00Z"));
        assert_eq!(at("2026-03-01 14:00"), moment("2026-03-01T13:00:00Z"));
        assert_eq!(at("2026-03-01T14:00:00"), moment("2026-03-01T13:00:00Z"));
        assert_eq!(at("2026-03-01T14:00:00Z"), moment("2026-03-01T14:00:00Z"));
        assert_eq!(at("2026-03-01T14:00:00-05:00"), moment("2026-03-01T19:00:00Z"));
    }

    #[test]
    fn words_mean_the_local_day() {
        assert_eq!(at("now"), now().timestamp());
        assert_eq!(at("today"), moment("2026-03-28T23:00:00Z"));
        assert_eq!(at("Yesterday"), moment("2026-03-27T23:00:00Z"));
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_forms_that_exist() {
        for text in ["yesterdayish", "", "5", "-1h", "1x", "25:00", "2026-13-01", "14:00:00:00", "99999999y"]
        {
            let error = parse(text, &now()).expect_err(text);
            assert!(
                matches!(error, TimeError::Form(_)) || matches!(error, TimeError::Range { .. }),
                "{text}: {error}"
            );
        }
        let error = parse("yesterdayish", &now()).unwrap_err().to_string();
        assert!(error.contains("2h30m") && error.contains("RFC 3339"), "{error}");
    }

    #[test]
    fn ends_in_the_wrong_order_are_refused() {
        let (early, late) = (moment("2026-03-01T00:00:00Z"), moment("2026-03-02T00:00:00Z"));
        assert!(in_order(Some(late), Some(early)).is_err());
        assert!(in_order(Some(early), Some(late)).is_ok());
        assert!(in_order(None, Some(early)).is_ok());
    }
}
