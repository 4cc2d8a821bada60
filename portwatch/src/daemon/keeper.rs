//! The registry feeds itself: what listens is compared with what is claimed, and the difference is written down.
//!
//! One thread. The pipeline tells it on which ports something changed; it looks at the live table as it is then, so
//! a listener of a few milliseconds is in the log and leaves no claim.

mod changed;
mod checks;
mod claiming;
mod news;
mod policy;
mod reserve;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) use changed::Changed;
pub(super) use checks::Checked;
pub use policy::AutoPolicy;
pub(super) use policy::UserRules;
pub(super) use reserve::Reserve;

use changed::{Came, Taken};
use checks::{Checks, Plan};
use news::News;
use policy::Policies;

use super::handle::{Command, Handle, lock};
use crate::{
    health::{self, Check},
    journal::{ClaimError, Claims},
    model::{self, Event, EventKind, Evidence, Phase, Port, ProcessId, Protocol, Timestamp},
    query::{
        KnownSocket, Record,
        claims::{Known, tie_of, tie_of_process},
    },
    registry::{Claim, FOREIGN, Kind, ProjectConfig, Tie, UserPolicy},
};

/// A claim whose program is gone for so long is told of as a ghost: a restart is none.
const GHOST: Duration = Duration::from_secs(1);
/// A claim whose time has passed and whose program still runs is looked at so often.
const SWEEP: Duration = Duration::from_secs(5);
/// Without anything to do, the claims are read again so often: somebody may have claimed without the daemon.
const CALM: Duration = Duration::from_mins(1);
/// Names of project files, the first of a directory counts.
const FILES: [&str; 4] = [".portwatch.toml", FOREIGN[0], FOREIGN[1], FOREIGN[2]];
/// What is known of a claim's program.
#[derive(Debug, Clone, Copy)]
struct Life {
    /// It, when it was seen last.
    process: Option<ProcessId>,
    /// When it was found gone; `None` while it is there.
    gone: Option<Instant>,
    /// That was told.
    told: bool,
    /// The daemon asks it whether it is well.
    checked: bool,
    /// How long its automatic claim outlives it.
    grace: Duration,
    /// It is told of, or ended, so long after it is gone.
    after: Duration,
}

impl Life {
    /// That of a claim whose program listens.
    fn of(claim: &Claim, process: Option<ProcessId>, grace: Duration) -> Self {
        let after = if claim.kind == Kind::Auto { grace } else { GHOST };
        Self { process, gone: None, told: false, checked: false, grace, after }
    }

    /// When something is to be done.
    fn due(&self) -> Option<Instant> {
        self.gone.filter(|_| !self.told).map(|gone| gone + self.after)
    }
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Keeper {
    pipeline: Handle,
    changed: Arc<Changed>,
    claims: Claims,
    policy: AutoPolicy,
    policies: Policies,
    checks: Checks,
    reserve: Option<Reserve>,
    /// So many ports a user other than root may have claimed.
    limit: Option<u32>,
    known: Known,
    /// The user of this daemon.
    own: u32,
    version: Option<i64>,
    lives: HashMap<i64, Life>,
    /// Sockets that were told of as rogue or as strangers.
    news: News,
    next_sweep: Instant,
}

impl Keeper {
    /// A keeper that has looked at nothing yet.
    pub(super) fn new(
        pipeline: Handle,
        changed: Arc<Changed>,
        claims: Claims,
        policy: AutoPolicy,
        reserve: Option<Reserve>,
        limit: Option<u32>,
    ) -> Self {
        Self {
            pipeline,
            policies: Policies::default(),
            reserve,
            limit,
            checks: Checks::new(Arc::clone(&changed)),
            changed,
            claims,
            policy,
            known: Known::default(),
            own: crate::platform::user::own_uid(),
            version: None,
            lives: HashMap::new(),
            news: News::default(),
            next_sweep: Instant::now(),
        }
    }

