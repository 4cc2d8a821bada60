//! A daemon that is there and does not answer: questions are answered without it, orders are not.

use std::time::{Duration, Instant};

use super::{
    AccessError, AccessOptions,
    embedded::Embedded,
    note::{Absence, Unanswered},
};
use crate::api::{Client, Silence, Told};

/// One that did not answer is not asked again so soon.
const AGAIN: Duration = Duration::from_secs(10);

/// What stands in for it.
#[derive(Debug)]
pub(super) struct StandIn {
    embedded: Embedded,
    since: Instant,
    error: (Silence, String),
}

impl StandIn {
    /// For the daemon of `client`, which was silent.
    pub(super) fn new(silence: Silence, options: &AccessOptions, client: &Client) -> Self {
        // What came of an order is that order's matter.
        let silence = Silence { told: Told::Nothing, ..silence };
        let is_own = options.is_database_of(client.socket());
        let remedy = silence.remedy();
        let unanswered = Unanswered { silence: silence.clone(), remedy: remedy.clone(), is_own };
        Self {
            embedded: Embedded::new(options, Absence::Silent(unanswered)),
            since: Instant::now(),
            error: (silence, remedy),
        }
    }

    /// Who answers questions.
    pub(super) const fn access(&self) -> &Embedded {
        &self.embedded
    }

    /// It is not worth while to ask the daemon again.
    pub(super) fn is_fresh(&self) -> bool {
        self.since.elapsed() < AGAIN
    }

    /// Why an order is not sent.
    pub(super) fn refusal(&self) -> AccessError {
        Silence { told: Told::NoOrder, ..self.error.0.clone() }.into()
    }

    /// What the reader is told.
    pub(super) fn words(&self) -> String {
        let (silence, remedy) = &self.error;
        format!("{silence}; this is answered without it ({remedy})")
    }
}

impl From<Silence> for AccessError {
    fn from(silence: Silence) -> Self {
        let restart = silence.remedy();
        let remedy = match silence.told {
            Told::Nothing => format!("{restart}, --no-daemon asks without it"),
            Told::NoOrder => restart,
            Told::Order => format!(
                "look what came of it (portwatch claims, locks, sessions, log) before you order it again; {restart}"
            ),
        };
        Self::Silent { silence: Box::new(silence), remedy }
    }
}

/// The database is the daemon's, so what is ordered without it is ordered in the same place.
pub(super) fn without_it(error: AccessError, is_own: bool) -> AccessError {
    match error {
        AccessError::Silent { silence, remedy } if is_own && silence.told == Told::NoOrder => {
            AccessError::Silent { silence, remedy: format!("{remedy}, --no-daemon orders it without it") }
        }
        other => other,
    }
}
