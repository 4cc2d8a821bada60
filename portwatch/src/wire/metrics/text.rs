//! The text exposition format 0.0.4 (Prometheus documentation, "Exposition formats"). Written here and not by a crate: it is two
//! escapes and a loop, and the families come from documents that the JSON answer shows too.

use std::fmt::Write as _;

use super::{Metrics, Sample};

impl Metrics {
    /// As text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for family in self.families.iter().filter(|family| !family.samples.is_empty()) {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# HELP {} {}", family.name, escaped(&family.help, false));
            let _ = writeln!(out, "# TYPE {} {}", family.name, family.r#type);
            for sample in &family.samples {
                line(&mut out, sample);
            }
        }
        out
    }
}

fn line(out: &mut String, sample: &Sample) {
    out.push_str(&sample.name);
    for (at, label) in sample.labels.iter().enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        let _ = write!(out, "{before}{}=\"{}\"", label.name, escaped(&label.value, true));
    }
    if !sample.labels.is_empty() {
        out.push('}');
    }
    let _ = writeln!(out, " {}", sample.value);
}

/// A backslash and a line feed are written as two characters each; in a label's value a quote too. A carriage return is no
/// line end of the format, but of some readers.
fn escaped(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::super::{Family, Metrics, Requests};
    use crate::meter::Histogram;

    fn of(families: Vec<Family>) -> Metrics {
        Metrics {
            schema: 1,
            time: Timestamp::UNIX_EPOCH,
            uptime: None,
            requests: None,
            average_ms: None,
            peak_ms: None,
            streams: None,
            database_bytes: None,
            memory_bytes: None,
            build: None,
            families,
        }
    }

    #[test]
    fn what_others_chose_adds_no_line_and_no_label() {
        let family = Family::gauge("x", "back\\slash\nand line")
            .with(&[("name", "a\"} 1\ny{z=\"\\\r\x1b[31m")], 18_446_744_073_709)
            .with_real(&[], 0.25);
        assert_eq!(
            of(vec![family, Family::counter("empty_total", "Nothing.")]).text(),
            "# HELP x back\\\\slash\\nand line\n# TYPE x gauge\n\
             x{name=\"a\\\"} 1\\ny{z=\\\"\\\\\u{fffd}\u{fffd}[31m\"} 18446744073709\nx 0.25\n"
        );
    }

    #[test]
    fn requests_are_counted_by_route_and_summed_up_for_people() {
        let histogram = Histogram::default();
        for ms in [2, 4] {
            histogram.record(Duration::from_millis(ms));
        }
        let requests = Requests {
            took: vec![("/v1/who".to_owned(), "GET".to_owned(), histogram.read())],
            answered: vec![("/v1/who".to_owned(), "GET".to_owned(), 200, 2)],
            streams: 1,
        };
        let metrics = of(Vec::new()).with_requests(&requests);
        assert_eq!((metrics.requests, metrics.streams), (Some(2), Some(1)));
        assert_eq!((metrics.average_ms, metrics.peak_ms), (Some(3.0), Some(4.0)));
        let text = metrics.text();
        let duration = "portwatch_http_request_duration_seconds";
        for line in [
            "portwatch_http_requests_total{route=\"/v1/who\",method=\"GET\",status=\"200\"} 2".to_owned(),
            format!("{duration}_bucket{{route=\"/v1/who\",method=\"GET\",le=\"0.001\"}} 0"),
            format!("{duration}_bucket{{route=\"/v1/who\",method=\"GET\",le=\"0.005\"}} 2"),
            format!("{duration}_bucket{{route=\"/v1/who\",method=\"GET\",le=\"+Inf\"}} 2"),
            format!("{duration}_sum{{route=\"/v1/who\",method=\"GET\"}} 0.006"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let none = of(Vec::new()).with_requests(&Requests::default());
        assert_eq!((none.requests, none.average_ms, none.peak_ms), (Some(0), None, None));
    }
}
