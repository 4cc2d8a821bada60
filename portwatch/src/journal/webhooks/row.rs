//! Rows to values.

use rusqlite::{Connection, Params, Row};

use crate::{
    journal::claims::moment,
    model::{EventKind, Port, Timestamp},
    webhook::{Delivery, Secret, Standing, Webhook, Wish},
};

pub(super) fn webhooks(
    connection: &Connection,
    condition: &str,
    values: impl Params,
) -> rusqlite::Result<Vec<Webhook>> {
    let sql = format!(
        "SELECT id, uid, user, url, types, ports, filter, secret, tries, created, seen, failures, paused, delivered, given_up,
             dropped, (SELECT count(*) FROM webhook_delivery d WHERE d.webhook = webhook.id AND d.state = 'waiting')
         FROM webhook WHERE {condition} ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(values, webhook)?.collect()
}

fn webhook(row: &Row<'_>) -> rusqlite::Result<Webhook> {
    let (types, ports): (String, String) = (row.get(4)?, row.get(5)?);
    let number = |at| row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0));
    Ok(Webhook {
        id: row.get(0)?,
        uid: row.get(1)?,
        user: row.get(2)?,
        url: row.get(3)?,
        wish: Wish {
            kinds: split(&types).filter_map(EventKind::from_word).collect(),
            ports: split(&ports).filter_map(|port| Port::new(port.parse().ok()?)).collect(),
            pattern: row.get(6)?,
        },
        secret: Secret(row.get(7)?),
        tries: row.get(8)?,
        created: moment(&row.get::<_, String>(9)?).unwrap_or(Timestamp::UNIX_EPOCH),
        seen: row.get(10)?,
        failures: row.get(11)?,
        paused: row.get::<_, Option<String>>(12)?.as_deref().and_then(moment),
        delivered: number(13)?,
        given_up: number(14)?,
        dropped: number(15)?,
        waiting: number(16)?,
    })
}

pub(super) fn deliveries(
    connection: &Connection,
    condition: &str,
    values: impl Params,
) -> rusqlite::Result<Vec<Delivery>> {
    let sql = format!(
        "SELECT id, webhook, event, type, state, queued, tried, tries, status, latency_ms, problem
         FROM webhook_delivery WHERE {condition}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(values, delivery)?.collect()
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let state: String = row.get(4)?;
    let latency: Option<i64> = row.get(9)?;
    Ok(Delivery {
        id: row.get(0)?,
        webhook: row.get(1)?,
        event: row.get(2)?,
        kind: row.get(3)?,
        // The table holds no other words.
        standing: Standing::from_word(&state).unwrap_or(Standing::GivenUp),
        queued: moment(&row.get::<_, String>(5)?).unwrap_or(Timestamp::UNIX_EPOCH),
        tried: row.get::<_, Option<String>>(6)?.as_deref().and_then(moment),
        tries: row.get(7)?,
        status: row.get(8)?,
        latency_ms: latency.and_then(|latency| u64::try_from(latency).ok()),
        problem: row.get(10)?,
    })
}

pub(super) fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(",")
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|word| !word.is_empty())
}
