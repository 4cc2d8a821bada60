//! Running a tool of the operating system, with a deadline.
//!
//! Only programs at fixed places are run, with fixed arguments and next to no environment: nothing that a caller of
//! the daemon says comes near them.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::SourceError;

/// More output than this is not a table of sockets.
const LARGEST: u64 = 64 << 20;
/// Of what a tool complains, this much is kept.
const COMPLAINT: u64 = 4096;

/// What a tool printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// The beginning of standard error.
    pub stderr: String,
}

/// The first of `places` where a file is.
pub(super) fn find(name: &'static str, places: &[PathBuf]) -> Result<PathBuf, SourceError> {
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| SourceError::Read {
        what: name.to_owned(),
        error: io::Error::new(
            io::ErrorKind::NotFound,
            format!(
                "it is not installed ({})",
                places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
            ),
        ),
    })
}

/// Where Windows has its own programs.
pub(super) fn system_folder() -> PathBuf {
    #[cfg(windows)]
    return crate::platform::windows::system_folder();
    #[cfg(not(windows))]
    PathBuf::new()
}

/// Runs `program` to its end, at most for `limit`. One that takes longer is ended, and what it would have told is
/// unknown.
pub(super) fn output(program: &Path, arguments: &[&str], limit: Duration) -> Result<Output, SourceError> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("LC_ALL", "C");
    // Without it a Windows program finds no network library.
    #[cfg(windows)]
    if let Some(root) = system_folder().parent() {
        command.env("SystemRoot", root);
    }
    within(&mut command, limit)
}

/// The same of a command that is made already, with the environment it was given.
pub fn within(command: &mut Command, limit: Duration) -> Result<Output, SourceError> {
    let name =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = || name.clone();
    let failed = |error| SourceError::Read { what: name(), error };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let deadline = Instant::now() + limit;
    let mut child = command.spawn().map_err(failed)?;
    let stdout = child.stdout.take().map(|pipe| read_all(pipe, LARGEST));
    let stderr = child.stderr.take().map(|pipe| read_all(pipe, COMPLAINT));
    let receive = |from: Option<mpsc::Receiver<io::Result<Printed>>>| match from {
        None => Ok(Ok(Printed::default())),
        Some(from) => from.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    };
    let late = |child: Child| {
        end(child);
        SourceError::Timeout { what: name(), seconds: limit.as_secs() }
    };
    let (stdout, stderr) = match (receive(stdout), receive(stderr)) {
        (Ok(Ok(stdout)), Ok(stderr)) => (stdout, stderr.unwrap_or_default()),
        (Err(RecvTimeoutError::Timeout), _) | (_, Err(RecvTimeoutError::Timeout)) => return Err(late(child)),
        (Ok(Err(error)), _) => {
            end(child);
            return Err(failed(error));
        }
        _ => {
            end(child);
            return Err(failed(io::Error::other("its output could not be read")));
        }
    };
    // The beginning of a table is no table: whatever stood in the rest would pass for gone.
    if stdout.cut {
        end(child);
        let error = format!("it printed more than {} MB", LARGEST >> 20);
        return Err(failed(io::Error::other(error)));
    }
    let (stdout, stderr) = (stdout.bytes, stderr.bytes);
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
            return Ok(Output { code: status.code(), signal: signal(status), stdout, stderr });
        }
        if Instant::now() >= deadline {
            return Err(late(child));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// What ended a process, where that was a signal; Windows has none.
fn signal(status: ExitStatus) -> Option<i32> {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    {
        let _ = status;
        None
    }
}

/// What came out of a pipe.
#[derive(Debug, Default)]
struct Printed {
    bytes: Vec<u8>,
    /// There was more.
    cut: bool,
}

fn read_all(pipe: impl Read + Send + 'static, limit: u64) -> mpsc::Receiver<io::Result<Printed>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut pipe = pipe;
        let result = (&mut pipe).take(limit).read_to_end(&mut bytes);
        // What comes beyond the limit is thrown away, so that the tool does not hang on a full pipe.
        let rest = io::copy(&mut pipe, &mut io::sink());
        let whole = match (result, rest) {
            (Ok(_), Ok(rest)) => Ok(Printed { bytes, cut: rest > 0 }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        let _ = sender.send(whole);
    });
    receiver
}

/// Ends a tool that hangs. One that waits inside the kernel dies later than it is killed, and nobody waits for it here.
fn end(mut child: Child) {
    let _ = child.kill();
    thread::spawn(move || child.wait());
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn shell(script: &str, limit: Duration) -> Result<Output, SourceError> {
        output(Path::new("/bin/sh"), &["-c", script], limit)
    }

    #[test]
    fn output_complaint_and_code_are_kept_apart_and_the_environment_is_not_handed_on() {
        let ran = shell("echo rows; echo why >&2; echo \"$LC_ALL$HOME\"; exit 1", LONG).unwrap();
        assert_eq!(ran.stdout, b"rows\nC\n");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), "why"));
    }

    #[test]
    fn a_tool_that_hangs_is_a_timeout_and_is_ended() {
        let begun = Instant::now();
        let error = shell("exec cat /dev/zero >/dev/null", Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, SourceError::Timeout { .. }), "{error}");
        assert!(begun.elapsed() < LONG);
    }

    #[test]
    fn the_beginning_of_an_output_that_is_too_large_is_no_output() {
        let printing = |bytes: u64| shell(&format!("head -c {bytes} /dev/zero"), LONG);
        assert_eq!(printing(LARGEST).unwrap().stdout.len() as u64, LARGEST);
        let error = printing(LARGEST + 1).unwrap_err().to_string();
        assert!(error.contains("more than 64 MB"), "{error}");
        let complaint = shell("head -c 9999 /dev/zero >&2", LONG).unwrap();
        assert_eq!(complaint.stderr.len() as u64, COMPLAINT, "of a complaint the beginning will do");
    }

    #[test]
    fn a_tool_that_is_not_there_is_named_with_the_places_looked_at() {
        let error = find("lsof", &["/none/lsof".into()]).unwrap_err().to_string();
        assert!(error.contains("lsof") && error.contains("/none/lsof"), "{error}");
    }
}
