//! Words that a shell has put in the place of an unquoted `*`.

use std::{collections::BTreeSet, ffi::OsString, path::Path};

/// Whether the words are the names of all files in the directory, as a shell lists them for `*`, and nothing else.
pub(super) fn is_of_shell(words: &[String], directory: &Path) -> bool {
    let Ok(entries) = directory.read_dir() else { return false };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    // One more than there are words is enough to know.
    let shown = names.filter(|name| !name.as_encoded_bytes().starts_with(b".")).take(words.len() + 1);
    let shown: BTreeSet<OsString> = shown.collect();
    !shown.is_empty() && shown == words.iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_directory_are_known_and_other_words_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let is = |words: &[&str]| {
            is_of_shell(&words.iter().map(ToString::to_string).collect::<Vec<_>>(), folder.path())
        };
        assert!(!is(&["*"]), "in an empty directory a shell leaves it alone");
        for name in ["myapp", "Blog.old", ".git"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert!(is(&["Blog.old", "myapp"]));
        for other in [&["myapp"][..], &["*"], &["Blog.old", "myapp", "x"], &["Blog.old", "x"], &[]] {
            assert!(!is(other), "{other:?}");
        }
        assert!(!is_of_shell(&["a".to_owned()], Path::new("/nowhere")));
    }
}
