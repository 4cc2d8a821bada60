//! What a user says of ports in the configuration file: it holds where a project says nothing.

use std::{collections::BTreeMap, time::Duration};

use toml::{Table, Value};

use super::{
    PortRange, PortSet, ProjectConfigError, Rule,
    config::{Auto, known, list, range, stack_name, table, table_of, texts, wrong},
};

const ROGUE_KEYS: [&str; 1] = ["allow"];
/// Among the ranges: for every stack that has none of its own.
const DEFAULT: &str = "default";

/// A user's rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserPolicy {
    /// Listeners of the user's programs become automatic claims.
    pub auto: Option<bool>,
    /// Those on ports that the kernel chose, too.
    pub random: Option<bool>,
    /// Programs that never become one: globs over the command line.
    pub ignore: Vec<String>,
    /// How long an automatic claim outlives its listener.
    pub grace: Option<Duration>,
    /// Where the ports of a stack come from, by the stack's name.
    pub ranges: BTreeMap<String, PortRange>,
    /// Where all others come from.
    pub range: Option<PortRange>,
    /// Never given.
    pub exclude: PortSet,
    /// Programs that are not rogue.
    pub allow: Vec<String>,
}

impl UserPolicy {
    /// The keys that are read here.
    pub const KEYS: [&str; 4] = ["auto", "exclude", "ranges", "rogue"];

    /// Reads the text of a configuration file. Keys of other matters are passed over.
    pub fn parse(text: &str) -> Result<Self, ProjectConfigError> {
        Self::of(&table(text)?)
    }

    /// The same of a file that is parsed already.
    pub fn of(table: &Table) -> Result<Self, ProjectConfigError> {
        let auto = Auto::of(table)?;
        let mut policy = Self {
            auto: auto.enabled,
            random: auto.random,
            ignore: auto.ignore,
            grace: auto.grace,
            ..Self::default()
        };
        if let Some(value) = table.get("exclude") {
            for item in list(value, "exclude")? {
                policy.exclude.insert(range(item, "exclude")?);
            }
        }
        if let Some(ranges) = table.get("ranges") {
            for (name, value) in table_of(ranges, "ranges")? {
                let value = range(value, &format!("ranges.{name}"))?;
                if name == DEFAULT {
                    policy.range = Some(value);
                } else {
                    policy.ranges.insert(stack_name(name, "ranges")?, value);
                }
            }
        }
        if let Some(rogue) = table.get("rogue") {
            let rogue = table_of(rogue, "rogue")?;
            known(rogue, &ROGUE_KEYS, "rogue.")?;
            policy.allow = rogue.get("allow").map_or(Ok(Vec::new()), |v: &Value| texts(v, "rogue.allow"))?;
            for rule in &policy.allow {
                Rule::check(rule).map_err(|why| wrong("rogue.allow", &why))?;
            }
        }
        Ok(policy)
    }

    /// Where the ports of a stack come from.
    pub fn range_of(&self, stack: &str) -> Option<PortRange> {
        self.ranges.get(stack).copied().or(self.range)
    }
}

#[cfg(test)]
mod tests {
    use super::UserPolicy;

    const FULL: &str = "source = 'scan'
exclude = [8081]
auto = { enabled = false, ignore = ['*jest*'], grace = '3s', random = true }
[ranges]
web = '8080-8099'
default = '4000-4999'
[rogue]
allow = ['comm:code-server', 'port:9000-9099']
";

    #[test]
    fn every_key_is_read_and_those_of_other_matters_are_passed_over() {
        insta::assert_debug_snapshot!(UserPolicy::parse(FULL).unwrap());
    }

    #[test]
    fn a_stack_has_its_own_range_or_the_default() {
        let policy = UserPolicy::parse(FULL).unwrap();
        let range = |stack| policy.range_of(stack).map(|range| range.to_string());
        assert_eq!(range("web").as_deref(), Some("8080-8099"));
        assert_eq!(range("api").as_deref(), Some("4000-4999"));
        assert_eq!(UserPolicy::default().range_of("api"), None);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_key() {
        let messages: Vec<String> = [
            "[auto]\nenable = true",
            "[ranges]\nweb = '9-5'",
            "exclude = 3",
            "[rogue]\nalow = []",
            "[rogue]\nallow = ['user:bob']",
            "rogue = 3",
        ]
        .into_iter()
        .map(|text| UserPolicy::parse(text).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(messages.join("\n"));
    }
}
