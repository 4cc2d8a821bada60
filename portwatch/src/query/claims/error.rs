//! Why the claims office does not do what it is asked.

use crate::platform::user::ROOT;
use crate::{
    journal::ClaimError,
    query::QueryError,
    registry::{Name, Obstacle},
};

/// What to do where the host asked for is not this machine's.
const NO_ADDRESS: &str = "name one of its own addresses with --host, or none; ip addr shows them";

/// Why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfficeError {
    /// The question was wrong.
    #[error("{0}")]
    Bad(String),
    /// It is another user's.
    #[error("{what}; {remedy}")]
    NotPermitted {
        /// What.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// It cannot be had now.
    #[error("{what}; {remedy}")]
    Refused {
        /// What is in the way.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// There is no such claim.
    #[error("{what}; {remedy}")]
    Nothing {
        /// What is not there.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// There is no such thing.
    #[error("{what}; {remedy}")]
    Absent {
        /// What is not there.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Several are meant where one is needed.
    #[error("{what}; {remedy}")]
    Ambiguous {
        /// Which.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// It could not be seen.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl OfficeError {
    /// An error of the database, with a remedy for whoever wanted `name`.
    pub fn of(error: ClaimError, name: Option<&Name>) -> Self {
        let what = error.to_string();
        let wanted = name.is_some();
        let mine = name.map_or_else(|| "NAME".to_owned(), ToString::to_string);
        match error {
            ClaimError::Journal(error) => Self::Query(QueryError::NotSeen {
                what: error.to_string(),
                remedy: "nothing was changed".to_owned(),
            }),
            ClaimError::NotOwner { name, .. } => Self::NotPermitted {
                what,
                remedy: match name.context() {
                    _ if !wanted => format!("only its owner or {ROOT} can change or release it"),
                    Some(_) => format!("claim another name; only its owner or {ROOT} can release it"),
                    None => {
                        format!(
                            "claim another name, such as {name}:mine; only its owner or {ROOT} can release it"
                        )
                    }
                },
            },
            ClaimError::OtherPort { .. } => Self::Refused {
                what,
                remedy: format!("to move it, release it first: portwatch release {mine}"),
            },
            ClaimError::Claimed { by, port, .. } => Self::Refused {
                what,
                remedy: format!(
                    "portwatch find :{port} shows it; its owner or {ROOT} gives it back: portwatch release {by}"
                ),
            },
            ClaimError::Obstacle { port, obstacle } => Self::Refused {
                what,
                remedy: match obstacle {
                    Obstacle::InUse => {
                        format!(
                            "portwatch who {port} says by whom; without --port the next free one is taken"
                        )
                    }
                    Obstacle::Privileged => {
                        "ports below net.ipv4.ip_unprivileged_port_start need root or CAP_NET_BIND_SERVICE"
                            .to_owned()
                    }
                    Obstacle::NoAddress => NO_ADDRESS.to_owned(),
                    _ => "without --port the next free one is taken".to_owned(),
                },
            },
            ClaimError::Exhausted(found) if found.counts.iter().any(|(o, _)| *o == Obstacle::NoAddress) => {
                Self::Refused { what, remedy: NO_ADDRESS.to_owned() }
            }
            ClaimError::Exhausted(_) => Self::Refused {
                what,
                remedy: "widen the range (--range A-B, or [ranges] in .portwatch.toml)".to_owned(),
            },
            ClaimError::TooMany { .. } => Self::Refused {
                what,
                remedy: format!(
                    "portwatch cleanup gives back what is not used; {ROOT} may raise the limit \
                     (daemon.ports_per_user in the configuration file)"
                ),
            },
            ClaimError::Nothing(_) => {
                Self::Nothing { what, remedy: "portwatch find shows every claim".to_owned() }
            }
        }
    }
}
