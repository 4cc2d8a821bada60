//! What the API says when there is no answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error as a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDocument {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// Stable, kebab-case: `bad-request`, `not-found`, `not-permitted`, `refused`, `no-such-claim`, `not-seen`, `stopping`, `too-many-clients`, `internal`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do; null when nothing can be done from here.
    pub remedy: Option<String>,
}
