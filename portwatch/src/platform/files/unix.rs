//! By modes.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt},
    path::Path,
};

/// Makes a directory and what is missing above it, with this mode.
pub fn directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)
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

/// Waits until nobody else is in this directory's turn, and has it until the file is closed, however the process ends. Leaves
/// nothing there: it is the directory itself that is locked.
pub fn turn(directory: &Path) -> io::Result<File> {
    let directory = File::open(directory)?;
    directory.lock()?;
    Ok(directory)
}
