//! Turns of one user: so many of its questions are worked on at once, and the others of its own wait behind them. What is behind a
//! question, a database and a table, serves everybody; who asks a lot waits for itself. The turn of a question lasts until its
//! answer has been read, so that whoever asks and does not read has no more than so many answers in the daemon's memory.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{body::Body, response::Response};
use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ApiError, Crowd};

/// So many questions of one user other than root are worked on at once.
pub(super) const AT_ONCE: usize = 8;

/// Bytes that the processes in one answer may take: root's, and the most and the least for anybody else.
const ROOM_OF_ROOT: usize = 16 << 20;
const ROOM: usize = 8 << 20;
const LEAST_ROOM: usize = 512 << 10;
/// Where answers to others than root take so much, the next ones get [`LEAST_ROOM`]: many users who do not read have many answers.
const FULL: usize = AT_ONCE * ROOM;
/// An answer of no more is in the socket's buffer at once (net.core.wmem_default is 208 kB), or nearly.
const SMALL: u64 = 64 << 10;
/// A large one is handed over in such pieces, so that it is known when the last was taken.
const PIECE: usize = 32 << 10;

/// Bytes of answers to others than root, and of the room that is kept for those that are made.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// What one user has at the daemon.
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    /// Its turns; `None` for whoever waits for nobody.
    turns: Option<Arc<Semaphore>>,
    /// Why this connection is for what is answered at once, where it is.
    brief: Option<Crowd>,
}

impl Own {
    /// The turns of a user.
    pub(super) fn of(uid: u32) -> Self {
        // Root is never kept waiting: who keeps the machine must be able to ask.
        Self { turns: (uid != 0).then(|| Arc::new(Semaphore::new(AT_ONCE))), brief: None }
    }

    /// Nothing of it is being worked on. What was asked goes on when its connection is gone.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.as_ref().is_none_or(|turns| turns.available_permits() == AT_ONCE)
    }

    /// The same on a connection that is, or is not, for what is answered at once.
    pub(super) fn briefly(&self, brief: Option<Crowd>) -> Self {
        Self { brief, ..self.clone() }
    }
}

tokio::task_local! {
    static OWN: Own;
}

/// What is asked within takes the turns of this user.
pub(super) async fn within<T>(own: Own, asked: impl Future<Output = T>) -> T {
    OWN.scope(own, asked).await
}

/// Whose turns are taken here.
pub(super) fn own() -> Own {
    OWN.try_with(Clone::clone).unwrap_or_default()
}

/// A turn. It is over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    /// What of [`TAKEN`] is for it.
    taken: usize,
}

/// Waits for a turn.
pub(super) async fn take() -> Turn {
    let permit = match own().turns {
        Some(turns) => turns.acquire_owned().await.ok(),
        None => None,
    };
    Turn { permit, taken: 0 }
}

impl Turn {
    /// So many bytes of processes may be in its answer.
    pub(super) fn room(&mut self) -> usize {
        if self.permit.is_none() {
            return ROOM_OF_ROOT;
        }
        let room = room(TAKEN.load(Ordering::Relaxed));
        self.takes(room);
        room
    }

    fn takes(&mut self, bytes: usize) {
        TAKEN.fetch_add(bytes, Ordering::Relaxed);
        TAKEN.fetch_sub(std::mem::replace(&mut self.taken, bytes), Ordering::Relaxed);
    }

