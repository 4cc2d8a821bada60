//! By access control lists.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::windows::{
        fs::{MetadataExt, OpenOptionsExt},
        io::AsRawHandle,
    },
    path::Path,
};

use windows_sys::Win32::{
    Foundation::{ERROR_LOCK_VIOLATION, HANDLE},
    Security::Authorization::SE_FILE_OBJECT,
    Storage::FileSystem::{
        CreateDirectoryW, FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS,
        FILE_FLAG_OPEN_REPARSE_POINT, FILE_SHARE_READ, FILE_SHARE_WRITE, LOCKFILE_EXCLUSIVE_LOCK,
        LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, READ_CONTROL,
    },
    System::IO::OVERLAPPED,
};

use crate::platform::{
    user,
    windows::{Guard, done, owner_of, wide},
};

/// Where in a file the lock lies. A locked byte cannot be read by others on this system, so it is one that no file
/// reaches.
const BYTE: u64 = 1 << 62;

/// Makes a directory in which everybody may come to what is in it.
pub fn thoroughfare(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Makes a directory and what is missing above it. One that only its owner is to enter (no bits for others in `mode`)
/// is made so; where it exists already, it must be this user's, the system's or the administrators': in a place where
/// all may make directories somebody else's could be waiting.
pub fn directory(path: &Path, mode: u32) -> io::Result<()> {
    if mode & 0o077 != 0 {
        return fs::create_dir_all(path);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let guard = Guard::private_directory()?;
    let attributes = guard.attributes();
    let name = wide(path.as_os_str());
    // SAFETY: the name ends with a NUL, and the attributes live until the call returns.
    match done(unsafe { CreateDirectoryW(name.as_ptr(), &raw const attributes) }) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => is_ours(path),
        other => other,
    }
}

fn is_ours(path: &Path) -> io::Result<()> {
    let directory = OpenOptions::new()
        .access_mode(READ_CONTROL)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)?;
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() || metadata.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "something that is no directory is there"));
    }
    let owner = owner_of(directory.as_raw_handle() as HANDLE, SE_FILE_OBJECT)?;
    if user::is_trusted(owner) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"))
}

/// Opens a file to be written at its end. Who may read it is settled by its directory.
pub fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(path)
}

/// Not asked: SQLite opens its files so that nobody can remove or rename them meanwhile (no `FILE_SHARE_DELETE`).
pub fn identity(_: &Path) -> io::Result<Option<super::Identity>> {
    Ok(None)
}

/// Opens a file whose lock means something. Nobody can remove or rename it while it is open (no `FILE_SHARE_DELETE`).
pub fn lockable(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)
}

/// Opens a file to be read.
pub fn readable(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Whether what is in a file may be believed for the place where it lies. Below `%ProgramData%`, where an administrator's is looked for, every
/// user may make directories and files: it must be this user's, the system's or the administrators'.
pub fn is_believed(file: &File) -> io::Result<bool> {
    Ok(user::is_trusted(owner_of(file.as_raw_handle() as HANDLE, SE_FILE_OBJECT)?))
}

/// Takes the lock, which the kernel drops when the process ends, however it ends.
pub fn try_lock(file: &File) -> Result<(), TryLockError> {
    lock(file, LOCKFILE_EXCLUSIVE_LOCK)
}

/// Takes a part in the lock: nobody has it alone.
pub fn try_lock_shared(file: &File) -> Result<(), TryLockError> {
    lock(file, 0)
}

/// Nothing to do: a file that is locked in it can be neither removed nor renamed.
pub const fn hold(_: &Path) -> Result<Option<File>, TryLockError> {
    Ok(None)
}

/// Nobody does.
pub const fn is_held(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// It is: it could be neither removed nor renamed.
pub const fn is_of(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Waits until nobody else is in this directory's turn, and has it until the file is closed, however the process ends. A
/// directory cannot be locked on this system: an empty file in it is, which stays there.
pub fn turn(directory: &Path) -> io::Result<File> {
    let file = lockable(&directory.join("portwatch.turn"))?;
    take(&file, LOCKFILE_EXCLUSIVE_LOCK)?;
    Ok(file)
}

fn lock(file: &File, flags: u32) -> Result<(), TryLockError> {
    match take(file, flags | LOCKFILE_FAIL_IMMEDIATELY) {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(ERROR_LOCK_VIOLATION.cast_signed()) => {
            Err(TryLockError::WouldBlock)
        }
        Err(error) => Err(TryLockError::Error(error)),
    }
}

fn take(file: &File, flags: u32) -> io::Result<()> {
    // SAFETY: all zero is a valid value of it.
    let mut place: OVERLAPPED = unsafe { std::mem::zeroed() };
    place.Anonymous.Anonymous.OffsetHigh = u32::try_from(BYTE >> 32).unwrap_or(0);
    // SAFETY: the handle is open and not overlapped, so that the call returns when the lock is had; the place lives until then.
    done(unsafe { LockFileEx(file.as_raw_handle() as HANDLE, flags, 0, 1, 0, &raw mut place) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_of_ones_own_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "").unwrap();
        assert!(super::is_believed(&std::fs::File::open(&path).unwrap()).unwrap());
    }

    #[test]
    fn a_file_in_place_of_a_directory_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x"), "").unwrap();
        assert!(super::directory(&folder.path().join("x"), 0o700).is_err());
    }
}
