//! What stands behind a key, and what is wrong with it.

use std::time::Duration;

use toml::{Table, Value};

use super::{ProjectConfigError, Result};
use crate::registry::{PortRange, RangeError, duration::duration, name::slug, suggest::nearest};

pub(in crate::registry) fn wrong(key: &str, why: &str) -> ProjectConfigError {
    ProjectConfigError(format!("{key}: {why}"))
}

/// Every key is one that exists.
pub(in crate::registry) fn known(table: &Table, keys: &[&str], prefix: &str) -> Result<()> {
    match table.keys().find(|key| !keys.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(ProjectConfigError(match nearest(key, keys.iter().copied()) {
            Some(near) => format!("there is no key '{prefix}{key}'; did you mean '{prefix}{near}'?"),
            None => format!("there is no key '{prefix}{key}'; there are {}", keys.join(", ")),
        })),
    }
}

pub(in crate::registry) fn table_of<'a>(value: &'a Value, at: &str) -> Result<&'a Table> {
    value.as_table().ok_or_else(|| wrong(at, &format!("a table is meant, [{at}]")))
}

pub(in crate::registry) fn text_of<'a>(value: &'a Value, at: &str) -> Result<&'a str> {
    value.as_str().ok_or_else(|| wrong(at, "a text in quotes is meant"))
}

pub(in crate::registry) fn flag(value: &Value, at: &str) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong(at, "true or false is meant"))
}

pub(in crate::registry) fn list<'a>(value: &'a Value, at: &str) -> Result<&'a [Value]> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(at, "a list is meant, [\"8080\", \"9000-9010\"]"))
}

pub(in crate::registry) fn texts(value: &Value, at: &str) -> Result<Vec<String>> {
    list(value, at)?.iter().map(|item| text_of(item, at).map(str::to_owned)).collect()
}

pub(in crate::registry) fn span(value: &Value, at: &str) -> Result<Duration> {
    duration(text_of(value, at)?).map_err(|error| wrong(at, &error.to_string()))
}

/// A port as a number, or a port or range as text.
pub(in crate::registry) fn range(value: &Value, at: &str) -> Result<PortRange> {
    let text = number_or_text(value, at)?;
    text.parse().map_err(|error: RangeError| wrong(at, &error.to_string()))
}

pub(in crate::registry) fn number_or_text(value: &Value, at: &str) -> Result<String> {
    match value {
        Value::Integer(number) => Ok(number.to_string()),
        other => text_of(other, at).map(str::to_owned),
    }
}

pub(in crate::registry) fn project_name(value: &Value, at: &str) -> Result<String> {
    let text = text_of(value, at)?;
    slug(text).ok_or_else(|| wrong(at, &format!("'{text}' has no character that a name may have")))
}

pub(in crate::registry) fn stack_name(text: &str, at: &str) -> Result<String> {
    match slug(text) {
        Some(name) if name == text => Ok(name),
        Some(name) => Err(wrong(at, &format!("'{text}' is not the name of a stack; say '{name}'"))),
        None => Err(wrong(at, &format!("'{text}' is not the name of a stack"))),
    }
}
