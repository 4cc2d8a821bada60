//! `portwatch free`

use std::io::{self, BufRead as _, IsTerminal as _};

use super::{
    args, backend,
    exit::Exit,
    failure::Failure,
    places::own_places,
    progress::Progress,
    session::{self, Session},
    stirs,
};
use crate::{
    access::AccessError,
    model::Timestamp,
    platform::ending::Signal,
    registry::duration,
    render,
    resolve::{
        Bindable, bindable,
        free::{self, EndOptions, How, Plan, Scope},
    },
    wire::{Free, FreeTarget, SCHEMA, convert::resolve as convert},
};

pub(super) fn run(args: &args::Free, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let places = own_places(&args.places, session)?;
    let asked = args.signal.as_deref().map(signal).transpose()?;
    let grace = if args.grace == "0" { std::time::Duration::ZERO } else { duration(&args.grace)? };
    let how = How {
        end: EndOptions { signal: asked.unwrap_or(Signal::Term).here(), grace },
        time_wait: args.connections.time_wait,
        scope: scope(args.force, session)?,
    };
    let ports: Vec<_> = places.iter().map(|place| place.port).collect();
    let mut plans = free::plan(&places, &how.scope)?;
    for stop in plans.iter_mut().flat_map(|plan| &mut plan.containers) {
        stop.signal = asked;
    }
    let targets = plans.iter().map(|plan| target(plan, args)).collect::<Result<Vec<_>, Failure>>()?;
    let mut answer = Free { schema: SCHEMA, time: Timestamp::now(), dry_run: args.dry_run, targets };

    let refused = answer.targets.iter().any(|t| t.state == "refused");
    let nothing = answer.targets.iter().all(|t| t.state == "free" || t.state == "held");
    if args.dry_run || refused || nothing {
        session.answer(&answer, if nothing { render::free_result } else { render::free_plan })?;
        return Ok(exit(&answer));
    }
    let json = session.settings.json.value;
    if !args.yes && !consent(&answer, session)? {
        return Ok(Exit::No);
    }
    if args.yes && !json && session.look().terminal {
        session.answer(&answer, render::free_plan)?;
        writeln!(session.out)?;
        session.out.flush()?;
    }
    let stirs = stirs::open(session, &ports)?;
    let mut failure = None;
    let progress = (io::stderr().is_terminal() && !json).then(|| Progress::start(session::stderr_look()));
    let waiting = |words: &str| {
        if let Some(progress) = &progress {
            progress.says(words);
        }
    };
    for (plan, target) in plans.iter().zip(&mut answer.targets) {
        if target.state != "planned" || failure.is_some() {
            continue;
        }
        match free::act(plan, &how, stirs.as_ref(), &waiting) {
            Ok(came) => {
                done(&came, target);
                failure = came.error;
            }
            Err(error) => {
                "failed".clone_into(&mut target.state);
                target.sentence = Some("nothing was ended".to_owned());
                failure = Some(error);
            }
        }
    }
    drop(progress);
    // Of several ports, what was done is told before what went wrong; the rest is as it was.
    let nothing = answer.targets.iter().all(|t| t.sentence.as_deref() == Some("nothing was ended"));
    if let Some(error) = failure.take_if(|_| nothing) {
        return Err(error.into());
    }
    for target in answer.targets.iter_mut().filter(|t| t.state == "planned") {
        "failed".clone_into(&mut target.state);
        target.sentence = Some("not begun".to_owned());
    }
    answer.time = Timestamp::now();
    session.answer(&answer, render::free_result)?;
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(exit(&answer)),
    }
}

fn signal(word: &str) -> Result<Signal, Failure> {
    let unknown = || format!("'{word}' is not a signal; say TERM, INT, HUP, QUIT, USR1, USR2 or KILL");
    Ok(Signal::from_word(word).ok_or_else(|| AccessError::Usage(unknown()))?)
}

