//! `doctor`: what works here, and what would mend the rest.

use super::{Check, CheckResult, DoctorAnswer};
use crate::model::{Coverage, Degradation};

/// `checks`, then one for each fact by the hook that serves it.
pub fn doctor(
    mut checks: Vec<Check>,
    coverage: Vec<Coverage>,
    degradations: Vec<Degradation>,
) -> DoctorAnswer {
    checks.extend(coverage.iter().map(|c| Check {
        name: c.fact.as_str(),
        result: if c.hook.is_some() { CheckResult::Ok } else { CheckResult::Degraded },
        found: c.hook.clone().unwrap_or_else(|| "nothing serves this here".to_owned()),
        remedy: None,
    }));
    checks.extend(degradations.iter().map(|d| Check {
        name: d.name,
        result: CheckResult::Degraded,
        found: d.what.clone(),
        remedy: Some(d.remedy.clone()),
    }));
    DoctorAnswer { checks, coverage, degradations }
}
