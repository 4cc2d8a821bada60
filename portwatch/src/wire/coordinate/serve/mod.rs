//! From documents to the bureau and back.

mod agent;
mod channel;
mod lock;
mod session;
mod webhook;

use std::{thread, time::Duration};

use serde_json::Value;

use super::{Ask, Place, Visit, every};
use crate::{
    model::Timestamp,
    query::{
        claims::OfficeError,
        coordinate::{Asker, Bind, Bureau, Whose},
    },
};

/// An [`Ask`] with the way to its answer.
pub trait Serve: Ask {
    /// The answer as things are.
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Self::Answer, OfficeError>;

    /// How long an answer that says "not yet" may be waited over.
    fn wait(&self) -> Duration {
        Duration::ZERO
    }

    /// The answer says "not yet".
    fn is_pending(_: &Self::Answer) -> bool {
        false
    }

    /// What to ask after such an answer.
    #[must_use]
    fn again(self, _: &Self::Answer) -> Self
    where
        Self: Sized,
    {
        self
    }
}

/// Longest wait of one request.
pub const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Serves `order` as the type at `place`, in this process. Waits by looking again: no daemon tells of changes.
pub fn dispatch(
    bureau: &Bureau,
    asker: &Asker,
    place: &Place,
    order: Value,
) -> Option<Result<Value, OfficeError>> {
    let mut one = One { bureau, asker, place, order: Some(order), answer: None };
    every(&mut one);
    one.answer
}

/// An empty name is none.
fn given(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

fn whose(agent: Option<&String>, session: Option<&String>, bind: Bind) -> Whose {
    Whose { agent: given(agent), session: given(session), bind }
}

/// Rows of an answer when no limit is given, and the most.
const ROWS: u32 = 1000;
const MOST_ROWS: u32 = 10_000;

/// How many rows an answer may have. None at all would look as if there were none: 0 is as many as there may be.
fn rows(limit: Option<u32>) -> u32 {
    match limit {
        None => ROWS,
        Some(0) => MOST_ROWS,
        Some(limit) => limit.min(MOST_ROWS),
    }
}

/// The first rows, whether there are more, and how many there are in all.
fn cut<T>(mut all: Vec<T>, limit: Option<u32>) -> (Vec<T>, bool, u64) {
    let (count, most) = (all.len(), rows(limit) as usize);
    all.truncate(most);
    (all, count > most, u64::try_from(count).unwrap_or(u64::MAX))
}

struct One<'a> {
    bureau: &'a Bureau,
    asker: &'a Asker,
    place: &'a Place,
    order: Option<Value>,
    answer: Option<Result<Value, OfficeError>>,
}

impl Visit for One<'_> {
    fn visit<A: Serve>(&mut self) {
        if A::PLACE != *self.place {
            return;
        }
        let Some(order) = self.order.take() else { return };
        self.answer = Some(served::<A>(self.bureau, self.asker, order));
    }
}

fn served<A: Serve>(bureau: &Bureau, asker: &Asker, order: Value) -> Result<Value, OfficeError> {
    let bad = |error: serde_json::Error| OfficeError::Bad(error.to_string());
    let mut order: A = serde_json::from_value(order).map_err(bad)?;
    let until = Timestamp::now().checked_add(order.wait().min(LONGEST_WAIT)).unwrap_or(Timestamp::MAX);
    // Short at first: most locks are held for milliseconds.
    let mut pause = Duration::from_millis(2);
    loop {
        let answer = order.serve(bureau, asker)?;
        if !A::is_pending(&answer) || Timestamp::now() >= until {
            return serde_json::to_value(answer).map_err(bad);
        }
        order = order.again(&answer);
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}