    /// It lasts until the answer has been read, where that is not read at once.
    pub(super) fn until_read(mut self, answer: Response) -> Response {
        let size = answer.body().size_hint().exact();
        if self.permit.is_none() || size.is_none_or(|size| size <= SMALL) {
            return answer;
        }
        self.takes(size.and_then(|size| usize::try_from(size).ok()).unwrap_or(ROOM));
        answer.map(|body| Body::new(Kept { body, rest: Bytes::new(), _turn: self }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// The room for one more answer where others take so much.
fn room(taken: usize) -> usize {
    (FULL.saturating_sub(taken) / AT_ONCE).clamp(LEAST_ROOM, ROOM)
}

/// The body of an answer, with the turn in which it was made.
struct Kept {
    body: Body,
    rest: Bytes,
    _turn: Turn,
}

impl hyper::body::Body for Kept {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let size = self.rest.len().min(PIECE);
        // A copy: a part of it would keep all of it.
        let piece = Bytes::copy_from_slice(&self.rest.split_to(size));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(left) = self.body.size_hint().exact() else { return SizeHint::default() };
        SizeHint::with_exact(left + u64::try_from(self.rest.len()).unwrap_or(0))
    }
}

/// Whether a connection may be kept for what is not answered at once: a stream, or a wait.
pub(super) fn may_stay() -> Result<(), ApiError> {
    own().brief.map_or(Ok(()), |crowd| Err(ApiError::TooMany(crowd)))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::sync::mpsc::unbounded_channel;

    use axum::response::IntoResponse;
    use http_body_util::BodyExt;

    use super::*;
    use crate::api::router::blocking;

    #[test]
    fn a_turn_lasts_until_the_answer_has_been_read_or_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (own, root) = (Own::of(1000), Own::of(0));
            let large: Vec<u8> = (0..200_001_u32).map(|n| n.to_le_bytes()[0]).collect();
            let taken = || TAKEN.load(Ordering::Relaxed);
            let free = || own.turns.as_ref().unwrap().available_permits();
            let answer = async |bytes: &[u8]| {
                let mut turn = within(own.clone(), take()).await;
                turn.room();
                turn.until_read(bytes.to_vec().into_response())
            };
            let mut unread = Vec::new();
            for _ in 0..AT_ONCE {
                unread.push(answer(&large).await);
            }
            assert_eq!((free(), taken()), (0, AT_ONCE * large.len()));
            assert!(within(root, take()).await.permit.is_none(), "root waits for nobody");
            let read = unread.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
            assert!(read == large, "nothing is lost");
            assert_eq!((free(), taken()), (1, (AT_ONCE - 1) * large.len()));
            drop(answer(b"small").await);
            let small = answer(b"small").await;
            assert_eq!(free(), 1, "a small answer is with its reader");
            drop((unread, small));
            assert_eq!((free(), taken()), (AT_ONCE, 0));
        });
    }

    #[test]
    fn where_many_do_not_read_there_is_less_room_for_the_next_and_always_some() {
        let mut taken = 0;
        let rooms: Vec<usize> = std::iter::repeat_with(|| {
            let room = room(taken);
            taken += room;
            room
        })
        .take(384)
        .collect();
        assert_eq!((rooms[0], rooms[383]), (ROOM, LEAST_ROOM));
        assert!(rooms.is_sorted_by(|a, b| a >= b));
        assert!(taken < 256 << 20, "of all connections together: {taken}");
    }

    #[test]
    fn who_asks_a_lot_waits_for_itself_and_keeps_nobody_else_waiting() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (many, one) = (Own::of(1000), Own::of(1001));
            let (tell, mut told) = unbounded_channel();
            let mut ends = Vec::new();
            let mut asked = tokio::task::JoinSet::new();
            for _ in 0..3 * AT_ONCE {
                let (end, wait) = mpsc::channel::<()>();
                ends.push(end);
                let tell = tell.clone();
                let work = move || {
                    let _ = tell.send(());
                    // Until its sender is dropped.
                    let _ = wait.recv();
                    Ok(())
                };
                asked.spawn(within(many.clone(), blocking(work)));
            }
            let mut begin = async |count: usize| {
                for _ in 0..count {
                    tokio::time::timeout(Duration::from_secs(20), told.recv()).await.unwrap().unwrap();
                }
                told.len()
            };
            begin(AT_ONCE).await;
            within(one, blocking(|| Ok(()))).await.unwrap();
            within(Own::of(0), blocking(|| Ok(()))).await.unwrap();
            assert_eq!(begin(0).await, 0, "the others wait");
            assert!(!many.is_idle());
            ends.clear();
            begin(2 * AT_ONCE).await;
            while let Some(done) = asked.join_next().await {
                done.unwrap().unwrap();
            }
            assert!(many.is_idle());
        });
    }
}
