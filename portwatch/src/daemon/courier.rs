//! Brings events to webhooks, in a thread of its own. It reads the journal as any reader does, so nothing of the recorder ever waits
//! for it; what it has read and what it has sent is in the database, so the next daemon goes on where this one ended.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hyper::body::Bytes;
use tokio::task::{Id, JoinSet};

use super::{Handle, handle::Command};
use crate::{
    api::Peer,
    deliver::{self, Outcome},
    journal::{Found, JournalError, Reader, Settled, Told, Webhooks},
    meter::Counter,
    model::{EventFilter, EventKind, Timestamp},
    platform::user,
    query::{self, Record, Viewer, coordinate::Bureau},
    webhook::{self, Delivery, Policy, QUEUE, Target, Webhook},
    wire::{convert, escaped},
};

/// While there are webhooks the journal is looked into so often.
const LOOK: Duration = Duration::from_millis(200);
/// Without any: news wake the thread.
const IDLE: Duration = Duration::from_hours(1);
/// After news, so that much news costs little.
const BREATH: Duration = Duration::from_millis(10);
/// After a failure of the database.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Rows of the journal that are read at once.
const PAGE: i64 = 1000;
/// And so many times before deliveries are looked after again.
const PAGES: usize = 10;
/// How far the journal was read is written down so often where nothing was found in it.
const SAVE: Duration = Duration::from_secs(5);
/// What fell out of a queue is told so often.
const TELL: Duration = Duration::from_mins(1);
/// Requests at once, in all and of one user.
const FLYING: usize = 32;
const FLYING_OF_USER: usize = 4;
/// How long the daemon waits for the thread's end.
const END: Duration = Duration::from_secs(1);

/// What was sent since the daemon began.
#[derive(Debug, Default)]
pub(super) struct Posted {
    pub(super) delivered: Counter,
    pub(super) failed: Counter,
    pub(super) given_up: Counter,
    pub(super) dropped: Counter,
}

impl Posted {
    /// Until now.
    pub(super) fn read(&self) -> query::Posted {
        query::Posted {
            delivered: self.delivered.get(),
            failed: self.failed.get(),
            given_up: self.given_up.get(),
            dropped: self.dropped.get(),
        }
    }
}

/// The thread.
#[derive(Debug)]
pub(super) struct Courier {
    bureau: Arc<Bureau>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    posted: Arc<Posted>,
}

/// Whom it works for.
pub(super) struct Terms<'a> {
    pub(super) database: &'a Path,
    pub(super) boot_id: &'a str,
    pub(super) policy: Policy,
    /// `/proc` hides processes from other users.
    pub(super) hidepid: bool,
}

impl Courier {
    /// Starts the thread.
    pub(super) fn start(handle: &Handle, bureau: Arc<Bureau>, terms: Terms<'_>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let posted = Arc::<Posted>::default();
        let begun = Webhooks::open(terms.database, terms.boot_id)
            .map_err(|error| error.to_string())
            .and_then(|store| {
                let round = Round {
                    store,
                    reader: None,
                    database: terms.database.to_owned(),
                    policy: terms.policy,
                    hidepid: terms.hidepid,
                    pipeline: handle.clone(),
                    bureau: Arc::clone(&bureau),
                    stop: Arc::clone(&stop),
                    posted: Arc::clone(&posted),
                    flying: JoinSet::new(),
                    busy: HashMap::new(),
                    seen: HashMap::new(),
                    saved: Instant::now(),
                    dropped: BTreeMap::new(),
                    told: HashMap::new(),
                };
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    // Names are looked up there; a name server that is silent holds up others' names, not the daemon.
                    .max_blocking_threads(FLYING)
                    .thread_keep_alive(Duration::from_secs(2))
                    .thread_stack_size(512 * 1024)
                    .build()
                    .map_err(|error| error.to_string())?;
                let run = move || {
                    runtime.block_on(round.run());
                    runtime.shutdown_background();
                };
                std::thread::Builder::new()
                    .name("courier".to_owned())
                    .spawn(run)
                    .map_err(|error| error.to_string())
            });
        let thread = begun.map_err(|error| tracing::warn!(error, "webhooks are not served")).ok();
        Self { bureau, stop, thread, posted }
    }

    /// What was sent.
    pub(super) fn posted(&self) -> Arc<Posted> {
        Arc::clone(&self.posted)
    }

