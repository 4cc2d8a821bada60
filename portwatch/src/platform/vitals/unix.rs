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
