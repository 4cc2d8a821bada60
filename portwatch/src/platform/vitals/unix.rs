//! By clocks of POSIX and `/proc`.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Counts on while the machine sleeps; the other does not. macOS has the two the other way round (clock_gettime(3)).
#[cfg(target_os = "linux")]
const CLOCKS: (ClockId, ClockId) = (ClockId::CLOCK_BOOTTIME, ClockId::CLOCK_MONOTONIC);
#[cfg(not(target_os = "linux"))]
const CLOCKS: (ClockId, ClockId) = (ClockId::CLOCK_MONOTONIC, ClockId::from_raw(nix::libc::CLOCK_UPTIME_RAW));

/// Time that the machine has spent asleep since boot.
pub fn asleep() -> Duration {
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    let (awake_or_not, awake) = CLOCKS;
    read(awake_or_not).saturating_sub(read(awake))
}

/// Nanoseconds since boot, the time asleep included, and how far the wall clock is ahead of that. The second changes when the
/// wall clock is set, and at no other time: whoever slews it slews both.
#[cfg(target_os = "linux")]
pub fn clocks() -> Option<(u64, i64)> {
    /// The calls take less where nobody comes between them.
    const CLOSE: i128 = 20_000;
    const TRIES: usize = 5;
    let read = |clock| {
        let time = clock_gettime(clock).ok()?;
        Some(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
    };
    let mut best: Option<(i128, i128, i128)> = None;
    for _ in 0..TRIES {
        // The wall clock is read between two readings of the boot clock; their middle is the same moment to within half of
        // what the calls took. On a busy machine that can be long.
        let before = read(ClockId::CLOCK_BOOTTIME)?;
        let wall = read(ClockId::CLOCK_REALTIME)?;
        let after = read(ClockId::CLOCK_BOOTTIME)?;
        let took = after - before;
        if best.is_none_or(|(least, ..)| took < least) {
            best = Some((took, after, wall - i128::midpoint(before, after)));
        }
        if took < CLOSE {
            break;
        }
    }
    let (_, boot, ahead) = best?;
    Some((u64::try_from(boot).ok()?, i64::try_from(ahead).ok()?))
}

/// Not asked for here.
#[cfg(not(target_os = "linux"))]
pub const fn clocks() -> Option<(u64, i64)> {
    None
}

/// Processor time that this process has used, of all its threads.
pub fn cpu_time() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).ok()
}

/// Bytes of memory that this process has in use: field 2 of `/proc/self/statm`. `None` where there is none.
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(size).ok()?)
}
