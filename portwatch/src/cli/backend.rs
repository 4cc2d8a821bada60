//! Where the commands meet the daemon and the in-process stages: settings become their options.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use super::{exit::Exit, failure::Failure, session, settings::Settings};
use crate::access::{Access, AccessError};

fn absent(what: &str) -> AccessError {
    AccessError::NoDaemon {
        what: format!("{what} is not part of this build"),
        remedy: "build portwatch with its daemon".to_owned(),
    }
}

pub(super) fn open(_settings: &Settings) -> Result<Box<dyn Access>, AccessError> {
    Err(absent("the way to answers"))
}

pub(super) fn daemon(_settings: &Settings, _record: Option<&Path>) -> Result<Exit, Failure> {
    Err(absent("the daemon").into())
}

pub(super) fn start(_settings: &Settings, _out: &mut dyn Write) -> Result<Exit, Failure> {
    Err(absent("the daemon").into())
}

pub(super) fn stop(_settings: &Settings, _out: &mut dyn Write) -> Result<Exit, Failure> {
    Err(absent("the daemon").into())
}

/// Socket and state directory in effect.
pub(super) fn places(settings: &Settings) -> (PathBuf, PathBuf) {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let (socket, state) = if session::is_root() {
        (PathBuf::from("/run/portwatch/portwatch.sock"), PathBuf::from("/var/lib/portwatch"))
    } else {
        let run = set("XDG_RUNTIME_DIR").unwrap_or_else(std::env::temp_dir);
        let state = set("XDG_STATE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".local/state")))
            .unwrap_or_else(std::env::temp_dir);
        (run.join("portwatch/portwatch.sock"), state.join("portwatch"))
    };
    (settings.socket.value.clone().unwrap_or(socket), settings.state.value.clone().unwrap_or(state))
}
