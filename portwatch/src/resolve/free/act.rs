//! Carrying a plan out, until a server could bind the place.

use std::time::{Duration, Instant};

use super::{
    EndOptions, Ended, Member, Outcome, Plan, SETTLE, Scope, again::again, destroy, end, plan,
    plan::own_line, stop_container, stop_unit,
};
use crate::{
    model::Process,
    platform::ending::Signal,
    resolve::{Condition, ResolveError, Standing, Stirs, WaitRequest, wait},
    source::process::Processes,
};

/// Children that were forked while their parents were ended hold the same socket; so often they are looked for.
const ROUNDS: usize = 3;
/// After so long it is asked whether somebody started it again, rather than only waited.
const AGAIN: Duration = Duration::from_secs(1);

/// How to carry it out.
#[derive(Debug, Clone)]
pub struct How {
    /// Signal and grace.
    pub end: EndOptions,
    /// Have the kernel forget connections in TIME_WAIT too.
    pub time_wait: bool,
    /// What may be looked at, and how far to go.
    pub scope: Scope,
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// What became of each process.
    pub ended: Vec<Ended>,
    /// A server could bind the place.
    pub freed: bool,
    /// What went wrong after something had been done.
    pub error: Option<ResolveError>,
    /// From the first step to the last look.
    pub took: Duration,
    /// Connections in TIME_WAIT that the kernel forgot.
    pub destroyed: Option<u64>,
    /// What happened, in words.
    pub words: String,
}

/// Told what is waited for, each time that is something else.
pub type Waiting<'a> = dyn Fn(&str) + 'a;

/// Carries a plan out. One that is not possible is not touched; what was done before something went wrong is told.
pub fn act(
    decided: &Plan,
    how: &How,
    stirs: Option<&Stirs>,
    waiting: &Waiting<'_>,
) -> Result<Done, ResolveError> {
    let begun = Instant::now();
    waiting(&being_ended(&decided.members, how.end));
    let mut done = Done {
        ended: end(decided, how.end)?,
        freed: false,
        error: None,
        took: Duration::ZERO,
        destroyed: None,
        words: String::new(),
    };
    let result = stop(decided, how, &mut done, waiting)
        .and_then(|()| settle(decided, how, (stirs, waiting), &mut done));
    done.took = begun.elapsed();
    let so_far = in_words(&done.ended, how.end);
    done.words = if so_far.is_empty() {
        done.words
    } else if done.words.is_empty() {
        so_far
    } else {
        format!("{so_far}; {}", done.words)
    };
    match result {
        Ok(()) => {}
        // Nothing was done that would have to be told.
        Err(error) if done.words.is_empty() => return Err(error),
        Err(error) => {
            push(&mut done.words, &format!("then it could not go on: {error}"));
            done.error = Some(error);
        }
    }
    Ok(done)
}

/// Units and containers, by whoever runs them.
fn stop(decided: &Plan, how: &How, done: &mut Done, waiting: &Waiting<'_>) -> Result<(), ResolveError> {
    for unit in &decided.units {
        waiting(&unit.command());
        stop_unit(unit)
            .map_err(|error| ResolveError::Io { operation: format!("run {}", unit.command()), error })?;
        push(&mut done.words, &format!("{} stopped", unit.names.join(" and ")));
    }
    for stop in &decided.containers {
        waiting(&stop.command());
        stop_container(stop, how.end.grace)
            .map_err(|error| ResolveError::Io { operation: format!("stop the {stop}"), error })?;
        push(&mut done.words, &format!("{stop} stopped by its engine"));
    }
    Ok(())
}

