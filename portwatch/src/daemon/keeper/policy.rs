//! Which listeners become automatic claims: the project's word first, then the daemon's.

use std::time::Duration;

use crate::{
    model::AskedPort,
    registry::{ProjectConfig, within},
};

/// The daemon's own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoPolicy {
    /// Listeners of known projects become automatic claims.
    pub enabled: bool,
    /// Those on ports that the kernel chose, too.
    pub random: bool,
    /// Programs that never become one: globs over the command line.
    pub ignore: Vec<String>,
    /// How long an automatic claim outlives its listener.
    pub grace: Duration,
}

impl Default for AutoPolicy {
    fn default() -> Self {
        Self { enabled: true, random: false, ignore: Vec::new(), grace: Duration::from_secs(10) }
    }
}

impl AutoPolicy {
    /// Whether a listener that asked for `asked` and was started as `command` is to have a claim.
    pub(super) fn wants(&self, config: &ProjectConfig, asked: AskedPort, command: &str) -> bool {
        let random = config.auto_random.unwrap_or(self.random);
        config.auto.unwrap_or(self.enabled)
            && (random || asked != AskedPort::KernelChosen)
            && !self.ignore.iter().chain(&config.ignore).any(|pattern| within(pattern, command))
    }
}

#[cfg(test)]
mod tests {
    use super::AutoPolicy;
    use crate::{
        model::{AskedPort, Port},
        registry::ProjectConfig,
    };

    #[test]
    fn the_projects_word_comes_before_the_daemons() {
        let asked = AskedPort::Explicit(Port::new(3000).unwrap());
        let policy = AutoPolicy { ignore: vec!["*jest*".to_owned()], ..AutoPolicy::default() };
        let wants = |config: &str, asked, command: &str| {
            policy.wants(&ProjectConfig::parse(config).unwrap(), asked, command)
        };
        assert!(wants("", asked, "node server.js"));
        assert!(wants("", AskedPort::Unknown, "node server.js"));
        assert!(!wants("auto = false", asked, "node server.js"));
        assert!(!wants("", AskedPort::KernelChosen, "node server.js"));
        assert!(wants("[auto]\nrandom = true", AskedPort::KernelChosen, "node server.js"));
        assert!(!wants("", asked, "node jest"));
        assert!(!wants("[auto]\nignore = ['storybook']", asked, "node storybook.js"));
    }
}
