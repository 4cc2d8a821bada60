//! The git worktrees of a project, without running git, and the claims made in each. Read with the caller's own rights.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    platform::files,
    wire::{
        SCHEMA,
        claims::{Claim, Claims, WorktreeClaims, Worktrees},
    },
};

/// Bytes of a file of git's that names a path or a branch.
const LONGEST: u64 = 64 * 1024;

/// What git says of a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Worktree {
    name: String,
    path: Option<PathBuf>,
    branch: Option<String>,
}

/// The worktrees of the repository around `root`, the main one first; none where there is no repository.
pub(super) fn of(root: &Path) -> Vec<Worktree> {
    let Some(git) = root.ancestors().find_map(git_directory) else { return Vec::new() };
    let main = Worktree {
        name: "main".to_owned(),
        path: git.parent().map(Path::to_owned),
        branch: branch(&git.join("HEAD")),
    };
    let mut linked: Vec<Worktree> = fs::read_dir(git.join("worktrees"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let directory = entry.path();
            // The file names the `.git` file of the worktree (gitrepository-layout(5)).
            let text = files::text(&directory.join("gitdir"), LONGEST).ok()?;
            let path = directory.join(text.trim()).parent().map(Path::to_owned);
            Some(Worktree {
                name: entry.file_name().to_string_lossy().into_owned(),
                path: path.filter(|path| path.is_dir()),
                branch: branch(&directory.join("HEAD")),
            })
        })
        .collect();
    linked.sort_by(|a, b| a.name.cmp(&b.name));
    std::iter::once(main).chain(linked).collect()
}

/// The repository's own directory, of the main worktree or of a linked one.
fn git_directory(directory: &Path) -> Option<PathBuf> {
    let git = directory.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = files::text(&git, LONGEST).ok()?;
    let own = directory.join(text.strip_prefix("gitdir:")?.trim());
    let worktrees = own.parent()?;
    if worktrees.file_name()? == "worktrees" { worktrees.parent().map(Path::to_owned) } else { Some(own) }
}

fn branch(head: &Path) -> Option<String> {
    let text = files::text(head, LONGEST).ok()?;
    Some(text.trim().strip_prefix("ref: refs/heads/")?.to_owned())
}

/// The claims by worktree. Those of a worktree that git does not know any more are told too: nobody else would miss them.
pub(super) fn join(claims: Claims, project: String, there: Vec<Worktree>) -> Worktrees {
    let mut worktrees: Vec<WorktreeClaims> = there
        .into_iter()
        .map(|worktree| WorktreeClaims {
            name: worktree.name,
            path: worktree.path.map(|path| path.to_string_lossy().into_owned()),
            branch: worktree.branch,
            claims: Vec::new(),
        })
        .collect();
    for claim in claims.claims {
        let name = made_in(&claim).to_owned();
        match worktrees.iter_mut().find(|worktree| worktree.name == name) {
            Some(worktree) => worktree.claims.push(claim),
            None => {
                worktrees.push(WorktreeClaims { name, path: None, branch: None, claims: vec![claim] });
            }
        }
    }
    worktrees.sort_by(|a, b| (a.name != "main", &a.name).cmp(&(b.name != "main", &b.name)));
    Worktrees { schema: SCHEMA, time: claims.time, source: claims.source, project, worktrees }
}

fn made_in(claim: &Claim) -> &str {
    claim.worktree.as_deref().or(claim.context.as_deref()).unwrap_or("main")
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn what_is_laid_in_place_of_gits_file_is_not_waited_for_and_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path().join(".git");
        nix::unistd::mkfifo(&git, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(super::git_directory(folder.path()), None);
        std::fs::remove_file(&git).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &git).unwrap();
        assert_eq!(super::git_directory(folder.path()), None);
        std::fs::remove_file(&git).unwrap();
        std::fs::write(&git, "gitdir: /x/.git/worktrees/y\n").unwrap();
        assert_eq!(super::git_directory(folder.path()).unwrap(), std::path::Path::new("/x/.git"));
    }
}
