//! Whether a start makes headway. On a machine that has much else to do it takes long, and that is no failure: what is waited for
//! has hung only when it did nothing at all for some time, though it could have.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The whole that is waited where nothing tells of headway (other systems than Linux).
const UNSEEN: Duration = Duration::from_mins(1);

/// What is waited for, as it was seen last.
#[derive(Debug)]
pub(super) struct Headway {
    /// Its `stat` in `/proc`: of a thread, or of a whole process.
    stat: Option<PathBuf>,
    /// The processor time that it had used, in ticks of 1/100 s.
    used: Option<u64>,
    /// When it was seen to do something, or was looked at first.
    since: Instant,
    next: Instant,
    patience: Duration,
}

impl Headway {
    /// It may do nothing for so long.
    pub(super) const fn of(stat: Option<PathBuf>, patience: Duration, now: Instant) -> Self {
        Self { stat, used: None, since: now, next: now, patience }
    }

    /// It has done nothing for too long. Waiting for a processor is not doing nothing.
    pub(super) fn has_stalled(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + LOOK;
        let found = self.stat.as_ref().and_then(|stat| fs::read_to_string(stat).ok());
        let Some((state, used)) = found.as_deref().and_then(fields) else {
            return now.saturating_duration_since(self.since) >= self.patience.max(UNSEEN);
        };
        if state == "R" || self.used.replace(used) != Some(used) {
            self.since = now;
        }
        now.saturating_duration_since(self.since) >= self.patience
    }
}

/// Where the calling thread is told of, where it is.
#[cfg_attr(target_os = "linux", expect(clippy::unnecessary_wraps, reason = "other systems tell nothing"))]
pub(super) fn own_thread() -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    return Some(format!("/proc/self/task/{}/stat", nix::unistd::gettid()).into());
    #[cfg(not(target_os = "linux"))]
    None
}

/// Where a process is told of, where it is.
pub(super) fn process(pid: u32) -> Option<PathBuf> {
    cfg!(target_os = "linux").then(|| format!("/proc/{pid}/stat").into())
}

/// State, and user and system time together (proc_pid_stat(5): fields 3, 14 and 15, counted from 1; the name before them may hold
/// anything).
fn fields(line: &str) -> Option<(&str, u64)> {
    let mut fields = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let user: u64 = fields.nth(10)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((state, user + system))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn line(state: &str, user: u64, system: u64) -> String {
        format!("4711 (a) R 1 x) {state} 1 2 3 0 -1 4194304 5 6 7 8 {user} {system} 9 10 20 0 1 0 1234")
    }

    #[test]
    fn who_waits_for_a_processor_or_gets_a_little_of_one_is_waited_for_and_who_does_nothing_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let stat = folder.path().join("stat");
        let mut now = Instant::now();
        let mut headway = Headway::of(Some(stat.clone()), 15 * SECOND, now);
        // Ten minutes without a processor: it is ready to run all the time.
        for _ in 0..600 {
            fs::write(&stat, line("R", 3, 4)).unwrap();
            assert!(!headway.has_stalled(now));
            now += SECOND;
        }
        // Ten minutes in which it sleeps whenever it is looked at, and has got a hundredth of a second now and then.
        for used in 0..600 {
            fs::write(&stat, line("D", 3, 4 + used / 10)).unwrap();
            assert!(!headway.has_stalled(now), "{used}");
            now += SECOND;
        }
        // It hangs.
        let hangs = now;
        while !headway.has_stalled(now) {
            now += SECOND;
            assert!(now < hangs + 20 * SECOND);
        }
        assert!(now >= hangs + 5 * SECOND);
    }

    #[test]
    fn where_nothing_tells_of_it_the_whole_is_a_minute() {
        let now = Instant::now();
        let mut headway = Headway::of(None, 15 * SECOND, now);
        assert!(!headway.has_stalled(now + 59 * SECOND));
        assert!(headway.has_stalled(now + 60 * SECOND));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_thread_is_seen_to_work_and_one_that_sleeps_is_not() {
        let now = Instant::now();
        let mut own = Headway::of(own_thread(), 15 * SECOND, now);
        assert!(!own.has_stalled(now + 100 * SECOND), "it runs: it looks at itself");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            tell.send(own_thread()).unwrap();
            let _ = stopped.recv();
        });
        let stat = told.recv().unwrap();
        let sleeps = || fields(&fs::read_to_string(stat.as_ref().unwrap()).unwrap()).unwrap().0 == "S";
        let deadline = now + 20 * SECOND;
        while !sleeps() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        let mut sleeping = Headway::of(stat.clone(), 15 * SECOND, now);
        assert!(!sleeping.has_stalled(now));
        assert!(sleeping.has_stalled(now + 15 * SECOND));
        drop(stop);
        sleeper.join().unwrap();
    }
}
