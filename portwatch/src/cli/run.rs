//! `portwatch run`

mod environment;
mod words;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use super::{
    args,
    exit::Exit,
    failure::Failure,
    free,
    project::Here,
    session::{self, Session},
    started, stirs,
};
use crate::{
    access::{Access, AccessError},
    health::Check,
    model::{Port, Timestamp},
    platform::ending::Signal,
    registry::{self, Name, duration},
    render,
    resolve::{
        Place,
        free::{EndOptions, How},
        run::{self, Caller, Moved, Note, Ready, Refused, RunRequest, Signals},
    },
    wire::{
        LogQuery,
        claims::{ClaimRequest, ReleaseRequest},
    },
};

/// How long one answer may take while it gets ready.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(args: &args::Run, session: &mut Session<'_>) -> Result<Exit, Failure> {
    // Before any thread is started, which would take the signals otherwise.
    let signals = Signals::block()?;
    let since = Timestamp::now();
    let target = Target::of(&args.target, session)?;
    let how = How {
        end: EndOptions { signal: Signal::Term, grace: Duration::from_secs(5) },
        time_wait: false,
        scope: free::scope(false, session)?,
    };
    let environment = target.environment(session)?;
    let request = RunRequest {
        words: args.command.clone(),
        port_variables: environment.port,
        variables: environment.others,
        retries: args.retries,
        delay: duration(&args.delay)?,
        restarts: args.restart.unwrap_or(0),
        take: args.take.then(|| how.clone()),
        ready: ready(&args.ready, target.health())?,
        place: target.place.clone(),
    };
    let releases = !args.policy.keep && (args.policy.release || target.releases());
    let (stirs, watch) = stirs::prepare(session, &[], Some(since))?.unzip();
    let look = session::stderr_look();
    let mut teller = Teller {
        access: session.access()?,
        how: &how,
        target: &target,
        look,
        terminal: io::stderr().is_terminal(),
        watch,
        next: Duration::from_secs(1),
    };
    let ended = run::run(&request, &signals, stirs.as_ref(), &mut teller);
    if releases {
        teller.release();
    }
    started::exit(ended, session)
}

/// Where the program is to be, and by which claim.
struct Target {
    place: Place,
    claim: Option<Claimed>,
}

/// A claim, and what was asked for it.
struct Claimed {
    name: Name,
    request: ClaimRequest,
    here: Here,
    answer: crate::wire::claims::Claim,
}

impl Target {
    /// A port as it is, or the port of a claim.
    fn of(word: &str, session: &mut Session<'_>) -> Result<Self, Failure> {
        if !super::places::looks_like_a_name(word) {
            return Ok(Self { place: word.parse()?, claim: None });
        }
        let here = Here::find()?;
        let name = here.named(word)?;
        let request = here.wish(&name, &session.settings.policy);
        let answer = session.access()?.claim(&request)?.claim;
        let port = answer.ports.first().and_then(|port| Port::new(port.port)).ok_or_else(internal)?;
        let claim = Claimed { name, request, here, answer };
        Ok(Self { place: Place::everywhere(port), claim: Some(claim) })
    }

    fn stack(&self) -> Option<&registry::Stack> {
        self.claim.as_ref().and_then(|claim| claim.here.stack(&claim.name))
    }

    fn health(&self) -> Option<&registry::Health> {
        self.stack().map(|stack| &stack.health)
    }

    /// The project's word on what becomes of the claim.
    fn releases(&self) -> bool {
        let whole =
            self.claim.as_ref().filter(|c| c.here.is_own(&c.name)).and_then(|c| c.here.config.release);
        self.stack().and_then(|stack| stack.release).or(whole).unwrap_or(false)
    }
}

fn ready(args: &args::Ready, project: Option<&registry::Health>) -> Result<Option<Ready>, Failure> {
    let timeout = match (&args.wait_ready, &args.health) {
        (None, None) => return Ok(None),
        (Some(text), _) => duration(text)?,
        (None, Some(_)) => Duration::from_mins(1),
    };
    let Some(path) = &args.health else { return Ok(Some(Ready { check: None, timeout })) };
    let project = project.cloned().unwrap_or_default();
    if !path.is_empty() && (!path.starts_with('/') || !path.chars().all(|c| c.is_ascii_graphic())) {
        return Err(Failure::HttpPath(path.clone()));
    }
    let check = Check {
        path: Some(path.clone()).filter(|path| !path.is_empty()).or(project.path),
        status: project.status,
        headers: project.headers,
        timeout: project.timeout.unwrap_or(PATIENCE),
        tcp: project.tcp && path.is_empty(),
    };
    Ok(Some(Ready { check: Some(check), timeout }))
}

