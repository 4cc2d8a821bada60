//! The text files of the workspace.

use std::{fs, io, path::Path};

use anyhow::{Context, Result};

/// Directories that hold nothing of ours.
const SKIPPED: [&str; 6] = [".git", "target", "corpus", "artifacts", "node_modules", "proptest-regressions"];

/// Text files by their path from the workspace's directory.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Vec<(String, String)>,
}

impl Sources {
    /// Reads everything below `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut sources = Self::default();
        sources.walk(root, "").with_context(|| format!("reading {}", root.display()))?;
        sources.files.sort();
        Ok(sources)
    }

    fn walk(&mut self, directory: &Path, below: &str) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.walk(&entry.path(), &path)?;
            } else if kind.is_file() && name != ".git" {
                match String::from_utf8(fs::read(entry.path())?) {
                    Ok(text) => self.files.push((path, text)),
                    Err(_binary) => {}
                }
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn made(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect() }
    }

    /// Every file: path and text.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Rust files: path and text.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().filter(|(path, _)| Path::new(path).extension().is_some_and(|ending| ending == "rs"))
    }

    /// One file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.all().find(|(name, _)| *name == path).map(|(_, text)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_output_and_binaries_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("target/debug")).unwrap();
        fs::create_dir_all(dir.path().join("a/src")).unwrap();
        fs::write(dir.path().join("target/debug/x.rs"), "").unwrap();
        fs::write(dir.path().join("a/src/x.rs"), "fn x() {}").unwrap();
        fs::write(dir.path().join("a/object"), [0xff, 0xfe]).unwrap();
        let sources = Sources::read(dir.path()).unwrap();
        assert_eq!(sources.all().collect::<Vec<_>>(), [("a/src/x.rs", "fn x() {}")]);
    }
}