    /// Runs until [`Changed::stop`]. Everything is looked at once the pipeline has told that the machine was: before that
    /// a program that runs would look as if it had ended.
    pub(super) fn run(mut self) {
        let mut failing = false;
        while let Some(taken) = self.changed.take(self.until_next()) {
            let begun = Instant::now();
            let done = self.turn(taken);
            if begun.elapsed() > GHOST {
                tracing::debug!(took = ?begun.elapsed(), claims = self.known.claims().len(), "claims are kept slowly");
            }
            if let Err(error) = &done
                && !failing
            {
                tracing::warn!(%error, "claims could not be kept");
            }
            failing = done.is_err();
            if failing {
                // What was not looked at is looked at again.
                self.changed.add_all();
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }

    fn until_next(&self) -> Duration {
        let now = Instant::now();
        let due = self.lives.values().filter_map(Life::due).chain([self.next_sweep]).min();
        due.map_or(CALM, |due| due.saturating_duration_since(now).max(Duration::from_millis(10)))
    }

    fn turn(&mut self, taken: Taken) -> Result<(), ClaimError> {
        self.reload()?;
        let mut seen = Vec::new();
        // In the order of their numbers: of two listeners of one name, which gets the number is no accident.
        let ports: BTreeSet<Port> = taken.ports.iter().copied().collect();
        for port in ports {
            self.look(port, Some(&taken.came), &mut seen)?;
        }
        if taken.all {
            let mut others: BTreeSet<Port> = lock(&self.pipeline.live).ports_here().into_iter().collect();
            others.extend(self.known.claims().iter().flat_map(|c| c.ports.iter().map(|p| p.port)));
            for port in others.into_iter().filter(|port| !taken.ports.contains(port)) {
                self.look(port, None, &mut seen)?;
            }
        }
        self.end_what_is_gone()?;
        for checked in taken.checked {
            self.hear(&checked)?;
        }
        // Last: it waits for whoever writes claims, and nothing else is to wait for it.
        seen.sort_unstable();
        seen.dedup();
        self.claims.touch(&seen, Timestamp::now())?;
        if Instant::now() >= self.next_sweep {
            self.sweep()?;
            self.next_sweep = self.until_sweep();
        }
        Ok(())
    }

    /// When a claim's time passes next.
    fn until_sweep(&self) -> Instant {
        let now = Timestamp::now();
        let left = |expires: Timestamp| Duration::try_from(expires.duration_since(now)).unwrap_or(SWEEP);
        let expiries = self.known.claims().iter().filter_map(|claim| claim.expires);
        Instant::now() + expiries.map(left).min().map_or(CALM, |left| left.min(CALM))
    }

    /// Reads the claims again where somebody has changed them.
    fn reload(&mut self) -> Result<(), ClaimError> {
        let version = self.claims.version()?;
        if self.version != Some(version) {
            self.version = Some(version);
            self.read()?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), ClaimError> {
        self.known = self.with_rules(Known::new(self.claims.all()?, self.claims.allowed()?));
        let ids: HashSet<i64> = self.known.claims().iter().map(|c| c.id).collect();
        self.lives.retain(|id, _| ids.contains(id));
        self.checks.retain(|id| ids.contains(&id));
        // Never later: claims are read again whenever anything is written, and what is due would never be done.
        self.next_sweep = self.next_sweep.min(self.until_sweep());
        if let Some(reserve) = &mut self.reserve
            && let Some(problem) = reserve.update(&mut self.claims, self.known.claims())?
        {
            tracing::warn!(problem);
            let mut event = Event::new(Timestamp::now(), EventKind::Error, Evidence::Kernel);
            event.message = Some(problem);
            self.tell(event);
        }
        Ok(())
    }

    fn with_rules(&self, known: Known) -> Known {
        let rules = self.pipeline.rules.lock();
        known.with_rules(rules.iter().flat_map(|(&uid, texts)| texts.iter().map(move |text| (uid, text))))
    }

    /// What the user whose program it is says, where that is not the user of the daemon. Programs in containers see another
    /// home.
    fn user_policy(&mut self, socket: &KnownSocket) -> Result<UserPolicy, ClaimError> {
        let Some(process) = socket.first().and_then(|id| socket.process(id)) else {
            return Ok(UserPolicy::default());
        };
        let Some(uid) = process.uid.filter(|&uid| uid != self.own && process.container.is_none()) else {
            return Ok(UserPolicy::default());
        };
        let id = process.id;
        let live = &self.pipeline.live;
        let policy = self.policies.of(uid, || lock(live).user_file(id, uid)).clone();
        if self.pipeline.rules.set(uid, &policy.allow) {
            self.read()?;
        }
        Ok(policy)
    }

    /// Compares one port with the claims. `came` is who began to listen where; `None` where nothing has happened.
    fn look(&mut self, port: Port, came: Option<&Came>, seen: &mut Vec<i64>) -> Result<(), ClaimError> {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let sockets = lock(&self.pipeline.live).here(port, Some(protocol));
            let serving: Vec<&KnownSocket> = sockets
                .iter()
                .filter(|s| protocol == Protocol::Udp || s.socket.seen.phase == Phase::Listening)
                .filter(|s| !s.noise)
                .collect();
            if serving.is_empty() {
                self.news.forget((protocol, port));
            }
            match self.known.on(protocol, port).cloned() {
                Some(claim) => self.compare(&claim, (protocol, port), &serving, came, seen)?,
                None if protocol == Protocol::Tcp => {
                    if let Some(socket) = serving.first() {
                        self.unclaimed(port, socket, seen)?;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    fn compare(
        &mut self,
        claim: &Claim,
        place: (Protocol, Port),
        serving: &[&KnownSocket],
        came: Option<&Came>,
        seen: &mut Vec<i64>,
    ) -> Result<(), ClaimError> {
        let own = serving.iter().find(|socket| tie_of(claim, socket) == Tie::Own);
        let grace = self.lives.get(&claim.id).map_or(self.policy.grace, |life| life.grace);
        if let Some(own) = own {
            seen.push(claim.id);
            let checked = self.plan(claim, own);
            self.lives.insert(claim.id, Life { checked, ..Life::of(claim, own.first(), grace) });
        } else if let Some(process) = came.and_then(|came| came.get(&place))
            && tie_of_process(claim, process) == Tie::Own
        {
            // It has listened, and was gone again before it was looked at.
            seen.push(claim.id);
            self.checks.set(claim.id, None);
            let life = Life { gone: Some(Instant::now()), ..Life::of(claim, Some(process.id), grace) };
            self.lives.insert(claim.id, life);
        } else if let Some(life) = self.lives.get_mut(&claim.id) {
            life.gone.get_or_insert_with(Instant::now);
            self.checks.set(claim.id, None);
        } else if claim.kind == Kind::Auto || (came.is_some() && claim.seen.is_some()) {
            // One of before this daemon's time has just gone. Ghosts of that time are no news.
            let life = Life { gone: Some(Instant::now()), ..Life::of(claim, None, grace) };
            self.lives.insert(claim.id, life);
        }
        let stranger = serving.iter().find(|socket| tie_of(claim, socket) == Tie::Stranger);
        if let Some(stranger) = stranger
            && self.news.is(EventKind::Conflict, stranger, &self.claims)?
        {
            let mut event = about(EventKind::Conflict, stranger);
            event.claim = Some(claim.name.to_string());
            event.message = Some("a stranger has the port of a claim".to_owned());
            self.tell(event);
        }
        Ok(())
    }

    /// Has a claim's program asked whether it is well, where its project wants that; no more, where it does not.
    fn plan(&mut self, claim: &Claim, own: &KnownSocket) -> bool {
        let plan = self.wanted(claim, own);
        let checked = plan.is_some();
        self.checks.set(claim.id, plan);
        checked
    }

    fn wanted(&self, claim: &Claim, own: &KnownSocket) -> Option<Plan> {
        let seen = &own.socket.seen;
        if seen.endpoint.protocol != Protocol::Tcp || claim.port() != Some(seen.endpoint.port) {
            return None;
        }
        let id = own.first()?;
        let project = own.process(id)?.project.as_ref()?;
        let config = self.config(id, project);
        let health = &config.stacks.get(claim.name.stack())?.health;
        let v6_only = seen.options.v6_only == Some(true);
        Some(Plan {
            at: health::target(seen.endpoint.address, seen.endpoint.port.get(), v6_only),
            check: Check::of(health),
            every: health.interval?,
            owner: claim.owner,
        })
    }

    /// Writes down what a program answered, and reads again what its project wants: that may have changed.
    fn hear(&mut self, checked: &Checked) -> Result<(), ClaimError> {
        let claim = self.known.claims().iter().find(|claim| claim.id == checked.claim);
        let Some(claim) = claim.filter(|_| self.checks.has(checked.claim)).cloned() else { return Ok(()) };
        let result = checked.report.health.as_str();
        self.note_health(&claim, result, &checked.report.told(&checked.plan.check))?;
        let Some(port) = claim.port() else { return Ok(()) };
        let sockets = lock(&self.pipeline.live).here(port, Some(Protocol::Tcp));
        if let Some(own) = sockets
            .iter()
            .find(|socket| socket.socket.seen.phase == Phase::Listening && tie_of(&claim, socket) == Tie::Own)
        {
            self.plan(&claim, own);
        }
        Ok(())
    }

    fn note_health(&mut self, claim: &Claim, result: &str, told: &str) -> Result<(), ClaimError> {
        match self.claims.set_health(&claim.name, claim.owner, (result, told), Timestamp::now()) {
            Ok(event) => self.announce(event),
            Err(error @ ClaimError::Journal(_)) => return Err(error),
            // It was released meanwhile.
            Err(_) => {}
        }
        Ok(())
    }

    /// What the project's own file says; a file that is wrong says nothing.
    fn config(&self, id: ProcessId, project: &model::Project) -> ProjectConfig {
        let found = lock(&self.pipeline.live).project_file(id, project, &FILES);
        match found.map(|(file, text)| ProjectConfig::read(file, &text)) {
            Some(Ok(config)) => config,
            Some(Err(error)) => {
                tracing::debug!(%error, root = %project.root.display(), "a project file is wrong");
                ProjectConfig::default()
            }
            None => ProjectConfig::default(),
        }
    }

    /// Ends automatic claims after their grace, and tells of explicit ones that became ghosts.
    fn end_what_is_gone(&mut self) -> Result<(), ClaimError> {
        let now = Instant::now();
        let mut ended = Vec::new();
        let mut ghosts = Vec::new();
        for claim in self.known.claims() {
            let Some(life) = self.lives.get_mut(&claim.id) else { continue };
            // Somebody may have made an automatic claim an explicit one.
            life.after = if claim.kind == Kind::Auto { life.grace } else { GHOST };
            if life.due().is_none_or(|due| due > now) {
                continue;
            }
            if claim.kind == Kind::Auto {
                ended.push((claim.id, claim.owner));
            } else {
                ghosts.push((claim.clone(), life.process, life.checked));
            }
        }
        for (claim, process, checked) in ghosts {
            if checked {
                let told = health::told(false, "its program is gone");
                self.note_health(&claim, "ghost", &told)?;
            }
            let mut event = Event::new(Timestamp::now(), EventKind::Ghost, Evidence::Inferred);
            event.claim = Some(claim.name.to_string());
            event.port = claim.port();
            event.protocol = claim.ports.first().map(|p| p.protocol);
            event.process = process;
            event.message = Some("claimed, and nothing of its own listens any more".to_owned());
            self.tell(event);
            if let Some(life) = self.lives.get_mut(&claim.id) {
                life.told = true;
            }
        }
        for (id, owner) in ended {
            let (released, _) =
                self.claims.release(owner, "its program has ended", Timestamp::now(), &mut |claim| {
                    claim.id == id && claim.kind == Kind::Auto
                })?;
            self.announce(released.into_iter().map(|r| r.event));
            self.lives.remove(&id);
            self.read()?;
        }
        Ok(())
    }

    /// Ends claims whose time has passed and on whose ports nothing of their own is.
    fn sweep(&mut self) -> Result<(), ClaimError> {
        let now = Timestamp::now();
        let expired: Vec<Claim> =
            self.known.claims().iter().filter(|claim| claim.has_expired(now)).cloned().collect();
        for claim in expired {
            let live = claim.ports.iter().any(|p| {
                let sockets = lock(&self.pipeline.live).here(p.port, Some(p.protocol));
                sockets.iter().any(|socket| tie_of(&claim, socket) == Tie::Own)
            });
            if !live {
                let (released, _) =
                    self.claims.release(claim.owner, "its time has passed", now, &mut |c| {
                        c.id == claim.id && c.has_expired(now)
                    })?;
                self.announce(released.into_iter().map(|r| r.event));
                self.read()?;
            }
        }
        Ok(())
    }

    fn tell(&self, event: Event) {
        self.pipeline.send(Command::Tell(Box::new(event)));
    }

    fn announce(&self, events: impl IntoIterator<Item = (i64, Event)>) {
        let record = |(id, event)| Record { id: Some(id), event, process: None, other: None };
        let records: Vec<Record> = events.into_iter().map(record).collect();
        if !records.is_empty() {
            self.pipeline.send(Command::Announce(records));
        }
    }
}

/// An event about a socket.
fn about(kind: EventKind, socket: &KnownSocket) -> Event {
    let seen = &socket.socket.seen;
    let mut event = Event::new(Timestamp::now(), kind, Evidence::Inferred);
    event.protocol = Some(seen.endpoint.protocol);
    event.address = Some(seen.endpoint.address);
    event.port = Some(seen.endpoint.port);
    event.netns = seen.endpoint.netns;
    event.socket = Some(seen.key);
    event.asked = seen.asked;
    event.process = socket.first();
    event
}
