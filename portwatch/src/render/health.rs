//! `health`: one line a claim, a card for one alone.

use std::io::{self, Write};

use super::{
    Look, Text, Tone,
    claims::sentence,
    process,
    table::{self, Column},
    when,
};
use crate::wire::claims::{HealthAnswer, HealthCheck};

/// Column where a fact begins, after its label.
const FACT: usize = 16;

const COLUMNS: [Column; 4] = [
    Column { title: "NAME", priority: 0, least: 12, right: false },
    Column { title: "PORT", priority: 0, least: 0, right: false },
    Column { title: "HEALTH", priority: 0, least: 0, right: false },
    Column { title: "ANSWER", priority: 1, least: 20, right: false },
];

/// Writes the answer.
pub fn health(out: &mut dyn Write, answer: &HealthAnswer, look: &Look) -> io::Result<()> {
    match answer.checks.as_slice() {
        [] => sentence(out, Tone::Plain, "Nothing is claimed that matches.", look),
        [one] => card(out, one, look),
        many => {
            let rows: Vec<_> = many.iter().map(|check| row(check, look)).collect();
            table::write(out, &COLUMNS, &rows, look)
        }
    }
}

fn word(check: &HealthCheck) -> (Tone, &'static str) {
    match (check.healthy, check.result.as_str()) {
        (Some(true), _) => (Tone::Plain, "healthy"),
        (Some(false), _) => (Tone::Bad, "UNHEALTHY"),
        (None, "idle") => (Tone::Plain, "idle"),
        (None, "udp") => (Tone::Plain, "live"),
        (None, _) => (Tone::Warn, "unknown"),
    }
}

fn row(check: &HealthCheck, look: &Look) -> Vec<(Tone, String)> {
    let (tone, word) = word(check);
    let mut answer = check.sentence.clone();
    if look.verbose
        && let Some(endpoint) = &check.endpoint
    {
        answer = format!("{endpoint}: {answer}");
    }
    if let Some(ended) = &check.ended {
        let how = process::end(ended).map_or_else(String::new, |end| format!(", {end}"));
        answer = format!("ghost: ended {}{how}", when::clock(ended.time, look));
    }
    vec![
        (Tone::Strong, check.name.clone()),
        (Tone::Plain, check.port.map_or_else(|| "-".to_owned(), |port| port.to_string())),
        (tone, word.to_owned()),
        (Tone::Plain, answer),
    ]
}

fn card(out: &mut dyn Write, check: &HealthCheck, look: &Look) -> io::Result<()> {
    let (tone, word) = word(check);
    let mut head = Text::new(look);
    head.push(Tone::Strong, &check.name);
    if let Some(port) = check.port {
        head.plain(&format!("  {port}"));
    }
    head.plain("  ").push(tone, word);
    head.wrapped(out, 2)?;
    writeln!(out)?;
    fact(out, "answer", &check.sentence, look)?;
    if let Some(endpoint) = &check.endpoint {
        fact(out, "endpoint", endpoint, look)?;
    }
    if let Some(ended) = &check.ended {
        let who = ended.process.as_ref().or(ended.other.as_ref());
        let name = who.map_or_else(|| "its program".to_owned(), process::name);
        let how = process::end(ended).map_or_else(String::new, |end| format!(", {end}"));
        fact(out, "ended", &format!("{name} at {}{how}", when::clock(ended.time, look)), look)?;
    }
    if let Some(body) = check.body.as_ref().map(|b| b.trim()).filter(|b| !b.is_empty()) {
        let shown: String = if look.verbose { body.to_owned() } else { body.chars().take(200).collect() };
        // A page is not a line.
        fact(out, "body", &shown.split_whitespace().collect::<Vec<_>>().join(" "), look)?;
    }
    fact(out, "claimed", &format!("{} ago", when::span(when::age(check.claimed, look))), look)?;
    if let Some(since) = check.since {
        fact(
            out,
            "since",
            &format!("{}, {}", when::clock(since, look), when::span(when::age(since, look))),
            look,
        )?;
    }
    if check.healthy != Some(true)
        && let Some(healthy) = check.last_healthy
    {
        fact(out, "last healthy", &format!("{} ago", when::span(when::age(healthy, look))), look)?;
    }
    if let Some(suggestion) = &check.suggestion {
        fact(out, "next", suggestion, look)?;
    }
    Ok(())
}

fn fact(out: &mut dyn Write, label: &str, words: &str, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.plain("  ").push(Tone::Faint, label).pad_to(FACT).plain(words);
    line.wrapped(out, FACT)
}
