//! Reading files that others control, as a privileged process.
//!
//! Everything below a working directory may be a trap: a FIFO that blocks, a link to a secret, a gigabyte. Paths
//! are resolved inside the process's own root and never through a symbolic link, only regular files are read,
//! never more than a bound, and nothing is ever executed.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use std::{
    fs::File,
    io::{self, Read},
};

pub(in crate::attribute) use self::system::{Directory, Tree};

/// A regular file.
#[derive(Debug)]
pub(in crate::attribute) struct Text {
    /// `None` when it is larger than the bound or cannot be read.
    pub(in crate::attribute) bytes: Option<Vec<u8>>,
    /// Its owner.
    pub(in crate::attribute) uid: u32,
}

/// Whether anybody may have put a file where it is: its directory is `open` to all for writing, and the file is neither the
/// directory's owner's nor root's.
#[cfg_attr(not(unix), expect(dead_code, reason = "files have owners by number on Unix alone"))]
pub(in crate::attribute) const fn is_planted(open: bool, directory: u32, file: u32) -> bool {
    open && file != 0 && file != directory
}

/// Up to `limit` bytes, and whether there was more.
pub(in crate::attribute) fn read_up_to(mut file: File, limit: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => return Ok((bytes, false)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if bytes.len() > limit {
            bytes.truncate(limit);
            return Ok((bytes, true));
        }
    }
}
