//! A look at this machine, by this process.

use super::Embedded;
use crate::{
    access::{AccessError, note::Unanswered},
    attribute::{Attributor, Roots as AttributeRoots},
    model::{ConnectionScope, Evidence, Netns, Observation, Port, Seen, Sharing, Snapshot, Timestamp},
    query::{About, Around, Asked, Live, Space},
    source::{
        negotiate::{self, SourceChoice},
        scan::{HolderSearch, Look, Roots},
    },
    state::Policy,
};

impl Embedded {
    pub(super) fn attributor(&self) -> Attributor {
        Attributor::with_redaction(AttributeRoots::default(), self.redaction.clone())
    }

    /// What takes the snapshots.
    pub(super) fn looker(&self) -> Result<Box<dyn Look>, AccessError> {
        let choice: SourceChoice = self.source.parse().map_err(|e| AccessError::Usage(format!("{e}")))?;
        negotiate::look(&choice, &Roots::default()).map_err(|(_, error)| error.into())
    }

    pub(super) fn about(&self, scanner: &dyn Look) -> About {
        About {
            source: scanner.kind(),
            daemon: false,
            note: Some(self.absence.snapshot()),
            coverage: Vec::new(),
            degradations: {
                let silent = self.unanswered().map(Unanswered::degradation);
                silent.into_iter().chain(scanner.degradations().iter().cloned()).collect()
            },
        }
    }

    /// Knowledge from one look: at `ports` only, when they are given.
    pub(in crate::access) fn look(
        &self,
        ports: &[Port],
        search: HolderSearch,
    ) -> Result<(Live, About), AccessError> {
        self.look_with(&mut *self.looker()?, ports, search)
    }

    pub(super) fn look_with(
        &self,
        scanner: &mut dyn Look,
        ports: &[Port],
        search: HolderSearch,
    ) -> Result<(Live, About), AccessError> {
        if self.source.starts_with("replay:") {
            return Err(AccessError::Usage(format!(
                "a recording tells a story and has no present; play it: portwatch watch --source {}",
                self.source
            )));
        }
        let snapshot = scanner.snapshot_everywhere(ports, search)?;
        let attributor = self.attributor();
        let mut live =
            Live::new(Policy::default(), attributor, scanner.netns()).with_engines(self.engines.clone());
        live.set_completeness(scanner.completeness());
        take(&mut live, snapshot);
        Ok((live, self.about(scanner)))
    }
}

/// What a bind of the ports asked about meets besides sockets.
pub(super) fn around(
    scanner: &mut dyn Look,
    live: &Live,
    asked: &[Asked],
    space: Space,
) -> Result<Around, AccessError> {
    let netns = space.other(live.own());
    let (mut ports, mut addresses) = (Vec::new(), Vec::new());
    for asked in asked {
        if let Asked::Port { port, .. } = asked {
            ports.push(*port);
            addresses.extend(asked.addresses());
        }
    }
    let interfaces = asked.iter().filter_map(Asked::with_interface).collect();
    let scope = ConnectionScope::Ports { ports, netns, holders: false, interfaces };
    let connections = scanner.connections(&scope)?;
    let unexplained = connections.as_ref().map(|found| live.unexplained(found)).unwrap_or_default();
    let rules = scanner.bind_rules(&addresses, netns);
    // A look without kernel programs knows of no option.
    let mut around = Around {
        netns: space.one(live.own()),
        connections,
        of_processes: None,
        rules,
        sharing: Sharing::AsBound,
    };
    if !unexplained.is_empty() {
        let scope = ConnectionScope::Ports {
            ports: unexplained.clone(),
            netns,
            holders: true,
            interfaces: Vec::new(),
        };
        around.name(&unexplained, scanner.connections(&scope)?.unwrap_or_default());
    }
    Ok(around)
}

pub(super) fn take(live: &mut Live, snapshot: Snapshot) {
    let seen = Seen::Snapshot(Box::new(snapshot));
    live.take(Observation::new(Timestamp::now(), Evidence::Scan, seen), &mut Vec::new());
}

/// Who asks for another namespace, and may not enter any, gets no answer rather than an empty one.
pub(super) fn entered(space: Space, own: Option<Netns>, about: &About) -> Result<(), AccessError> {
    about.reaches(space, own)?;
    match about.degradations.iter().find(|d| d.name == "netns-not-entered") {
        Some(refused) if space.is_beyond(own) => {
            Err(AccessError::NotSeen { what: refused.what.clone(), remedy: refused.remedy.clone() })
        }
        _ => Ok(()),
    }
}
