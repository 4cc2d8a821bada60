//! In a job, which ends it with this process. The console is everybody's, and what it sends reaches all.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use super::{End, Lived, Program, failed, hear, look};
use crate::{
    platform::{ending::Running, windows::Job},
    resolve::{
        ResolveError, Stirs,
        run::{Caller, Signals, life::Life},
    },
};

/// How often is looked whether there is news while somebody may tell some.
const PAUSE: Duration = Duration::from_millis(50);
/// Nobody tells any.
const LONG: Duration = Duration::from_hours(1);

/// What `CreateProcessW` can start, in the order of a shell.
const EXTENSIONS: [&str; 4] = ["com", "exe", "bat", "cmd"];

/// Starts it and stays with it to its end. `started` is given its pid, and makes what is watched of its life.
pub(in crate::resolve::run) fn supervise<'a>(
    program: &Program,
    _: &Signals,
    stirs: Option<&Stirs>,
    caller: &mut dyn Caller,
    started: &mut dyn FnMut(u32) -> Result<Option<Life<'a>>, ResolveError>,
) -> Result<Lived, ResolveError> {
    let begun = Instant::now();
    let mut child = spawn(program)?;
    let job = if program.ends_with_us { job(&child) } else { None };
    let pid = child.id();
    // Its pid is nobody else's while `child` has a handle of it.
    let running = Running::open(pid).map_err(|error| failed("watch the program", error))?;
    let mut life = started(pid)?;
    caller.started();
    let (mut moved, mut not_ready) = (None, false);
    let end = loop {
        if let Some(status) = child.try_wait().map_err(|error| failed("wait for the program", error))? {
            break End::Code(status.code().unwrap_or(1));
        }
        hear(&mut life, stirs);
        if look(&mut life, begun.elapsed(), caller, &mut moved)? {
            not_ready = true;
            // There is no way to ask it.
            let ended = job.as_ref().map_or_else(|| child.kill(), Job::end);
            ended.map_err(|error| failed("end the program", error))?;
        }
        running.wait(pause(life.as_ref(), stirs)).map_err(|error| failed("wait for the program", error))?;
    };
    hear(&mut life, stirs);
    if let Some(job) = job {
        // What it left behind on purpose lives on, as on other systems.
        let _ = job.let_go();
    }
    Ok(Lived {
        child: pid,
        end: if not_ready { End::NotReady } else { end },
        listened: life.as_ref().is_some_and(Life::listened),
        moved,
        took: begun.elapsed(),
        was_asked_to_end: false,
    })
}

/// How long to wait for its end before the next look.
fn pause(life: Option<&Life<'_>>, stirs: Option<&Stirs>) -> Duration {
    if stirs.is_some() || life.and_then(Life::wake).is_some() {
        return PAUSE;
    }
    life.and_then(Life::due).map_or(LONG, |due| due.saturating_duration_since(Instant::now()))
}

/// One that cannot be put into a job runs all the same.
fn job(child: &Child) -> Option<Job> {
    Job::around(child).inspect_err(|error| tracing::warn!(%error, "it will not end with this process")).ok()
}

fn spawn(what: &Program) -> Result<Child, ResolveError> {
    let Some((program, arguments)) = what.words.split_first() else {
        return Err(failed("run nothing", io::ErrorKind::InvalidInput.into()));
    };
    let folders: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    Command::new(file(program, &folders))
        .args(arguments)
        .envs(what.variables.iter().map(|(name, value)| (name, value)))
        .spawn()
        .map_err(|error| ResolveError::Start { program: program.to_string_lossy().into_owned(), error })
}

/// The file that is meant by a program's name: a shell finds `npm.cmd` where `npm` is said, `CreateProcessW` only
/// `npm.exe`. What is not found is left to it.
fn file(program: &OsStr, folders: &[PathBuf]) -> OsString {
    let path = Path::new(program);
    let said = path.extension();
    if said.is_some_and(|said| EXTENSIONS.iter().any(|extension| said.eq_ignore_ascii_case(extension))) {
        return program.to_owned();
    }
    let here = [PathBuf::new()];
    let folders = if path.components().nth(1).is_some() { &here } else { folders };
    let mut candidates = folders.iter().flat_map(|folder| {
        EXTENSIONS.iter().map(|extension| {
            let mut file = folder.join(path).into_os_string();
            file.push(".");
            file.push(extension);
            file
        })
    });
    candidates.find(|file| Path::new(file).is_file()).unwrap_or_else(|| program.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_what_a_shell_would_start() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        for place in [&one, &two] {
            std::fs::create_dir(place).unwrap();
        }
        for made in [one.join("npm"), one.join("npm.cmd"), two.join("npm.exe"), two.join("node.exe")] {
            std::fs::write(made, "").unwrap();
        }
        let found = |name: &str| PathBuf::from(file(OsStr::new(name), &[one.clone(), two.clone()]));
        assert_eq!(found("npm"), one.join("npm.cmd"));
        assert_eq!(found("node"), two.join("node.exe"));
        for left in ["node.exe", "NPM.CMD", "nothing"] {
            assert_eq!(found(left), Path::new(left));
        }
        let named = one.join("npm");
        assert_eq!(found(named.to_str().unwrap()), one.join("npm.cmd"));
    }
}
