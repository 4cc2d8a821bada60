use std::{fs, os::unix::fs::symlink, process::Command};

use tempfile::TempDir;

use super::*;

/// A directory whose path is its real one, on whatever file system.
fn workshop() -> (TempDir, PathBuf) {
    let dir = tempfile::Builder::new().prefix("workshop").tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

fn own_tree() -> Tree {
    Tree::new(fs::File::open("/").unwrap().into()).unwrap()
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn git(dir: &Path, args: &[&str]) {
    let mut git = Command::new("git");
    git.arg("-C").arg(dir).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(args);
    // Whatever the machine's own configuration says.
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(variable);
    }
    let output = git.output().expect("git is installed");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_nearest_marked_directory_is_the_project() {
    let (_dir, top) = workshop();
    put(&top.join("Cargo.toml"), "[workspace]");
    put(&top.join("web/package.json"), "{\"name\": \"web\"}");
    fs::create_dir_all(top.join("web/src/deep")).unwrap();
    fs::create_dir_all(top.join("docs")).unwrap();
    let tree = own_tree();
    let inner = search(&tree, &top.join("web/src/deep"), None).unwrap();
    assert_eq!((inner.name.as_str(), inner.kind, &inner.root), ("web", ProjectKind::Node, &top.join("web")));
    let outer = search(&tree, &top.join("docs"), None).unwrap();
    assert_eq!(outer.kind, ProjectKind::Rust);
    assert_eq!(outer.name, top.file_name().unwrap().to_str().unwrap());
    assert_eq!(outer.worktree, None);
}

#[test]
fn traps_in_place_of_project_files_neither_block_nor_lead_elsewhere() {
    let (_dir, top) = workshop();
    put(&top.join("secret/package.json"), "{\"name\": \"secret\"}");
    let here = top.join("here");
    fs::create_dir_all(here.join("go.mod")).unwrap();
    nix::unistd::mkfifo(&here.join("Cargo.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink(top.join("secret/package.json"), here.join("package.json")).unwrap();
    symlink("/dev/zero", here.join(".portwatch.toml")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(here.join("pyproject.toml")).unwrap();
    assert_eq!(search(&own_tree(), &here, Some(&top)), None);
    // The same through a directory that is a link.
    symlink(top.join("secret"), top.join("link")).unwrap();
    assert_eq!(search(&own_tree(), &top.join("link"), Some(&top)), None);
    assert!(search(&own_tree(), &top.join("secret"), Some(&top)).is_some());
}

#[test]
fn a_huge_project_file_marks_its_directory_and_is_not_read() {
    let (_dir, top) = workshop();
    fs::create_dir_all(top.join("big")).unwrap();
    let file = fs::File::create(top.join("big/package.json")).unwrap();
    file.set_len(1 << 30).unwrap();
    assert_eq!(search(&own_tree(), &top.join("big"), None).unwrap().name, "big");
}

#[test]
fn a_file_that_lies_about_in_a_home_directory_is_no_project_of_everything_below() {
    let (_dir, home) = workshop();
    put(&home.join("package.json"), "{\"name\": \"stray\"}");
    fs::create_dir_all(home.join("downloads")).unwrap();
    assert_eq!(search(&own_tree(), &home.join("downloads"), Some(&home)), None);
    put(&home.join(".portwatch.toml"), "project = 'mine'");
    assert_eq!(search(&own_tree(), &home.join("downloads"), Some(&home)).unwrap().name, "mine");
}

#[test]
fn shared_directories_are_never_a_project() {
    for shared in SHARED {
        assert_eq!(search(&own_tree(), Path::new(shared), None), None, "{shared}");
    }
    assert_eq!(search(&own_tree(), Path::new("relative"), None), None);
    assert_eq!(search(&own_tree(), Path::new("/gone (deleted)"), None), None);
}

#[test]
fn a_linked_worktree_is_named_with_its_branch_and_the_main_one_too() {
    let (_dir, top) = workshop();
    let main = top.join("shop");
    fs::create_dir_all(&main).unwrap();
    git(&main, &["init", "-q", "-b", "trunk"]);
    git(&main, &["commit", "-q", "--allow-empty", "-m", "first"]);
    git(&main, &["worktree", "add", "-q", "-b", "feature/tax", "../shop-tax"]);
    fs::create_dir_all(main.join("api")).unwrap();
    let tree = own_tree();

    let found = search(&tree, &main.join("api"), None).unwrap();
    assert_eq!((found.name.as_str(), found.kind), ("shop", ProjectKind::Git));
    let worktree = found.worktree.unwrap();
    assert_eq!((worktree.name.as_str(), worktree.branch.as_deref()), ("main", Some("trunk")));
    assert_eq!(worktree.root, main);

    let linked = search(&tree, &top.join("shop-tax"), None).unwrap().worktree.unwrap();
    assert_eq!((linked.name.as_str(), linked.branch.as_deref()), ("shop-tax", Some("feature/tax")));
    assert_eq!(linked.root, top.join("shop-tax"));

    git(&main, &["checkout", "-q", "--detach"]);
    let detached = search(&tree, &main, None).unwrap().worktree.unwrap();
    assert_eq!((detached.name.as_str(), detached.branch), ("main", None));
}

#[test]
fn a_git_file_does_not_make_us_tell_what_its_author_may_not_read() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give a file to another user");
        return;
    }
    let (_dir, top) = workshop();
    put(&top.join("victim/.git/HEAD"), "ref: refs/heads/secret-plan\n");
    put(&top.join("mallory/.git"), &format!("gitdir: {}\n", top.join("victim/.git").display()));
    std::os::unix::fs::chown(top.join("mallory/.git"), Some(1234), None).unwrap();
    let found = search(&own_tree(), &top.join("mallory"), None).unwrap();
    assert_eq!(found.worktree.unwrap().branch, None);
}

#[test]
fn a_service_started_in_the_root_directory_belongs_to_the_project_of_its_script() {
    let (_dir, top) = workshop();
    put(&top.join("pyproject.toml"), "[project]\nname = 'ledger'");
    put(&top.join("src/app.py"), "");
    put(&top.join("node_modules/vite/package.json"), "{\"name\": \"vite\"}");
    put(&top.join("node_modules/vite/bin.js"), "");
    put(&top.join(".tool/package.json"), "{\"name\": \"manager\"}");
    put(&top.join(".tool/run.js"), "");
    let tree = own_tree();
    let of = |args: &[&str], cwd: &Path| {
        let command = CommandLine { args: args.iter().map(|&a| a.to_owned()).collect(), truncated: false };
        let question =
            Question { tree: &tree, cwd: Some(cwd), command: Some(&command), exe: None, home: None };
        Projects::new().of(&question).map(|project| (project.name, project.evidence))
    };
    let root = Path::new("/");
    let at = |file: &str| top.join(file).to_str().unwrap().to_owned();
    let ledger = Some(("ledger".to_owned(), Evidence::Inferred));
    assert_eq!(of(&["python3", "-u", &at("src/app.py")], root), ledger);
    assert_eq!(
        of(&["node", &at("node_modules/vite/bin.js")], root),
        ledger,
        "installed code is not the project"
    );
    assert_eq!(of(&["node", &at(".tool/run.js")], root), None, "nor are version managers");
    assert_eq!(of(&["python3", &at("src/gone.py")], root), None, "the script must be there");
    assert_eq!(of(&["python3", "-c", &at("src/app.py")], root), None, "code is not a path");
    assert_eq!(of(&["python3"], &top), Some(("ledger".to_owned(), Evidence::Scan)));
}

#[test]
fn a_file_that_anybody_may_have_put_there_is_nobodys_word() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    for (open, directory, file, planted) in [
        (true, 0, 1000, true),
        (true, 1000, 1001, true),
        (true, 1000, 1000, false),
        (true, 1000, 0, false),
        (false, 1000, 1001, false),
    ] {
        assert_eq!(tree::is_planted(open, directory, file), planted, "{open} {directory} {file}");
    }
    if !nix::unistd::geteuid().is_root() {
        println!("not root: files of others cannot be made here");
        return;
    }
    let (_dir, top) = workshop();
    let open = top.join("open");
    put(&open.join("package.json"), "{\"name\": \"trap\"}");
    put(&open.join("own/package.json"), "{\"name\": \"own\"}");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
    let found = |path: &Path| search(&own_tree(), path, None).map(|project| project.name);
    assert_eq!(found(&open).as_deref(), Some("trap"), "root's");
    chown(open.join("package.json"), Some(4_000_000), None).unwrap();
    assert!(is_planted(&open.join("package.json")));
    assert_ne!(found(&open).as_deref(), Some("trap"));
    assert_eq!(found(&open.join("own")).as_deref(), Some("own"), "below it others cannot write");
}
