//! How many sockets one answer has. A user can have a hundred thousand: all of them in one answer would be hundreds of megabytes, and the
//! daemon's end.

use std::{cmp::Ordering, collections::HashMap};

use super::{About, KnownSocket};

/// Sockets in one answer.
pub(super) const MOST: usize = 20_000;

/// What is left of the room for sockets.
#[derive(Debug)]
pub(super) struct Quota {
    most: usize,
    kept: usize,
    of_users: HashMap<u32, usize>,
}

impl Quota {
    /// Room for so many; those of one user other than root take half of it at most, so that they do not keep the others' out.
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: 0, of_users: HashMap::new() }
    }

    /// Whether there is room for this one too.
    pub(super) fn admits(&mut self, known: &KnownSocket) -> bool {
        if self.kept >= self.most {
            return false;
        }
        if let Some(uid) = known.socket.seen.uid.filter(|&uid| uid != 0) {
            let of_user = self.of_users.entry(uid).or_default();
            if *of_user >= self.most.div_ceil(2) {
                return false;
            }
            *of_user += 1;
        }
        self.kept += 1;
        true
    }
}

/// The first of many in an order, as many as there is room for.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<KnownSocket>,
    left_out: u64,
}

impl Rows {
    /// Adds one.
    pub(super) fn push(&mut self, row: KnownSocket, order: impl Fn(&KnownSocket, &KnownSocket) -> Ordering) {
        self.rows.push(row);
        if self.rows.len() >= 2 * MOST {
            self.fit(order);
        }
    }

    /// What is left out once stays so: whatever comes in front of it takes no less of the room.
    fn fit(&mut self, order: impl Fn(&KnownSocket, &KnownSocket) -> Ordering) {
        self.rows.sort_by(order);
        let mut quota = Quota::new(MOST);
        let all = self.rows.len();
        self.rows.retain(|row| quota.admits(row));
        self.left_out += (all - self.rows.len()) as u64;
    }

    /// Those, in order, and how many were left out.
    pub(super) fn finish(
        mut self,
        order: impl Fn(&KnownSocket, &KnownSocket) -> Ordering,
    ) -> (Vec<KnownSocket>, u64) {
        self.fit(order);
        (self.rows, self.left_out)
    }
}

impl About {
    /// Says that so many sockets that match are not in the answer.
    pub fn leaves_out(&mut self, sockets: u64) {
        let said = match sockets {
            0 => return,
            1 => "1 socket left out, as all would be too much for one answer".to_owned(),
            more => format!("{more} sockets left out, as all would be too much for one answer"),
        };
        self.note = Some(match self.note.take() {
            Some(note) => format!("{note}; {said}"),
            None => said,
        });
    }
}