    /// Ends the thread; what is on its way is sent again by the next daemon.
    pub(super) fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        self.bureau.stir();
        let deadline = Instant::now() + END;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// The thread's state.
struct Round {
    store: Webhooks,
    /// Opened with the first webhook.
    reader: Option<Reader>,
    database: PathBuf,
    policy: Policy,
    hidepid: bool,
    pipeline: Handle,
    bureau: Arc<Bureau>,
    stop: Arc<AtomicBool>,
    posted: Arc<Posted>,
    flying: JoinSet<(Delivery, Outcome)>,
    /// Whose request each task is: webhook and uid.
    busy: HashMap<Id, (i64, u32)>,
    /// How far the journal was read for each webhook; the database follows.
    seen: HashMap<i64, i64>,
    saved: Instant,
    /// What fell out and was not told yet.
    dropped: BTreeMap<i64, u64>,
    told: HashMap<i64, Instant>,
}

impl Round {
    async fn run(mut self) {
        let mut news = self.bureau.news();
        let mut failing = false;
        while !self.stop.load(Ordering::Acquire) {
            news.mark_unchanged();
            let turn = self.turn();
            let wait = match &turn {
                Ok(wait) => *wait,
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "webhooks could not be served");
                    }
                    AFTER_FAILURE
                }
            };
            failing = turn.is_err();
            tokio::select! {
                Some(landed) = self.flying.join_next_with_id(), if !self.flying.is_empty() => {
                    let landed = match landed {
                        Ok((id, landed)) => { self.busy.remove(&id); Some(landed) }
                        Err(error) => {
                            self.busy.remove(&error.id());
                            tracing::error!(%error, "a delivery was not finished");
                            None
                        }
                    };
                    if let Some((delivery, outcome)) = landed
                        && let Err(error) = self.landed(&delivery, &outcome)
                    {
                        tracing::warn!(%error, "what became of a delivery could not be written down; it is sent again");
                    }
                }
                _ = news.changed() => tokio::time::sleep(BREATH).await,
                () = tokio::time::sleep(wait) => {}
            }
        }
        if let Err(error) = self.save(&[]).and_then(|()| self.tell_dropped(true)) {
            tracing::warn!(%error, "how far webhooks were served could not be written down");
        }
    }

    /// Looks into the journal and sends what is due. Gives how long there is nothing to do.
    fn turn(&mut self) -> Result<Duration, JournalError> {
        let mut webhooks = self.store.all()?;
        if webhooks.is_empty() {
            self.seen.clear();
            self.reader = None;
            return Ok(IDLE);
        }
        self.seen.retain(|id, _| webhooks.iter().any(|webhook| webhook.id == *id));
        if self.take_in(&webhooks)? {
            webhooks = self.store.all()?;
        }
        self.tell_dropped(false)?;
        let now = Timestamp::now();
        let mut wait = LOOK;
        for webhook in &webhooks {
            if let Some(until) = webhook.paused
                && let Ok(left) = Duration::try_from(until.duration_since(now))
            {
                wait = wait.min(left + Duration::from_millis(1));
            }
            let of_user = self.busy.values().filter(|(_, uid)| *uid == webhook.uid).count();
            let is_busy = self.busy.values().any(|(id, _)| *id == webhook.id);
            if webhook.waiting == 0 || is_busy || self.busy.len() >= FLYING || of_user >= FLYING_OF_USER {
                continue;
            }
            let rests = webhook.paused.is_some_and(|until| until > now);
            if let Some(delivery) = self.store.next(webhook.id, rests)? {
                self.send(webhook, delivery)?;
            }
        }
        Ok(wait)
    }

    fn viewer(&self, uid: u32) -> Viewer {
        Peer::new(uid, None, user::own_uid(), self.hidepid).viewer
    }

    fn reader(&mut self) -> Result<&Reader, JournalError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.database)?,
        };
        Ok(self.reader.insert(reader))
    }

    /// Queues what the journal has for somebody. Whether it queued anything.
    fn take_in(&mut self, webhooks: &[Webhook]) -> Result<bool, JournalError> {
        let wishes: Vec<(i64, EventFilter)> =
            webhooks.iter().map(|w| (w.id, w.wish.filter(self.viewer(w.uid)))).collect();
        for webhook in webhooks {
            self.seen.entry(webhook.id).or_insert(webhook.seen);
        }
        // Read once for all of them: a reader for each would multiply with what a user orders.
        let mut kinds: Vec<EventKind> =
            wishes.iter().flat_map(|(_, wish)| wish.kinds.iter().copied()).collect();
        if wishes.iter().any(|(_, wish)| wish.kinds.is_empty()) {
            kinds.clear();
        }
        let last = self.reader()?.last_id()?;
        let mut queued = false;
        for _ in 0..PAGES {
            let Some(from) = self.seen.values().copied().min().filter(|from| *from < last) else { break };
            let upto = last.min(from.saturating_add(PAGE));
            let records = self.reader()?.between(from, upto, &kinds)?.into_iter().map(Record::from);
            let mut found = Vec::new();
            for record in records {
                let Some(id) = record.id else { continue };
                if webhook::is_about_webhooks(record.event.subject.as_deref()) {
                    continue;
                }
                for (webhook, wish) in &wishes {
                    if self.seen.get(webhook).is_some_and(|seen| *seen < id) && query::matches(&record, wish)
                    {
                        found.push(Found { webhook: *webhook, event: id, kind: record.event.kind });
                    }
                }
            }
            for seen in self.seen.values_mut() {
                *seen = upto.max(*seen);
            }
            if !found.is_empty() || self.saved.elapsed() >= SAVE {
                self.save(&found)?;
                queued = true;
            }
        }
        Ok(queued)
    }

    /// Writes down what was found, and how far the journal was read.
    fn save(&mut self, found: &[Found]) -> Result<(), JournalError> {
        let seen: Vec<(i64, i64)> = self.seen.iter().map(|(id, seen)| (*id, *seen)).collect();
        if seen.is_empty() {
            return Ok(());
        }
        let dropped = match self.store.queue(found, &seen, QUEUE, Timestamp::now()) {
            Ok(dropped) => dropped,
            Err(error) => {
                // What was found is not in the queue: it is looked for again from where the database says.
                self.seen.clear();
                return Err(error);
            }
        };
        for (id, count) in dropped {
            self.posted.dropped.add(count);
            *self.dropped.entry(id).or_default() += count;
        }
        self.saved = Instant::now();
        Ok(())
    }

    fn tell_dropped(&mut self, now: bool) -> Result<(), JournalError> {
        let due: Vec<i64> = self
            .dropped
            .keys()
            .copied()
            .filter(|id| now || self.told.get(id).is_none_or(|told| told.elapsed() >= TELL))
            .collect();
        for id in due {
            let Some(count) = self.dropped.remove(&id) else { continue };
            self.told.insert(id, Instant::now());
            let told = self.store.tell_dropped(id, count, QUEUE, Timestamp::now())?;
            self.announce(told);
        }
        Ok(())
    }

    fn send(&mut self, webhook: &Webhook, delivery: Delivery) -> Result<(), JournalError> {
        let viewer = self.viewer(webhook.uid);
        let (body, id) = match delivery.event {
            None => (test(webhook), format!("test-{}", delivery.id)),
            Some(id) => {
                let record = self.reader()?.between(id.saturating_sub(1), id, &[])?.pop();
                let Some(record) = record else {
                    return self.gone(&delivery, "the log does not keep the event any more");
                };
                (document(&Record::from(record), viewer), id.to_string())
            }
        };
        let Ok(target) = Target::parse(&webhook.url) else {
            return self.gone(&delivery, "its URL is not one that this version takes");
        };
        let time = Timestamp::now().as_second();
        let headers = [
            ("portwatch-webhook", webhook.id.to_string()),
            ("portwatch-event-id", id),
            ("portwatch-event-type", delivery.kind.clone()),
            ("portwatch-attempt", delivery.tries.saturating_add(1).to_string()),
            ("portwatch-timestamp", time.to_string()),
            ("portwatch-signature", webhook::sign(&webhook.secret.0, time, &body)),
        ];
        let allowed = self.policy.of(webhook.uid);
        let task = self.flying.spawn(async move {
            let outcome = deliver::post(&target, &allowed, &headers, Bytes::from(body)).await;
            (delivery, outcome)
        });
        self.busy.insert(task.id(), (webhook.id, webhook.uid));
        Ok(())
    }

    /// It cannot be sent, now or later.
    fn gone(&mut self, delivery: &Delivery, problem: &str) -> Result<(), JournalError> {
        let settled =
            Settled { status: None, latency_ms: 0, problem: Some(problem.to_owned()), is_final: true };
        self.posted.given_up.one();
        let now = Timestamp::now();
        let told = self.store.settle(delivery, &settled, (now, now))?;
        self.announce(told);
        Ok(())
    }

    fn landed(&mut self, delivery: &Delivery, outcome: &Outcome) -> Result<(), JournalError> {
        let now = Timestamp::now();
        let failures = self.store.get(delivery.webhook)?.map_or(0, |webhook| webhook.failures);
        let pause = webhook::pause(failures.saturating_add(1), random());
        let settled = Settled {
            status: outcome.status,
            latency_ms: u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
            problem: outcome.problem.clone(),
            is_final: false,
        };
        let told = self.store.settle(delivery, &settled, (now, now.checked_add(pause).unwrap_or(now)))?;
        if outcome.problem.is_none() {
            self.posted.delivered.one();
        } else {
            self.posted.failed.one();
        }
        if !told.is_empty() {
            self.posted.given_up.one();
        }
        self.announce(told);
        if delivery.event.is_none() {
            // Somebody waits for it.
            self.bureau.stir();
        }
        Ok(())
    }

    fn announce(&self, told: Told) {
        if !told.is_empty() {
            let record = |(id, event)| Record { id: Some(id), event, process: None, other: None };
            self.pipeline.send(Command::Announce(told.into_iter().map(record).collect()));
        }
    }
}

/// What is sent: the document that `watch --json` would show to the webhook's user.
fn document(record: &Record, viewer: Viewer) -> Vec<u8> {
    escaped::text(&convert::event(record, viewer)).unwrap_or_default().into_bytes()
}

fn test(webhook: &Webhook) -> Vec<u8> {
    let document = serde_json::json!({
        "id": null,
        "time": Timestamp::now(),
        "type": "test",
        "evidence": "kernel",
        "message": format!("a test of webhook {}", webhook.id),
        "count": 1,
    });
    document.to_string().into_bytes()
}

/// Not for secrets: keys of hash tables are random for each.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
