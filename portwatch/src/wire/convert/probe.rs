//! Real binds on their way out.

use super::{super::probe, names::errno_name};
use crate::{
    resolve::{Attempt, Fate},
    wire::{SourceInfo, Verdict},
};

/// The answer to what was tried, before anybody was asked for causes.
pub fn probe(asked: &str, attempts: &[Attempt]) -> Option<probe::Probe> {
    let first = attempts.first()?.place;
    let mut addresses: Vec<probe::ProbedAddress> = Vec::new();
    for pair in attempts.chunk_by(|a, b| a.place == b.place) {
        let bind = |reuse_addr| pair.iter().find(|a| a.reuse_addr == reuse_addr).map(|a| bind(a.fate));
        if let (Some(place), Some(plain), Some(reuse_addr)) =
            (pair.first().map(|a| a.place), bind(false), bind(true))
        {
            addresses.push(probe::ProbedAddress {
                address: place.local().to_string(),
                plain,
                reuse_addr,
                verdict: None,
            });
        }
    }
    Some(probe::Probe {
        schema: super::SCHEMA,
        time: jiff::Timestamp::now(),
        source: None,
        asked: asked.to_owned(),
        port: first.port.get(),
        protocol: first.protocol.as_str().to_owned(),
        bindable: every(addresses.iter().map(|a| a.plain.bound)),
        with_reuse_addr: every(addresses.iter().map(|a| a.reuse_addr.bound)),
        addresses,
    })
}

/// Adds the causes, in the order of the addresses.
pub fn explained(
    mut probe: probe::Probe,
    source: SourceInfo,
    verdicts: impl IntoIterator<Item = Option<Verdict>>,
) -> probe::Probe {
    probe.source = Some(source);
    for (address, verdict) in probe.addresses.iter_mut().zip(verdicts) {
        address.verdict = verdict;
    }
    probe
}

/// A family that is not there does not count.
fn every(bound: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    bound.flatten().reduce(|all, one| all && one)
}

fn bind(fate: Fate) -> probe::ProbedBind {
    let (bound, errno) = match fate {
        Fate::Bound => (Some(true), None),
        Fate::Refused(errno) => (Some(false), Some(errno)),
        Fate::NoFamily(errno) => (None, Some(errno)),
        Fate::NotTried => (None, None),
    };
    probe::ProbedBind { bound, errno, errno_name: errno.and_then(errno_name) }
}
