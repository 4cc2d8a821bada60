//! The claims office, whichever way it is reached.

use super::AccessError;
use crate::query::claims::OfficeError;
use crate::wire::claims::{
    AllowList, AllowRequest, ClaimRequest, Claimed, Claims, CleanupRequest, HealthReport, ReleaseRequest,
    Released, Rogue, RogueQuery,
};

/// What the claims office is asked and told.
pub trait Registry {
    /// Claims that one of the patterns means.
    fn claims(&self, patterns: &[String]) -> Result<Claims, AccessError>;
    /// Claims a name.
    fn claim(&self, request: &ClaimRequest) -> Result<Claimed, AccessError>;
    /// Gives claims back.
    fn release(&self, request: &ReleaseRequest) -> Result<Released, AccessError>;
    /// Gives back claims on which nothing runs.
    fn cleanup(&self, request: &CleanupRequest) -> Result<Released, AccessError>;
    /// Listeners that nothing explains.
    fn rogue(&self, query: &RogueQuery) -> Result<Rogue, AccessError>;
    /// The allow-list.
    fn allowed(&self) -> Result<AllowList, AccessError>;
    /// Changes the allow-list.
    fn allow(&self, request: &AllowRequest) -> Result<AllowList, AccessError>;
    /// Writes down how the program of a claim was found to be.
    fn report_health(&self, report: &HealthReport) -> Result<(), AccessError>;
}

impl From<OfficeError> for AccessError {
    fn from(error: OfficeError) -> Self {
        match error {
            OfficeError::Bad(sentence) => Self::Usage(sentence),
            OfficeError::NotPermitted { what, remedy } => Self::NotSeen { what, remedy },
            OfficeError::Refused { what, remedy }
            | OfficeError::Nothing { what, remedy }
            | OfficeError::Absent { what, remedy } => Self::Refused { what, remedy },
            OfficeError::Ambiguous { what, remedy } => Self::Ambiguous { what, remedy },
            OfficeError::Query(error) => error.into(),
        }
    }
}
