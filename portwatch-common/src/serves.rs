//! What a kernel program tells that could tell of several facts: words of the map `SERVES`, 1 where the fact is the program's. The
//! ladders decide that, each by itself, so that no two programs tell the same.

/// Who leaves connections, by the state tracepoint.
pub const LEFT_BY_STATE: u32 = 0;
/// Ends of listening, and of sockets that the kernel made, by the state tracepoint.
pub const CLOSE_BY_STATE: u32 = 1;
/// Refused listens, by the state tracepoint.
pub const REFUSED_BY_STATE: u32 = 2;
/// Listens, by the exit of the function.
pub const LISTEN_BY_EXIT: u32 = 3;
/// Refused listens, by the exit of the function.
pub const REFUSED_BY_EXIT: u32 = 4;
/// Listens, by the return that a probe sees.
pub const LISTEN_BY_RETURN: u32 = 5;
/// Refused listens, by the return that a probe sees.
pub const REFUSED_BY_RETURN: u32 = 6;
/// Who leaves connections, where a socket is released or shut down.
pub const LEFT_BY_RELEASE: u32 = 7;
/// Ends of listening, by the end of `shutdown`.
pub const CLOSE_BY_CALL: u32 = 8;
/// Listens, by the end of `listen`.
pub const LISTEN_BY_CALL: u32 = 9;
/// Refused listens, by the end of `listen`, and refused binds through io_uring.
pub const REFUSED_BY_CALL: u32 = 10;
/// Nobody's: 0 always.
pub const NEVER: u32 = 11;
/// How many there are.
pub const END: u32 = 12;
