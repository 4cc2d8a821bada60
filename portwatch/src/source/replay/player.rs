//! Playing a recording back.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::SignedDuration;
use portwatch_common::{decode::decode, record::ABI};
use serde::de::DeserializeOwned;

use super::{
    BYTE_ORDER, FRAME_HEADER_LEN, HEADER_LEN, MAGIC, TAG_CLOCK, TAG_COVERAGE, TAG_GAP, TAG_RECORD,
    TAG_SNAPSHOT, VERSION, facts,
};
use crate::{
    model::{Coverage, Degradation, Evidence, LossCounts, Observation, Seen},
    source::{
        Counters, Progress, Refresh, Source, SourceError, SourceKind, clock::STEP, convert,
        convert::BootClock,
    },
};

/// A call of `poll` delivers about so many observations, so that a long recording does not lie in memory.
const BATCH: usize = 1024;

/// A source that tells what a recording holds, in its order and with its times.
///
/// The bytes of records go through the live decoder. Where the file is damaged, everything before the damage is
/// delivered first; the next call fails with the offset, and after that the recording is at its end.
#[derive(Debug)]
pub struct ReplaySource {
    path: PathBuf,
    input: BufReader<File>,
    /// Where `input` stands.
    offset: u64,
    clock: BootClock,
    /// The clock was set, which is told with what comes next and its time.
    set: Option<SignedDuration>,
    coverage: Vec<Coverage>,
    counters: Counters,
    state: State,
}

#[derive(Debug)]
enum State {
    Playing,
    /// To be told by the next call.
    Damaged(SourceError),
    Ended,
}

struct Frame {
    /// Where it begins.
    offset: u64,
    tag: u8,
    payload: Vec<u8>,
}

impl ReplaySource {
    /// Opens a recording and checks that it is one of this machine's kind.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let read_error = |error| SourceError::Read { what: format!("recording {}", path.display()), error };
        let damaged = |offset, problem| SourceError::Recording { path: path.to_owned(), problem, offset };
        let mut input = BufReader::new(File::open(path).map_err(read_error)?);

