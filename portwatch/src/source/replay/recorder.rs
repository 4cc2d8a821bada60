//! Writing a recording beside the live stream.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use portwatch_common::record::ABI;
use serde::Serialize;

use super::{
    BYTE_ORDER, HEADER_LEN, MAGIC, TAG_CLOCK, TAG_COVERAGE, TAG_GAP, TAG_RECORD, TAG_SNAPSHOT, VERSION, facts,
};
use crate::{
    model::{Coverage, Degradation, Observation, Seen},
    source::{SourceError, convert::BootClock},
};

/// Frames are written once so many bytes have gathered.
const BUFFER_LEN: usize = 64 * 1024;

/// Writes what a source takes in to a file.
///
/// A recording never stops its source. After the first failure it is closed where it was whole, nothing more
/// is written, and [`Recorder::degradation`] says why. Nothing is synced: a recording is for looking at, not a
/// journal.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: File,
    /// Whole frames not written yet.
    pending: Vec<u8>,
    /// Frames of records whose gap, if they have one, is not known yet.
    batch: Option<Vec<u8>>,
    /// Length of the file up to the last whole frame.
    whole: u64,
    clock: BootClock,
    failure: Option<io::Error>,
}

impl Recorder {
    /// Begins a recording in a new file that only its owner may read. A file that exists is not touched.
    pub fn create(path: &Path, clock: BootClock, coverage: &[Coverage]) -> Result<Self, SourceError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let failed = |error: io::Error| SourceError::Recording {
            path: path.to_owned(),
            problem: format!("cannot be created: {error}"),
            offset: 0,
        };
        let file = options.open(path).map_err(failed)?;

        let mut pending = Vec::with_capacity(HEADER_LEN);
        pending.extend(MAGIC);
        pending.extend(VERSION.to_le_bytes());
        pending.extend(ABI.to_le_bytes());
        pending.extend([BYTE_ORDER, 0, 0, 0]);
        pending.extend(clock.offset_ns().to_le_bytes());
        let mut recorder =
            Self { path: path.to_owned(), file, pending, batch: None, whole: 0, clock, failure: None };
        recorder.json(TAG_COVERAGE, &facts::Coverages::from(coverage));
        recorder.flush();
        match recorder.failure.take() {
            None => Ok(recorder),
            Some(error) => Err(failed(error)),
        }
    }

    /// Holds records back from here on, until [`Recorder::end_batch`]: what was lost among them is known only after
    /// them, and told before them.
    pub fn begin_batch(&mut self) {
        self.batch = Some(Vec::new());
    }

    /// Notes the gap among the records since [`Recorder::begin_batch`], if there is one, and then those records.
    pub fn end_batch(&mut self, gap: Option<&Observation>) {
        let batch = self.batch.take().unwrap_or_default();
        if let Some(gap) = gap {
            self.observation(gap);
        }
        if self.failure.is_none() {
            self.pending.extend(batch);
            self.flush_if_full();
        }
    }

    /// Notes one record, as it came out of the ring buffer, before anybody judged it.
    pub fn record(&mut self, bytes: &[u8]) {
        self.frame(TAG_RECORD, bytes);
    }

    /// Notes the clock by which the records from here on are dated.
    pub fn clock(&mut self, clock: BootClock) {
        if self.clock != clock {
            self.clock = clock;
            self.frame(TAG_CLOCK, &clock.offset_ns().to_le_bytes());
        }
    }

    /// Notes what did not come out of the ring buffer: gaps and snapshots. Other observations come from
    /// records and are left out.
    pub fn observation(&mut self, observation: &Observation) {
        match &observation.seen {
            Seen::Gap { lost, since, reason } => {
                let gap = facts::Gap::new(observation, *lost, *since, *reason);
                self.json(TAG_GAP, &gap);
            }
            Seen::Snapshot(snapshot) => {
                self.json(TAG_SNAPSHOT, &facts::Shot::new(observation, snapshot));
            }
            Seen::Process(_)
            | Seen::Bound(_)
            | Seen::Refused(_)
            | Seen::Listening(_)
            | Seen::Unlistened(_)
            | Seen::Closed(_)
            | Seen::Forked(_)
            | Seen::Execed(_)
            | Seen::Exited(_)
            // The clock of the records tells it.
            | Seen::ClockSet { .. }
            // A summary of now; played back it would be one of then.
            | Seen::ConnectionsLeft(_) => {}
        }
    }

    /// Writes what has gathered; called at the end of a batch.
    pub fn flush(&mut self) {
        if self.failure.is_none()
            && let Err(error) = self.file.write_all(&self.pending)
        {
            self.fail(error);
        }
        self.whole += self.pending.len() as u64;
        self.pending.clear();
    }

    /// Why nothing is recorded any more, if that is so.
    pub fn degradation(&self) -> Option<Degradation> {
        let error = self.failure.as_ref()?;
        Some(Degradation {
            name: "recording-stopped",
            what: format!("recording {} stopped at byte {}: {error}", self.path.display(), self.whole),
            remedy: "make room or choose another file, and start the recording again".to_owned(),
        })
    }

    fn json(&mut self, tag: u8, value: &impl Serialize) {
        match serde_json::to_vec(value) {
            Ok(payload) => self.frame(tag, &payload),
            Err(error) => self.fail(error.into()),
        }
    }

    fn frame(&mut self, tag: u8, payload: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        let Ok(len) = u32::try_from(payload.len()) else {
            return self.fail(io::ErrorKind::FileTooLarge.into());
        };
        let frames = self.batch.as_mut().unwrap_or(&mut self.pending);
        frames.extend(len.to_le_bytes());
        frames.push(tag);
        frames.extend(payload);
        self.flush_if_full();
    }

    fn flush_if_full(&mut self) {
        if self.pending.len() >= BUFFER_LEN {
            self.flush();
        }
    }

    /// Stops recording, and cuts off a frame that was written in part so that the file stays readable.
    fn fail(&mut self, error: io::Error) {
        // Best effort: a torn end is told by its reader too.
        let _ = self.file.set_len(self.whole);
        self.pending.clear();
        self.failure = Some(error);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::source::{Progress, Source as _, replay::ReplaySource};

    #[test]
    fn a_full_disk_ends_the_recording_and_says_so_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rec");
        let mut recorder = Recorder::create(&path, BootClock::from_offset_ns(0), &[]).unwrap();
        recorder.record(b"kept");
        recorder.flush();
        // Writing to it fails with ENOSPC, always.
        recorder.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        recorder.record(b"lost");
        recorder.flush();
        let whole = fs::metadata(&path).unwrap().len();
        let degradation = recorder.degradation().unwrap();
        assert_eq!(degradation.name, "recording-stopped");
        let expected = format!(
            "recording {} stopped at byte {whole}: No space left on device (os error 28)",
            path.display()
        );
        assert_eq!(degradation.what, expected);

        recorder.record(b"not tried");
        assert!(recorder.pending.is_empty());
        drop(recorder);
        let mut source = ReplaySource::open(&path).unwrap();
        assert_eq!(source.poll(Duration::ZERO, &mut Vec::new()).unwrap(), Progress::Ended);
        assert_eq!(source.counters().received, 1);
    }
}
