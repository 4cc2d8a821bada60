//! What the kernel side remembers of connections in maps: who left one behind, and how many they were. No record
//! travels per connection; user space reads these maps when it is asked, and once a minute.
//!
//! Who left which connection is a ring of [`Left`], written without a lock by every processor, each into a chunk of its own. Its
//! entries bear a sum, so that one which two wrote at once, or one which is read while it is written, is not believed.
//!
//! Native byte order, explicit padding, sizes asserted. User space reads and writes them as bytes.

#[cfg(not(target_arch = "bpf"))]
mod bytes;

use crate::record::COMM_LEN;

/// A connection: what owners are looked for by. An IPv4 address is written as IPv4-mapped.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Network namespace inode.
    pub netns: u32,
    /// Host byte order.
    pub local_port: u16,
    /// Host byte order.
    pub peer_port: u16,
    /// Local address.
    pub local: [u8; 16],
    /// Peer's address.
    pub peer: [u8; 16],
}

/// Who left a connection, or who listens on a port.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Start of the process, ns since boot; 0 when unknown.
    pub start_ns: u64,
    /// When this was written, in ticks of the kernel: reading a clock costs more.
    pub when_ticks: u64,
    /// cgroup v2 id, 0 when unknown.
    pub cgroup_id: u64,
    /// Thread-group id; 0 when nobody can be named.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// Bits of [`owner`].
    pub flags: u32,
    /// Zero.
    pub pad: u32,
    /// Name of the thread-group leader.
    pub comm: [u8; COMM_LEN],
}

/// An entry of the ring.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Which connection.
    pub tuple: Tuple,
    /// Who left it.
    pub owner: Owner,
    /// [`fold`] over the words before this one.
    pub sum: u64,
}

/// Of 64 ports each whether anybody has listened there, a byte a port: what the kernel side knows, and after all of these, as many entries of what user
/// space does. Nobody locks them, and so nobody writes what the other one does.
pub type Listened = [u8; 64];
/// Entries of either.
pub const LISTENED: u32 = 65_536 / 64;
/// Entries in the ring: the oldest give way.
pub const LEFT_ENTRIES: u32 = 16_384;
/// Entries that a processor takes at once: whole cache lines. Few, because a processor that leaves connections seldom keeps others from the rest of its chunk.
pub const LEFT_CHUNK: u32 = 8;
/// What a [`Left::sum`] begins with: not zero, so that an entry nobody wrote has a wrong one.
pub const SUM_START: u64 = 0x9e37_79b9_7f4a_7c15;

/// The sum with one more word.
#[inline]
#[must_use]
pub const fn fold(sum: u64, word: u64) -> u64 {
    (sum ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(23)
}

/// Bits of [`Owner::flags`].
pub mod owner {
    /// The process is the listener's, and a child of it closed the connection.
    pub const INHERITED: u32 = 1 << 0;
    /// `REUSE_ADDR`, `REUSE_PORT` and `V6_ONLY` of the connection's socket are meaningful.
    pub const OPTIONS_KNOWN: u32 = 1 << 1;
    /// SO_REUSEADDR was set.
    pub const REUSE_ADDR: u32 = 1 << 2;
    /// SO_REUSEPORT was set.
    pub const REUSE_PORT: u32 = 1 << 3;
    /// IPV6_V6ONLY was set.
    pub const V6_ONLY: u32 = 1 << 4;
}

/// A port in a namespace: the key of the map of listeners.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Network namespace inode.
    pub netns: u32,
    /// Host byte order.
    pub port: u32,
}

/// Whose connections are counted together.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TallyKey {
    /// Network namespace inode.
    pub netns: u32,
    /// Local port that was listened on, host byte order; 0 for outgoing connections, whose ports are borrowed.
    pub port: u32,
    /// Thread-group id; 0 when nobody can be named.
    pub pid: u32,
    /// Zero.
    pub pad: u32,
    /// Start of the process, ns since boot.
    pub start_ns: u64,
}

/// How many, since the entry was made.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Connections.
    pub count: u64,
    /// The owner of the latest of them.
    pub owner: Owner,
}

/// Size of a [`Tuple`].
pub const TUPLE: usize = size_of::<Tuple>();
/// Size of an [`Owner`].
pub const OWNER: usize = size_of::<Owner>();
/// Size of a [`Left`].
pub const LEFT: usize = size_of::<Left>();
/// Words of a [`Left`] that its sum is over.
pub const LEFT_WORDS: usize = (TUPLE + OWNER) / 8;
/// Size of a [`Place`].
pub const PLACE: usize = size_of::<Place>();
/// Size of a [`TallyKey`].
pub const TALLY_KEY: usize = size_of::<TallyKey>();
/// Size of a [`Tally`].
pub const TALLY: usize = size_of::<Tally>();

const _: () = assert!(TUPLE == 40 && OWNER == 56 && PLACE == 8 && TALLY_KEY == 24 && TALLY == 64);
// A power of two, so that the next index is a mask; whole pages, so that the map can be mapped.
const _: () =
    assert!(LEFT == 104 && LEFT_ENTRIES.is_power_of_two() && LEFT_ENTRIES.is_multiple_of(LEFT_CHUNK));
