//! Gives the build its identity: one hash over the sources and the kernel object, and one over the object alone.
//! `portwatch version` compares it with the daemon's. No version control is needed.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let object = here.join("prebuilt/portwatch.bpf.o");
    let mut files = vec![here.join("Cargo.toml"), object.clone()];
    for directory in [here.join("src"), here.join("../portwatch-common/src")] {
        println!("cargo:rerun-if-changed={}", directory.display());
        collect(&directory, &mut files)?;
    }
    println!("cargo:rerun-if-changed={}", object.display());
    println!("cargo:rerun-if-changed=build.rs");
    files.sort();
    let mut all = Sha256::new();
    for file in &files {
        match fs::read(file) {
            Ok(bytes) => all.update(Sha256::digest(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    for name in ["TARGET", "PROFILE"] {
        all.update(env::var(name).unwrap_or_default());
    }
    println!("cargo:rustc-env=PORTWATCH_BUILD_ID={}", short(&all.finalize()));
    let object = match fs::read(&object) {
        Ok(bytes) => short(&Sha256::digest(&bytes)),
        Err(_) => "none".to_owned(),
    };
    println!("cargo:rustc-env=PORTWATCH_OBJECT_ID={object}");
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The first 12 hex digits.
fn short(digest: &[u8]) -> String {
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.take(12).filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}
