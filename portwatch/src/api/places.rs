//! Where a daemon's socket and state are.

use std::path::{Path, PathBuf};

/// The system daemon's socket; on Windows a pipe, in the only place where none but administrators can make one: else anybody could
/// take the name while no daemon runs.
pub const SYSTEM_SOCKET: &str = if cfg!(windows) {
    r"\\.\pipe\ProtectedPrefix\Administrators\portwatch"
} else if cfg!(target_os = "macos") {
    "/var/run/portwatch/portwatch.sock"
} else {
    "/run/portwatch/portwatch.sock"
};
/// The system daemon's state. On Windows it lies in the directory that `ProgramData` names.
pub const SYSTEM_STATE: &str =
    if cfg!(target_os = "macos") { "/Library/Application Support/portwatch" } else { "/var/lib/portwatch" };

/// The database, in the state directory.
pub const DATABASE: &str = "portwatch.db";

/// Places of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Its socket.
    pub socket: PathBuf,
    /// Its state directory.
    pub state: PathBuf,
}

impl Places {
    /// Where a daemon of this user lives: what was set, else the system's places for root, else the user's
    /// (XDG base directories). `None` when there is no home directory to be found.
    pub fn of(
        socket: Option<&Path>,
        state: Option<&Path>,
        root: bool,
        env: &dyn Fn(&str) -> Option<PathBuf>,
    ) -> Option<Self> {
        if cfg!(windows) {
            return Self::of_windows(socket, state, root, env);
        }
        let state = match state {
            Some(state) => state.to_owned(),
            None if root => PathBuf::from(SYSTEM_STATE),
            None => env("XDG_STATE_HOME")
                .or_else(|| Some(env("HOME")?.join(".local").join("state")))?
                .join("portwatch"),
        };
        let socket = match socket {
            Some(socket) => socket.to_owned(),
            None if root => PathBuf::from(SYSTEM_SOCKET),
            None => match env("XDG_RUNTIME_DIR") {
                Some(run) => run.join("portwatch").join("portwatch.sock"),
                None => state.join("portwatch.sock"),
            },
        };
        Some(Self { socket, state })
    }

    /// The same on Windows: the state of an elevated process or a service lies where programs keep theirs for everybody,
    /// that of a user in the part of the profile that stays on the machine. A pipe's name carries the user's.
    fn of_windows(
        socket: Option<&Path>,
        state: Option<&Path>,
        root: bool,
        env: &dyn Fn(&str) -> Option<PathBuf>,
    ) -> Option<Self> {
        let below = if root { "ProgramData" } else { "LOCALAPPDATA" };
        let state = match state {
            Some(state) => state.to_owned(),
            None => env(below)?.join("portwatch"),
        };
        let socket = match socket {
            Some(socket) => socket.to_owned(),
            None if root => PathBuf::from(SYSTEM_SOCKET),
            None => {
                let user = env("USERNAME").unwrap_or_default();
                PathBuf::from(format!(r"\\.\pipe\portwatch-{}", user.to_string_lossy()))
            }
        };
        Some(Self { socket, state })
    }

    /// Sockets to ask at, best first: the one that was set and no other, else the system's, which sees more,
    /// else the user's own.
    pub fn candidates(&self, set: bool) -> Vec<PathBuf> {
        let system = PathBuf::from(SYSTEM_SOCKET);
        if set || self.socket == system {
            vec![self.socket.clone()]
        } else {
            vec![system, self.socket.clone()]
        }
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.state.join(DATABASE)
    }

    /// The file whose lock says that a daemon keeps this state.
    pub fn lock(&self) -> PathBuf {
        self.state.join("portwatch.lock")
    }

    /// What a detached daemon logs to.
    pub fn log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }
}

/// A variable of this process's environment, when set to something.
pub fn environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
