//! `portwatch wait`

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use super::{
    args,
    exit::Exit,
    failure::Failure,
    places::places,
    session::{self, Session},
    stirs,
};
use crate::{
    health::Check,
    registry::duration,
    render,
    resolve::{self, Condition, Standing, WaitRequest},
    wire::convert,
};

/// How long one answer may take while it waits.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(args: &args::Wait, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let places = places(&args.places, session)?;
    let condition = match (args.condition.free, args.condition.listening) {
        (true, _) => Condition::Free { strict: args.strict },
        (_, true) => Condition::Listening,
        _ => Condition::Healthy(Check { path: args.path.clone(), timeout: PATIENCE, ..Check::default() }),
    };
    let terminal = io::stderr().is_terminal() && !session.settings.json.value;
    let request = WaitRequest {
        condition,
        timeout: Some(if args.timeout == "0" { Duration::ZERO } else { duration(&args.timeout)? }),
        names: terminal || session.settings.json.value,
        places,
    };
    let ports: Vec<_> = request.places.iter().map(|place| place.port).collect();
    let stirs = stirs::open(session, &ports)?;
    let look = session::stderr_look();
    let mut shown = false;
    let mut waited = Duration::ZERO;
    let result = resolve::wait(&request, stirs.as_ref(), &mut |standings, so_far| {
        waited = so_far;
        // What is there at once needs no progress.
        if terminal && so_far > Duration::from_millis(150) {
            shown = true;
            let words = progress(standings, so_far);
            let _ = render::progress(&mut io::stderr().lock(), &words, &look);
        }
    });
    if shown {
        let _ = render::progress(&mut io::stderr().lock(), "", &look);
    }
    let standings = result?;
    let answer = convert::resolve::wait(&request.condition, &standings, waited);
    if session.settings.json.value || session.look().terminal {
        session.answer(&answer, render::wait)?;
    }
    Ok(if answer.met { Exit::Yes } else { Exit::No })
}

/// `waiting 3s: 3100 node (812) listens; 3101 free`
fn progress(standings: &[Standing], so_far: Duration) -> String {
    let one = |s: &Standing| format!("{} {}", s.place, s.words);
    let words: Vec<String> = standings.iter().filter(|s| !s.met).map(one).collect();
    format!("waiting {} s: {}", so_far.as_secs(), words.join("; "))
}
