//! `.portwatch.toml`: what a project says of its ports. `docs/registry.md` describes every key.

use std::{collections::BTreeMap, time::Duration};

use toml::{Table, Value};

mod values;

use super::{PortRange, PortSet, pattern::glob};
use crate::model::{ParsePortError, Port};
use values::{flag, number_or_text, project_name, span, text_of};
pub(super) use values::{known, list, range, stack_name, table_of, texts, wrong};

const KEYS: [&str; 7] = ["project", "context", "exclude", "ranges", "stacks", "auto", "release"];
const PROJECT_KEYS: [&str; 1] = ["name"];
const STACK_KEYS: [&str; 8] = ["port", "ports", "range", "pair", "command", "health", "env", "release"];
const AUTO_KEYS: [&str; 4] = ["enabled", "ignore", "grace", "random"];
const HEALTH_KEYS: [&str; 6] = ["path", "status", "timeout", "headers", "tcp", "interval"];
/// The daemon asks no program more often.
const MOST_OFTEN: Duration = Duration::from_secs(1);

/// A project's own rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectConfig {
    /// First part of its claims' names.
    pub project: Option<String>,
    /// A linked git worktree's name becomes the third part.
    pub worktree_context: bool,
    /// Never given.
    pub exclude: PortSet,
    /// Its parts, by name.
    pub stacks: BTreeMap<String, Stack>,
    /// Listeners become automatic claims.
    pub auto: Option<bool>,
    /// Ports the kernel chose become automatic claims too.
    pub auto_random: Option<bool>,
    /// Programs that never become one: globs over the command line.
    pub ignore: Vec<String>,
    /// How long an automatic claim outlives its listener.
    pub grace: Option<Duration>,
    /// `run` gives a claim back when its program has ended; a stack's own word comes first.
    pub release: Option<bool>,
}

/// A part of a project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stack {
    /// Its one port.
    pub port: Option<Port>,
    /// How many ports it has.
    pub ports: Option<u16>,
    /// Where its ports come from.
    pub range: Option<PortRange>,
    /// UDP on the same number too.
    pub pair: bool,
    /// Glob over a command line by which its program is known.
    pub command: Option<String>,
    /// How to ask whether it is well.
    pub health: Health,
    /// Variables that carry its port beside `PORT`, for `run`.
    pub env: Vec<String>,
    /// `run` gives its claim back when its program has ended.
    pub release: Option<bool>,
}

/// How to ask whether a program is well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Path of the request.
    pub path: Option<String>,
    /// Statuses that are well; empty means 200 to 399.
    pub status: Vec<u16>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Headers of the request.
    pub headers: Vec<(String, String)>,
    /// Only connect.
    pub tcp: bool,
    /// How often the daemon asks by itself; `None` is never.
    pub interval: Option<Duration>,
}

/// What is wrong with a project file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProjectConfigError(pub String);

type Result<T> = std::result::Result<T, ProjectConfigError>;

impl Default for ProjectConfig {
    fn default() -> Self {
        Self {
            project: None,
            worktree_context: true,
            exclude: PortSet::default(),
            stacks: BTreeMap::new(),
            auto: None,
            auto_random: None,
            ignore: Vec::new(),
            grace: None,
            release: None,
        }
    }
}

