//! A source that says what a test tells it to say.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use super::{Counters, Progress, Refresh, Source, SourceError, SourceKind, Wake};
use crate::model::{Coverage, Degradation, Fact, Observation};

/// One answer of [`FakeSource::poll`](Source::poll).
#[derive(Debug)]
pub enum Step {
    /// It delivers these.
    See(Vec<Observation>),
    /// It fails.
    Fail(SourceError),
}

#[derive(Debug, Default)]
struct Script {
    steps: VecDeque<Step>,
    ended: bool,
    answers: VecDeque<Result<Vec<Observation>, SourceError>>,
    hangs: Option<mpsc::Receiver<()>>,
    refreshes: Vec<Refresh>,
    counters: Counters,
    degradations: Vec<Degradation>,
}

type Shared = Arc<Mutex<Script>>;

fn lock(script: &Shared) -> MutexGuard<'_, Script> {
    // A test that panicked while it held the lock leaves a script that is whole.
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The source; goes to the daemon under test.
#[derive(Debug)]
pub struct FakeSource {
    script: Shared,
    wake: Wake,
}

/// Its other end; stays with the test. When it is dropped, the source ends after what was said.
#[derive(Debug)]
pub struct FakeFeed {
    script: Shared,
    wake: Wake,
}

impl FakeSource {
    /// A source that waits for its feed, or for `wake`.
    pub fn new(wake: Wake) -> (Self, FakeFeed) {
        let script = Shared::default();
        (Self { script: script.clone(), wake: wake.clone() }, FakeFeed { script, wake })
    }

    /// A source that says `batches`, one a call, and then ends.
    pub fn scripted(batches: impl IntoIterator<Item = Vec<Observation>>) -> io::Result<Self> {
        let (source, feed) = Self::new(Wake::new()?);
        lock(&feed.script).steps.extend(batches.into_iter().map(Step::See));
        Ok(source)
    }
}

impl FakeFeed {
    /// Lets the source say this next.
    pub fn push(&self, step: Step) {
        lock(&self.script).steps.push_back(step);
        self.wake.wake();
    }

    /// Lets the source see this next.
    pub fn see(&self, observations: impl IntoIterator<Item = Observation>) {
        self.push(Step::See(observations.into_iter().collect()));
    }

    /// What the next refresh finds. Without an answer it finds nothing.
    pub fn answer(&self, answer: Result<Vec<Observation>, SourceError>) {
        lock(&self.script).answers.push_back(answer);
    }

    /// The next refresh does not come back until this says something, or its other end is gone.
    pub fn hang_until(&self, let_go: mpsc::Receiver<()>) {
        lock(&self.script).hangs = Some(let_go);
    }

    /// The refreshes asked for so far, oldest first.
    pub fn refreshes(&self) -> Vec<Refresh> {
        lock(&self.script).refreshes.clone()
    }

    /// Sets what the source says it took in.
    pub fn set_counters(&self, counters: Counters) {
        lock(&self.script).counters = counters;
    }

    /// Sets what the source says does not work.
    pub fn set_degradations(&self, degradations: Vec<Degradation>) {
        lock(&self.script).degradations = degradations;
    }
}

impl Drop for FakeFeed {
    fn drop(&mut self) {
        lock(&self.script).ended = true;
        self.wake.wake();
    }
}

impl FakeSource {
    /// What the script says now; `None` when it has nothing to say yet.
    fn next(&self, out: &mut Vec<Observation>) -> Option<Result<Progress, SourceError>> {
        let mut script = lock(&self.script);
        match script.steps.pop_front() {
            Some(Step::See(observations)) => {
                out.extend(observations);
                Some(Ok(Progress::Open))
            }
            Some(Step::Fail(error)) => Some(Err(error)),
            None if script.ended => Some(Ok(Progress::Ended)),
            None => None,
        }
    }
}

impl Source for FakeSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Fake
    }

    fn coverage(&self) -> Vec<Coverage> {
        Fact::ALL.into_iter().map(|fact| Coverage { fact, hook: Some("script".to_owned()) }).collect()
    }

    fn degradations(&self) -> Vec<Degradation> {
        lock(&self.script).degradations.clone()
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<Observation>) -> Result<Progress, SourceError> {
        if let Some(said) = self.next(out) {
            return said;
        }
        self.wake.wait(timeout).map_err(|error| SourceError::Read { what: "script".to_owned(), error })?;
        self.wake.clear();
        self.next(out).unwrap_or(Ok(Progress::Open))
    }

    fn refresh(&mut self, scope: &Refresh, out: &mut Vec<Observation>) -> Result<(), SourceError> {
        let hangs = lock(&self.script).hangs.take();
        if let Some(let_go) = hangs {
            let _ = let_go.recv();
        }
        let mut script = lock(&self.script);
        script.refreshes.push(scope.clone());
        if let Some(answer) = script.answers.pop_front() {
            out.extend(answer?);
        }
        Ok(())
    }

    fn counters(&self) -> Counters {
        lock(&self.script).counters
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::*;
    use crate::model::{Evidence, ProcessId, Seen, Timestamp};

    const LONG: Duration = Duration::from_secs(30);

    fn exited(pid: u32) -> Observation {
        let process = ProcessId { pid, start_ticks: 1 };
        let exited = crate::model::Exited { process, status: None, sender: None };
        Observation::new(Timestamp::UNIX_EPOCH, Evidence::Kernel, Seen::Exited(exited))
    }

    #[test]
    fn a_script_is_said_in_order_and_then_ends() {
        let mut source = FakeSource::scripted([vec![exited(1)], vec![exited(2), exited(3)]]).unwrap();
        let mut out = Vec::new();
        assert_eq!(source.poll(LONG, &mut out).unwrap(), Progress::Open);
        assert_eq!(out, [exited(1)]);
        assert_eq!(source.poll(LONG, &mut out).unwrap(), Progress::Open);
        assert_eq!(out, [exited(1), exited(2), exited(3)]);
        assert_eq!(source.poll(LONG, &mut out).unwrap(), Progress::Ended);
    }

    #[test]
    fn a_waiting_poll_is_ended_by_the_feed() {
        let (mut source, feed) = FakeSource::new(Wake::new().unwrap());
        let begun = Instant::now();
        let waiting = thread::spawn(move || {
            let mut out = Vec::new();
            while out.is_empty() {
                source.poll(LONG, &mut out).unwrap();
            }
            (source, out)
        });
        feed.see([exited(7)]);
        let (mut source, out) = waiting.join().unwrap();
        assert_eq!(out, [exited(7)]);
        drop(feed);
        assert_eq!(source.poll(LONG, &mut Vec::new()).unwrap(), Progress::Ended);
        assert!(begun.elapsed() < LONG);
    }

    #[test]
    fn refreshes_are_noted_and_answered() {
        let (mut source, feed) = FakeSource::new(Wake::new().unwrap());
        feed.answer(Ok(vec![exited(1)]));
        let mut out = Vec::new();
        source.refresh(&Refresh::All, &mut out).unwrap();
        source.refresh(&Refresh::Ports(Vec::new()), &mut out).unwrap();
        assert_eq!(out, [exited(1)]);
        assert_eq!(feed.refreshes(), [Refresh::All, Refresh::Ports(Vec::new())]);
    }
}
