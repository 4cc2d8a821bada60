//! Why a listener is there. One that nothing explains is rogue.

use std::path::Path;

use super::{State, config::within, glob, suggest::nearest};
use crate::model::Port;

/// What a rule can be about, apart from the command line.
const KINDS: [&str; 5] = ["comm", "exe", "port", "user", "project"];

/// What explains a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A claim it belongs to.
    Claim {
        /// Its name.
        name: String,
        /// What the claim is worth.
        state: State,
    },
    /// A claim it does not belong to: its port is another's.
    Conflict {
        /// Whose.
        name: String,
    },
    /// The kernel itself.
    Kernel,
    /// A container, by name, or by the beginning of its id.
    Container(String),
    /// A systemd unit.
    Unit(String),
    /// The system's first process.
    Init,
    /// The project it works in.
    Project(String),
    /// A rule of the allow-list.
    Allowed(String),
    /// portwatch itself.
    Portwatch,
    /// Nothing.
    Rogue,
    /// Its process could not be seen, so what explains it is not known.
    Unknown,
}

impl Standing {
    /// The word used in JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "claim",
            Self::Conflict { .. } => "conflict",
            Self::Kernel => "kernel",
            Self::Container(_) => "container",
            Self::Unit(_) => "unit",
            Self::Init => "init",
            Self::Project(_) => "project",
            Self::Allowed(_) => "allowed",
            Self::Portwatch => "self",
            Self::Rogue => "rogue",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known of a listener and its process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// Its port.
    pub port: Option<Port>,
    /// The kernel holds it.
    pub kernel: bool,
    /// The process, if one is known.
    pub pid: Option<u32>,
    /// Its comm.
    pub comm: Option<&'a str>,
    /// Its command line, arguments joined by blanks.
    pub command: Option<&'a str>,
    /// Its program file.
    pub exe: Option<&'a Path>,
    /// Its user.
    pub uid: Option<u32>,
    /// Its systemd unit.
    pub unit: Option<&'a str>,
    /// Its container.
    pub container: Option<&'a str>,
    /// Name of its project.
    pub project: Option<&'a str>,
    /// It is this program.
    pub own: bool,
}

/// A rule of the allow-list and whose programs it is about; `None` means everybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `comm:python3`, `port:8000-8099`, `exe:/usr/bin/*`, `user:1000`, `project:x`, or a glob over the command line.
    pub text: String,
    /// Only programs of this user.
    pub uid: Option<u32>,
}

impl Rule {
    /// Whether a text can be a rule: `Err` says what is wrong with it.
    pub fn check(text: &str) -> Result<(), String> {
        let text = text.trim();
        if text.is_empty() {
            return Err(
                "a rule is comm:NAME, exe:PATH, port:A-B, user:UID, project:NAME or a part of the command line"
                    .to_owned(),
            );
        }
        match text.split_once(':') {
            Some((kind, rest)) if !KINDS.contains(&kind) && !rest.is_empty() => {
                // `app:main` is a part of many a command line, and `com:node` of none.
                let is_word = kind.len() > 2 && kind.chars().all(|c| c.is_ascii_alphabetic());
                let meant = nearest(kind, KINDS).filter(|_| is_word);
                meant.map_or(Ok(()), |meant| {
                    Err(format!(
                        "there is no kind of rule '{kind}'; did you mean {meant}:{rest}? A part of the command line \
                         that looks so is written *{text}*"
                    ))
                })
            }
            Some(("port", range)) => range.parse::<super::PortRange>().map(drop).map_err(|e| e.to_string()),
            Some(("user", uid)) => {
                uid.parse::<u32>().map(drop).map_err(|_| format!("'{uid}' is not a uid; say user:1000"))
            }
            _ => Ok(()),
        }
    }

    fn fits(&self, facts: &Facts<'_>) -> bool {
        if self.uid.is_some() && self.uid != facts.uid {
            return false;
        }
        let is = |pattern: &str, value: Option<&str>| value.is_some_and(|value| glob(pattern, value));
        match self.text.split_once(':') {
            Some(("comm", name)) => is(name, facts.comm),
            Some(("exe", path)) => is(path, facts.exe.and_then(Path::to_str)),
            Some(("project", name)) => is(name, facts.project),
            Some(("user", uid)) => facts.uid.is_some_and(|found| uid.parse() == Ok(found)),
            Some(("port", range)) => facts.port.is_some_and(|port| {
                range.parse::<super::PortRange>().is_ok_and(|range| range.contains(port))
            }),
            _ => facts.command.is_some_and(|command| within(&self.text, command)),
        }
    }
}

