//! Recordings: what the kernel said, byte by byte, so that a bug can be sent as a file and played back through
//! the same decoder and the same stages.
//!
//! A file begins with a header of 24 bytes: magic (8), version, ABI of the records (u16 each), byte order of
//! the records (1 little, 2 big), three zero bytes, and the distance from boot to wall time (i64, ns). Frames
//! follow, each a payload length (u32), a tag (u8) and the payload. Numbers are little-endian, except inside
//! records, which are as the kernel wrote them.
//!
//! | tag | payload |
//! |---|---|
//! | 1 | a record, raw |
//! | 2 | distance from boot to wall time from here on (i64, ns) |
//! | 3 | JSON: a gap |
//! | 4 | JSON: a snapshot |
//! | 5 | JSON: which hook served which fact |

mod facts;
mod player;
mod recorder;

pub use player::ReplaySource;
pub use recorder::Recorder;

const MAGIC: [u8; 8] = *b"PORTREC\n";
const VERSION: u16 = 1;
const HEADER_LEN: usize = 24;
const FRAME_HEADER_LEN: usize = 5;
const BYTE_ORDER: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };

const TAG_RECORD: u8 = 1;
const TAG_CLOCK: u8 = 2;
const TAG_GAP: u8 = 3;
const TAG_SNAPSHOT: u8 = 4;
const TAG_COVERAGE: u8 = 5;

#[cfg(test)]
mod tests;
