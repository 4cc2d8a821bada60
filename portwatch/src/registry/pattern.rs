//! Which claims are meant: `myapp:*`, `*:api`, `:3100`, a bare project.

use std::{fmt, str::FromStr};

use super::{
    Name,
    name::{self, LONGEST, NameError, Shortened},
};
use crate::model::Port;

/// Names with `*` in their parts, or a port.
///
/// | written | matches |
/// |---|---|
/// | `*` | every claim |
/// | `myapp` | every claim of the project `myapp` |
/// | `myapp:api` | that claim and no other |
/// | `myapp:*`, `*:api`, `my*:a*i` | any context too |
/// | `myapp:api:*`, `*:*:feature` | claims with a context |
/// | `:3100`, `3100` | whatever is claimed on the port |
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// By port.
    Port(Port),
    /// By name, one glob a part.
    Name {
        /// First part.
        project: String,
        /// Second part.
        stack: String,
        /// Third part.
        context: Context,
    },
}

/// What a pattern says of the third part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Context {
    /// There is none.
    None,
    /// Any or none.
    Any,
    /// One that matches.
    Glob(String),
}

/// Why a text is not a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A bad port.
    #[error(transparent)]
    Port(#[from] crate::model::ParsePortError),
    /// A bad name.
    #[error("'{given}' is not a pattern: '{found}' is not allowed; write myapp:*, *:api, myapp:web or :3100")]
    Character {
        /// What was given.
        given: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// A part that no name has.
    #[error("'{0}' is not a pattern: a part of a name has {LONGEST} characters at most")]
    Long(Shortened),
    /// Empty, or too many parts.
    #[error("'{0}' is not a pattern; write myapp:*, *:api, myapp:web or :3100")]
    Form(String),
}

impl Pattern {
    /// Every claim.
    pub fn all() -> Self {
        Self::Name { project: "*".to_owned(), stack: "*".to_owned(), context: Context::Any }
    }

    /// The port, where it is one.
    pub const fn port(&self) -> Option<Port> {
        match self {
            Self::Port(port) => Some(*port),
            Self::Name { .. } => None,
        }
    }

    /// One claim.
    pub fn exactly(name: &Name) -> Self {
        Self::Name {
            project: name.project().to_owned(),
            stack: name.stack().to_owned(),
            context: name.context().map_or(Context::None, |c| Context::Glob(c.to_owned())),
        }
    }

    /// The one name it can match, if it is without `*`.
    pub fn name(&self) -> Option<Name> {
        match self {
            Self::Port(_) => None,
            Self::Name { .. } => self.to_string().parse().ok(),
        }
    }

    /// Whether it means everything there is.
    pub fn is_all(&self) -> bool {
        *self == Self::all()
    }

    /// Whether a claim of this name on these ports is meant.
    pub fn matches(&self, name: &Name, mut ports: impl Iterator<Item = Port>) -> bool {
        match self {
            Self::Port(port) => ports.any(|p| p == *port),
            Self::Name { project, stack, context } => {
                glob(project, name.project())
                    && glob(stack, name.stack())
                    && match (context, name.context()) {
                        (Context::Any, _) | (Context::None, None) => true,
                        (Context::Glob(pattern), Some(context)) => glob(pattern, context),
                        (Context::None, Some(_)) | (Context::Glob(_), None) => false,
                    }
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        if digits(text) {
            return Ok(Self::Port(text.parse()?));
        }
        if let Some(port) = text.strip_prefix(':')
            && port.chars().all(|c| c.is_ascii_digit())
        {
            return Ok(Self::Port(port.parse()?));
        }
        if let Some(found) = text.chars().find(|&c| c != ':' && c != '*' && !name::allowed(c)) {
            return Err(PatternError::Character { given: text.to_owned(), found });
        }
        let parts: Vec<&str> = text.split(':').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(PatternError::Form(text.to_owned()));
        }
        let text_of = |part: &&str| part.chars().filter(|&c| c != '*').count();
        if parts.iter().any(|part| text_of(part) > LONGEST || part.len() > 2 * LONGEST) {
            return Err(PatternError::Long(Shortened(text.to_owned())));
        }
        let own = |part: &str| part.to_owned();
        match *parts.as_slice() {
            [project] => Ok(Self::Name { project: own(project), stack: own("*"), context: Context::Any }),
            [project, stack] => {
                let open = project.contains('*') || stack.contains('*');
                let context = if open { Context::Any } else { Context::None };
                Ok(Self::Name { project: own(project), stack: own(stack), context })
            }
            [project, stack, context] => Ok(Self::Name {
                project: own(project),
                stack: own(stack),
                context: Context::Glob(own(context)),
            }),
            _ => Err(PatternError::Form(text.to_owned())),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, ":{port}"),
            Self::Name { project, stack, context } => {
                if *self == Self::all() {
                    return f.write_str("*");
                }
                write!(f, "{project}:{stack}")?;
                match context {
                    Context::Glob(context) => write!(f, ":{context}"),
                    Context::None | Context::Any => Ok(()),
                }
            }
        }
    }
}

impl From<&NameError> for PatternError {
    fn from(error: &NameError) -> Self {
        Self::Form(error.to_string())
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for any text. Linear in both: the newest `*` takes the
/// blame, an older one never has to be tried again.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&wanted) if wanted == byte => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|&b| b == b'*'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Pattern, glob};
    use crate::{model::Port, registry::Name};

    fn matches(pattern: &str, name: &str) -> bool {
        let pattern: Pattern = pattern.parse().unwrap();
        pattern.matches(&name.parse::<Name>().unwrap(), [Port::new(3100).unwrap()].into_iter())
    }

    #[test]
    fn each_form_means_what_the_table_says() {
        for (pattern, name, expected) in [
            ("*", "myapp:api:x", true),
            ("myapp", "myapp:api", true),
            ("myapp", "myapp:api:x", true),
            ("myapp", "myapp2:api", false),
            ("myapp:api", "myapp:api", true),
            ("myapp:api", "myapp:api:x", false),
            ("myapp:*", "myapp:api:x", true),
            ("*:api", "blog:api", true),
            ("*:api", "blog:api2", false),
            ("my*:a*i", "myapp:api", true),
            ("myapp:api:*", "myapp:api", false),
            ("myapp:api:*", "myapp:api:x", true),
            ("*:*:feat*", "a:b:feature", true),
            (":3100", "a:b", true),
            ("3100", "a:b", true),
            (":3101", "a:b", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let say = |text: &str| text.parse::<Pattern>().unwrap_err().to_string();
        let messages = [
            say(""),
            say(":"),
            say("a::b"),
            say("a:b:c:d"),
            say("A:b"),
            say(":0"),
            say(":70000"),
            say("a b"),
        ];
        insta::assert_snapshot!(messages.join("\n"));
    }

    /// The obvious, exponential definition.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            Some((byte, rest)) => text.first() == Some(byte) && slow(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_glob_agrees_with_its_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(glob(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn a_pattern_reads_back_as_itself(text in "[a-z*]{1,5}(:[a-z*]{1,5}){1,2}") {
            let pattern: Pattern = text.parse().unwrap();
            prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
        }

        #[test]
        fn a_name_matches_itself_and_the_star(text in "[a-z0-9]{1,9}:[a-z0-9]{1,9}(:[a-z0-9]{1,9})?") {
            prop_assert!(matches(&text, &text));
            prop_assert!(matches("*", &text));
        }
    }
}
