//! Whether the database that is open is still the one at its path.
//!
//! A file whose name is gone can be written to as before (unlink(2)), and all of it goes when it is closed: what was
//! acknowledged would not be there at the next start.

use std::path::{Path, PathBuf};

use super::JournalError;
use crate::platform::files;

/// The file that lay at a path.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: Option<files::Identity>,
}

impl Place {
    /// The file that is there now: that of a connection that was opened just before.
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), file: files::identity(path).ok().flatten() }
    }

    /// Refuses where another file is there by now, or none.
    pub(super) fn check(&self) -> Result<(), JournalError> {
        let Some(own) = self.file else { return Ok(()) };
        let what = match files::identity(&self.path) {
            Ok(Some(found)) if found == own => return Ok(()),
            Ok(_) => "replaced",
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "removed",
            // Not to be told: it may be there.
            Err(_) => return Ok(()),
        };
        Err(JournalError::Gone { path: self.path.clone(), what })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_database_that_was_removed_or_replaced_is_written_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        fs::write(&path, "one").unwrap();
        let place = Place::of(&path);
        fs::write(&path, "more").unwrap();
        place.check().unwrap();
        // Kept elsewhere, so that its number is not given to the next.
        fs::rename(&path, folder.path().join("kept")).unwrap();
        let said = place.check().unwrap_err().to_string();
        assert!(said.contains("was removed while"), "{said}");
        fs::write(&path, "two").unwrap();
        let said = place.check().unwrap_err().to_string();
        assert!(said.contains("was replaced while") && said.contains("portwatch restart"), "{said}");
    }
}
