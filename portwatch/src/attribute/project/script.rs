//! Which of the arguments is the program, for processes whose working directory says nothing: a service that
//! was started in `/` with `node /srv/shop/server.js`.

use std::path::{Component, Path, PathBuf};

use super::{Question, git::lexical};

/// Directories that hold the code of others inside a project. What runs from there belongs to the project
/// around it.
const INSTALLED: [&str; 5] = ["node_modules", ".venv", "venv", "site-packages", "vendor"];

/// Options after which there is no script: code or a module name follows.
const INLINE: [&str; 5] = ["-c", "-e", "-m", "--eval", "-p"];

/// Endings of scripts that are named without a directory.
const ENDINGS: [&str; 14] =
    ["cjs", "ex", "exs", "jar", "js", "jsx", "mjs", "php", "pl", "py", "rb", "sh", "ts", "tsx"];

/// The directory of the script that runs, if it is there.
pub(super) fn directory(question: &Question) -> Option<PathBuf> {
    let args = &question.command?.args;
    let script = args
        .iter()
        .skip(1)
        .take(16)
        .take_while(|arg| !INLINE.contains(&arg.as_str()))
        .find(|arg| !arg.starts_with('-') && looks_like_script(Path::new(arg)))?;
    let path = match question.cwd {
        Some(cwd) => cwd.join(script),
        None => PathBuf::from(script),
    };
    let path = lexical(&path);
    if !path.is_absolute() {
        return None;
    }
    question.tree.directory(path.parent()?)?.text(Path::new(path.file_name()?), 0)?;
    own_code(path.parent()?)
}

fn looks_like_script(arg: &Path) -> bool {
    arg.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
        || arg.is_absolute() && arg.file_name().is_some()
}

/// The directory whose project is meant: above installed packages, and none inside hidden directories, where
/// version managers keep their interpreters in git checkouts of their own.
pub(super) fn own_code(directory: &Path) -> Option<PathBuf> {
    let mut own = PathBuf::new();
    for part in directory.components() {
        if let Component::Normal(name) = part {
            if INSTALLED.iter().any(|installed| name == *installed) {
                break;
            }
            if name.as_encoded_bytes().starts_with(b".") {
                return None;
            }
        }
        own.push(part);
    }
    Some(own)
}
