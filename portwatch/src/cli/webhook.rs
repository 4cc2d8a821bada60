//! `portwatch webhook`

use std::{fs, io::Read as _, path::Path};

use super::{args, exit::Exit, failure::Failure, session::Session};
use crate::{
    access::AccessError,
    render,
    wire::coordinate::{
        DeliveriesQuery, RemoveWebhookRequest, TestWebhookRequest, WebhookRequest, WebhooksQuery,
    },
};

/// More than the longest secret.
const LONGEST: u64 = 4096;

pub(super) fn run(args: &args::Webhook, session: &mut Session<'_>) -> Result<Exit, Failure> {
    match &args.what {
        args::WebhookWhat::Add(add) => add_one(add, session),
        args::WebhookWhat::List => list(session),
        args::WebhookWhat::Remove(remove) => remove_all(remove, session),
        args::WebhookWhat::Test(one) => test(one, session),
        args::WebhookWhat::Log(log) => show_log(log, session),
    }
}

fn add_one(args: &args::AddWebhook, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let all = args.on.iter().any(|word| word == "all");
    let request = WebhookRequest {
        url: args.url.clone(),
        types: if all { Vec::new() } else { args.on.clone() },
        ports: args.port.clone(),
        filter: args.filter.clone(),
        secret: args.secret_file.as_deref().map(secret).transpose()?,
        tries: args.tries,
    };
    let answer = session.order(&request)?;
    session.answer(&answer, render::webhook_added)?;
    if !session.access()?.is_daemon() {
        session.warn("no daemon runs: nothing is sent until one does (portwatch start)");
    }
    Ok(Exit::Yes)
}

/// Read with the caller's own rights; the daemon opens no file for anybody.
fn secret(path: &Path) -> Result<String, Failure> {
    let wrong =
        |what: String| Failure::from(AccessError::Usage(format!("the secret in {} {what}", path.display())));
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_string(&mut text))
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(wrong("is empty".to_owned()));
    }
    Ok(secret.to_owned())
}

fn list(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let answer = session.order(&WebhooksQuery {})?;
    session.answer(&answer, render::webhooks)?;
    Ok(if answer.webhooks.is_empty() { Exit::No } else { Exit::Yes })
}

fn remove_all(args: &args::RemoveWebhook, session: &mut Session<'_>) -> Result<Exit, Failure> {
    for id in &args.ids {
        let answer = session.order(&RemoveWebhookRequest { id: *id })?;
        session.answer(&answer, render::webhook_removed)?;
    }
    Ok(Exit::Yes)
}

fn test(args: &args::OneWebhook, session: &mut Session<'_>) -> Result<Exit, Failure> {
    if !session.access()?.is_daemon() {
        return Err(AccessError::NoDaemon {
            what: "only a daemon sends, and none runs".to_owned(),
            remedy: "start one: portwatch start".to_owned(),
        }
        .into());
    }
    let answer = session.order(&TestWebhookRequest { id: args.id, delivery: None })?;
    session.answer(&answer, render::webhook_tested)?;
    Ok(match answer.delivery.state.as_str() {
        "delivered" => Exit::Yes,
        "given-up" => Exit::No,
        _ => Exit::NotSeen,
    })
}

fn show_log(args: &args::WebhookLog, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let answer = session.order(&DeliveriesQuery { webhook: args.id, limit: args.limit })?;
    session.answer(&answer, render::webhook_log)?;
    Ok(if answer.deliveries.is_empty() { Exit::No } else { Exit::Yes })
}
