//! Which way to the answers.

use std::path::Path;

use super::{Access, AccessError, embedded::Embedded, note::Absence, remote::Remote};
use crate::{
    api::{Client, ClientError, Places},
    attribute::Redaction,
    engine::Engines,
    webhook::Policy,
};

/// How to get answers.
#[derive(Debug, Clone)]
pub struct AccessOptions {
    /// Socket and state directory.
    pub places: Places,
    /// The socket was named by flag, variable or file: no other one is asked.
    pub socket_set: bool,
    /// The state directory was named so too.
    pub state_set: bool,
    /// Take a snapshot even when a daemon runs.
    pub no_daemon: bool,
    /// Word of `--source`.
    pub source: String,
    /// Word of `--hooks`.
    pub hooks: String,
    /// What is hidden of command lines that this process reads itself.
    pub redaction: Redaction,
    /// Container engines that may be asked.
    pub engines: Engines,
    /// Rules of the caller's configuration file for what is not rogue.
    pub rules: Vec<String>,
    /// So many ports a user other than root may have claimed; `None` is no limit.
    pub ports_per_user: Option<u32>,
    /// Where webhooks may lead.
    pub webhooks: Policy,
    /// Is told what the reader is to know before the answer comes: that it takes long, or comes from somebody else.
    pub tell: Tell,
}

/// Tells a reader something beside the answer.
#[derive(Debug, Clone, Copy)]
pub struct Tell {
    /// That a daemon takes long.
    pub slow: fn(&str),
    /// That it does not answer, and what is done instead.
    pub silent: fn(&str),
}

impl AccessOptions {
    /// Whether the database is that of the daemon at `socket`. Where its socket alone was named, it may be another.
    pub(super) fn is_database_of(&self, socket: &Path) -> bool {
        self.places.socket == socket && (!self.socket_set || self.state_set)
    }
}

/// A daemon when one answers, else a snapshot in this process; a recording is always played here. A socket that must not be trusted is an error:
/// answering as if it were not there would hide it.
pub fn open(options: &AccessOptions) -> Result<Box<dyn Access>, AccessError> {
    if options.no_daemon {
        return Ok(Box::new(Embedded::new(options, Absence::Unwanted)));
    }
    if options.source.starts_with("replay:") {
        return Ok(Box::new(Embedded::new(options, Absence::None)));
    }
    let mut absence = Absence::None;
    for socket in options.places.candidates(options.socket_set) {
        let client = Client::new(socket)?.telling(options.tell.slow);
        match client.probe() {
            // One that lets nobody in is asked: it may be busy, and who asks knows what to do without it.
            Ok(()) | Err(ClientError::Silent(_)) => {
                return Ok(Box::new(Remote::new(client, options.clone())));
            }
            Err(ClientError::Absent(_)) => {}
            Err(error @ (ClientError::Stale(_) | ClientError::NotPermitted { .. })) => {
                if matches!(absence, Absence::None) {
                    absence = Absence::Unreachable(error.to_string());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Box::new(Embedded::new(options, absence)))
}