/// Who came to share the sockets meanwhile, and the wait until a server could bind the place.
fn settle(
    decided: &Plan,
    how: &How,
    (stirs, waiting): (Option<&Stirs>, &Waiting<'_>),
    done: &mut Done,
) -> Result<(), ResolveError> {
    let Done { ended, freed, destroyed, words, .. } = done;
    // Whoever shares the sockets is a process; engines need not be asked again.
    let scope = Scope { engines: Vec::new(), ..how.scope.clone() };
    let inodes: Vec<u64> = decided.members.iter().flat_map(|m| m.inodes.iter().copied()).collect();
    let begun_ticks = own_start();
    let changed = ended.iter().any(|e| {
        matches!(
            e.outcome,
            Outcome::NotTheSame | Outcome::Another(_) | Outcome::Refused(_) | Outcome::LeftAlone
        )
    });
    for _ in 0..ROUNDS {
        let places = std::slice::from_ref(&decided.place);
        let mut now = plan(places, &scope)?;
        let Some(mut left) = now.pop() else { break };
        let heir = |m: &Member| {
            m.inodes.iter().any(|inode| inodes.contains(inode))
                && !ended.iter().any(|e| e.process.id == m.process.id)
                && is_heir(&m.process, decided, begun_ticks)
        };
        left.members.retain(heir);
        if left.members.is_empty() {
            break;
        }
        ended.extend(end(&left, how.end)?);
    }
    if how.time_wait {
        let count = destroy(&decided.place)?;
        *destroyed = Some(count);
        if count > 0 {
            push(words, &format!("{count} in TIME_WAIT forgotten"));
        }
    }
    let mut request = WaitRequest {
        places: vec![decided.place.clone()],
        condition: Condition::Free { strict: how.time_wait },
        // Whoever is there now came since; waiting does not end them.
        timeout: Some(if changed { Duration::ZERO } else { AGAIN }),
        names: true,
    };
    let mut looked = |standings: &[Standing], _| {
        if let Some(standing) = standings.iter().find(|s| !s.met) {
            waiting(&format!("{} {}", standing.place, standing.words));
        }
    };
    let mut standing = wait(&request, stirs, &mut looked)?;
    let mut restarted = None;
    if !changed && standing.iter().any(|s| !s.met) {
        let now = plan(std::slice::from_ref(&decided.place), &scope)?;
        restarted = now.first().and_then(|now| again(ended, now, &own_line()));
        if restarted.is_none() {
            request.timeout = Some(SETTLE.saturating_sub(AGAIN));
            standing = wait(&request, stirs, &mut looked)?;
        }
    }
    *freed = standing.iter().all(|s| s.met);
    let now = standing.first().map_or_else(String::new, |s| s.words.clone());
    if *freed && how.scope.force {
        // Free for the moment only: a supervisor was gone past.
        for note in decided.members.iter().filter_map(|member| member.note.as_ref()) {
            if !words.contains(note.as_str()) {
                push(words, note);
            }
        }
    }
    if !*freed {
        push(words, &restarted.unwrap_or_else(|| format!("now {now}")));
        if changed {
            words.push_str("; it is not what was shown: look again");
        }
    }
    Ok(())
}

/// Whether a process that was not shown was forked by one that was, meanwhile. The socket alone does not say: a
/// descriptor can be sent to anybody, who would be ended for it. Its parent may be gone, so the lineage does not say
/// either; but it is younger than this command, and of the same user.
fn is_heir(process: &Process, decided: &Plan, begun_ticks: u64) -> bool {
    process.id.start_ticks >= begun_ticks && decided.members.iter().any(|m| m.process.uid == process.uid)
}

/// When this process began, as [`ProcessId::start_ticks`](crate::model::ProcessId::start_ticks) counts.
fn own_start() -> u64 {
    let own = Processes::open().ok().and_then(|mut processes| processes.identify(std::process::id()).ok());
    own.map_or(u64::MAX, |own| own.start_ticks)
}

/// `SIGTERM sent to node (812) and 4 others, SIGKILL after 5000 ms`
fn being_ended(members: &[Member], options: EndOptions) -> String {
    let Some(first) = members.first() else { return String::new() };
    let others = match members.len() - 1 {
        0 => String::new(),
        1 => " and 1 other".to_owned(),
        n => format!(" and {n} others"),
    };
    let then = match options.signal {
        Signal::Kill => String::new(),
        _ => format!(", SIGKILL after {} ms", options.grace.as_millis()),
    };
    let (process, signal) = (&first.process, options.signal.name());
    format!("{signal} sent to {} ({}){others}{then}", process.comm, process.id.pid)
}

fn push(words: &mut String, more: &str) {
    if !words.is_empty() {
        words.push_str("; ");
    }
    words.push_str(more);
}

/// `node (812) and 4 others ended by SIGTERM; node (813) killed after 5 s`
fn in_words(ended: &[Ended], options: EndOptions) -> String {
    let mut words = String::new();
    let what = |outcome: &Outcome| match outcome {
        Outcome::Signalled(_) => format!("ended by {}", options.signal.name()),
        Outcome::EndedByItself => "ended with it".to_owned(),
        Outcome::LetGo(_) => "let the port go and is still ending".to_owned(),
        Outcome::Killed if options.signal == Signal::Kill => "killed".to_owned(),
        Outcome::Killed => format!("killed {} ms later", options.grace.as_millis()),
        Outcome::NotTheSame => "gone before, its pid was not signalled".to_owned(),
        Outcome::Survived => "did not end, not even when it was killed".to_owned(),
        Outcome::Another(program) => {
            format!("runs {program} now, which was not shown, and was not signalled")
        }
        Outcome::Refused(why) => format!("could not be signalled ({why})"),
        Outcome::LeftAlone => "left alone, because its master stays".to_owned(),
    };
    let mut groups: Vec<(String, Vec<&Ended>)> = Vec::new();
    for one in ended {
        let what = what(&one.outcome);
        match groups.iter_mut().find(|(known, _)| *known == what) {
            Some((_, of)) => of.push(one),
            None => groups.push((what, vec![one])),
        }
    }
    for (what, of) in groups {
        let Some(first) = of.first() else { continue };
        let others = match of.len() - 1 {
            0 => String::new(),
            1 => " and 1 other".to_owned(),
            n => format!(" and {n} others"),
        };
        push(&mut words, &format!("{} ({}){others} {what}", first.process.comm, first.process.id.pid));
    }
    words
}
