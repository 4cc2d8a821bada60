//! Which listeners become automatic claims: the project's word first, then that of the user whose program it is, then the
//! daemon's.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    model::AskedPort,
    registry::{ProjectConfig, UserPolicy, within},
};

/// What a user's file said so long ago still holds.
const LIFETIME: Duration = Duration::from_secs(5);
/// Bound on the users that are remembered.
const MOST: usize = 256;

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
    /// The same where a user says otherwise.
    #[must_use]
    pub fn but(&self, user: &UserPolicy) -> Self {
        Self {
            enabled: user.auto.unwrap_or(self.enabled),
            random: user.random.unwrap_or(self.random),
            ignore: self.ignore.iter().chain(&user.ignore).cloned().collect(),
            grace: user.grace.unwrap_or(self.grace),
        }
    }

    /// Whether a listener that asked for `asked` and was started as `command` is to have a claim.
    pub(super) fn wants(&self, config: &ProjectConfig, asked: AskedPort, command: &str) -> bool {
        let random = config.auto_random.unwrap_or(self.random);
        config.auto.unwrap_or(self.enabled)
            && (random || asked != AskedPort::KernelChosen)
            && !self.ignore.iter().chain(&config.ignore).any(|pattern| within(pattern, command))
    }
}

/// What users' configuration files allow, by uid; root's rules are for everybody's programs.
#[derive(Debug, Default)]
pub(in crate::daemon) struct UserRules(Mutex<BTreeMap<u32, Vec<String>>>);

impl UserRules {
    /// Remembers what a user allows; `true` when that is something else than before.
    pub(in crate::daemon) fn set(&self, uid: u32, rules: &[String]) -> bool {
        let mut all = self.lock();
        if all.get(&uid).map_or(&[][..], Vec::as_slice) == rules {
            return false;
        }
        all.insert(uid, rules.to_vec());
        true
    }

    /// All of them.
    pub(in crate::daemon) fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Policies of users, as their files said a moment ago.
#[derive(Debug, Default)]
pub(super) struct Policies(HashMap<u32, (UserPolicy, Instant)>);

impl Policies {
    /// The policy of a user; `read` gives the text of the file. A file that is wrong says nothing.
    pub(super) fn of(&mut self, uid: u32, read: impl FnOnce() -> Option<String>) -> &UserPolicy {
        let is_old = self.0.get(&uid).is_none_or(|(_, at)| at.elapsed() >= LIFETIME);
        if is_old {
            if self.0.len() >= MOST {
                self.0.clear();
            }
            let policy = read().and_then(|text| match UserPolicy::parse(&text) {
                Ok(policy) => Some(policy),
                Err(error) => {
                    tracing::debug!(%error, uid, "a user's configuration file is wrong");
                    None
                }
            });
            self.0.insert(uid, (policy.unwrap_or_default(), Instant::now()));
        }
        &self.0.entry(uid).or_insert_with(|| (UserPolicy::default(), Instant::now())).0
    }
}

#[cfg(test)]
mod tests {
    use super::{AutoPolicy, Policies, UserRules};
    use crate::{
        model::{AskedPort, Port},
        registry::{ProjectConfig, UserPolicy},
    };

    #[test]
    fn the_projects_word_comes_before_the_users_and_that_before_the_daemons() {
        let asked = AskedPort::Explicit(Port::new(3000).unwrap());
        let policy = AutoPolicy { ignore: vec!["*jest*".to_owned()], ..AutoPolicy::default() };
        let wants = |user: &str, config: &str, asked, command: &str| {
            let policy = policy.but(&UserPolicy::parse(user).unwrap());
            policy.wants(&ProjectConfig::parse(config).unwrap(), asked, command)
        };
        assert!(wants("", "", asked, "node server.js"));
        assert!(wants("", "", AskedPort::Unknown, "node server.js"));
        assert!(!wants("", "auto = false", asked, "node server.js"));
        assert!(!wants("auto = false", "", asked, "node server.js"));
        assert!(wants("auto = false", "auto = true", asked, "node server.js"));
        assert!(!wants("auto = true", "auto = false", asked, "node server.js"));
        assert!(!wants("", "", AskedPort::KernelChosen, "node server.js"));
        assert!(wants("", "[auto]\nrandom = true", AskedPort::KernelChosen, "node server.js"));
        assert!(wants("[auto]\nrandom = true", "", AskedPort::KernelChosen, "node server.js"));
        assert!(!wants("", "", asked, "node jest"));
        assert!(!wants("", "[auto]\nignore = ['storybook']", asked, "node storybook.js"));
        assert!(!wants("[auto]\nignore = ['storybook']", "", asked, "node storybook.js"));
    }

    #[test]
    fn a_users_file_is_read_once_in_a_while_and_a_wrong_one_says_nothing() {
        let mut policies = Policies::default();
        assert_eq!(policies.of(7, || Some("auto = false".to_owned())).auto, Some(false));
        assert_eq!(policies.of(7, || unreachable!("it was read a moment ago")).auto, Some(false));
        assert_eq!(*policies.of(8, || Some("auto = 'perhaps'".to_owned())), UserPolicy::default());
        assert_eq!(*policies.of(9, || None), UserPolicy::default());
    }

    #[test]
    fn rules_are_news_only_when_they_are_others() {
        let rules = UserRules::default();
        assert!(!rules.set(7, &[]));
        assert!(rules.set(7, &["comm:a".to_owned()]));
        assert!(!rules.set(7, &["comm:a".to_owned()]));
        assert!(rules.set(7, &[]));
    }
}
