//! What the machine's clock and this process's memory say.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

pub use self::system::{asleep, clocks, cpu_time, resident_bytes};

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_sleeps_less_than_it_runs_and_a_process_has_memory() {
        let first = super::asleep();
        assert!(super::asleep() >= first.saturating_sub(std::time::Duration::from_millis(100)));
        if cfg!(not(target_os = "macos")) {
            assert!(super::resident_bytes().is_some_and(|bytes| bytes > 100_000));
        }
    }
}
