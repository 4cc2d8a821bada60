//! What a program is told by its environment.

use super::{Failure, Session, Target};
use crate::cli::env;

/// Variables of the program.
pub(super) struct Environment {
    /// Those that carry its own port.
    pub(super) port: Vec<String>,
    /// Others: its host, and the ports of the project's other claims.
    pub(super) others: Vec<(String, String)>,
}

impl Target {
    /// `PORT`, `HOST` where an address was given; for a claim `PORT_API` (as `portwatch env` has it), the names that
    /// the project file gives it, and those of the project's other claims.
    pub(super) fn environment(&self, session: &mut Session<'_>) -> Result<Environment, Failure> {
        let mut port = vec!["PORT".to_owned()];
        let mut others = Vec::new();
        if let Some(host) = self.place.hosts.first() {
            others.push(("HOST".to_owned(), host.to_string()));
        }
        if let Some(claim) = &self.claim {
            port.extend(self.stack().map(|stack| stack.env.clone()).unwrap_or_default());
            let mut claims = vec![claim.answer.clone()];
            // One look at what is claimed, and only where there may be more than this one.
            if claim.here.is_own(&claim.name) {
                let project = claim.name.project().to_owned();
                let found = session.access()?.claims(&[project])?.claims;
                let context = claim.answer.context.as_deref();
                claims.extend(
                    found
                        .into_iter()
                        .filter(|c| c.name != claim.answer.name && c.context.as_deref() == context),
                );
            }
            for (name, number) in env::variables(&claims, false) {
                if number == self.place.port.get() {
                    port.push(name);
                } else {
                    others.push((name, number.to_string()));
                }
            }
        }
        Ok(Environment { port, others })
    }
}
