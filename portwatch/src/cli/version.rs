//! `portwatch version`

use super::{exit::Exit, failure::Failure, session::Session};
use crate::{
    render,
    wire::{SCHEMA, Version, VersionReport},
};

pub(super) fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let program = Version::of_this_build();
    // That no daemon can be asked is no reason not to say one's own version.
    let status = session.access().ok().and_then(|access| access.status().ok());
    let daemon = status.filter(|status| status.running).and_then(|status| status.version);
    let same = daemon.as_ref().map(|daemon| *daemon == program);
    let report = VersionReport { schema: SCHEMA, program, daemon, same };
    session.answer(&report, render::version)?;
    Ok(Exit::Yes)
}
