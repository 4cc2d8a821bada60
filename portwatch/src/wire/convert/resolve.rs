//! Answers of the commands that get a port back.

use std::time::Duration;

use super::process::{container, process};
use crate::{
    model::Timestamp,
    query::Viewer,
    resolve::{
        Condition, Standing,
        free::{Ended, Outcome, Plan},
    },
    wire::{
        FreeContainer, FreeDependent, FreeProcess, FreeRefusal, FreeTarget, FreeUnit, SCHEMA, Wait,
        WaitTarget,
    },
};

/// Everything here was read by the caller's own process: nothing is withheld from it.
const VIEWER: Viewer = Viewer::Unrestricted;

/// What a plan comes to, before anything is done.
pub fn free_target(plan: &Plan) -> FreeTarget {
    let members = plan.members.iter().map(|member| FreeProcess {
        process: process(&member.process, VIEWER),
        role: member.role.as_str().to_owned(),
        note: member.note.clone(),
        outcome: None,
    });
    let refusals = plan.refusals.iter().map(|refusal| FreeRefusal {
        process: refusal.process.as_deref().map(|p| process(p, VIEWER)),
        why: refusal.why.clone(),
        instead: refusal.instead.clone(),
        forceable: refusal.forceable,
    });
    let dependents = plan.dependents.iter().map(|dependent| FreeDependent {
        process: dependent.process.as_deref().map(|p| process(p, VIEWER)),
        address: dependent.address.to_string(),
        connections: dependent.connections,
    });
    let containers = plan.containers.iter().map(|stop| FreeContainer {
        container: container(&stop.running.container, true),
        command: stop.command(),
        note: stop.note.clone(),
    });
    let units = plan.units.iter().map(|stop| FreeUnit {
        command: stop.command(),
        processes: stop.holders.iter().map(|p| process(p, VIEWER)).collect(),
    });
    let state = match () {
        () if !plan.refusals.is_empty() => "refused",
        () if plan.held => "planned",
        () => "free",
    };
    FreeTarget {
        asked: plan.place.to_string(),
        port: plan.place.port.get(),
        protocol: plan.place.protocol.as_str().to_owned(),
        state: state.to_owned(),
        sentence: None,
        processes: members.collect(),
        units: units.collect(),
        containers: containers.collect(),
        refusals: refusals.collect(),
        dependents: dependents.collect(),
        time_wait: u64::try_from(plan.time_wait.len()).unwrap_or(u64::MAX),
        time_wait_destroyed: None,
        seconds: None,
    }
}

/// The word for what became of a process.
pub fn free_outcome(ended: &Ended) -> String {
    match ended.outcome {
        Outcome::Signalled(_) => "signalled",
        Outcome::Killed => "killed",
        Outcome::LetGo(_) => "let-go",
        Outcome::EndedByItself => "ended",
        Outcome::NotTheSame => "not-the-same",
        Outcome::Survived => "survived",
        Outcome::Another(_) => "another-program",
        Outcome::Refused(_) => "not-permitted",
        Outcome::LeftAlone => "left-alone",
    }
    .to_owned()
}

/// Answer of `wait`.
pub fn wait(condition: &Condition, standings: &[Standing], waited: Duration) -> Wait {
    let condition = match condition {
        Condition::Free { .. } => "free",
        Condition::Listening => "listening",
        Condition::Healthy(_) => "healthy",
    };
    Wait {
        schema: SCHEMA,
        time: Timestamp::now(),
        condition: condition.to_owned(),
        met: standings.iter().all(|s| s.met),
        seconds: seconds(waited),
        targets: standings.iter().map(target).collect(),
    }
}

fn target(standing: &Standing) -> WaitTarget {
    WaitTarget {
        asked: standing.place.to_string(),
        port: standing.place.port.get(),
        protocol: standing.place.protocol.as_str().to_owned(),
        met: standing.met,
        sentence: standing.words.clone(),
        seconds: standing.after.map(seconds),
    }
}

/// To the millisecond; more digits would be noise.
pub fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}
