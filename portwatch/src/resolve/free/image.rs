//! Which program a process runs: a pid and a start time stay the same through exec(2).

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::model::Process;

/// The program of a process, as far as it may be read. Titles that programs give themselves are none of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// Device and inode of the executable: its name changes when a package is updated.
    exe: Option<(u64, u64)>,
    /// Where its stack begins: another place after each exec (proc(5), field 28 of stat); `None` where it may not be read.
    stack: Option<u64>,
    /// Its arguments.
    command: Option<Vec<u8>>,
}

impl Image {
    /// What the process runs now. Read after the facts that were shown: what came between shows as another program than
    /// those facts name.
    pub(super) fn of(process: &Process) -> Self {
        let now = Self::now(process.id.pid);
        let shown = process.exe.as_deref().map(undeleted);
        let here = path(process.id.pid);
        let same = shown.zip(here.as_deref().map(undeleted)).is_none_or(|(shown, now)| shown == now);
        if same { now } else { Self { exe: Some((0, 0)), ..now } }
    }

    fn now(pid: u32) -> Self {
        let exe = fs::metadata(format!("/proc/{pid}/exe")).ok().map(|meta| (meta.dev(), meta.ino()));
        let stat = procfs::process::Process::new(i32::try_from(pid).unwrap_or(0)).and_then(|p| p.stat()).ok();
        let stack = stat.map(|stat| stat.startstack).filter(|&stack| stack > 1);
        Self { exe, stack, command: fs::read(format!("/proc/{pid}/cmdline")).ok() }
    }

    /// The program that a process runs now, if it is another one than then: by its executable, or, of the same
    /// executable, by an exec with other arguments.
    pub(super) fn other_now(&self, pid: u32) -> Option<String> {
        let now = Self::now(pid);
        let differs = |a: Option<u64>, b: Option<u64>| a.zip(b).is_some_and(|(a, b)| a != b);
        let exe = self.exe.zip(now.exe).is_some_and(|(then, now)| then != now);
        let again = differs(self.stack, now.stack) && self.command != now.command;
        (exe || again).then(|| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            path(pid).map_or_else(|| comm.trim_end().to_owned(), |path| path.display().to_string())
        })
    }
}

/// A file that was replaced since is called `… (deleted)`, and is the same program.
fn undeleted(path: &Path) -> &[u8] {
    let name = path.as_os_str().as_bytes();
    name.strip_suffix(b" (deleted)").unwrap_or(name)
}

fn path(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        process::{Command, Stdio},
    };

    use super::Image;

    #[test]
    fn another_program_or_other_arguments_are_told_and_a_new_title_is_not() {
        let mut child = Command::new("bash")
            .args([
                "-c",
                "echo; read; echo title > /proc/$$/comm; echo; read; exec bash -c 'echo; read; exec cat' x",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (pid, mut say) = (child.id(), child.stdin.take().unwrap());
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = || lines.read_line(&mut String::new()).unwrap();
        // Whoever starts a program goes on before the kernel has laid its stack out.
        line();
        let bash = Image::now(pid);
        writeln!(say).unwrap();
        line();
        assert_eq!(bash.other_now(pid), None, "only its title is new");
        writeln!(say).unwrap();
        line();
        let again = Image::now(pid);
        assert!(bash.other_now(pid).is_some_and(|path| path.ends_with("bash")), "exec with other arguments");
        writeln!(say, "\nhello").unwrap();
        line();
        assert!(again.other_now(pid).is_some_and(|path| path.ends_with("cat")), "another program");
        drop(say);
        child.wait().unwrap();
    }
}
