//! By modes.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt, PermissionsExt as _},
    path::Path,
};

/// Makes a directory and what is missing above it, with this mode.
pub fn directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Makes a directory through which everybody may come to what is in it, whatever the umask. One that is there stays as it is.
pub fn thoroughfare(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        directory(above, 0o755)?;
    }
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return directory(path, 0o755),
        Err(error) => return Err(error),
    }
    // By a handle of what was made: whoever may write above it could have put something else there.
    let flags = nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW;
    let made = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if made.metadata()?.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "somebody else has put another directory there",
        ));
    }
    made.set_permissions(fs::Permissions::from_mode(0o755))
}

/// Which file is at `path`.
pub fn identity(path: &Path) -> io::Result<Option<super::Identity>> {
    fs::metadata(path).map(|found| Some((found.dev(), found.ino())))
}

/// Opens a file to be written at its end, for its owner's eyes only.
pub fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW).open(path)
}

/// Opens a file whose lock means something; everybody may read who has it.
pub fn lockable(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
        .open(path)
}

/// Opens a file to be read. A FIFO is not waited for: it is opened with a writer or without.
pub fn readable(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Whether what is in a file may be believed for the place where it lies. Here nobody but root may write where root's files are looked for.
pub const fn is_believed(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// Takes the lock, which the kernel drops when the process ends, however it ends.
pub fn try_lock(file: &File) -> Result<(), TryLockError> {
    file.try_lock()
}

/// Takes a part in the lock: nobody has it alone.
pub fn try_lock_shared(file: &File) -> Result<(), TryLockError> {
    file.try_lock_shared()
}

/// Holds a directory for as long as the file is open, as one process can at a time: the directory itself is locked, so no name in
/// it that is removed lets another one in. Nothing where its file system locks no directories (NFS).
pub fn hold(directory: &Path) -> Result<Option<File>, TryLockError> {
    let directory = File::open(directory).map_err(TryLockError::Error)?;
    match directory.try_lock() {
        Ok(()) => Ok(Some(directory)),
        // flock(2), "NFS details": an exclusive lock needs a file that is open for writing, which a directory never is.
        Err(TryLockError::Error(error)) if error.raw_os_error() == Some(nix::libc::EBADF) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether somebody holds this directory.
pub fn is_held(directory: &Path) -> io::Result<bool> {
    match File::open(directory)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether this file is the one at `path`, not one that was removed or replaced.
pub fn is_of(file: &File, path: &Path) -> io::Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let here = file.metadata()?;
    Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
}

/// Waits until nobody else is in this directory's turn, and has it until the file is closed, however the process ends. An empty
/// file in it is locked, which stays there: the directory itself is its daemon's to [`hold`].
pub fn turn(directory: &Path) -> io::Result<File> {
    let path = directory.join("portwatch.turn");
    loop {
        let file = lockable(&path)?;
        file.lock()?;
        // Whoever removed it meanwhile let others make another, and lock that.
        if is_of(&file, &path)? {
            return Ok(file);
        }
    }
}
