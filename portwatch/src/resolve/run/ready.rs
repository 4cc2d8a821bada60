//! Is the program ready: it listens, or answers as it should, in time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use super::{family::Served, life::News};
use crate::{
    health::{self, Check, Health, Report},
    resolve::{
        Place, ResolveError,
        healthy::{ask, in_words},
    },
    source::Wake,
};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two words about it.
const WORDS: Duration = Duration::from_millis(250);

/// When a program is ready, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// It has to answer so; without, it is enough that it listens.
    pub check: Option<Check>,
    /// How long it may take.
    pub timeout: Duration,
}

/// How it stands.
#[derive(Debug)]
pub(super) struct Readiness {
    check: Option<Check>,
    timeout: Duration,
    begun: Instant,
    serving: Option<Served>,
    asker: Option<Asker>,
    answer: Option<String>,
    told: Instant,
    done: bool,
    wake: Wake,
}

impl Readiness {
    pub(super) fn new(ready: &Ready, begun: Instant) -> Result<Self, ResolveError> {
        let operation = "make what wakes this process".to_owned();
        Ok(Self {
            check: ready.check.clone(),
            timeout: ready.timeout,
            begun,
            serving: None,
            asker: None,
            answer: None,
            told: begun,
            done: false,
            wake: Wake::new().map_err(|error| ResolveError::Io { operation, error })?,
        })
    }

    /// Until when something is expected.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.done).then(|| self.begun + self.timeout)
    }

    pub(super) const fn wake(&self) -> &Wake {
        &self.wake
    }

    /// It is served there now, or nowhere.
    pub(super) fn serve(&mut self, serving: Option<Served>) {
        if self.done || serving == self.serving {
            return;
        }
        self.serving = serving;
        self.asker = match (serving, &self.check) {
            (Some(served), Some(check)) => Some(Asker::start(served, check.clone(), self.wake.clone())),
            _ => None,
        };
    }

    /// What there is to say.
    pub(super) fn stands(&mut self, place: &Place) -> Option<News> {
        if self.done {
            return None;
        }
        self.wake.clear();
        let reports = self.asker.as_ref().map(|asker| asker.answers.try_iter().collect::<Vec<_>>());
        let mut well = self.serving.is_some() && self.check.is_none();
        for report in reports.into_iter().flatten() {
            well |= report.health == Health::Healthy;
            self.answer = Some(in_words(&report));
        }
        let port = self.serving.map_or(place.port, |served| served.port);
        let words = match (&self.answer, self.serving) {
            (_, None) => format!("nothing of it listens on {port}"),
            (None, Some(_)) => format!("it listens on {port}"),
            (Some(answer), Some(_)) => format!("{port}: {answer}"),
        };
        if well {
            self.done = true;
            self.asker = None;
            return Some(News::Ready(words));
        }
        if self.begun.elapsed() >= self.timeout {
            self.done = true;
            self.asker = None;
            return Some(News::NotReady(self.timeout, words));
        }
        if self.told.elapsed() >= WORDS {
            self.told = Instant::now();
            return Some(News::Waiting(words));
        }
        None
    }
}

/// Asks again and again until it is well, in a thread of its own: signals are not kept waiting.
#[derive(Debug)]
struct Asker {
    answers: Receiver<Report>,
    stop: Arc<AtomicBool>,
}

impl Asker {
    fn start(served: Served, check: Check, wake: Wake) -> Self {
        let (sender, answers) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let at = health::target(served.address, served.port.get(), served.v6_only);
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok(report) = ask(at, &check) else { break };
                let well = report.health == Health::Healthy;
                if sender.send(report).is_err() {
                    break;
                }
                wake.wake();
                if well {
                    break;
                }
                thread::sleep(PAUSE);
            }
        });
        Self { answers, stop }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
