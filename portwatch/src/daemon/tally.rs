//! What the pipeline has delivered since it began, as numbers.

use crate::{
    meter::Counter,
    model::{EventKind, Evidence, GapReason, LossCounts},
    query::{Record, Tallied},
};

/// Counts every row that goes to the journal.
#[derive(Debug, Default)]
pub(super) struct Tally {
    events: [Counter; EventKind::ALL.len()],
    gaps: [Counter; GapReason::ALL.len()],
    lost: [[Counter; LossCounts::KINDS.len()]; GapReason::ALL.len()],
    attributed: [Counter; Evidence::ALL.len()],
}

impl Tally {
    /// Counts a row.
    pub(super) fn count(&self, record: &Record) {
        let event = &record.event;
        at(&EventKind::ALL, &event.kind, &self.events, Counter::one);
        if let Some(reason) = event.gap {
            at(&GapReason::ALL, &reason, &self.gaps, Counter::one);
            if let Some(lost) = &event.lost {
                at(&GapReason::ALL, &reason, &self.lost, |by_kind| {
                    for (counter, count) in by_kind.iter().zip(lost.by_kind()) {
                        counter.add(count);
                    }
                });
            }
        }
        if matches!(event.kind, EventKind::Bind | EventKind::Refused | EventKind::Listen) {
            let known = record.process.as_ref().map_or(Evidence::Unknown, |process| process.evidence);
            at(&Evidence::ALL, &known, &self.attributed, Counter::one);
        }
    }

    /// What was counted.
    pub(super) fn read(&self) -> Tallied {
        let lost = GapReason::ALL.iter().zip(&self.lost).flat_map(|(reason, by_kind)| {
            let kinds = LossCounts::KINDS.iter().zip(by_kind);
            kinds.map(|(kind, counter)| (*reason, *kind, counter.get()))
        });
        Tallied {
            events: EventKind::ALL.into_iter().zip(self.events.iter().map(Counter::get)).collect(),
            gaps: GapReason::ALL.into_iter().zip(self.gaps.iter().map(Counter::get)).collect(),
            lost: lost.collect(),
            attributed: Evidence::ALL.into_iter().zip(self.attributed.iter().map(Counter::get)).collect(),
        }
    }
}

/// Does something with the counter that stands where `value` stands in `all`.
fn at<T: PartialEq, C>(all: &[T], value: &T, counters: &[C], work: impl FnOnce(&C)) {
    if let Some((_, counter)) = all.iter().zip(counters).find(|(known, _)| *known == value) {
        work(counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, Timestamp};

    #[test]
    fn rows_gaps_losses_and_owners_are_counted_each_for_itself() {
        let tally = Tally::default();
        let row = |kind| Record {
            id: None,
            event: Event::new(Timestamp::UNIX_EPOCH, kind, Evidence::Kernel),
            process: None,
            other: None,
        };
        tally.count(&row(EventKind::Listen));
        tally.count(&row(EventKind::Close));
        let mut gap = row(EventKind::Gap);
        gap.event.gap = Some(GapReason::NotWritten);
        gap.event.lost = Some(LossCounts { bind: 3, exit: 4, ..LossCounts::default() });
        tally.count(&gap);
        tally.count(&gap);
        let read = tally.read();
        let counted = |kind| read.events.iter().find(|(k, _)| *k == kind).unwrap().1;
        assert_eq!(
            (counted(EventKind::Listen), counted(EventKind::Gap), counted(EventKind::Bind)),
            (1, 2, 0)
        );
        assert_eq!(read.attributed.iter().map(|(_, n)| n).sum::<u64>(), 1, "a close names nobody anew");
        assert_eq!(read.attributed.last(), Some(&(Evidence::Unknown, 1)));
        let lost: Vec<_> = read.lost.iter().filter(|(_, _, n)| *n > 0).copied().collect();
        assert_eq!(lost, [(GapReason::NotWritten, "bind", 6), (GapReason::NotWritten, "exit", 8)]);
        assert_eq!(read.gaps.iter().map(|(_, n)| n).sum::<u64>(), 2);
    }
}