impl ProjectConfig {
    /// Reads the text of a `.portwatch.toml`.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let table = table(text)?;
        known(&table, &KEYS, "")?;
        let mut config = Self::default();
        match table.get("project") {
            None => {}
            Some(Value::Table(project)) => {
                known(project, &PROJECT_KEYS, "project.")?;
                config.project = project.get("name").map(|v| project_name(v, "project.name")).transpose()?;
            }
            Some(value) => config.project = Some(project_name(value, "project")?),
        }
        if let Some(value) = table.get("context") {
            config.worktree_context = match text_of(value, "context")? {
                "worktree" => true,
                "none" => false,
                other => {
                    return Err(wrong("context", &format!("'{other}' is neither \"worktree\" nor \"none\"")));
                }
            };
        }
        if let Some(value) = table.get("exclude") {
            for item in list(value, "exclude")? {
                config.exclude.insert(range(item, "exclude")?);
            }
        }
        if let Some(stacks) = table.get("stacks") {
            for (name, value) in table_of(stacks, "stacks")? {
                let key = stack_name(name, "stacks")?;
                config.stacks.insert(key, stack(value, &format!("stacks.{name}"))?);
            }
        }
        if let Some(ranges) = table.get("ranges") {
            for (name, value) in table_of(ranges, "ranges")? {
                let key = stack_name(name, "ranges")?;
                config.stacks.entry(key).or_default().range = Some(range(value, &format!("ranges.{name}"))?);
            }
        }
        config.release = table.get("release").map(|v| release(v, "release")).transpose()?;
        let auto = Auto::of(&table)?;
        Ok(Self {
            auto: auto.enabled,
            auto_random: auto.random,
            ignore: auto.ignore,
            grace: auto.grace,
            ..config
        })
    }

    /// Reads the text of a project file by its name: `.portwatch.toml`, or one of [`super::FOREIGN`].
    pub fn read(file: &str, text: &str) -> Result<Self> {
        if super::FOREIGN.contains(&file) {
            return super::import(text).map(|read| read.config);
        }
        Self::parse(text)
    }

    /// The same as the text of a `.portwatch.toml`, as far as it is about names, ports and health.
    pub fn to_toml(&self) -> String {
        let mut table = Table::new();
        if let Some(project) = &self.project {
            table.insert("project".to_owned(), project.clone().into());
        }
        let mut ranges = Table::new();
        let mut stacks = Table::new();
        for (name, stack) in &self.stacks {
            let mut own = Table::new();
            if let Some(port) = stack.port {
                own.insert("port".to_owned(), i64::from(port.get()).into());
            } else if let Some(range) = stack.range {
                ranges.insert(name.clone(), range.to_string().into());
            }
            if let Some(path) = &stack.health.path {
                own.insert("health".to_owned(), path.clone().into());
            }
            if !own.is_empty() {
                stacks.insert(name.clone(), own.into());
            }
        }
        for (key, value) in [("ranges", ranges), ("stacks", stacks)] {
            if !value.is_empty() {
                table.insert(key.to_owned(), value.into());
            }
        }
        table.to_string()
    }

    /// The stack whose command pattern, port or range a listener fits, in this order; of several the first by name.
    pub fn stack_of(&self, command: &str, port: Port) -> Option<&str> {
        let find = |fits: &dyn Fn(&Stack) -> bool| {
            self.stacks.iter().find(|(_, stack)| fits(stack)).map(|(name, _)| name.as_str())
        };
        find(&|s| s.command.as_ref().is_some_and(|pattern| within(pattern, command)))
            .or_else(|| find(&|s| s.port == Some(port)))
            .or_else(|| find(&|s| s.range.is_some_and(|range| range.contains(port))))
    }
}

/// `auto = false`, or the table `[auto]`; projects and users write the same.
#[derive(Debug, Default)]
pub(super) struct Auto {
    pub(super) enabled: Option<bool>,
    pub(super) random: Option<bool>,
    pub(super) ignore: Vec<String>,
    pub(super) grace: Option<Duration>,
}

impl Auto {
    pub(super) fn of(table: &Table) -> Result<Self> {
        let auto = match table.get("auto") {
            None => return Ok(Self::default()),
            Some(Value::Boolean(on)) => return Ok(Self { enabled: Some(*on), ..Self::default() }),
            Some(value) => {
                value.as_table().ok_or_else(|| wrong("auto", "true, false or a table is meant, [auto]"))?
            }
        };
        known(auto, &AUTO_KEYS, "auto.")?;
        Ok(Self {
            enabled: auto.get("enabled").map(|v| flag(v, "auto.enabled")).transpose()?,
            random: auto.get("random").map(|v| flag(v, "auto.random")).transpose()?,
            ignore: auto.get("ignore").map_or(Ok(Vec::new()), |v| texts(v, "auto.ignore"))?,
            grace: auto.get("grace").map(|v| span(v, "auto.grace")).transpose()?,
        })
    }
}

/// Whether a glob is found in a command line: without a `*` of its own it may stand anywhere.
pub fn within(pattern: &str, command: &str) -> bool {
    if pattern.contains('*') { glob(pattern, command) } else { command.contains(pattern) }
}