        let mut header = [0; HEADER_LEN];
        let len = read_up_to(&mut input, &mut header).map_err(read_error)?;
        let [m @ .., v0, v1, a0, a1, order, z0, z1, z2, c0, c1, c2, c3, c4, c5, c6, c7] = header;
        if m != MAGIC {
            return Err(damaged(0, "is not a portwatch recording".to_owned()));
        }
        if len < HEADER_LEN {
            return Err(damaged(len as u64, "ends inside its header".to_owned()));
        }
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION {
            let problem = format!("has format version {version}, this portwatch reads {VERSION}");
            return Err(damaged(8, problem));
        }
        let abi = u16::from_le_bytes([a0, a1]);
        if abi != ABI {
            let problem = format!("holds records of ABI version {abi}, this portwatch reads {ABI}");
            return Err(damaged(10, problem));
        }
        if order != BYTE_ORDER {
            let problem = "comes from a machine of the other byte order".to_owned();
            return Err(damaged(12, problem));
        }
        if [z0, z1, z2] != [0; 3] {
            return Err(damaged(13, "has a header this portwatch does not know".to_owned()));
        }
        let clock = BootClock::from_offset_ns(i64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]));

        let mut replay = Self {
            path: path.to_owned(),
            input,
            offset: HEADER_LEN as u64,
            clock,
            set: None,
            coverage: Vec::new(),
            counters: Counters::default(),
            state: State::Playing,
        };
        // What could be seen is asked for before the first poll, and it is the first frame.
        match replay.frame()? {
            Some(frame) if frame.tag == TAG_COVERAGE => replay.play(&frame, &mut Vec::new())?,
            Some(frame) => {
                return Err(replay.damaged(frame.offset, "does not say what it covers".to_owned()));
            }
            None => {
                return Err(replay.damaged(replay.offset, "ends after its header".to_owned()));
            }
        }
        Ok(replay)
    }

    /// The next frame; `None` at the end.
    fn frame(&mut self) -> Result<Option<Frame>, SourceError> {
        let offset = self.offset;
        let mut header = [0; FRAME_HEADER_LEN];
        let got = read_up_to(&mut self.input, &mut header).map_err(|e| self.unreadable(e))?;
        if got == 0 {
            return Ok(None);
        }
        if got < FRAME_HEADER_LEN {
            return Err(self.damaged(offset, "ends inside a frame's header".to_owned()));
        }
        let [l0, l1, l2, l3, tag] = header;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let mut payload = Vec::new();
        // Grows with what is there, not with what the length claims.
        let got = (&mut self.input).take(len.into()).read_to_end(&mut payload);
        let got = got.map_err(|e| self.unreadable(e))?;
        if got as u64 != u64::from(len) {
            return Err(self.damaged(offset, format!("ends after {got} of a frame's {len} bytes")));
        }
        self.offset = offset + FRAME_HEADER_LEN as u64 + u64::from(len);
        Ok(Some(Frame { offset, tag, payload }))
    }

    fn play(&mut self, frame: &Frame, out: &mut Vec<Observation>) -> Result<(), SourceError> {
        match frame.tag {
            TAG_RECORD => {
                self.counters.received += 1;
                match decode(&frame.payload) {
                    Ok(record) => out.extend(convert::observation(&record, self.clock)),
                    // The live source counted it too, and its gap is in the recording.
                    Err(error) => {
                        self.counters.undecodable += 1;
                        tracing::debug!(offset = frame.offset, %error, "undecodable record");
                    }
                }
            }
            TAG_CLOCK => {
                let offset_ns = frame.payload.as_slice().try_into().map(i64::from_le_bytes);
                let offset_ns = offset_ns
                    .map_err(|_| self.damaged(frame.offset, "has a clock that is not 8 bytes".to_owned()))?;
                let clock = BootClock::from_offset_ns(offset_ns);
                let by = clock.since(std::mem::replace(&mut self.clock, clock));
                self.set =
                    Some(by.saturating_add(self.set.unwrap_or_default())).filter(|by| by.abs() >= STEP);
            }
            TAG_GAP => {
                let gap = self.json::<facts::Gap>(frame, "gap")?;
                // What could not be decoded was received, and is counted where its record stands.
                let lost = LossCounts { undecodable: 0, ..gap.lost() }.total();
                self.counters.lost = self.counters.lost.saturating_add(lost);
                out.push(gap.observation());
            }
            TAG_SNAPSHOT => out.push(self.json::<facts::Shot>(frame, "snapshot")?.observation()),
            TAG_COVERAGE => self.coverage = self.json::<facts::Coverages>(frame, "coverage")?.into(),
            tag => return Err(self.damaged(frame.offset, format!("has a frame of unknown tag {tag}"))),
        }
        Ok(())
    }

    fn json<T: DeserializeOwned>(&self, frame: &Frame, what: &str) -> Result<T, SourceError> {
        serde_json::from_slice(&frame.payload).map_err(|error| {
            self.damaged(frame.offset, format!("has a {what} that cannot be read ({error})"))
        })
    }

    fn damaged(&self, offset: u64, problem: String) -> SourceError {
        SourceError::Recording { path: self.path.clone(), problem, offset }
    }

    fn unreadable(&self, error: io::Error) -> SourceError {
        SourceError::Read { what: format!("recording {}", self.path.display()), error }
    }

    fn advance(&mut self, out: &mut Vec<Observation>) -> Result<Progress, SourceError> {
        let enough = out.len().saturating_add(BATCH);
        while out.len() < enough {
            let Some(frame) = self.frame()? else { return Ok(Progress::Ended) };
            let before = out.len();
            self.play(&frame, out)?;
            if let (Some(by), Some(next)) = (self.set, out.get(before)) {
                let set = Observation::new(next.at, Evidence::Kernel, Seen::ClockSet { by });
                self.set = None;
                out.insert(before, set);
            }
        }
        Ok(Progress::Open)
    }
}

impl Source for ReplaySource {
    fn kind(&self) -> SourceKind {
        SourceKind::Replay
    }

    fn coverage(&self) -> Vec<Coverage> {
        self.coverage.clone()
    }

    fn degradations(&self) -> Vec<Degradation> {
        Vec::new()
    }

    fn poll(&mut self, _: Duration, out: &mut Vec<Observation>) -> Result<Progress, SourceError> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => Ok(Progress::Ended),
            State::Damaged(error) => Err(error),
            State::Playing => {
                let before = out.len();
                match self.advance(out) {
                    Ok(Progress::Ended) => Ok(Progress::Ended),
                    Ok(Progress::Open) => {
                        self.state = State::Playing;
                        Ok(Progress::Open)
                    }
                    Err(error) if out.len() == before => Err(error),
                    Err(error) => {
                        self.state = State::Damaged(error);
                        Ok(Progress::Open)
                    }
                }
            }
        }
    }

    /// Appends nothing: what was looked up when it was recorded is in the recording, and the tables of the
    /// machine on which it is played have nothing to do with it.
    fn refresh(&mut self, _: &Refresh, _: &mut Vec<Observation>) -> Result<(), SourceError> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

/// Fills `buffer` as far as the input goes.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
