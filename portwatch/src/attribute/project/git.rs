//! Git worktrees, without running git.

use std::path::{Component, Path, PathBuf};

use super::{
    name::presentable,
    tree::{Directory, Tree},
};
use crate::model::Worktree;

/// HEAD and `.git` files are one line.
const LIMIT: usize = 4096;

/// The worktree whose root is `path`, if it is one.
pub(super) fn worktree(tree: &Tree, directory: &Directory, path: &Path) -> Option<Worktree> {
    if let Some(git) = directory.directory(".git") {
        let head = git.text(Path::new("HEAD"), LIMIT)?;
        return Some(Worktree { name: "main".into(), root: path.to_owned(), branch: branch(head.bytes) });
    }
    // A linked worktree or a submodule: a file that says where the rest is (gitrepository-layout(5)).
    let file = directory.text(Path::new(".git"), LIMIT)?;
    let text = String::from_utf8(file.bytes?).ok()?;
    let target = lexical(&path.join(text.strip_prefix("gitdir:")?.trim()));
    let name = match target.parent().and_then(Path::file_name) {
        Some(kind) if kind == "worktrees" => presentable(&target.file_name()?.to_string_lossy())?,
        _ => "main".into(),
    };
    // Whoever wrote the file may not be allowed to read what it points at, and this process is: what is told
    // is what the author of the file owns.
    let head = tree.text(&target.join("HEAD"), LIMIT).filter(|head| head.uid == file.uid);
    Some(Worktree { name, root: path.to_owned(), branch: head.and_then(|head| branch(head.bytes)) })
}

/// The branch in a HEAD; `None` when it is detached.
fn branch(head: Option<Vec<u8>>) -> Option<String> {
    let head = String::from_utf8(head?).ok()?;
    presentable(head.strip_prefix("ref:")?.trim().strip_prefix("refs/heads/")?)
}

/// The path without `.` and `..`.
pub(super) fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
