//! Errors as the API gives them: one sentence for the client, another for the log.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    query::QueryError,
    wire::{ErrorBody, ErrorDocument, SCHEMA, escaped},
};

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The question was wrong; the sentence says how to ask it.
    #[error("{0}")]
    BadRequest(String),
    /// No such path.
    #[error("there is nothing at {0}")]
    NotFound(String),
    /// An order that only the owner may give.
    #[error("{what}")]
    Forbidden {
        /// What.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// An order that cannot be followed as things are.
    #[error("{what}")]
    Conflict {
        /// What is in the way.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// An order about something that is not there.
    #[error("{what}")]
    Nothing {
        /// What is not there.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A lock, agent or session that is not there.
    #[error("{what}")]
    Absent {
        /// What is not there.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Several are meant where one is needed.
    #[error("{what}")]
    Ambiguous {
        /// Which.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// This path takes another method.
    #[error("{0} does not take this method")]
    Method(String),
    /// The question was right and could not be answered.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Too many connections.
    #[error("{0}")]
    TooMany(Crowd),
    /// Our fault; the text is for the log alone.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// Status and document for the client.
    pub fn document(&self) -> (StatusCode, ErrorDocument) {
        let (status, code, message, remedy) = match self {
            Self::BadRequest(sentence) => (StatusCode::BAD_REQUEST, "bad-request", sentence.clone(), None),
            Self::NotFound(_) => (
                StatusCode::NOT_FOUND,
                "not-found",
                self.to_string(),
                Some("/v1/openapi.json lists every path".to_owned()),
            ),
            Self::Method(_) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "bad-request",
                self.to_string(),
                Some("/v1/openapi.json lists every path".to_owned()),
            ),
            Self::Forbidden { what, remedy } => {
                (StatusCode::FORBIDDEN, "not-permitted", what.clone(), Some(remedy.clone()))
            }
            Self::Conflict { what, remedy } => {
                (StatusCode::CONFLICT, "refused", what.clone(), Some(remedy.clone()))
            }
            Self::Nothing { what, remedy } => {
                (StatusCode::NOT_FOUND, "no-such-claim", what.clone(), Some(remedy.clone()))
            }
            Self::Absent { what, remedy } => {
                (StatusCode::NOT_FOUND, "no-such-thing", what.clone(), Some(remedy.clone()))
            }
            Self::Ambiguous { what, remedy } => {
                (StatusCode::CONFLICT, "ambiguous", what.clone(), Some(remedy.clone()))
            }
            Self::Query(QueryError::NotSeen { what, remedy }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "not-seen", what.clone(), Some(remedy.clone()))
            }
            Self::Query(QueryError::Stopping) => {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping", "the daemon is stopping".to_owned(), None)
            }
            Self::Query(QueryError::Journal(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not-seen",
                "the daemon cannot read its journal".to_owned(),
                Some("portwatch status shows why; the daemon's log has the details".to_owned()),
            ),
            Self::TooMany(crowd) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too-many-clients",
                crowd.to_string(),
                Some(crowd.remedy().to_owned()),
            ),
            Self::Internal(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the daemon failed to answer".to_owned(),
                Some("the daemon's log has the details".to_owned()),
            ),
        };
        (
            status,
            ErrorDocument { schema: SCHEMA, error: ErrorBody { code: code.to_owned(), message, remedy } },
        )
    }
}

/// Who is connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Crowd {
    /// Of one user, as many as may be.
    #[error("{count} clients of uid {uid} are connected, the limit for one user")]
    OfUser {
        /// The user.
        uid: u32,
        /// How many.
        count: usize,
    },
    /// Of one user, as many as may stay; this one is answered at once, or not.
    #[error("too many clients of this user wait already, and what is left is for what is answered at once")]
    Waiting,
    /// Of all together, as many as may stay; what is answered at once is answered.
    #[error(
        "as many clients of all users are connected as may stay, and what is left is for what is answered at once"
    )]
    Staying,
    /// Of all together, as many as may be.
    #[error("{count} clients are connected, the daemon's limit")]
    All {
        /// How many.
        count: usize,
    },
}

impl Crowd {
    const fn remedy(&self) -> &'static str {
        match self {
            Self::OfUser { .. } | Self::Waiting => {
                "end a `watch`, a `--follow` or a `lock --wait` that is no longer needed"
            }
            Self::Staying | Self::All { .. } => {
                "try again when others have ended theirs; whoever keeps the machine sees who they are: ss -xp"
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match &self {
            Self::BadRequest(_)
            | Self::NotFound(_)
            | Self::Method(_)
            | Self::TooMany(_)
            | Self::Forbidden { .. }
            | Self::Conflict { .. }
            | Self::Nothing { .. }
            | Self::Absent { .. }
            | Self::Ambiguous { .. } => {
                tracing::debug!(error = %self, "request refused");
            }
            Self::Query(_) | Self::Internal(_) => tracing::warn!(error = %self, "request failed"),
        }
        let (status, document) = self.document();
        let text = escaped::text(&document).unwrap_or_default();
        (status, [("content-type", "application/json")], text).into_response()
    }
}
