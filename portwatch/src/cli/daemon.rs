//! `portwatch daemon`, `start`, `stop`, `restart`

use super::{args, backend, exit::Exit, failure::Failure, session::Session};

pub(super) fn run(args: &args::Daemon, session: &mut Session<'_>) -> Result<Exit, Failure> {
    backend::daemon(&session.settings, args.record.as_deref())
}

pub(super) fn start(session: &mut Session<'_>) -> Result<Exit, Failure> {
    backend::start(&session.settings, session.out)
}

pub(super) fn stop(session: &mut Session<'_>) -> Result<Exit, Failure> {
    backend::stop(&session.settings, session.out)
}

pub(super) fn restart(session: &mut Session<'_>) -> Result<Exit, Failure> {
    backend::stop(&session.settings, session.out)?;
    backend::start(&session.settings, session.out)
}
