//! The machine's time zone.

use std::{fs, path::Path};

use jiff::tz::TimeZone;

/// The system's zone, as [`TimeZone::system`] has it. That lists every zone there is in order to find one by its name (on
/// Debian 20 directories, half of all system calls of a short command); the file of the system's own zone says the same.
pub(super) fn local() -> TimeZone {
    let of_file = || if std::env::var_os("TZ").is_none() { file(Path::new("/etc/localtime")) } else { None };
    of_file().unwrap_or_else(TimeZone::system)
}

/// A zone from a file in the format of tzfile(5); its name is the end of what the file links to.
fn file(path: &Path) -> Option<TimeZone> {
    let bytes = fs::read(path).ok()?;
    let target = fs::read_link(path).ok();
    let name = target.as_deref().and_then(Path::to_str).and_then(|target| target.split_once("zoneinfo/"));
    TimeZone::tzif(name.map_or("Local", |(_, name)| name), &bytes).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};

    use super::{file, local};

    #[test]
    fn the_file_says_what_the_library_finds_by_name() {
        let (now, winter) = (Timestamp::now(), "2026-01-15T12:00:00Z".parse().unwrap());
        for moment in [now, winter] {
            assert_eq!(
                local().to_offset_info(moment).offset(),
                TimeZone::system().to_offset_info(moment).offset()
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("localtime");
        std::os::unix::fs::symlink("/usr/share/zoneinfo/Europe/Berlin", &link).unwrap();
        let berlin = file(&link).unwrap();
        assert_eq!(berlin, TimeZone::get("Europe/Berlin").unwrap());
        let info = berlin.to_offset_info(winter);
        assert_eq!((info.abbreviation(), info.offset().seconds()), ("CET", 3600));
        assert!(file(&folder.path().join("absent")).is_none());
    }
}
