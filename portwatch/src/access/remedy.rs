//! What to do where a source could not look.

use super::AccessError;
use crate::{
    platform::user::{ROOT, is_privileged, with_all_rights},
    source::SourceError,
};

/// Where the system gives a process no more of what it has for everybody.
pub(super) const LIMITS: &str = if cfg!(unix) {
    "look at the limits on open files and memory: ulimit -n, ulimit -v"
} else {
    "look at the limits on open files and memory"
};

const ANOTHER: &str = "use another source (--source)";

impl From<SourceError> for AccessError {
    fn from(error: SourceError) -> Self {
        Self::NotSeen { remedy: remedy(&error, is_privileged()), what: error.to_string() }
    }
}

fn remedy(error: &SourceError, privileged: bool) -> String {
    match error {
        SourceError::Read { error, .. } if is_limit(error) => LIMITS.to_owned(),
        SourceError::Read { error, .. } if error.kind() == std::io::ErrorKind::NotFound => {
            format!("install it, or {ANOTHER}")
        }
        SourceError::Killed { signal, .. } => format!("try again, or {ANOTHER}{}", who_killed(signal)),
        // More rights are no help: a program was run, and said what was wrong.
        SourceError::Useless { .. } | SourceError::Unsupported(_) | SourceError::Timeout { .. } => {
            ANOTHER.to_owned()
        }
        _ if privileged => ANOTHER.to_owned(),
        _ => format!(
            "run it as {ROOT}, or ask a daemon that runs as {ROOT} ({})",
            with_all_rights("portwatch start")
        ),
    }
}

/// The process, or the system, has as many files open as it may (EMFILE, ENFILE): each source opens some.
fn is_limit(error: &std::io::Error) -> bool {
    const WSAEMFILE: i32 = 10_024;
    let codes: &[i32] = if cfg!(unix) { &[23, 24] } else { &[WSAEMFILE] };
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Whom a signal comes from that ends a tool in the middle of its work.
fn who_killed(signal: &str) -> &'static str {
    match signal {
        "SIGKILL" if cfg!(target_os = "linux") => {
            "; SIGKILL comes from a kill command, or from the kernel when memory runs out (journalctl -k tells of that)"
        }
        "SIGKILL" => "; SIGKILL comes from a kill command, or from the system when memory runs out",
        "SIGXCPU" | "SIGXFSZ" => "; the kernel sends it for a limit (ulimit -a shows them)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn rights_are_advised_only_to_who_has_none_and_where_they_would_help() {
        let killed =
            |signal: &str| SourceError::Killed { program: "lsof".to_owned(), signal: signal.to_owned() };
        let table = |kind: io::ErrorKind| SourceError::Read { what: "x".to_owned(), error: kind.into() };
        let useless = SourceError::Useless { program: "lsof".to_owned(), code: 1, said: "no".to_owned() };
        for privileged in [true, false] {
            for (error, word) in [
                (killed("SIGKILL"), "try again, or use another source (--source); SIGKILL comes from a kill"),
                (killed("SIGXCPU"), "ulimit"),
                (killed("SIGTERM"), "try again"),
                (table(io::ErrorKind::NotFound), "install it"),
                (SourceError::Unsupported("lsof"), "--source"),
            ] {
                let told = remedy(&error, privileged);
                assert!(told.contains(word) && !told.contains("run it as"), "{error}: {told}");
            }
            assert_eq!(remedy(&useless, privileged), ANOTHER);
        }
        #[cfg(unix)]
        for code in [23, 24] {
            let error = io::Error::from_raw_os_error(code);
            let full = SourceError::Read { what: "/proc".to_owned(), error };
            assert_eq!((remedy(&full, true), remedy(&full, false)), (LIMITS.to_owned(), LIMITS.to_owned()));
        }
        let denied = table(io::ErrorKind::PermissionDenied);
        assert!(remedy(&denied, false).starts_with(&format!("run it as {ROOT}")));
        assert_eq!(remedy(&denied, true), ANOTHER);
    }
}