/// A TOML document; what is wrong is said with its line.
pub(super) fn table(text: &str) -> Result<Table> {
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map(|span| text.get(..span.start).unwrap_or("").matches('\n').count() + 1);
        ProjectConfigError(match line {
            Some(line) => format!("line {line}: {}", error.message()),
            None => error.message().to_owned(),
        })
    })
}

fn stack(value: &Value, at: &str) -> Result<Stack> {
    let table = table_of(value, at)?;
    known(table, &STACK_KEYS, &format!("{at}."))?;
    let key = |name: &str| format!("{at}.{name}");
    let mut stack = Stack::default();
    if let Some(value) = table.get("port") {
        let text = number_or_text(value, &key("port"))?;
        stack.port = Some(text.parse().map_err(|error: ParsePortError| match text.parse::<PortRange>() {
            Ok(_) => wrong(&key("port"), "one port is meant; a range goes into range"),
            Err(_) => wrong(&key("port"), &error.to_string()),
        })?);
    }
    if let Some(value) = table.get("ports") {
        let count = value.as_integer().and_then(|n| u16::try_from(n).ok()).filter(|n| (1..=64).contains(n));
        stack.ports = Some(count.ok_or_else(|| wrong(&key("ports"), "a number from 1 to 64 is meant"))?);
    }
    stack.range = table.get("range").map(|v| range(v, &key("range"))).transpose()?;
    if let Some(value) = table.get("pair") {
        stack.pair = match value {
            Value::Boolean(pair) => *pair,
            Value::String(word) if word == "udp" || word == "tcp" => true,
            _ => return Err(wrong(&key("pair"), "true, false, \"udp\" or \"tcp\" is meant")),
        };
    }
    stack.command =
        table.get("command").map(|v| text_of(v, &key("command")).map(str::to_owned)).transpose()?;
    stack.release = table.get("release").map(|v| release(v, &key("release"))).transpose()?;
    stack.env = match table.get("env") {
        None => Vec::new(),
        Some(Value::String(name)) => vec![variable(name, &key("env"))?],
        Some(value) => {
            let names = texts(value, &key("env"))?;
            names.iter().map(|name| variable(name, &key("env"))).collect::<Result<_>>()?
        }
    };
    match table.get("health") {
        None => {}
        Some(Value::String(path)) => stack.health.path = Some(http_path(path, &key("health"))?),
        Some(value) => stack.health = health(table_of(value, &key("health"))?, &key("health"))?,
    }
    Ok(stack)
}

fn release(value: &Value, at: &str) -> Result<bool> {
    match value.as_str() {
        Some("exit") => Ok(true),
        Some("keep") => Ok(false),
        _ => Err(wrong(at, &format!("{value} is neither \"exit\" nor \"keep\""))),
    }
}

/// What an environment may have as the name of a variable (POSIX, XBD 8.1).
fn variable(name: &str, at: &str) -> Result<String> {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if letters && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) {
        Ok(name.to_owned())
    } else {
        Err(wrong(
            at,
            &format!("'{name}' is not the name of a variable; write VITE_PORT or [\"PORT_A\", \"PORT_B\"]"),
        ))
    }
}

fn health(table: &Table, at: &str) -> Result<Health> {
    known(table, &HEALTH_KEYS, &format!("{at}."))?;
    let key = |name: &str| format!("{at}.{name}");
    let mut health = Health::default();
    if let Some(value) = table.get("path") {
        health.path = Some(http_path(text_of(value, &key("path"))?, &key("path"))?);
    }
    if let Some(value) = table.get("status") {
        let items =
            if let Value::Array(items) = value { items.as_slice() } else { std::slice::from_ref(value) };
        for item in items {
            let status =
                item.as_integer().and_then(|n| u16::try_from(n).ok()).filter(|n| (100..600).contains(n));
            health
                .status
                .push(status.ok_or_else(|| wrong(&key("status"), "a status from 100 to 599 is meant"))?);
        }
    }
    health.timeout = table.get("timeout").map(|v| span(v, &key("timeout"))).transpose()?;
    if let Some(value) = table.get("headers") {
        for (name, value) in table_of(value, &key("headers"))? {
            let value = text_of(value, &key("headers"))?;
            health.headers.push(header(name, value).map_err(|why| wrong(&key("headers"), &why))?);
        }
    }
    health.tcp = table.get("tcp").map_or(Ok(false), |v| flag(v, &key("tcp")))?;
    health.interval = table.get("interval").map(|v| span(v, &key("interval"))).transpose()?;
    if health.interval.is_some_and(|interval| interval < MOST_OFTEN) {
        return Err(wrong(&key("interval"), "a second or more is meant"));
    }
    Ok(health)
}

