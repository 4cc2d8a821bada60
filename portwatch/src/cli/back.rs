//! What follows or waits goes on when its daemon comes back.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{failure::Failure, session::Session};
use crate::access::{Access, AccessError};

/// How long a daemon that ended may take to come back.
pub(super) const BACK: Duration = Duration::from_secs(30);
/// A daemon that is there says no for so long, without a moment in which it is not there, before it is believed: one that has just
/// started may be busy with what the one before has left.
pub(super) const REFUSING: Duration = Duration::from_secs(3);
/// Between two tries.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// A daemon that was asked and is gone.
pub(super) struct Gone<'a> {
    /// What has happened: `the daemon ended`.
    pub(super) what: &'a str,
    /// What to do where it does not come back.
    pub(super) remedy: &'a str,
    /// It may take so long.
    pub(super) until: Instant,
}

/// Who goes on in its place.
pub(super) struct Heir {
    /// A daemon; otherwise the database itself.
    pub(super) is_daemon: bool,
    /// The reader was told that it is waited for.
    pub(super) was_told: bool,
}

/// Waits for somebody who can go on where the daemon that is gone has stopped, as `is_heir` finds by asking; it is told whether a
/// daemon is asked.
pub(super) fn wait(
    gone: &Gone<'_>,
    session: &mut Session<'_>,
    is_heir: &mut dyn FnMut(&mut Session<'_>, bool) -> Result<bool, Failure>,
) -> Result<Heir, Failure> {
    let begun = Instant::now();
    let (mut was_told, mut refused) = (false, None);
    loop {
        session.reopen();
        let is_daemon = session.access().is_ok_and(Access::is_daemon);
        match is_heir(session, is_daemon) {
            Ok(true) => return Ok(Heir { is_daemon, was_told }),
            // It is there and says no.
            Err(error) if is_daemon => {
                if refused.get_or_insert_with(Instant::now).elapsed() >= REFUSING {
                    return Err(error);
                }
            }
            _ => refused = None,
        }
        if !is_daemon && !was_told {
            was_told = true;
            session.warn(&format!("{}; waiting for it to come back", gone.what));
        }
        if Instant::now() >= gone.until {
            let seconds = begun.elapsed().as_secs();
            return Err(AccessError::NoDaemon {
                what: format!("the daemon ended and did not come back within {seconds} s"),
                remedy: gone.remedy.to_owned(),
            }
            .into());
        }
        thread::sleep(PAUSE);
    }
}
