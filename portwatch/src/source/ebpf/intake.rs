//! Records out of the ring, and what was lost among them.

use std::io;

use jiff::SignedDuration;
use portwatch_common::{
    counter::{self, Counters as KernelCounters},
    decode::decode,
    record::kind,
};

use super::EbpfSource;
use crate::{
    model::{Evidence, GapReason, LossCounts, Observation, Seen},
    source::{SourceError, convert},
};

/// The observer was stopped, or got no time, if records waited for so long.
const STOPPED: SignedDuration = SignedDuration::from_secs(1);

impl EbpfSource {
    /// Takes records from the ring. A loss is told as a gap, before the records among which it was: whoever judges
    /// them knows that others are missing.
    pub(super) fn take(&mut self, limit: usize, out: &mut Vec<Observation>) -> Result<(), SourceError> {
        let begin = out.len();
        let clock = self.clock.held();
        let mut oldest = None;
        let (counters, undecodable) = (&mut self.counters, &mut self.undecodable);
        let recorder = &mut self.recorder;
        if let Some(recorder) = recorder {
            recorder.clock(clock);
            recorder.begin_batch();
        }
        self.ring.drain(limit, |bytes| {
            counters.received += 1;
            if let Some(recorder) = recorder {
                recorder.record(bytes);
            }
            match decode(bytes) {
                Ok(record) => {
                    oldest.get_or_insert(clock.at(record.boot_ns()));
                    out.extend(convert::observation(&record, clock));
                }
                Err(error) => {
                    counters.undecodable += 1;
                    *undecodable += 1;
                    tracing::warn!(%error, "undecodable record");
                }
            }
        });
        // After the look into the ring: records can be lost only while it is full, and then the next look
        // finds some. So no loss stays untold for want of another record.
        let now = self.read_counters().inspect_err(|_| {
            if let Some(recorder) = &mut self.recorder {
                recorder.end_batch(None);
            }
        })?;
        let lost =
            LossCounts { undecodable: std::mem::take(&mut self.undecodable), ..loss(&self.counted, &now) };
        let need = |counters: &KernelCounters| counters.get(counter::NEED).copied();
        if need(&self.counted) != need(&now) && self.loaded.attach_at_need() {
            self.stale = true;
        }
        self.counted = now;
        let now = self.clock.now();
        let whole = std::mem::replace(&mut self.whole_until, now);
        let gap = (lost.total() > 0).then(|| {
            // Records wait for milliseconds. Where the oldest waited for longer, and nobody came by meanwhile, nobody could.
            let unseen = oldest.map(|oldest| oldest.max(whole));
            let stopped = unseen.filter(|&since| now.duration_since(since) >= STOPPED);
            let (since, reason) = match stopped {
                Some(since) => (since, GapReason::Paused),
                None => (whole, GapReason::BufferFull),
            };
            Observation::new(now, Evidence::Kernel, Seen::Gap { lost, since, reason })
        });
        if let Some(recorder) = &mut self.recorder {
            recorder.end_batch(gap.as_ref());
        }
        if let Some(gap) = gap {
            self.counters.lost += lost.total() - lost.undecodable;
            self.stale = true;
            out.insert(begin, gap);
        }
        Ok(())
    }

    /// The sums over all CPUs.
    fn read_counters(&self) -> Result<KernelCounters, SourceError> {
        let read = self.lost.get(&0, 0).map_err(|error| SourceError::Read {
            what: "the loss counters".to_owned(),
            error: io::Error::other(error),
        })?;
        let mut sums = [0; counter::END];
        for cpu in read.iter() {
            for (sum, count) in sums.iter_mut().zip(cpu) {
                *sum += count;
            }
        }
        Ok(sums)
    }
}

/// What was lost between two looks at the counters.
fn loss(before: &KernelCounters, now: &KernelCounters) -> LossCounts {
    let of = |kind: u16| {
        let at = usize::from(kind);
        match (before.get(at), now.get(at)) {
            (Some(before), Some(now)) => now.saturating_sub(*before),
            _ => 0,
        }
    };
    LossCounts {
        process: of(kind::PROCESS) + of(kind::FORK) + of(kind::EXEC),
        bind: of(kind::BIND),
        refused: of(kind::REFUSED),
        listen: of(kind::LISTEN),
        close: of(kind::CLOSE) + of(kind::UNLISTEN),
        exit: of(kind::EXIT) + of(kind::KILLED),
        undecodable: 0,
    }
}
