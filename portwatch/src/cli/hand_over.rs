//! A lock that `with-lock` has taken becomes that of its program.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use super::{back, failure::Failure, lock::Office, session::Session, settings::Settings};
use crate::wire::coordinate::HandOverRequest;

/// The first try may take so long: signals to the program, and its end, wait meanwhile.
const FIRST: Duration = Duration::from_secs(1);
/// What is tried beside the program.
const NEXT: Duration = Duration::from_secs(3);

/// The order that gives the lock to the program.
pub(super) struct HandOver {
    pid: u32,
    /// Tried beside the program, where the first try came to nothing.
    beside: Option<Receiver<()>>,
    has_ended: Arc<AtomicBool>,
}

impl HandOver {
    /// Gives it. Where nobody answers, it is given again, beside the program, to whoever keeps the lock by then; who waits is warned
    /// where that cannot be.
    pub(super) fn begin(request: HandOverRequest, office: Office, session: &mut Session<'_>) -> Self {
        let pid = request.pid;
        let has_ended = Arc::new(AtomicBool::new(false));
        let beside = session.order_within(&request, FIRST).is_err().then(|| {
            let (done, beside) = mpsc::channel();
            let (settings, flag) = (session.settings.clone(), Arc::clone(&has_ended));
            thread::spawn(move || {
                if again(&request, &office, settings, &flag) {
                    let _ = done.send(());
                }
            });
            beside
        });
        Self { pid, beside, has_ended }
    }

    /// The program has ended. Its pid, where the lock was its.
    pub(super) fn end(self) -> Option<u32> {
        self.has_ended.store(true, Ordering::Relaxed);
        self.beside.is_none_or(|beside| beside.try_recv().is_ok()).then_some(self.pid)
    }
}

/// Whether it came about before the program ended.
fn again(request: &HandOverRequest, office: &Office, settings: Settings, has_ended: &AtomicBool) -> bool {
    let mut out = io::sink();
    let mut session = Session::new(settings, &mut out);
    let what = format!("the daemon ended before the program had {}", request.name);
    let gone = back::Gone {
        what: &what,
        remedy: "start it again: portwatch start",
        until: Instant::now() + back::BACK,
    };
    let mut is_given = false;
    let tried = back::wait(&gone, &mut session, &mut |session, _| {
        // A program that has ended has no need of it.
        if has_ended.load(Ordering::Relaxed) {
            return Ok(true);
        }
        is_given = office.is_asked(NEXT, session)? && session.order_within(request, NEXT).map(|_| true)?;
        Ok(is_given)
    });
    if let Err(error) = tried
        && !has_ended.load(Ordering::Relaxed)
    {
        session.warn(&warning(&request.name, &error));
    }
    is_given
}

fn warning(name: &str, error: &Failure) -> String {
    format!(
        "{name} could not be given to the program ({error}): it is held by this `portwatch with-lock`, and ends with it, \
         also where the program goes on"
    )
}