/// The program begins before its events are watched: what it does first is in the log, and a short one is over by then.
const HEAD_START: Duration = Duration::from_millis(20);

/// Knows what the daemon knows, and says on stderr what there is to say.
struct Teller<'a> {
    access: &'a dyn Access,
    how: &'a How,
    target: &'a Target,
    look: render::Look,
    terminal: bool,
    /// Started after the program: it misses nothing since, and the program need not wait for it.
    watch: Option<stirs::Watch>,
    /// When it is said next that it is not ready. Whole lines, each later than the one before: the program writes to the
    /// same terminal, so that a line that changes in place would be mixed with its words.
    next: Duration,
}

impl Teller<'_> {
    fn say(&self, words: &str) {
        // A closed stderr changes nothing for the program.
        let _ = render::error(&mut io::stderr().lock(), words, &self.look);
    }

    /// The daemon has a gap since then.
    fn has_lost(&self, since: Timestamp) -> bool {
        let gaps =
            LogQuery { since: Some(since), kinds: Some("gap".to_owned()), all: true, ..LogQuery::default() };
        self.access.log(&gaps).is_ok_and(|log| !log.events.is_empty())
    }

    fn release(&self) {
        let Some(claim) = &self.target.claim else { return };
        let order = ReleaseRequest {
            patterns: vec![claim.name.to_string()],
            only_dead: true,
            reason: Some("its program ended".to_owned()),
        };
        if let Err(error) = self.access.release(&order) {
            self.say(&format!("{} was not given back: {error}", claim.name));
        }
    }
}

impl Caller for Teller<'_> {
    /// The daemon where one sees refused binds; else what is concluded from who holds the port.
    fn refused(&self, place: &Place, child: u32, since: Timestamp) -> Option<Refused> {
        let concluded = || run::concluded(place, self.how, child);
        if !self.access.is_daemon() {
            return concluded();
        }
        let query = LogQuery {
            since: Some(since),
            kinds: Some("refused".to_owned()),
            port: Some(place.port.to_string()),
            newest_first: true,
            all: true,
            ..LogQuery::default()
        };
        let Ok(log) = self.access.log(&query) else { return concluded() };
        let sees = !matches!(log.source.source.as_str(), "scan" | "lsof" | "netstat");
        let mut events = log.events.iter().map(stirs::stir);
        match events.find(|stir| run::is_refusal(stir, place, child)) {
            Some(stir) => {
                let waiting = if stir.other.is_none() { run::waiting(place, self.how) } else { 0 };
                Some(Refused { holder: stir.other, waiting, certain: true })
            }
            // A daemon that only scans sees no refused bind, and one that lost records may have lost this.
            None if !sees || self.has_lost(since) => concluded(),
            None => None,
        }
    }

    fn started(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.start(HEAD_START);
        }
    }

    fn moves_to(&mut self, port: Port) -> Moved {
        let Some(claim) = &self.target.claim else { return Moved::NoClaim };
        if let Some(fixed) = claim.request.port.filter(|&fixed| fixed != port.get()) {
            return Moved::Stays(format!(".portwatch.toml gives {} port {fixed}", claim.name));
        }
        let order = ClaimRequest { port: Some(port.get()), moves: true, ..claim.request.clone() };
        match self.access.claim(&order) {
            Ok(_) => Moved::Claim(claim.name.to_string()),
            Err(error) => Moved::Stays(error.to_string()),
        }
    }

    fn told(&mut self, note: Note) {
        let words = words::of(&note, &self.target.place);
        match note {
            Note::Ready(..) | Note::Waiting(..) if !self.terminal => {}
            Note::Waiting(after, _) => {
                if after >= self.next {
                    self.next = (after * 2).min(after + Duration::from_secs(30));
                    self.say(&words);
                }
            }
            Note::Ready(..) | Note::Restart(..) | Note::Retry(..) => {
                self.next = Duration::from_secs(1);
                self.say(&words);
            }
            _ => self.say(&words),
        }
    }
}

fn internal() -> Failure {
    AccessError::Internal("a claim without a port".to_owned()).into()
}
