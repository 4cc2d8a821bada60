//! What every command has: settings, the writer, how the answer is to look, and the way to answers.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;
use terminal_size::{Width, terminal_size_of};

use super::{args::ColorWhen, backend, failure::Failure, settings::Settings, zone};
use crate::{
    access::{Access, AccessError},
    render,
    render::Look,
};

pub(super) struct Session<'a> {
    pub(super) settings: Settings,
    pub(super) out: &'a mut dyn Write,
    look: Look,
    access: Option<Box<dyn Access>>,
}

impl<'a> Session<'a> {
    pub(super) fn new(settings: Settings, out: &'a mut dyn Write) -> Self {
        let terminal = io::stdout().is_terminal();
        let look = Look {
            width: width(terminal, terminal_size_of(io::stdout())),
            color: color(settings.color.value, terminal),
            terminal,
            verbose: settings.verbose.value,
            now: Timestamp::now(),
            zone: zone::local(),
            home: std::env::var(if cfg!(windows) { "USERPROFILE" } else { "HOME" }).ok(),
        };
        Self { settings, out, look, access: None }
    }

    /// A session for tests: answers from `access`, at a look of the test's choice.
    #[cfg(test)]
    pub(super) fn with(
        settings: Settings,
        out: &'a mut dyn Write,
        look: Look,
        access: Box<dyn Access>,
    ) -> Self {
        Self { settings, out, look, access: Some(access) }
    }

    /// The way to answers, opened at first use.
    pub(super) fn access(&mut self) -> Result<&dyn Access, Failure> {
        let access = match self.access.take() {
            Some(access) => access,
            None => backend::open(&self.settings)?,
        };
        Ok(&**self.access.insert(access))
    }

    /// Asks or orders something of coordination.
    pub(super) fn order<A: crate::wire::coordinate::Ask>(&mut self, ask: &A) -> Result<A::Answer, Failure> {
        Ok(crate::access::order(self.access()?, ask, None)?)
    }

    /// The same of a daemon that may take so long to answer.
    pub(super) fn order_within<A: crate::wire::coordinate::Ask>(
        &mut self,
        ask: &A,
        within: Duration,
    ) -> Result<A::Answer, Failure> {
        Ok(crate::access::order(self.access()?, ask, Some(within))?)
    }

    /// The way to answers and the writer, both at once.
    pub(super) fn parts(&mut self) -> Result<(&dyn Access, &mut dyn Write), Failure> {
        self.access()?;
        match &self.access {
            Some(access) => Ok((access.as_ref(), &mut *self.out)),
            None => Err(AccessError::Internal("no access after it was opened".to_owned()).into()),
        }
    }

    /// Looks for the way to answers anew: a daemon may have come or gone.
    pub(super) fn reopen(&mut self) {
        self.access = None;
    }

    /// A sentence on stderr beside the answer; a stderr that is closed changes nothing.
    #[expect(clippy::unused_self, reason = "what may be said belongs to the session")]
    pub(super) fn warn(&self, words: &str) {
        tell(words);
    }

    /// How it is to look.
    pub(super) fn look(&self) -> Look {
        self.look.clone()
    }

    /// Now, in the reader's zone.
    pub(super) fn now(&self) -> Zoned {
        self.look.now.to_zoned(self.look.zone.clone())
    }

    /// `answer` as JSON where that was asked for, else as `text` writes it.
    pub(super) fn answer<T: Serialize>(
        &mut self,
        answer: &T,
        text: impl FnOnce(&mut dyn Write, &T, &Look) -> io::Result<()>,
    ) -> Result<(), Failure> {
        if self.settings.json.value {
            render::json(self.out, answer)?;
        } else {
            text(self.out, answer, &self.look)?;
        }
        Ok(())
    }
}

/// A sentence on stderr.
pub(super) fn tell(words: &str) {
    let mut stderr = io::stderr().lock();
    drop(render::error(&mut stderr, words, &stderr_look()));
}

/// The same for whoever sits before it and waits; what only reads it later has no need of it.
pub(super) fn tell_terminal(words: &str) {
    if io::stderr().is_terminal() {
        tell(words);
    }
}

/// Columns of the terminal now; `None` where stdout is none, or does not say.
pub(super) fn columns() -> Option<usize> {
    let size = terminal_size_of(io::stdout())?;
    width(true, Some(size))
}

fn width(terminal: bool, size: Option<(Width, terminal_size::Height)>) -> Option<usize> {
    if terminal { Some(size.map_or(80, |(Width(columns), _)| usize::from(columns).max(20))) } else { None }
}

fn color(when: ColorWhen, terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => terminal && !set("NO_COLOR") && !dumb,
    }
}

/// How messages on stderr look.
pub(super) fn stderr_look() -> Look {
    let terminal = io::stderr().is_terminal();
    Look {
        width: width(terminal, terminal_size_of(io::stderr())),
        color: color(ColorWhen::Auto, terminal),
        terminal,
        verbose: false,
        now: Timestamp::UNIX_EPOCH,
        zone: TimeZone::UTC,
        home: None,
    }
}

/// How an answer looks that is shown on stderr.
pub(super) fn stderr_look_now(session: &Session<'_>) -> Look {
    let look = stderr_look();
    Look { width: look.width, color: look.color, terminal: look.terminal, ..session.look() }
}
