//! `portwatch run`

use std::{ffi::OsString, io, time::Duration};

use super::{
    args, backend,
    exit::Exit,
    failure::Failure,
    project::Here,
    session::{self, Session},
    stirs,
};
use crate::{
    access::{Access, AccessError},
    model::{Port, Timestamp},
    registry::duration,
    render,
    resolve::{
        Place,
        free::{EndOptions, How},
        run::{self, Note, Refused, RunRequest, Signals, Witness},
    },
    wire::{LogQuery, claims::ClaimRequest},
};

/// The daemon where one runs; else what is concluded from who holds the port.
struct Seen<'a> {
    access: &'a dyn Access,
    how: &'a How,
}

impl Witness for Seen<'_> {
    fn refused(&self, place: &Place, child: u32, since: Timestamp) -> Option<Refused> {
        if !self.access.is_daemon() {
            return run::concluded(place, self.how);
        }
        let query = LogQuery {
            since: Some(since),
            kinds: Some("refused".to_owned()),
            port: Some(place.port.to_string()),
            newest_first: true,
            all: true,
            ..LogQuery::default()
        };
        let Ok(log) = self.access.log(&query) else { return run::concluded(place, self.how) };
        let sees = !matches!(log.source.source.as_str(), "scan" | "lsof" | "netstat");
        let mut events = log.events.iter().map(stirs::stir);
        match events.find(|stir| run::is_refusal(stir, place, child)) {
            Some(stir) => Some(Refused { holder: stir.other, certain: true }),
            // A daemon that only scans sees no refused bind.
            None if !sees => run::concluded(place, self.how),
            None => None,
        }
    }
}

pub(super) fn run(args: &args::Run, session: &mut Session<'_>) -> Result<Exit, Failure> {
    // Before any thread is started, which would take the signals otherwise.
    let signals = Signals::block()?;
    let place = place(args, session)?;
    let how = How {
        end: EndOptions {
            signal: EndOptions::signal_of("TERM").ok_or_else(internal)?,
            grace: Duration::from_secs(5),
        },
        force: false,
        time_wait: false,
        redaction: backend::redaction(&session.settings)?,
    };
    let port = place.port.to_string();
    let host = place.hosts.first().map(ToString::to_string);
    let mut variables = vec![("PORT".to_owned(), port.clone())];
    variables.extend(host.iter().map(|host| ("HOST".to_owned(), host.clone())));
    let request = RunRequest {
        words: args.command.iter().map(|word| filled(word, &port, host.as_deref())).collect(),
        variables,
        retries: args.retries,
        delay: duration(&args.delay)?,
        restarts: args.restart.unwrap_or(0),
        take: args.take.then(|| how.clone()),
        place,
    };
    let stirs = stirs::open(session, &[])?;
    let look = session::stderr_look();
    let place = request.place.clone();
    let mut say = |note: Note| {
        // A closed stderr changes nothing for the program.
        let _ = render::error(&mut io::stderr().lock(), &words(&note, &place), &look);
    };
    let access = session.access()?;
    let ended = run::run(&request, &signals, &Seen { access, how: &how }, stirs.as_ref(), &mut say)?;
    session.out.flush()?;
    // The code is the program's, not one of ours.
    std::process::exit(ended.code())
}

/// A port as it is, or the port of a claim.
fn place(args: &args::Run, session: &mut Session<'_>) -> Result<Place, Failure> {
    if args.target.contains(|c: char| c.is_ascii_digit()) && args.target.parse::<Place>().is_ok() {
        return Ok(args.target.parse::<Place>()?);
    }
    let here = Here::find()?;
    let name = here.named(&args.target)?;
    // One port, for TCP: that is what a program is told of.
    let request = ClaimRequest {
        protocols: vec!["tcp".to_owned()],
        ports: 1,
        ..here.wish(&name, &session.settings.policy)
    };
    let claimed = session.access()?.claim(&request)?;
    let port = claimed.claim.ports.first().and_then(|port| Port::new(port.port)).ok_or_else(internal)?;
    Ok(Place::everywhere(port))
}

fn internal() -> Failure {
    AccessError::Internal("a claim without a port".to_owned()).into()
}

/// The word with `{port}` and `{host}` filled in; one that is not UTF-8 is left as it is.
fn filled(word: &OsString, port: &str, host: Option<&str>) -> OsString {
    match word.to_str() {
        Some(text) => text.replace("{port}", port).replace("{host}", host.unwrap_or("localhost")).into(),
        None => word.clone(),
    }
}

fn words(note: &Note, place: &Place) -> String {
    let by = |refused: &Refused| {
        let holder = refused.holder.as_ref().map_or_else(|| "somebody".to_owned(), Clone::clone);
        let sure = if refused.certain { "" } else { " (concluded; without kernel events it is not sure)" };
        format!("{place} was refused to it: {holder} has it{sure}")
    };
    match note {
        Note::Retry(which, of, refused) => format!("{}; try {which} of {of}", by(refused)),
        Note::Refused(refused) => format!("{}; to end that: portwatch free {place}", by(refused)),
        Note::Took(words) => format!("{place} taken back: {words}"),
        Note::NotTaken(why) => format!("{place} is not taken: {why}"),
        Note::Elsewhere(port) => format!("it listens on {port} instead of {}", place.port),
        Note::Restart(which, of, pause) => {
            format!("it failed; restart {which} of {of} in {} ms", pause.as_millis())
        }
    }
}
