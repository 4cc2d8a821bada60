//! Claimed programs are asked whether they are well, where their projects want that.
//!
//! One thread, which is started with the first program that is to be asked and sleeps until the next is due; where
//! nothing is configured there is none, and nothing wakes. What it asks is the address on which a claim's own program
//! listens, and nothing else: no name is resolved, no redirection followed.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::Changed;
use crate::health::{self, Check, Report};

/// A program is asked so late for the first time: one that has just begun to listen may not be ready.
const SOON: Duration = Duration::from_secs(1);
/// So many programs are asked at once; the others follow.
const AT_ONCE: usize = 32;
/// A program that takes longer is not waited for, whatever its project says.
const LONGEST: Duration = Duration::from_secs(30);
/// Programs of one user that are asked; more are left out.
const OF_ONE_USER: usize = 64;

/// A program to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where it listens.
    pub(super) at: SocketAddr,
    /// What is asked.
    pub(super) check: Check,
    /// How often.
    pub(super) every: Duration,
    /// Whose it is.
    pub(super) owner: u32,
}

/// What came back, by claim.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Checked {
    pub(super) claim: i64,
    pub(super) plan: Plan,
    pub(super) report: Report,
}

/// The programs that are asked.
#[derive(Debug)]
pub(super) struct Checks {
    shared: Arc<Shared>,
    changed: Arc<Changed>,
    running: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    altered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    plans: HashMap<i64, (Plan, Instant)>,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checks {
    /// None yet. What comes back is put into `changed`.
    pub(super) fn new(changed: Arc<Changed>) -> Self {
        Self { shared: Arc::default(), changed, running: false }
    }

    /// Whether the program of a claim is asked.
    pub(super) fn has(&self, claim: i64) -> bool {
        self.shared.lock().plans.contains_key(&claim)
    }

    /// Asks the program of a claim from now on, or no more.
    pub(super) fn set(&mut self, claim: i64, plan: Option<Plan>) {
        let mut state = self.shared.lock();
        let Some(mut plan) = plan else {
            state.plans.remove(&claim);
            return;
        };
        plan.check.timeout = plan.check.timeout.min(LONGEST);
        match state.plans.get_mut(&claim) {
            Some((known, _)) if *known == plan => return,
            Some((known, due)) => {
                *due = Instant::now() + plan.every.min(SOON);
                *known = plan;
            }
            None => {
                if state.plans.values().filter(|(known, _)| known.owner == plan.owner).count() >= OF_ONE_USER
                {
                    tracing::debug!(claim, owner = plan.owner, "too many programs of one user to ask");
                    return;
                }
                let due = Instant::now() + plan.every.min(SOON);
                state.plans.insert(claim, (plan, due));
            }
        }
        drop(state);
        self.shared.altered.notify_one();
        if !self.running {
            let (shared, changed) = (Arc::clone(&self.shared), Arc::clone(&self.changed));
            let begun = thread::Builder::new()
                .name("health".to_owned())
                .stack_size(512 * 1024)
                .spawn(move || run(&shared, &changed));
            match begun {
                Ok(_) => self.running = true,
                Err(error) => tracing::warn!(%error, "programs are not asked: no thread could be started"),
            }
        }
    }

    /// Forgets claims that are not among these.
    pub(super) fn retain(&mut self, is_there: impl Fn(i64) -> bool) {
        self.shared.lock().plans.retain(|claim, _| is_there(*claim));
    }
}

impl Drop for Checks {
    /// A program that is being asked is not waited for.
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.altered.notify_one();
    }
}

fn run(shared: &Shared, changed: &Changed) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::warn!(%error, "programs are not asked: no runtime could be made");
            return;
        }
    };
    while let Some(due) = next(shared) {
        let asked = due.iter().map(|(_, plan)| health::probe(plan.at, &plan.check));
        let reports = runtime.block_on(futures_util::future::join_all(asked));
        let checked = due.into_iter().zip(reports);
        changed.add_checked(checked.map(|((claim, plan), report)| Checked { claim, plan, report }));
    }
}

/// Waits for programs that are due; `None` when it is over.
fn next(shared: &Shared) -> Option<Vec<(i64, Plan)>> {
    let mut state = shared.lock();
    loop {
        if state.stop {
            return None;
        }
        let now = Instant::now();
        let mut due: Vec<(i64, Plan)> = Vec::new();
        for (claim, (plan, at)) in &mut state.plans {
            if *at <= now && due.len() < AT_ONCE {
                *at = now + plan.every;
                due.push((*claim, plan.clone()));
            }
        }
        if !due.is_empty() {
            return Some(due);
        }
        let soonest = state.plans.values().map(|(_, at)| at.saturating_duration_since(now)).min();
        state = match soonest {
            Some(wait) => shared.altered.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            None => shared.altered.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, sync::Arc, time::Duration};

    use super::{super::Changed, Checks, OF_ONE_USER, Plan};
    use crate::health::{Check, Health};

    fn plan(at: std::net::SocketAddr) -> Plan {
        let check = Check { tcp: true, ..Check::default() };
        Plan { at, check, every: Duration::from_millis(20), owner: 1000 }
    }

    #[test]
    fn a_program_is_asked_again_and_again_until_it_is_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let changed = Arc::new(Changed::default());
        let mut checks = Checks::new(Arc::clone(&changed));
        assert!(!checks.running, "no thread for nothing");
        checks.set(7, Some(plan(at)));
        let mut results = Vec::new();
        while results.len() < 3 {
            let taken = changed.take(Duration::from_secs(10)).unwrap();
            assert!(!taken.checked.is_empty(), "nothing came back");
            results.extend(taken.checked);
        }
        assert!(results.iter().all(|r| r.claim == 7 && r.report.health == Health::Healthy));
        drop(listener);
        let refused = || changed.take(Duration::from_secs(10)).unwrap().checked;
        while refused().iter().any(|r| r.report.health != Health::Refused) {}
        checks.set(7, None);
        assert!(!checks.has(7));
    }

    #[test]
    fn one_user_cannot_have_everything_asked() {
        let mut checks = Checks::new(Arc::default());
        let at = "127.0.0.1:1".parse().unwrap();
        let never = Plan { every: Duration::from_hours(1), ..plan(at) };
        for claim in 0..1000 {
            checks.set(claim, Some(never.clone()));
        }
        let other = Plan { owner: 1001, ..never };
        checks.set(1000, Some(other));
        assert_eq!(checks.shared.lock().plans.len(), OF_ONE_USER + 1);
    }
}
