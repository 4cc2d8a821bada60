//! The exit code of a command that runs a program.

use std::io;

use super::{failure::Failure, session};
use crate::{
    render,
    resolve::{ResolveError, run::End},
};

/// The program's own; 127 or 126, as a shell has it, when there was none to be run, which is said.
pub(super) fn code(ended: Result<End, ResolveError>) -> Result<i32, Failure> {
    match ended {
        Ok(end) => Ok(end.code()),
        Err(error) => match error.start_code() {
            Some(code) => {
                // A closed stderr changes nothing.
                let _ = render::error(&mut io::stderr().lock(), &error.to_string(), &session::stderr_look());
                Ok(code)
            }
            None => Err(error.into()),
        },
    }
}
