//! What a console sends. Every program of the console hears it, so nothing needs to be passed on.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use windows_sys::Win32::System::Console::SetConsoleCtrlHandler;

use crate::{platform::windows::done, resolve::ResolveError};

/// It came. The handler runs in a thread of its own, so it may lock.
static ASKED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Ctrl-C, Ctrl-Break, the closing of the console and the end of the session, which end the program and not this process:
/// it has the program's exit code to pass on.
#[derive(Debug)]
pub struct Signals(());

impl Signals {
    /// Takes them from here on.
    pub fn block() -> Result<Self, ResolveError> {
        // SAFETY: the handler lives as long as the program and touches nothing but what is made for threads.
        done(unsafe { SetConsoleCtrlHandler(Some(heard), 1) })
            .map_err(|error| ResolveError::Io { operation: "hear Ctrl-C".to_owned(), error })?;
        Ok(Self(()))
    }

    /// A console tells every program of it; nothing is kept back.
    pub const fn let_interrupt_through() {}

    /// One came.
    #[expect(clippy::unused_self, reason = "whoever asks has taken them")]
    pub(in crate::resolve::run) fn was_asked_to_end(&self) -> bool {
        *ASKED.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one while no program runs.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "other systems can fail")]
    pub(in crate::resolve::run) fn wait_for_end(&self, timeout: Duration) -> Result<bool, ResolveError> {
        let asked = ASKED.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = ASKED.1.wait_timeout_while(asked, timeout, |asked| !*asked);
        Ok(*waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

unsafe extern "system" fn heard(_: u32) -> i32 {
    *ASKED.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    ASKED.1.notify_all();
    // Handled: this process goes on until the program has ended. When the console closes, the system waits some seconds
    // for both and then ends them.
    1
}
