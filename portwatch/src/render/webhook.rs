//! `webhook`

use std::io::{self, Write};

use super::{
    Look, Tone,
    claims::sentence,
    table::{self, Column},
    user, when,
};
use crate::wire::coordinate::{Deliveries, Delivery, Webhook, WebhookState, WebhookTest, Webhooks};

const COLUMNS: [Column; 6] = [
    Column { title: "ID", priority: 0, least: 0, right: true },
    Column { title: "URL", priority: 0, least: 24, right: false },
    Column { title: "ON", priority: 0, least: 10, right: false },
    Column { title: "STATE", priority: 0, least: 0, right: false },
    Column { title: "EVENTS", priority: 1, least: 0, right: false },
    Column { title: "USER", priority: 3, least: 0, right: false },
];

const LOG: [Column; 7] = [
    Column { title: "WEBHOOK", priority: 1, least: 0, right: true },
    Column { title: "EVENT", priority: 0, least: 0, right: true },
    Column { title: "TYPE", priority: 0, least: 0, right: false },
    Column { title: "STATE", priority: 0, least: 0, right: false },
    Column { title: "TRIES", priority: 1, least: 0, right: true },
    Column { title: "TRIED", priority: 2, least: 0, right: false },
    Column { title: "ANSWER", priority: 0, least: 16, right: false },
];

/// Writes which webhooks there are.
pub fn webhooks(out: &mut dyn Write, answer: &Webhooks, look: &Look) -> io::Result<()> {
    if answer.webhooks.is_empty() {
        return sentence(out, Tone::Plain, "There is no webhook.", look);
    }
    let one_user = answer.webhooks.windows(2).all(|pair| matches!(pair, [a, b] if a.uid == b.uid));
    let row = |webhook: &Webhook| {
        let user = user(webhook.user.as_ref(), webhook.uid);
        vec![
            (Tone::Strong, webhook.id.to_string()),
            (Tone::Plain, webhook.url.clone()),
            (Tone::Plain, wish(webhook)),
            state(webhook, look),
            (Tone::Plain, events(webhook)),
            (Tone::Plain, if one_user { String::new() } else { user }),
        ]
    };
    table::write(out, &COLUMNS, &answer.webhooks.iter().map(row).collect::<Vec<_>>(), look)
}

/// `refused,exit of 3100 with *seed*`
fn wish(webhook: &Webhook) -> String {
    let mut words = if webhook.types.is_empty() { "all".to_owned() } else { webhook.types.join(",") };
    if !webhook.ports.is_empty() {
        let ports: Vec<String> = webhook.ports.iter().map(u16::to_string).collect();
        words = format!("{words} of {}", ports.join(","));
    }
    match &webhook.filter {
        Some(pattern) => format!("{words} with {pattern}"),
        None => words,
    }
}

fn state(webhook: &Webhook, look: &Look) -> (Tone, String) {
    if webhook.failures == 0 {
        return (Tone::Plain, "ok".to_owned());
    }
    let times = if webhook.failures == 1 { "once".to_owned() } else { format!("{} times", webhook.failures) };
    let left = webhook.rests_until.map(|until| until.as_second().saturating_sub(look.now.as_second()));
    let next = left.filter(|left| *left > 0).map_or_else(String::new, |left| format!(", next in {left}s"));
    (Tone::Warn, format!("failed {times}{next}"))
}

fn events(webhook: &Webhook) -> String {
    let counts = [
        (webhook.delivered, "sent"),
        (webhook.waiting, "waiting"),
        (webhook.given_up, "given up"),
        (webhook.dropped, "dropped"),
    ];
    let words: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if words.is_empty() { "none yet".to_owned() } else { words.join(", ") }
}

/// Writes that one was added, and the secret that was made.
pub fn webhook_added(out: &mut dyn Write, answer: &WebhookState, look: &Look) -> io::Result<()> {
    let Webhook { id, url, .. } = &answer.webhook;
    let words = format!("Webhook {id}: {} to {url}", wish(&answer.webhook));
    sentence(out, Tone::Plain, &words, look)?;
    match &answer.secret {
        Some(secret) => {
            sentence(out, Tone::Plain, &format!("Secret, shown now and never again: {secret}"), look)
        }
        None => Ok(()),
    }
}

/// Writes that one was removed.
pub fn webhook_removed(out: &mut dyn Write, answer: &WebhookState, look: &Look) -> io::Result<()> {
    let Webhook { id, url, waiting, .. } = &answer.webhook;
    let lost = match waiting {
        0 => String::new(),
        1 => "; 1 event that waited is not sent".to_owned(),
        count => format!("; {count} events that waited are not sent"),
    };
    sentence(out, Tone::Plain, &format!("Removed webhook {id} to {url}{lost}"), look)
}

/// Writes what became of a test.
pub fn webhook_tested(out: &mut dyn Write, answer: &WebhookTest, look: &Look) -> io::Result<()> {
    let Delivery { webhook, state, .. } = &answer.delivery;
    let words = match state.as_str() {
        "delivered" => format!("The test of webhook {webhook} arrived: {}", came(&answer.delivery)),
        "given-up" => format!("The test of webhook {webhook} failed: {}", came(&answer.delivery)),
        _ => format!("The test of webhook {webhook} is still on its way: portwatch webhook log {webhook}"),
    };
    sentence(out, Tone::Plain, &words, look)
}

/// `HTTP 200, 12 ms`, or why not.
fn came(delivery: &Delivery) -> String {
    let ms = delivery.latency_ms.map_or_else(String::new, |ms| format!(", {ms} ms"));
    match (&delivery.problem, delivery.status) {
        (Some(problem), _) => problem.clone(),
        (None, Some(status)) => format!("HTTP {status}{ms}"),
        (None, None) => String::new(),
    }
}

/// Writes what was sent.
pub fn webhook_log(out: &mut dyn Write, answer: &Deliveries, look: &Look) -> io::Result<()> {
    if answer.deliveries.is_empty() {
        return sentence(out, Tone::Plain, "Nothing was sent yet, and nothing waits.", look);
    }
    let row = |delivery: &Delivery| {
        let tone = if delivery.problem.is_some() { Tone::Warn } else { Tone::Plain };
        let tried = delivery.tried.map(|tried| format!("{} ago", when::span_short(when::age(tried, look))));
        vec![
            (Tone::Plain, delivery.webhook.to_string()),
            (Tone::Plain, delivery.event.map_or_else(String::new, |event| event.to_string())),
            (Tone::Plain, delivery.r#type.clone()),
            (tone, delivery.state.clone()),
            (Tone::Plain, delivery.tries.to_string()),
            (Tone::Plain, tried.unwrap_or_default()),
            (tone, came(delivery)),
        ]
    };
    table::write(out, &LOG, &answer.deliveries.iter().map(row).collect::<Vec<_>>(), look)?;
    if answer.truncated {
        sentence(out, Tone::Faint, "There are older ones: portwatch webhook log -n N", look)?;
    }
    Ok(())
}
