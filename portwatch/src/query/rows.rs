//! How many sockets one answer has. A user can have a hundred thousand: all of them in one answer would be hundreds of megabytes, and the
//! daemon's end.

use std::{cmp::Ordering, collections::HashMap};

use super::{About, KnownSocket};

/// Sockets in one answer.
pub(super) const MOST: usize = 20_000;

/// Whose a socket is: its own user, which programs of the kernel do not tell, or that of the process that is named first. `None` where
/// neither is known.
fn user_of(known: &KnownSocket) -> Option<u32> {
    let process = || known.process(known.first()?)?.uid;
    known.socket.seen.uid.or_else(process)
}

/// The room for sockets, shared among the users that have some: who has few keeps all, and nobody gets more than another who wants more.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<Option<u32>, usize>);

impl Shares {
    /// Counts one that there should be room for.
    pub(super) fn count(&mut self, known: &KnownSocket) {
        *self.0.entry(user_of(known)).or_default() += 1;
    }

    /// The room, if all of it is for so many.
    pub(super) fn room(&self, most: usize) -> Room {
        Room { left: most, each: share(self.0.values().copied().collect(), most), of_users: HashMap::new() }
    }
}

/// So many each may have, that all of these together have no more than `most`; one where there are too many of them for that.
fn share(mut wanted: Vec<usize>, most: usize) -> usize {
    wanted.sort_unstable();
    let mut left = most;
    for (at, &count) in wanted.iter().enumerate() {
        let each = left / (wanted.len() - at);
        if count > each {
            return each.max(1);
        }
        left -= count;
    }
    most
}

/// What is left of the room.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
    each: usize,
    of_users: HashMap<Option<u32>, usize>,
}

impl Room {
    /// Whether there is room for this one too.
    pub(super) fn admits(&mut self, known: &KnownSocket) -> bool {
        let of_user = self.of_users.entry(user_of(known)).or_default();
        if self.left == 0 || *of_user >= self.each {
            return false;
        }
        *of_user += 1;
        self.left -= 1;
        true
    }
}

/// The first of many in an order, as many as there is room for.
#[derive(Debug, Default)]
pub(super) struct Rows {
    kept: Vec<KnownSocket>,
    all: u64,
    shares: Shares,
}

impl Rows {
    /// Adds one.
    pub(super) fn push(&mut self, row: KnownSocket, order: impl Fn(&KnownSocket, &KnownSocket) -> Ordering) {
        self.all += 1;
        self.shares.count(&row);
        self.kept.push(row);
        if self.kept.len() >= 2 * MOST {
            self.fit(order);
        }
    }

    /// What is left out once stays so: whatever comes later makes no user's share larger, and takes none of those in front of it out of
    /// the room.
    fn fit(&mut self, order: impl Fn(&KnownSocket, &KnownSocket) -> Ordering) {
        self.kept.sort_by(order);
        let mut room = self.shares.room(MOST);
        self.kept.retain(|row| room.admits(row));
    }

    /// Those, in order, and how many were left out.
    pub(super) fn finish(
        mut self,
        order: impl Fn(&KnownSocket, &KnownSocket) -> Ordering,
    ) -> (Vec<KnownSocket>, u64) {
        self.fit(order);
        let left_out = self.all - self.kept.len() as u64;
        (self.kept, left_out)
    }
}

impl About {
    /// Says that so many sockets that match are not in the answer.
    pub fn leaves_out(&mut self, sockets: u64) {
        self.leaves_out_rows(sockets, "socket");
    }

    /// The same of other rows.
    pub fn leaves_out_rows(&mut self, rows: u64, what: &str) {
        let said = match rows {
            0 => return,
            1 => format!("1 {what} left out, as all would be too much for one answer"),
            more => format!("{more} {what}s left out, as all would be too much for one answer"),
        };
        self.note = Some(match self.note.take() {
            Some(note) => format!("{note}; {said}"),
            None => said,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn who_wants_little_has_all_of_it_and_the_others_have_as_much_as_each_other() {
        assert_eq!(share(vec![], 300), 300);
        assert_eq!(share(vec![200, 100], 300), 300);
        assert_eq!(share(vec![1000, 5, 100], 300), 195);
        assert_eq!(share(vec![1000, 1000, 1], 300), 149);
        assert_eq!(share(vec![1; 1000], 300), 1);
    }
}