/// What explains a listener on which no claim is. The first that does, in this order: the kernel, portwatch
/// itself, a container, a unit, the first process, a project, the allow-list.
pub fn explain(facts: &Facts<'_>, rules: &[Rule]) -> Standing {
    if facts.kernel {
        return Standing::Kernel;
    }
    if facts.own {
        return Standing::Portwatch;
    }
    if let Some(container) = facts.container {
        return Standing::Container(container.to_owned());
    }
    if let Some(unit) = facts.unit.filter(|unit| explains(unit)) {
        return Standing::Unit(unit.to_owned());
    }
    if facts.pid == Some(1) {
        return Standing::Init;
    }
    if let Some(project) = facts.project {
        return Standing::Project(project.to_owned());
    }
    if let Some(rule) = rules.iter().find(|rule| rule.fits(facts)) {
        return Standing::Allowed(rule.text.clone());
    }
    if facts.pid.is_none() { Standing::Unknown } else { Standing::Rogue }
}

/// Whether a unit says why a listener is there. `user@1000.service` is a user's whole session, and scopes hold what people
/// start by hand.
fn explains(unit: &str) -> bool {
    (unit.ends_with(".service") || unit.ends_with(".socket")) && !unit.starts_with("user@")
}

#[cfg(test)]
mod tests {
    use super::{Facts, Rule, Standing, explain};
    use crate::model::Port;

    fn python() -> Facts<'static> {
        Facts {
            port: Port::new(8000),
            pid: Some(7),
            comm: Some("python3"),
            command: Some("python3 -m http.server 0"),
            uid: Some(1000),
            ..Facts::default()
        }
    }

    #[test]
    fn what_nothing_explains_is_rogue() {
        let unit = |unit: &'static str| explain(&Facts { unit: Some(unit), ..python() }, &[]);
        assert_eq!(explain(&python(), &[]), Standing::Rogue);
        assert_eq!(unit("session-3.scope"), Standing::Rogue);
        assert_eq!(unit("user@1000.service"), Standing::Rogue);
        assert_eq!(unit("nginx.service"), Standing::Unit("nginx.service".into()));
        assert_eq!(
            explain(&Facts { container: Some("web-1"), ..python() }, &[]),
            Standing::Container("web-1".into())
        );
        assert_eq!(explain(&Facts { kernel: true, ..python() }, &[]), Standing::Kernel);
        assert_eq!(
            explain(&Facts { project: Some("web"), ..python() }, &[]),
            Standing::Project("web".into())
        );
        assert_eq!(explain(&Facts { pid: Some(1), ..python() }, &[]), Standing::Init);
        assert_eq!(explain(&Facts { pid: None, ..python() }, &[]), Standing::Unknown);
    }

    #[test]
    fn a_rule_is_about_one_thing_and_its_owners_programs() {
        for (text, uid, fits) in [
            ("comm:python*", None, true),
            ("comm:node", None, false),
            ("port:8000-8099", None, true),
            ("port:9000", None, false),
            ("user:1000", None, true),
            ("http.server", None, true),
            ("*http.server*", Some(1000), true),
            ("*http.server*", Some(1001), false),
            ("http.server 0*", None, false),
        ] {
            let rule = Rule { text: text.to_owned(), uid };
            let expected = if fits { Standing::Allowed(text.to_owned()) } else { Standing::Rogue };
            assert_eq!(explain(&python(), &[rule]), expected, "{text}");
        }
    }

    #[test]
    fn a_rule_that_can_never_fit_is_refused() {
        for bad in ["", "  ", "port:x", "user:bob", "com:node", "prot:8000", "projects:shop", "users:1000"] {
            assert!(Rule::check(bad).is_err(), "{bad}");
        }
        for good in
            ["comm:node", "app:main", "*com:node*", "server:app --reload", "http://localhost", "a:b", "comm"]
        {
            assert_eq!(Rule::check(good), Ok(()), "{good}");
        }
        assert!(Rule::check("com:node").unwrap_err().contains("did you mean comm:node?"));
    }
}
