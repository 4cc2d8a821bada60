//! What the configuration file and the project say of claims, as rows of `config`: the project comes first.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::Origin;
use crate::{
    registry::{DEFAULT_RANGE, PortSet, ProjectConfig, UserPolicy},
    wire::ConfigSetting,
};

/// How long an automatic claim outlives its listener when nobody says otherwise.
const GRACE: Duration = Duration::from_secs(10);

/// The first of them that says something, with where it is from.
fn first<T>(project: Option<T>, file: Option<T>, default: T) -> (T, Origin) {
    match (project, file) {
        (Some(value), _) => (value, Origin::Project),
        (None, Some(value)) => (value, Origin::File),
        (None, None) => (default, Origin::Default),
    }
}

/// Both of them count; the nearest that says something is named.
fn both(project: Vec<String>, file: Vec<String>) -> (Value, Origin) {
    let origin = match (project.is_empty(), file.is_empty()) {
        (false, _) => Origin::Project,
        (true, false) => Origin::File,
        (true, true) => Origin::Default,
    };
    let all: BTreeSet<String> = project.into_iter().chain(file).collect();
    (json!(all), origin)
}

fn words(set: &PortSet) -> Vec<String> {
    set.ranges().iter().map(ToString::to_string).collect()
}

/// `10s`, `1500ms`
fn span(span: Duration) -> String {
    let ms = span.as_millis();
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

pub(super) fn rows(policy: &UserPolicy, project: &ProjectConfig) -> Vec<ConfigSetting> {
    let mut rows = Vec::new();
    let mut add = |name: &str, (value, origin): (Value, Origin)| {
        rows.push(ConfigSetting {
            name: name.to_owned(),
            value,
            origin: origin.as_str().to_owned(),
            variable: None,
        });
    };
    let flag = |(value, origin): (bool, Origin)| (Value::from(value), origin);
    add("auto.enabled", flag(first(project.auto, policy.auto, true)));
    add("auto.random", flag(first(project.auto_random, policy.random, false)));
    add("auto.ignore", both(project.ignore.clone(), policy.ignore.clone()));
    let (grace, origin) = first(project.grace, policy.grace, GRACE);
    add("auto.grace", (span(grace).into(), origin));
    add("exclude", both(words(&project.exclude), words(&policy.exclude)));
    let (range, origin) = first(None, policy.range, DEFAULT_RANGE);
    add("ranges.default", (range.to_string().into(), origin));
    let stacks: BTreeSet<&String> = project.stacks.keys().chain(policy.ranges.keys()).collect();
    for stack in stacks {
        let own = project.stacks.get(stack);
        if let Some(port) = own.and_then(|own| own.port) {
            add(&format!("stacks.{stack}.port"), (port.get().into(), Origin::Project));
            continue;
        }
        let (own, file) = (own.and_then(|own| own.range), policy.ranges.get(stack).copied());
        if let Some(range) = own.or(file) {
            let origin = if own.is_some() { Origin::Project } else { Origin::File };
            add(&format!("ranges.{stack}"), (range.to_string().into(), origin));
        }
    }
    add("rogue.allow", both(Vec::new(), policy.allow.clone()));
    rows
}