/// A header whose bytes cannot end it or begin another.
pub fn header(name: &str, value: &str) -> std::result::Result<(String, String), String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return Err(format!("'{name}' is not the name of a header"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("the value of '{name}' has a control character"));
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

pub(super) fn http_path(path: &str, at: &str) -> Result<String> {
    if path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic()) {
        Ok(path.to_owned())
    } else {
        Err(wrong(at, &format!("'{path}' is not a path; it begins with / and has no blanks")))
    }
}

#[cfg(test)]
mod tests {
    use super::ProjectConfig;
    use crate::model::Port;

    const FULL: &str = r#"
project = "MyApp"
context = "none"
release = "exit"
exclude = [8081, "9000-9010"]
[ranges]
web = "8080-8099"
[stacks.api]
port = 3100
pair = "udp"
command = "node server.js"
health = "/health?deep=true"
env = ["API_PORT", "VITE_API_PORT"]
release = "keep"
[stacks.worker]
ports = 2
[stacks.worker.health]
path = "/up"
status = [200, 204]
timeout = "2s"
interval = "30s"
headers = { Authorization = "Bearer x" }
[auto]
enabled = true
ignore = ["*storybook*"]
grace = "5s"
"#;

    #[test]
    fn every_key_is_read() {
        insta::assert_debug_snapshot!(ProjectConfig::parse(FULL).unwrap());
    }

    #[test]
    fn the_text_of_rules_reads_back_as_they_are() {
        let text = "project = \"shop\"\n\n[ranges]\nweb = \"8080-8099\"\n\n[stacks.api]\nhealth = \"/up\"\nport = 3100\n";
        let config = ProjectConfig::parse(text).unwrap();
        assert_eq!(config.to_toml(), text);
        assert_eq!(ProjectConfig::parse(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn a_stack_is_known_by_command_then_port_then_range() {
        let config = ProjectConfig::parse(FULL).unwrap();
        let stack =
            |command: &str, port| config.stack_of(command, Port::new(port).unwrap()).map(str::to_owned);
        assert_eq!(stack("node server.js", 8080).as_deref(), Some("api"));
        assert_eq!(stack("vite", 3100).as_deref(), Some("api"));
        assert_eq!(stack("vite", 8085).as_deref(), Some("web"));
        assert_eq!(stack("vite", 5173), None);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_key_and_a_remedy() {
        let messages: Vec<String> = [
            "projct = 'a'",
            "project = 3",
            "project = '///'",
            "[project]\nnam = 'x'",
            "a = ",
            "\n\n[ranges]\nweb = '9-5'",
            "[ranges]\nweb = [1]",
            "[ranges]\nWeb = '1-5'",
            "[stacks.api]\nprt = 3",
            "[stacks.api]\nport = 70000",
            "[stacks.api]\nport = '1-5'",
            "[stacks.api]\nports = 0",
            "[stacks.api]\nhealth = 'health'",
            "[stacks.api.health]\npath = '/a b'",
            "[stacks.api.health]\nstatus = 42",
            "[stacks.api.health]\ntimeout = 'soon'",
            "[stacks.api.health]\ninterval = '10ms'",
            "[stacks.api.health]\nheaders = { 'a b' = 'c' }",
            "[stacks.api.health]\nheaders = { a = \"b\\r\\nc\" }",
            "[stacks.api]\nenv = 'A-B'",
            "[stacks.api]\nenv = ['OK', '1ST']",
            "[stacks.api]\nrelease = 'never'",
            "[stacks.api]\nrelease = true",
            "stacks = 3",
            "context = 'branch'",
            "exclude = 3",
            "auto = 'yes'",
            "[auto]\nenable = true",
        ]
        .into_iter()
        .map(|text| ProjectConfig::parse(text).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(messages.join("\n"));
    }
}
