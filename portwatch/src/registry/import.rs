//! What other registries keep in files, for people who come over: `.portdaddyrc` of a project, and the `ports.json` in which
//! Integrator Agent keeps the ports of worktrees. Keys that say nothing of ports are passed over.

use serde_json::{Map, Value};

use super::{
    PortRange, ProjectConfig, ProjectConfigError, Stack,
    config::{http_path, wrong},
    name::slug,
};
use crate::model::Port;

/// Names under which a project has a file of Port Daddy's, in the order in which they count.
pub const FOREIGN: [&str; 3] = [".portdaddyrc", ".portdaddyrc.json", "portdaddy.config.json"];
/// Names of the main worktree.
const MAIN: [&str; 3] = ["", "main", "master"];

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// The same as rules of a project.
    pub config: ProjectConfig,
    /// What is to be claimed.
    pub wishes: Vec<Wish>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// A name that is to be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Second part.
    pub stack: String,
    /// Third part.
    pub context: Option<String>,
    /// The port it has there.
    pub port: Option<Port>,
}

type Result<T> = std::result::Result<T, ProjectConfigError>;

/// Reads a file of either kind; which one, its keys tell.
pub fn import(text: &str) -> Result<Imported> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: Value = serde_json::from_str(text)
        .map_err(|error| ProjectConfigError(format!("line {}: not JSON: {error}", error.line())))?;
    let Value::Object(table) = value else {
        return Err(ProjectConfigError("a JSON object is meant, { … }".to_owned()));
    };
    if table.contains_key("allocations") || table.contains_key("ranges") {
        integrator(&table)
    } else if table.contains_key("services") || table.contains_key("project") {
        port_daddy(&table)
    } else {
        Err(ProjectConfigError(
            "neither 'services' (.portdaddyrc) nor 'allocations' (ports.json) is in it".to_owned(),
        ))
    }
}

fn port_daddy(table: &Map<String, Value>) -> Result<Imported> {
    let mut read = Imported::default();
    read.config.project = table.get("project").and_then(Value::as_str).and_then(slug);
    let range = table.get("portRange").map(|value| range(value, "portRange")).transpose()?;
    let services = match table.get("services") {
        None | Some(Value::Null) => return Ok(read),
        Some(value) => object(value, "services")?,
    };
    for (name, value) in services {
        let at = format!("services.{name}");
        let service = object(value, &at)?;
        let Some(stack) = slug(name) else {
            read.notes.push(format!("{at}: no character of it may stand in a name"));
            continue;
        };
        if service.get("noPort").and_then(Value::as_bool) == Some(true) {
            read.notes.push(format!("{at} has no port"));
            continue;
        }
        if service.get("remote").is_some_and(|remote| *remote != Value::Bool(false) && !remote.is_null()) {
            read.notes.push(format!("{at} runs elsewhere"));
            continue;
        }
        let first = |keys: [&'static str; 2]| keys.into_iter().find_map(|key| Some((key, service.get(key)?)));
        let mut known = Stack { range, ..Stack::default() };
        if let Some((key, value)) = first(["port", "preferredPort"]) {
            known.port = Some(port(value, &format!("{at}.{key}"))?);
        }
        if let Some((key, Value::String(path))) = first(["healthPath", "health"]) {
            known.health.path = Some(http_path(below(path), &format!("{at}.{key}"))?);
        }
        read.wishes.push(Wish { stack: stack.clone(), context: None, port: known.port });
        read.config.stacks.insert(stack, known);
    }
    Ok(read)
}

fn integrator(table: &Map<String, Value>) -> Result<Imported> {
    let mut read = Imported::default();
    if let Some(value) = table.get("ranges") {
        for (name, value) in object(value, "ranges")? {
            let at = format!("ranges.{name}");
            match slug(name) {
                Some(stack) => {
                    let known = Stack { range: Some(range(value, &at)?), ..Stack::default() };
                    read.config.stacks.insert(stack, known);
                }
                None => read.notes.push(format!("{at}: no character of it may stand in a name")),
            }
        }
    }
    let Some(value) = table.get("allocations") else { return Ok(read) };
    let allocations =
        value.as_array().ok_or_else(|| wrong("allocations", "a list is meant, [ { … }, … ]"))?;
    for (index, value) in allocations.iter().enumerate() {
        let at = format!("allocations[{index}]");
        let allocation = object(value, &at)?;
        let text = |key| allocation.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = allocation.get("port").ok_or_else(|| wrong(&at, "it has no 'port'"))?;
        let port = port(number, &format!("{at}.port"))?;
        let Some(stack) = slug(text("service")) else {
            read.notes.push(format!("{at} (port {port}) has no service"));
            continue;
        };
        let context = Some(text("worktree")).filter(|name| !MAIN.contains(name)).and_then(slug);
        // A second port of the same service has a number, as among automatic claims.
        let mut name = stack.clone();
        let mut number = 1;
        while read.wishes.iter().any(|wish| wish.stack == name && wish.context == context) {
            number += 1;
            name = format!("{stack}-{number}");
        }
        read.wishes.push(Wish { stack: name, context, port: Some(port) });
    }
    Ok(read)
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| wrong(at, "an object is meant, { … }"))
}

