//! `project:stack[:context]`

use std::{fmt, str::FromStr};

/// Longest part of a name, in characters.
pub(super) const LONGEST: usize = 64;

/// A text of any length, of which the beginning is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortened(pub(super) String);

impl fmt::Display for Shortened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3 * LONGEST;
        let all = self.0.chars().count();
        let shown: String = self.0.chars().take(SHOWN).collect();
        if all > SHOWN { write!(f, "{shown}... ({all} characters)") } else { f.write_str(&shown) }
    }
}

/// The name of a claim: two or three parts of `[a-z0-9._-]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    project: String,
    stack: String,
    context: Option<String>,
}

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or an empty part.
    #[error("'{0}' has an empty part; a name is project:stack or project:stack:context, such as myapp:api")]
    Empty(String),
    /// One part, or more than three.
    #[error(
        "'{given}' is not a claim name; a name is project:stack or project:stack:context, such as {hint}"
    )]
    Parts {
        /// What was given.
        given: String,
        /// A name near it.
        hint: String,
    },
    /// A character outside the grammar.
    #[error(
        "'{given}' is not a claim name: '{found}' is not allowed (a-z, 0-9, '.', '_' and '-' are); say {hint}"
    )]
    Character {
        /// What was given.
        given: String,
        /// The first character that is not allowed.
        found: char,
        /// A name near it.
        hint: String,
    },
    /// A part that is too long.
    #[error("'{0}' is not a claim name: a part has {LONGEST} characters at most")]
    Long(Shortened),
}

impl Name {
    /// A name of parts that are slugs already, or can be made to be.
    pub fn of(project: &str, stack: &str, context: Option<&str>) -> Option<Self> {
        Some(Self { project: slug(project)?, stack: slug(stack)?, context: context.and_then(slug) })
    }

    /// First part.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Second part.
    pub fn stack(&self) -> &str {
        &self.stack
    }

    /// Third part.
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// The same with another stack.
    #[must_use]
    pub fn with_stack(&self, stack: &str) -> Self {
        Self { stack: slug(stack).unwrap_or_else(|| self.stack.clone()), ..self.clone() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.project, self.stack)?;
        self.context.as_ref().map_or(Ok(()), |context| write!(f, ":{context}"))
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let parts: Vec<&str> = text.split(':').collect();
        let hint = || near(&parts);
        if let Some(found) = text.chars().find(|&c| c != ':' && !allowed(c)) {
            return Err(NameError::Character { given: text.to_owned(), found, hint: hint() });
        }
        if parts.iter().any(|part| part.is_empty()) {
            return Err(NameError::Empty(text.to_owned()));
        }
        if parts.iter().any(|part| part.len() > LONGEST) {
            return Err(NameError::Long(Shortened(text.to_owned())));
        }
        match *parts.as_slice() {
            [project, stack] => {
                Ok(Self { project: project.to_owned(), stack: stack.to_owned(), context: None })
            }
            [project, stack, context] => Ok(Self {
                project: project.to_owned(),
                stack: stack.to_owned(),
                context: Some(context.to_owned()),
            }),
            _ => Err(NameError::Parts { given: text.to_owned(), hint: hint() }),
        }
    }
}

/// Whether a part may hold it.
pub(super) const fn allowed(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')
}

/// A text of somebody else's as a part of a name: lower case, `-` for what is not allowed. `None` when nothing is left.
pub fn slug(text: &str) -> Option<String> {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if allowed(c) {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        if out.len() >= LONGEST {
            break;
        }
    }
    let out = out.trim_matches(['-', '.']);
    (!out.is_empty()).then(|| out.to_owned())
}

/// The name that was probably meant.
fn near(parts: &[&str]) -> String {
    let mut slugs = parts.iter().filter_map(|part| slug(part));
    let project = slugs.next().unwrap_or_else(|| "myapp".to_owned());
    let stack = slugs.next().unwrap_or_else(|| "web".to_owned());
    match slugs.next() {
        Some(context) => format!("{project}:{stack}:{context}"),
        None => format!("{project}:{stack}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Name, slug};

    #[test]
    fn a_name_has_two_or_three_parts() {
        for good in ["myapp:api", "myapp:api:feature-x", "a.b_c-d:0", "1:2:3"] {
            assert_eq!(good.parse::<Name>().unwrap().to_string(), good);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_one_that_is() {
        let say = |text: &str| text.parse::<Name>().unwrap_err().to_string();
        let long = format!("a:{}", "b".repeat(65));
        let messages = [
            say(""),
            say("myapp"),
            say("a:b:c:d"),
            say("myapp:"),
            say(":web"),
            say("MyApp:Web"),
            say("my app:web"),
            say("myapp:*"),
            say("my\u{1b}[31mapp:web"),
            say("café:web"),
            say(&long),
        ];
        insta::assert_snapshot!(messages.join("\n"));
    }

    #[test]
    fn a_slug_is_what_a_package_name_becomes() {
        for (text, expected) in [
            ("@acme/Web App", Some("acme-web-app")),
            ("my.app_1", Some("my.app_1")),
            ("///", None),
            ("", None),
            ("日本", None),
            ("..", None),
        ] {
            assert_eq!(slug(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_slug_is_a_part_and_its_own_slug(text in ".{0,100}") {
            if let Some(part) = slug(&text) {
                prop_assert_eq!(slug(&part), Some(part.clone()));
                let whole = format!("{part}:{part}");
                prop_assert_eq!(whole.parse::<Name>().map(|n| n.to_string()), Ok(whole));
            }
        }

        #[test]
        fn a_name_reads_back_as_itself(text in "[a-z0-9._-]{1,64}(:[a-z0-9._-]{1,64}){1,2}") {
            prop_assert_eq!(text.parse::<Name>().unwrap().to_string(), text);
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "\\PC{0,80}") {
            let _ = text.parse::<Name>();
        }
    }
}
