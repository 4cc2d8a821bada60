//! Names, out of project files.

use serde::Deserialize;

use crate::model::ProjectKind;

/// Longest name that is kept, in characters.
const LONGEST: usize = 128;

/// A name as it can be stored: not empty, bounded. Still hostile to a terminal.
pub(super) fn presentable(name: &str) -> Option<String> {
    let name: String = name.trim().chars().take(LONGEST).collect();
    (!name.is_empty()).then_some(name)
}

/// The name that a project file gives; `None` when it gives none or cannot be understood.
pub(super) fn in_file(kind: ProjectKind, bytes: &[u8]) -> Option<String> {
    let text = str::from_utf8(bytes).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let name = match kind {
        ProjectKind::Portwatch => {
            let project = lookup(text, &["project"])?;
            project.as_str().map(str::to_owned).or_else(|| text_at(&project, &["name"]))
        }
        ProjectKind::PortDaddy => serde_json::from_str::<PortDaddy>(text).ok()?.project,
        ProjectKind::Node => serde_json::from_str::<PackageJson>(text).ok()?.name,
        ProjectKind::Rust => lookup(text, &["package", "name"])?.as_str().map(str::to_owned),
        ProjectKind::Python => lookup(text, &["project", "name"])
            .or_else(|| lookup(text, &["tool", "poetry", "name"]))?
            .as_str()
            .map(str::to_owned),
        ProjectKind::Go => module(text),
        ProjectKind::Git => None,
    };
    presentable(&name?)
}

#[derive(Deserialize)]
struct PackageJson {
    name: Option<String>,
}

#[derive(Deserialize)]
struct PortDaddy {
    project: Option<String>,
}

fn lookup(text: &str, path: &[&str]) -> Option<toml::Value> {
    let table = toml::from_str::<toml::Table>(text).ok()?;
    descend(&toml::Value::Table(table), path).cloned()
}

fn descend<'a>(value: &'a toml::Value, path: &[&str]) -> Option<&'a toml::Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

fn text_at(value: &toml::Value, path: &[&str]) -> Option<String> {
    descend(value, path)?.as_str().map(str::to_owned)
}

/// Last element of the module path; a major version (`/v2`) is no name.
fn module(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix("module")?;
        let rest = rest.split("//").next()?;
        rest.starts_with([' ', '\t', '"']).then(|| rest.trim().trim_matches('"'))
    })?;
    let version =
        |part: &&str| part.strip_prefix('v').is_some_and(|n| n.parse::<u16>().is_ok_and(|n| n >= 2));
    path.rsplit('/').find(|part| !version(part)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_names_its_project() {
        let cases: [(ProjectKind, &str, Option<&str>); 17] = [
            (ProjectKind::Portwatch, "project = 'shop'", Some("shop")),
            (ProjectKind::Portwatch, "[project]\nname = 'shop'", Some("shop")),
            (ProjectKind::PortDaddy, "{\"project\": \"shop\", \"services\": {}}", Some("shop")),
            (ProjectKind::PortDaddy, "{\"services\": {}}", None),
            (ProjectKind::Node, "\u{feff}{\"name\": \"@a/web\", \"version\": \"1\"}", Some("@a/web")),
            (ProjectKind::Node, "{\"name\": 7}", None),
            (ProjectKind::Node, "{\"name\": \"  \"}", None),
            (ProjectKind::Node, "{\"name\": \"x\"", None),
            (ProjectKind::Rust, "[package]\nname = 'cli'", Some("cli")),
            (ProjectKind::Rust, "[workspace]\nmembers = []", None),
            (ProjectKind::Python, "[project]\nname = 'api'", Some("api")),
            (ProjectKind::Python, "[tool.poetry]\nname = 'old'", Some("old")),
            (ProjectKind::Go, "// c\nmodule example.org/a/hub\n\ngo 1.24\n", Some("hub")),
            (ProjectKind::Go, "module \"example.org/a/hub/v3\" // x\n", Some("hub")),
            (ProjectKind::Go, "modules x\n", None),
            (ProjectKind::Git, "", None),
            (ProjectKind::Rust, "\u{0}", None),
        ];
        for (kind, text, name) in cases {
            assert_eq!(in_file(kind, text.as_bytes()).as_deref(), name, "{kind:?} {text:?}");
        }
    }

    #[test]
    fn a_file_nested_without_end_is_not_understood_and_does_no_harm() {
        let json = format!("{{\"a\":{}", "[".repeat(200_000));
        assert_eq!(in_file(ProjectKind::Node, json.as_bytes()), None);
        let toml = format!("a = {}", "[".repeat(200_000));
        assert_eq!(in_file(ProjectKind::Rust, toml.as_bytes()), None);
    }

    #[test]
    fn a_name_without_end_is_cut() {
        let json = format!("{{\"name\":\"{}\"}}", "é".repeat(5000));
        assert_eq!(in_file(ProjectKind::Node, json.as_bytes()).unwrap().chars().count(), LONGEST);
    }
}
