//! The end of a command that runs a program.

use std::io;

use super::{
    exit::Exit,
    failure::Failure,
    session::{self, Session},
};
use crate::{
    render,
    resolve::{
        ResolveError,
        run::{End, Signals},
    },
};

/// Ends this process as the program ended: with its code, or 128 and the number of its signal; by Ctrl-C itself, where that
/// ended the program at the terminal. With 127 or 126, as a shell has it, when there was none to be run, which is said.
pub(super) fn exit(ended: Result<End, ResolveError>, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let interrupted = matches!(ended, Ok(End::Interrupted));
    let code = match ended {
        Ok(end) => end.code(),
        Err(error) => match error.start_code() {
            Some(code) => {
                // A closed stderr changes nothing.
                let _ = render::error(&mut io::stderr().lock(), &error.to_string(), &session::stderr_look());
                code
            }
            None => return Err(error.into()),
        },
    };
    session.out.flush()?;
    if interrupted {
        Signals::let_interrupt_through();
    }
    // The code is the program's, not one of ours.
    std::process::exit(code)
}