/// `3100` or `"3100"`
fn port(value: &Value, at: &str) -> Result<Port> {
    let found = match value {
        Value::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()).and_then(Port::new),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    found.ok_or_else(|| wrong(at, &format!("{value} is not a port; ports are whole numbers from 1 to 65535")))
}

/// `"3000-3049"`, `[3000, 3049]`, `{"start": 3000, "end": 3049}`
fn range(value: &Value, at: &str) -> Result<PortRange> {
    let pair = match value {
        Value::String(text) => return text.parse().map_err(|error| wrong(at, &format!("{error}"))),
        Value::Array(items) => match items.as_slice() {
            [from, to] => Some((from, to)),
            _ => None,
        },
        Value::Object(table) => {
            let first = |keys: [&str; 3]| keys.into_iter().find_map(|key| table.get(key));
            first(["start", "from", "min"]).zip(first(["end", "to", "max"]))
        }
        _ => None,
    };
    let (from, to) =
        pair.ok_or_else(|| wrong(at, "a range is meant, \"3000-3049\" or a start and an end"))?;
    let (from, to) = (port(from, at)?, port(to, at)?);
    PortRange::new(from.get(), to.get())
        .ok_or_else(|| wrong(at, &format!("{from}-{to} is not a range; the smaller comes first")))
}

/// `/health` of `http://localhost:3100/health`: where a program listens is seen.
fn below(path: &str) -> &str {
    let rest = path.split_once("://").map(|(_, rest)| rest);
    rest.map_or(path, |rest| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"))
}

#[cfg(test)]
mod tests {
    use super::import;

    const PORT_DADDY: &str = r#"{
  "project": "MyApp",
  "portRange": [3000, 3049],
  "services": {
    "api": { "cmd": "npm run dev", "port": 3100, "healthPath": "/health?deep=true", "needs": ["db"] },
    "web": { "dev": "next dev", "preferredPort": "3001", "health": "http://localhost:3001/up" },
    "Admin UI": {},
    "worker": { "noPort": true },
    "db": { "remote": "https://db.example.org" }
  },
  "tunnel": { "provider": "ngrok" }
}"#;

    const INTEGRATOR: &str = r#"{
  "ranges": { "web": { "start": 8080, "end": 8099, "description": "HTTP" } },
  "allocations": [
    { "port": 8080, "worktree": "review-GH-42", "service": "web", "process_id": null },
    { "port": 8081, "worktree": "review-GH-42", "service": "web" },
    { "port": 8082, "worktree": "main", "service": "web" },
    { "port": 8083, "worktree": "review-GH-42" }
  ],
  "metadata": { "schema_version": 1 }
}"#;

    #[test]
    fn a_project_of_port_daddys_becomes_stacks_with_ports_and_health_paths() {
        insta::assert_debug_snapshot!(import(PORT_DADDY).unwrap());
    }

    #[test]
    fn the_ports_of_worktrees_become_names_with_contexts() {
        let read = import(INTEGRATOR).unwrap();
        let names: Vec<_> = read
            .wishes
            .iter()
            .map(|wish| (wish.stack.as_str(), wish.context.as_deref(), wish.port.unwrap().get()))
            .collect();
        assert_eq!(
            names,
            [("web", Some("review-gh-42"), 8080), ("web-2", Some("review-gh-42"), 8081), ("web", None, 8082)]
        );
        assert_eq!(read.config.stacks["web"].range.unwrap().to_string(), "8080-8099");
        assert_eq!(read.notes, ["allocations[3] (port 8083) has no service"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let deep = format!("{{\"services\":{}", "[".repeat(100_000));
        let messages: Vec<String> = [
            "",
            "{",
            "[]",
            "{}",
            r#"{"services": []}"#,
            r#"{"services": {"api": {"port": 70000}}}"#,
            r#"{"services": {"api": {"health": "up it goes"}}}"#,
            r#"{"services": {"api": 3100}}"#,
            r#"{"services": {}, "portRange": "9-5"}"#,
            r#"{"services": {}, "portRange": {"start": 9, "end": 5}}"#,
            r#"{"allocations": [{}]}"#,
            r#"{"allocations": {"8080": {}}}"#,
            &deep,
        ]
        .into_iter()
        .map(|text| import(text).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(messages.join("\n"));
    }
}
