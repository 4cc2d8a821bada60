//! The real binary, with a state of its own.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

use crate::{
    DEADLINE, Netns, Source,
    actor::{pid_of, wait_for, wait_for_within},
    wait_until,
};

/// A portwatch of its own: socket, state and configuration lie in a folder that goes when this value goes; so does
/// the daemon, if one runs.
#[derive(Debug)]
pub struct Portwatch {
    binary: PathBuf,
    folder: TempDir,
    environment: Vec<(&'static str, PathBuf)>,
    daemon: Option<Child>,
}

/// What a program's environment needs for the portwatch commands that it runs itself.
#[derive(Debug, Clone)]
pub struct Environment(Vec<(OsString, Option<OsString>)>);

impl Environment {
    /// The same program in this environment.
    pub fn around(&self, mut program: Command) -> Command {
        for (name, value) in &self.0 {
            match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
        program
    }
}

/// A finished command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> anyhow::Result<Self> {
        let output = command.output().with_context(|| format!("{command:?}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// All that it wrote.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Its output as JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {self:?}"))
    }

    /// Its output as JSON, one value a line.
    pub fn json_lines(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

impl Portwatch {
    /// One without a daemon.
    pub fn new() -> anyhow::Result<Self> {
        // In /tmp and short: the path of a Unix socket has 107 bytes.
        let folder = tempfile::Builder::new().prefix("pw").tempdir_in("/tmp")?;
        // A configuration that is named must be there.
        fs::write(folder.path().join("config.toml"), "")?;
        Ok(Self { binary: binary()?, folder, environment: Vec::new(), daemon: None })
    }

    /// One with a daemon that serves.
    pub fn started(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut portwatch = Self::new()?;
        portwatch.start(arguments)?;
        Ok(portwatch)
    }

    /// One without a daemon, whose commands and daemon take a source.
    pub fn on(source: Source) -> anyhow::Result<Self> {
        let mut portwatch = Self::new()?;
        portwatch.give("PORTWATCH_SOURCE", source.name());
        Ok(portwatch)
    }

    /// One with a daemon on a source.
    pub fn started_on(source: Source) -> anyhow::Result<Self> {
        let mut portwatch = Self::on(source)?;
        portwatch.start(&[])?;
        Ok(portwatch)
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.state().join("portwatch.db")
    }

    /// The binary itself.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// What `status` says.
    pub fn status(&self) -> anyhow::Result<serde_json::Value> {
        self.run(&["status", "--json"])?.json()
    }

    /// What `who` says of one thing.
    pub fn who(&self, asked: &str) -> anyhow::Result<serde_json::Value> {
        let document = self.run(&["who", asked, "--json"])?.json()?;
        document.pointer("/targets/0").cloned().with_context(|| format!("no target: {document:#}"))
    }

    /// Events of the journal that match, oldest first.
    pub fn events(&self, arguments: &[&str]) -> anyhow::Result<Vec<serde_json::Value>> {
        let mut all = vec!["log", "--json", "--limit", "0"];
        all.extend(arguments);
        let mut document = self.run(&all)?.json()?;
        match document.get_mut("events").map(serde_json::Value::take) {
            Some(serde_json::Value::Array(events)) => Ok(events),
            other => bail!("no events: {other:?}"),
        }
    }

    /// Waits until the journal has an event of a type that matches.
    pub fn wait_for(&self, kind: &str, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
        let arguments = [&["--type", kind], arguments].concat();
        wait_until(&format!("{arguments:?} in the log"), DEADLINE, || {
            self.events(&arguments).ok().and_then(|events| events.into_iter().next_back())
        })
    }

    /// The folder of this portwatch, for whatever else a test needs to put somewhere.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the daemon logged so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }

    /// The binary with this portwatch's environment and nothing of the caller's that it would read.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in env::vars_os() {
            let settles = |prefix: &str| name.to_string_lossy().starts_with(prefix);
            if settles("PORTWATCH_") || settles("NO_COLOR") || settles("CLICOLOR") || settles("NOTIFY_SOCKET")
            {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("PORTWATCH_SOCKET", self.socket())
            .env("PORTWATCH_STATE", self.state())
            .env("PORTWATCH_CONFIG", self.folder.path().join("config.toml"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Gives the daemon and the commands that are started from now on a variable of their environment.
    pub fn give(&mut self, name: &'static str, value: impl Into<PathBuf>) {
        self.environment.push((name, value.into()));
    }

    /// The environment of [`Portwatch::command`], for other programs.
    pub fn environment(&self) -> Environment {
        let command = self.command(&[]);
        let owned = |(name, value): (&OsStr, Option<&OsStr>)| (name.to_owned(), value.map(OsStr::to_owned));
        Environment(command.get_envs().map(owned).collect())
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        self.run_command(self.command(arguments))
    }

    /// Runs a command to its end whose answer is long, so that a busy machine takes its time for it.
    pub fn run_within(&self, deadline: Duration, arguments: &[&str]) -> anyhow::Result<Ran> {
        self.run_to_end(deadline, self.command(arguments))
    }

    /// Runs a program to its end.
    pub fn run_command(&self, command: Command) -> anyhow::Result<Ran> {
        self.run_to_end(DEADLINE, command)
    }

    fn run_to_end(&self, deadline: Duration, mut command: Command) -> anyhow::Result<Ran> {
        // Files, not pipes: nobody needs to read while the command runs, and a full pipe cannot stop it.
        let (out, err) =
            (tempfile::NamedTempFile::new_in(&self.folder)?, tempfile::NamedTempFile::new_in(&self.folder)?);
        command.stdout(out.reopen()?).stderr(err.reopen()?);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let status = wait_for_within(deadline, &mut child);
        if status.is_err() {
            // It did not end in time; nothing is left behind.
            let _ = child.kill();
            let _ = child.wait();
        }
        let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let code = status.with_context(|| format!("{command:?}"))?.code();
        Ok(Ran { code, stdout: text(out.path())?, stderr: text(err.path())? })
    }

    /// Runs a command to its end in the network namespace of the daemon: what `who` and `ls` mean depends on where one
    /// asks.
    pub fn run_inside(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let daemon = self.pid().context("no daemon runs")?;
        Netns::of_process(daemon)?.enter(|| self.run(arguments))
    }

    /// Starts `portwatch daemon` and waits until it serves.
    pub fn start(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        anyhow::ensure!(self.daemon.is_none(), "a daemon runs already");
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut command = self.command(&["daemon"]);
        command.args(arguments).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        let child = self.daemon.insert(child);

        let socket = self.folder.path().join("s");
        let ready = wait_until("the daemon's socket", DEADLINE, || match child.try_wait() {
            Ok(Some(status)) => Some(Err(status)),
            _ => UnixStream::connect(&socket).is_ok().then_some(Ok(())),
        });
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => {
                self.daemon = None;
                bail!("the daemon ended with {status} before it served: {}", self.log())
            }
            Err(error) => Err(error.context(self.log())),
        }
    }

    /// The daemon's pid.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Asks the daemon to end and waits until it has.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.end(Signal::SIGTERM)
    }

    /// Ends the daemon as a crash would.
    pub fn crash(&mut self) -> anyhow::Result<ExitStatus> {
        self.end(Signal::SIGKILL)
    }

    /// Kills the daemon six times, each at a moment nobody chose, and starts it again: after so many more acknowledgements of the
    /// load that `count` counts as the clock's last digits say.
    pub fn crash_under_load(&mut self, arguments: &[&str], count: &AtomicUsize) -> anyhow::Result<()> {
        for _ in 0..6 {
            let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos();
            let until = count.load(Ordering::Acquire) + 3 + usize::try_from(nanos / 7 % 23)?;
            wait_until("more to be acknowledged", 3 * DEADLINE, || {
                (count.load(Ordering::Acquire) >= until).then_some(())
            })?;
            self.crash()?;
            self.start(arguments)?;
        }
        Ok(())
    }

    fn end(&mut self, signal: Signal) -> anyhow::Result<ExitStatus> {
        let child = self.daemon.as_mut().context("no daemon runs")?;
        kill(pid_of(child)?, signal)?;
        let status = wait_for(child)?;
        self.daemon = None;
        Ok(status)
    }
}

impl Drop for Portwatch {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // Both fail only where it has ended already.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// The binary under test: `PORTWATCH_BIN`, or the workspace's own, built if need be.
fn binary() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| match env::var_os("PORTWATCH_BIN") {
        Some(path) => Ok(path.into()),
        None => build().map_err(|error| format!("{error:#}")),
    });
    built.clone().map_err(anyhow::Error::msg)
}

/// Cargo does not build another package's binary for a test, and a stale one would be tested without a word.
fn build() -> anyhow::Result<PathBuf> {
    // target/PROFILE/deps/TEST
    let test = env::current_exe()?;
    let profile = test.ancestors().nth(2).context("the test lies in no target folder")?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        // As the test command builds it: alone it would have other features of the same crates.
        .args(["build", "--quiet", "--bins", "--manifest-path"])
        .arg(manifest);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().with_context(|| format!("{command:?}"))?;
    anyhow::ensure!(status.success(), "{command:?} failed with {status}");
    let binary = profile.join("portwatch");
    anyhow::ensure!(binary.is_file(), "{} was not built", binary.display());
    Ok(binary)
}
