//! Text of a process's own choice: its name and its command line.

use crate::record::{COMM_LEN, COMMAND_LEN};

/// A task's name: up to 15 bytes of its owner's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Comm {
    bytes: [u8; COMM_LEN],
}

impl Comm {
    /// From what the kernel keeps: the bytes before the first NUL. `None` without a NUL.
    ///
    /// What follows the NUL is dropped, not refused: `__set_task_comm` cleared it only from 5.17 on, and a
    /// name can change while it is read.
    pub fn from_kernel(mut bytes: [u8; COMM_LEN]) -> Option<Self> {
        let end = bytes.iter().position(|&b| b == 0)?;
        bytes.iter_mut().skip(end).for_each(|b| *b = 0);
        Some(Self { bytes })
    }

    /// The name.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.split(|&b| b == 0).next().unwrap_or_default()
    }

    /// The name, NUL-padded.
    pub const fn padded(&self) -> &[u8; COMM_LEN] {
        &self.bytes
    }
}

/// The beginning of a command line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Command {
    bytes: [u8; COMMAND_LEN],
    len: u16,
    truncated: bool,
}

impl Command {
    /// The first [`COMMAND_LEN`] bytes of `arguments` (separated by NUL), truncated when there are more.
    pub fn new(arguments: &[u8], truncated: bool) -> Self {
        let mut bytes = [0; COMMAND_LEN];
        let mut len = 0;
        for (slot, &byte) in bytes.iter_mut().zip(arguments) {
            *slot = byte;
            len += 1;
        }
        Self { bytes, len, truncated: truncated || arguments.len() > COMMAND_LEN }
    }

    /// Arguments separated by NUL; empty when the command line was not readable.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The command line is longer than this.
    pub const fn is_truncated(&self) -> bool {
        self.truncated
    }
}

impl core::fmt::Debug for Command {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{}\"{}", self.as_bytes().escape_ascii(), if self.truncated { "…" } else { "" })
    }
}
