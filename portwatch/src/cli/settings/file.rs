//! The configuration file: what may stand in it, and whether it is read.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{SettingsError, Surroundings};
use crate::{
    platform::files,
    registry::{UserPolicy, nearest},
    webhook::AllowList,
};

const KEYS: [&str; 14] = [
    "socket",
    "state",
    "source",
    "hooks",
    "redact",
    "engines",
    "color",
    "no_daemon",
    "daemon",
    "auto",
    "exclude",
    "ranges",
    "rogue",
    "webhooks",
];
const DAEMON_KEYS: [&str; 5] = ["all", "retention_days", "retention_mb", "reserve_ports", "ports_per_user"];
const WEBHOOK_KEYS: [&str; 1] = ["allow"];

/// Bytes of a file: a device has no end, whoever named it.
const LARGEST: u64 = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) socket: Option<PathBuf>,
    pub(super) state: Option<PathBuf>,
    pub(super) source: Option<String>,
    pub(super) hooks: Option<String>,
    pub(super) redact: Option<String>,
    pub(super) engines: Option<String>,
    pub(super) color: Option<String>,
    pub(super) no_daemon: Option<bool>,
    pub(super) daemon: DaemonFile,
    pub(super) webhooks: WebhooksFile,
    #[serde(skip)]
    pub(super) policy: UserPolicy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a table, [webhooks]")]
pub(super) struct WebhooksFile {
    pub(super) allow: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a table, [daemon]")]
pub(super) struct DaemonFile {
    pub(super) all: Option<bool>,
    pub(super) retention_days: Option<std::num::NonZeroU32>,
    pub(super) retention_mb: Option<std::num::NonZeroU32>,
    pub(super) reserve_ports: Option<bool>,
    pub(super) ports_per_user: Option<u32>,
}

pub(super) fn default_file(around: &Surroundings<'_>) -> Option<PathBuf> {
    let set = |name: &str| (around.env)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if cfg!(windows) {
        let directory = set(if around.root { "ProgramData" } else { "APPDATA" })?;
        return Some(directory.join("portwatch").join("config.toml"));
    }
    if around.root {
        return Some(PathBuf::from("/etc/portwatch/config.toml"));
    }
    let directory = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(directory.join("portwatch").join("config.toml"))
}

/// What was read of a file. That a default one does not exist is no error; neither is that the system does not let it be read: HOME is
/// another user's after `su` and under `setpriv`, and what lies there is not meant.
pub(super) fn judge(
    path: &Path,
    asked: bool,
    read: io::Result<String>,
) -> Result<(File, bool, Option<String>), SettingsError> {
    let text = match read {
        Ok(text) => text,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) && !asked =>
        {
            return Ok((File::default(), false, None));
        }
        // The system's own word: that a file is not believed has no number.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && error.raw_os_error().is_some()
                && !asked =>
        {
            return Ok((File::default(), false, Some(error.to_string())));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SettingsError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(SettingsError::Read { path: path.to_owned(), error }),
    };
    parse(&text, path).map(|file| (file, true, None))
}

/// What a file says. One that nobody named must be of somebody who is believed where everybody may put one there.
pub(super) fn text(path: &Path, asked: bool) -> io::Result<String> {
    // How one says that there is to be none.
    if asked && path == Path::new(if cfg!(windows) { "NUL" } else { "/dev/null" }) {
        return Ok(String::new());
    }
    if asked {
        return files::text(path, LARGEST);
    }
    let file = files::readable(path)?;
    if !files::is_believed(&file)? {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"));
    }
    files::text_of(file, LARGEST)
}

/// What is set in a text.
pub(super) fn parse(text: &str, path: &Path) -> Result<File, SettingsError> {
    let broken = |error: toml::de::Error| SettingsError::Parse {
        path: path.to_owned(),
        message: match error.span() {
            Some(span) => {
                let line = text.get(..span.start).unwrap_or("").matches('\n').count() + 1;
                format!("line {line}: {}", error.message())
            }
            None => error.message().to_owned(),
        },
    };
    let table: toml::Table = text.parse().map_err(broken)?;
    let unknown = |key: &str, known: &[&str], prefix: &str| SettingsError::Key {
        path: path.to_owned(),
        key: format!("{prefix}{key}"),
        hint: match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean '{prefix}{near}'?"),
            None => format!("there are {}", known.join(", ")),
        },
    };
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(unknown(key, &KEYS, ""));
    }
    if let Some(daemon) = table.get("daemon").and_then(toml::Value::as_table)
        && let Some(key) = daemon.keys().find(|key| !DAEMON_KEYS.contains(&key.as_str()))
    {
        return Err(unknown(key, &DAEMON_KEYS, "daemon."));
    }
    if let Some(webhooks) = table.get("webhooks").and_then(toml::Value::as_table)
        && let Some(key) = webhooks.keys().find(|key| !WEBHOOK_KEYS.contains(&key.as_str()))
    {
        return Err(unknown(key, &WEBHOOK_KEYS, "webhooks."));
    }
    let policy = UserPolicy::of(&table)
        .map_err(|error| SettingsError::Parse { path: path.to_owned(), message: error.to_string() })?;
    let file: File = toml::from_str(text).map_err(broken)?;
    AllowList::parse(file.webhooks.allow.iter().flatten().map(String::as_str)).map_err(|error| {
        SettingsError::Parse { path: path.to_owned(), message: format!("webhooks.allow: {error}") }
    })?;
    Ok(File { policy, ..file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nobody_named_and_that_may_not_be_read_is_passed_over_and_told_of() {
        let path = Path::new("/home/other/.config/portwatch/config.toml");
        let denied = || Err(io::Error::from_raw_os_error(if cfg!(windows) { 5 } else { 13 }));
        let (_, file_read, problem) = judge(path, false, denied()).unwrap();
        assert!(!file_read && problem.is_some_and(|problem| problem.contains("os error")));
        assert!(matches!(judge(path, true, denied()), Err(SettingsError::Read { .. })));
        let distrusted = || io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's");
        assert!(matches!(judge(path, false, Err(distrusted())), Err(SettingsError::Read { .. })));
        let nowhere = || Err(io::ErrorKind::NotADirectory.into());
        assert!(matches!(judge(path, false, nowhere()), Ok((_, false, None))));
        assert!(matches!(judge(path, true, nowhere()), Err(SettingsError::Read { .. })));
    }
}
