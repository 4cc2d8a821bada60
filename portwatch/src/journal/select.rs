//! An [`EventFilter`] as SQL conditions.

use rusqlite::types::Value;

use super::{code, time};
use crate::model::{EventFilter, Sight, Viewer};

/// Conditions with their values, in order.
pub(super) struct Select {
    pub(super) condition: String,
    pub(super) values: Vec<Value>,
}

impl Select {
    pub(super) fn new(filter: &EventFilter) -> Self {
        let mut select = Self { condition: "1".to_owned(), values: Vec::new() };
        if let Some(since) = filter.since {
            select.and("event.at >= ?", [Value::Integer(time::to_ns(since))]);
        }
        if let Some(until) = filter.until {
            select.and("event.at < ?", [Value::Integer(time::to_ns(until))]);
        }
        if let (Some(until), Some(before)) = (filter.until, filter.before_id) {
            let last = time::to_ns(until).saturating_sub(1);
            select.and("(event.at < ? OR event.id < ?)", [Value::Integer(last), Value::Integer(before)]);
        }
        if let Some(after) = filter.after_id {
            select.and("event.id > ?", [Value::Integer(after)]);
        }
        if !filter.kinds.is_empty() {
            let codes: Vec<i64> = filter.kinds.iter().map(|&k| code::kind(k)).collect();
            if codes.iter().all(|&c| c >= code::FIRST_RARE) {
                // Said aloud, so that the planner sees that the partial index covers it.
                select.and(&format!("event.type >= {}", code::FIRST_RARE), []);
            }
            select.any_of("event.type", codes);
        }
        if !filter.ports.is_empty() {
            // With a beginning the clock is the better guide; so are pids. `+` keeps the planner off the index.
            let by_port = filter.since.is_none() && filter.pids.is_empty();
            let column = if by_port { "event.port" } else { "+event.port" };
            select.any_of(column, filter.ports.iter().map(|p| i64::from(p.get())).collect());
        }
        if let Some(protocol) = filter.protocol {
            select.and("event.protocol = ?", [Value::Integer(code::protocol(protocol))]);
        }
        if !filter.pids.is_empty() {
            let pids: Vec<String> = filter.pids.iter().map(u32::to_string).collect();
            let rows = format!("SELECT id FROM process WHERE pid IN ({})", pids.join(", "));
            let condition = if filter.after_id.is_some() {
                format!("(event.process IN ({rows}) OR event.other IN ({rows}))")
            } else {
                // A union of ids: an OR over two columns would not use their indexes.
                format!(
                    "event.id IN (SELECT id FROM event WHERE process IN ({rows}) \
                     UNION SELECT id FROM event WHERE other IN ({rows}))"
                )
            };
            select.and(&condition, []);
        }
        if let Some(pattern) = &filter.pattern {
            let like = like(pattern);
            let matched = format!(
                "SELECT id FROM process WHERE comm LIKE ? ESCAPE '\\' OR ({} AND project LIKE ? ESCAPE '\\') \
                 OR ({} AND (SELECT group_concat(value, ' ') FROM json_each(command)) LIKE ? ESCAPE '\\')",
                seen(filter.viewer, Sight::Full),
                seen(filter.viewer, Sight::Public)
            );
            let condition = format!(
                "(event.message LIKE ? ESCAPE '\\' OR event.claim LIKE ? ESCAPE '\\' \
                 OR event.subject LIKE ? ESCAPE '\\' \
                 OR event.process IN ({matched}) OR event.other IN ({matched}))"
            );
            select.and(&condition, std::iter::repeat_n(Value::Text(like), 9));
        }
        select
    }

    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.condition.push_str(" AND ");
        self.condition.push_str(condition);
        self.values.extend(values);
    }

    fn any_of(&mut self, column: &str, codes: Vec<i64>) {
        let marks = vec!["?"; codes.len()].join(", ");
        self.and(&format!("{column} IN ({marks})"), codes.into_iter().map(Value::Integer));
    }
}

/// Which rows of `process` a viewer sees so much of: [`Viewer::sight`] as an SQL condition.
pub(super) fn seen(viewer: Viewer, sight: Sight) -> String {
    match (viewer, sight) {
        (Viewer::Unrestricted | Viewer::User { uid: 0, .. }, _)
        | (_, Sight::Identity)
        | (Viewer::User { hidepid: false, .. }, Sight::Public) => "1".to_owned(),
        (Viewer::User { uid, .. }, _) => format!("ifnull(process.uid = {uid}, 0)"),
    }
}

/// `*` is any text; without one, the pattern may stand anywhere. ASCII letters match in either case.
fn like(pattern: &str) -> String {
    let mut out = String::new();
    for c in pattern.chars() {
        match c {
            '*' => out.push('%'),
            '%' | '_' | '\\' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    if pattern.contains('*') { out } else { format!("%{out}%") }
}
