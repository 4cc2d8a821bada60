//! Answers of the commands that get a port back.

use std::time::Duration;

use crate::{
    model::Timestamp,
    resolve::{Condition, Standing},
    wire::{SCHEMA, Wait, WaitTarget},
};

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
fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}
