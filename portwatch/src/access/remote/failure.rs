//! What went wrong with a daemon, as whoever asked is told.

use crate::{
    access::{AccessError, remedy::LIMITS},
    api::ClientError,
};

impl From<ClientError> for AccessError {
    fn from(error: ClientError) -> Self {
        let what = error.to_string();
        match error {
            ClientError::Refused { status: 400, document } => Self::Usage(document.error.message),
            ClientError::Refused { document, .. }
                if matches!(document.error.code.as_str(), "refused" | "no-such-claim" | "no-such-thing") =>
            {
                let remedy = document.error.remedy.unwrap_or_default();
                Self::Refused { what: document.error.message, remedy }
            }
            ClientError::Refused { document, .. } if document.error.code == "ambiguous" => Self::Ambiguous {
                what: document.error.message,
                remedy: document.error.remedy.unwrap_or_default(),
            },
            ClientError::Refused { document, .. } => Self::NotSeen {
                what: document.error.message,
                remedy: document
                    .error
                    .remedy
                    .unwrap_or_else(|| "portwatch status shows how it is".to_owned()),
            },
            ClientError::Absent(_) | ClientError::Stale(_) => {
                Self::NoDaemon { what, remedy: "start one: portwatch start".to_owned() }
            }
            ClientError::NoSocket(_) => Self::Usage(format!("{what}; --socket takes that of a daemon")),
            ClientError::TooLong { .. } => Self::Usage(format!("{what}; choose a shorter one with --socket")),
            ClientError::NotPermitted { .. } => {
                Self::NotSeen { what, remedy: "ask as a user who may, or use --no-daemon".to_owned() }
            }
            ClientError::Foreign { .. } => Self::NoDaemon {
                what,
                remedy: "its answers are not trusted; choose another with --socket, or use --no-daemon"
                    .to_owned(),
            },
            ClientError::Silent(silence) => (*silence).into(),
            ClientError::Broken { .. } => Self::NotSeen {
                what,
                remedy: "see the daemon's log, portwatch restart it, or use --no-daemon".to_owned(),
            },
            ClientError::Alien { .. } => {
                Self::NotSeen { what, remedy: "use the same version of both: portwatch restart".to_owned() }
            }
            ClientError::Start(_) => Self::NotSeen { what, remedy: LIMITS.to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_open_files_is_no_defect() {
        let error = AccessError::from(ClientError::Start(std::io::Error::from_raw_os_error(24)));
        assert!(matches!(&error, AccessError::NotSeen { .. }), "{error}");
        assert!(error.to_string().contains("limits on open files and memory"), "{error}");
    }
}
