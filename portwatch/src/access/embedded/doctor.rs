//! What works here without a daemon: each way of looking is tried.

use super::{Embedded, no_wake};
use crate::{
    access::{AccessError, note::Unanswered},
    model::Degradation,
    query::{self, Check, CheckResult},
    source::{
        Source, Wake,
        ebpf::{EbpfSource, LoadOptions},
        negotiate::{self, SourceChoice},
        scan::Roots,
    },
    wire::{Doctor, convert},
};

/// Examines the ways in which this process can look.
pub(super) fn doctor(embedded: &Embedded) -> Result<Doctor, AccessError> {
    let mut checks = vec![match embedded.unanswered() {
        None => Check::new("daemon", CheckResult::Degraded, "no daemon runs", Some("portwatch start")),
        Some(Unanswered { silence, remedy, .. }) => {
            Check::new("daemon", CheckResult::Failed, &silence.to_string(), Some(remedy))
        }
    }];
    let mut degradations = Vec::new();
    for choice in [SourceChoice::Scan, SourceChoice::Lsof, SourceChoice::Netstat] {
        checks.push(source_check(&choice, &mut degradations));
    }
    match embedded.journal() {
        Ok(Some(_)) => {
            checks.push(Check::new(
                "journal",
                CheckResult::Ok,
                &embedded.database.display().to_string(),
                None,
            ));
        }
        Ok(None) => checks.push(Check::new(
            "journal",
            CheckResult::Degraded,
            "there is none yet",
            Some("portwatch start"),
        )),
        Err(error) => checks.push(Check::new("journal", CheckResult::Failed, &error.to_string(), None)),
    }
    let wake = Wake::new().map_err(|error| no_wake(&error))?;
    let mut coverage = Vec::new();
    // Only really loading and attaching tells.
    match EbpfSource::start(&LoadOptions::default(), wake) {
        Ok(source) => {
            checks.push(Check::new("ebpf", CheckResult::Ok, "kernel programs load and attach", None));
            coverage = source.coverage();
            degradations.extend(source.degradations());
        }
        Err(why) => checks.push(Check::new("ebpf", CheckResult::Degraded, &why.what, Some(&why.remedy))),
    }
    Ok(convert::doctor(&query::doctor(checks, coverage, degradations)))
}

/// Whether a source can be looked with, by looking.
fn source_check(choice: &SourceChoice, degradations: &mut Vec<Degradation>) -> Check {
    let outcome = negotiate::look(choice, &Roots::default()).and_then(|mut look| {
        let name = look.kind().as_str();
        look.tables(&[]).map(|tables| (look, tables.sockets.len())).map_err(|error| (name, error))
    });
    match outcome {
        Ok((look, count)) => {
            degradations.extend(look.degradations().iter().cloned());
            let found = format!("shows {count} sockets");
            Check::new(look.kind().as_str(), CheckResult::Ok, &found, None)
        }
        // The tools are fallbacks: nothing is lost where they are not installed.
        Err((name @ ("lsof" | "netstat"), error)) => {
            Check::new(name, CheckResult::Degraded, &error.to_string(), Some("needed only for --source"))
        }
        Err((name, error)) => Check::new(name, CheckResult::Failed, &error.to_string(), None),
    }
}