/// What may be looked at.
pub(super) fn scope(force: bool, session: &Session<'_>) -> Result<Scope, Failure> {
    Ok(Scope {
        redaction: backend::redaction(&session.settings)?,
        engines: backend::engines(&session.settings)?.sockets().to_vec(),
        force,
    })
}

fn done(done: &free::Done, target: &mut FreeTarget) {
    for process in &mut target.processes {
        let ended = done.ended.iter().find(|e| e.process.id.pid == process.process.pid);
        process.outcome = ended.map(convert::free_outcome);
    }
    match () {
        () if done.error.is_some() => "failed",
        () if done.freed => "freed",
        () => "held",
    }
    .clone_into(&mut target.state);
    target.time_wait_destroyed = done.destroyed;
    target.seconds = Some(convert::seconds(done.took)).filter(|_| done.freed);
    target.sentence = Some(done.words.clone()).filter(|words| !words.is_empty());
}

/// What the plan says, and where nothing holds the place what a bind says.
fn target(plan: &Plan, args: &args::Free) -> Result<FreeTarget, Failure> {
    let mut target = convert::free_target(plan);
    if target.state != "free" {
        return Ok(target);
    }
    let borrower = plan.borrowers.first();
    let waiting = plan.time_wait.len();
    let outcome = bindable(&plan.place)?;
    // What a socket without SO_REUSEADDR has left refuses every bind, and nothing else of it is to be seen.
    let forgets = args.connections.time_wait && waiting > 0 && borrower.is_none();
    target.sentence = match outcome {
        Bindable::Yes => None,
        Bindable::WithReuse | Bindable::InUse if forgets => {
            "planned".clone_into(&mut target.state);
            Some(format!("{waiting} in TIME_WAIT, which the kernel is to forget"))
        }
        Bindable::WithReuse => {
            let until = match borrower {
                Some(p) => format!("once {} ({}) has closed its connection from this port", p.comm, p.id.pid),
                None if waiting > 0 => {
                    format!("once {waiting} in TIME_WAIT have ended (--time-wait ends them)")
                }
                None => "once the connections from this port are closed".to_owned(),
            };
            Some(format!("for servers that set SO_REUSEADDR, as most do; for others {until}"))
        }
        Bindable::InUse => {
            "held".clone_into(&mut target.state);
            Some(match borrower {
                Some(p) => format!(
                    "{} ({}) has an outgoing connection from this port; it is a client, and is not ended",
                    p.comm, p.id.pid
                ),
                None if waiting > 0 => format!(
                    "{waiting} in TIME_WAIT, left by a server without SO_REUSEADDR, refuse every bind until they end, \
                     within a minute (--time-wait ends them)"
                ),
                None => {
                    "a connection uses it as its own port, or somebody came at this very moment: look again"
                        .to_owned()
                }
            })
        }
    };
    if plan.udp_too && target.sentence.is_none() {
        target.sentence = Some(format!("over TCP; UDP is held: portwatch free {}/udp", plan.place.port));
    }
    Ok(target)
}

/// Shows what will be done and asks. Without a terminal nobody can be asked.
fn consent(answer: &Free, session: &mut Session<'_>) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(AccessError::Usage(
            "there is no terminal to ask on, so nothing was ended; say --yes to end what --dry-run shows"
                .to_owned(),
        )
        .into());
    }
    let look = session::stderr_look_now(session);
    let mut stderr = io::stderr().lock();
    render::free_plan(&mut stderr, answer, &look)?;
    render::question(&mut stderr, "Do this? [y/N] ", &look)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// The worst of all: refused is not permitted, held is no.
fn exit(answer: &Free) -> Exit {
    let one = |target: &FreeTarget| match target.state.as_str() {
        "freed" | "free" | "planned" => Exit::Yes,
        "refused" | "failed" => Exit::NotSeen,
        _ => Exit::No,
    };
    answer.targets.iter().map(one).max().unwrap_or(Exit::Internal)
}
