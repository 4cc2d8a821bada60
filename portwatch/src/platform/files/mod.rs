//! Files and directories of one's own.

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
    io::{self, Read as _},
    path::Path,
};

pub use self::system::{
    append, directory, hold, identity, is_believed, is_held, is_of, lockable, readable, thoroughfare,
    try_lock, try_lock_shared, turn,
};

/// Which file it is, whatever its name: device and number on it.
pub type Identity = (u64, u64);

/// What is in a regular file of at most so many bytes. Where somebody else may have laid it, a FIFO would be waited for, and a
/// device has no end.
pub fn text(path: &Path, most: u64) -> io::Result<String> {
    text_of(readable(path)?, most)
}

/// The same of a file that was opened by [`readable`].
pub fn text_of(file: File, most: u64) -> io::Result<String> {
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    let mut text = String::new();
    // It may grow while it is read.
    let read = file.take(most.saturating_add(1)).read_to_string(&mut text);
    let count = read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::new(io::ErrorKind::InvalidData, "it is not a text in UTF-8"),
        _ => error,
    })?;
    if u64::try_from(count).unwrap_or(u64::MAX) > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more bytes than are read, {most} at most"),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::TryLockError,
        io::Write as _,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn a_locked_file_is_locked_for_others_and_can_still_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("er");
        directory(&path, 0o700).unwrap();
        directory(&path, 0o700).unwrap();
        let mut file = lockable(&path.join("lock")).unwrap();
        try_lock(&file).unwrap();
        file.write_all(b"me").unwrap();
        let mut other = File::open(path.join("lock")).unwrap();
        assert!(matches!(try_lock_shared(&other), Err(TryLockError::WouldBlock)));
        assert!(matches!(try_lock(&lockable(&path.join("lock")).unwrap()), Err(TryLockError::WouldBlock)));
        let mut text = String::new();
        other.read_to_string(&mut text).unwrap();
        assert_eq!(text, "me");
        drop(file);
        try_lock_shared(&other).unwrap();
    }

    #[test]
    fn a_text_is_a_regular_file_that_is_small() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(text(&path, 4).unwrap(), "four");
        assert_eq!(text(&path, 3).unwrap_err().to_string(), "it has more bytes than are read, 3 at most");
        assert_eq!(text(&folder.path().join("x"), 3).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(text(folder.path(), 3).is_err());
        std::fs::write(&path, [b'a', 0xff]).unwrap();
        assert_eq!(text(&path, 3).unwrap_err().to_string(), "it is not a text in UTF-8");
    }

    /// Nobody writes into it, and whoever opens it to read waits for somebody who does (fifo(7)).
    #[cfg(unix)]
    #[test]
    fn a_fifo_and_a_device_are_no_texts_and_are_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&*fifo, Path::new("/dev/zero")] {
            assert_eq!(text(path, 3).unwrap_err().to_string(), "it is not a regular file", "{path:?}");
        }
    }

    #[test]
    fn a_turn_is_waited_for_until_the_one_before_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (places, inside) = (std::sync::Barrier::new(4), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    places.wait();
                    for _ in 0..20 {
                        let turn = turn(folder.path()).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
    }

    #[test]
    fn a_directory_is_held_by_one_while_others_have_their_turns_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let held = hold(folder.path()).unwrap();
        drop(turn(folder.path()).unwrap());
        assert_eq!(is_held(folder.path()).unwrap(), cfg!(unix));
        assert_eq!(matches!(hold(folder.path()), Err(TryLockError::WouldBlock)), cfg!(unix));
        drop(held);
        assert!(!is_held(folder.path()).unwrap());
    }

    #[test]
    fn a_file_is_known_to_be_the_one_at_a_path_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let file = lockable(&path).unwrap();
        assert!(is_of(&file, &path).unwrap());
        #[cfg(unix)]
        {
            std::fs::remove_file(&path).unwrap();
            assert!(!is_of(&file, &path).unwrap(), "there is none");
            let _other = lockable(&path).unwrap();
            assert!(!is_of(&file, &path).unwrap(), "there is another");
        }
        #[cfg(windows)]
        assert!(std::fs::remove_file(&path).is_err(), "it cannot be removed");
    }

    #[test]
    fn a_log_grows_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for line in [b"a", b"b"] {
            append(&path).unwrap().write_all(line).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"ab");
    }
}
