//! By the kernel's counters.

use std::time::Duration;

use windows_sys::Win32::System::{
    ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS},
    SystemInformation::GetTickCount64,
    Threading::GetCurrentProcess,
    WindowsProgramming::QueryUnbiasedInterruptTime,
};

/// Time that the machine has spent asleep since boot: one counter runs on meanwhile and the other does not. To 16 ms.
pub fn asleep() -> Duration {
    let mut awake = 0_u64;
    // SAFETY: the counter is written to.
    if unsafe { QueryUnbiasedInterruptTime(&raw mut awake) } == 0 {
        return Duration::ZERO;
    }
    // SAFETY: the call takes nothing.
    let up = Duration::from_millis(unsafe { GetTickCount64() });
    // Units of 100 ns.
    up.saturating_sub(Duration::from_nanos(awake.saturating_mul(100)))
}

/// Boot clock and wall clock; not asked for here.
pub const fn clocks() -> Option<(u64, i64)> {
    None
}

/// Processor time that this process has used; not asked for here.
pub fn cpu_time() -> Option<Duration> {
    None
}

/// Bytes of memory that this process has in use.
pub fn resident_bytes() -> Option<u64> {
    let size = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).ok()?;
    // SAFETY: all zero is a valid value of it.
    let mut counters: PROCESS_MEMORY_COUNTERS = unsafe { std::mem::zeroed() };
    counters.cb = size;
    // SAFETY: the buffer is as long as is said; the pseudo handle of this process is always good.
    let read = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size) };
    (read != 0).then(|| u64::try_from(counters.WorkingSetSize).ok())?
}
