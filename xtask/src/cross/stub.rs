//! What stands in for C compilers while code is only checked: SQLite's is compiled by a build script, and then not used.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::Result;

/// Makes the files that a compiler or an archiver is told to make, and leaves them empty.
const STUB: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
    -o) shift; : > "$1" ;;
    *.a) : > "$1" ;;
    esac
    shift
done
"#;

/// Has build scripts use the stub for a target (its name with underscores).
pub(super) fn instead_of_compilers(command: &mut Command, folder: &Path, target: &str) -> Result<()> {
    fs::create_dir_all(folder)?;
    let stub = folder.join("stub");
    fs::write(&stub, STUB)?;
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755))?;
    for tool in ["CC", "CXX", "AR", "RANLIB"] {
        command.env(format!("{tool}_{target}"), &stub);
    }
    // Where a compiler for macOS would look for headers; any folder will do.
    command.env("SDKROOT", folder);
    Ok(())
}
