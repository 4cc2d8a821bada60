//! Why there is no answer.

/// Why there is no answer. Never an empty one instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It could not be seen.
    #[error("{what}; {remedy}")]
    NotSeen {
        /// What, and why, with errno.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The observer is ending or has ended.
    #[error("the observer is stopping; ask again when it runs")]
    Stopping,
    /// The journal was not read in time or holds what it should not.
    #[error("the journal could not be read: {0}")]
    Journal(String),
}
