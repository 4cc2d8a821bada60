//! The line of a terminal that says what is waited for while something else blocks.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::render;

/// What is done by then needs no progress.
const FIRST: Duration = Duration::from_millis(300);
/// Between two looks at the words.
const PAUSE: Duration = Duration::from_millis(200);

/// A line on stderr, which is a terminal; gone with this value.
#[derive(Debug)]
pub(super) struct Progress {
    words: Arc<Mutex<String>>,
    end: Option<Sender<()>>,
    writer: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows nothing until something takes long.
    pub(super) fn start(look: render::Look) -> Self {
        let words = Arc::new(Mutex::new(String::new()));
        let (end, ended) = mpsc::channel();
        let says = Arc::clone(&words);
        let writer = thread::spawn(move || {
            let (begun, mut pause, mut shown) = (Instant::now(), FIRST, false);
            // Nothing is sent: the other side goes away.
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                pause = PAUSE;
                let words = says.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if !words.is_empty() {
                    shown = true;
                    let line = format!("waiting {} s: {words}", begun.elapsed().as_secs());
                    let _ = render::progress(&mut io::stderr().lock(), &line, &look);
                }
            }
            if shown {
                let _ = render::progress(&mut io::stderr().lock(), "", &look);
            }
        });
        Self { words, end: Some(end), writer: Some(writer) }
    }

    /// What is waited for now.
    pub(super) fn says(&self, words: &str) {
        words.clone_into(&mut self.words.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end = None;
        // It ends at once, and what comes next is written after it.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}
