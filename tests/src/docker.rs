//! A Docker engine of a test's own: Debian's dockerd, in a network namespace of the test, with all its files in a
//! folder that goes with it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

use crate::{
    DEADLINE, Netns,
    actor::{pid_of, wait_for},
    wait_until,
};

/// What dockerd makes outside of its folders, deepest first. It is taken away where it was not there before, and only
/// when it is empty.
const OUTSIDE: [&str; 3] = ["/run/docker/plugins", "/run/docker/netns", "/run/docker"];

/// The image that [`Docker::start`] makes: a static busybox as `/bin/httpd`, and `/index.html`.
pub const IMAGE: &str = "pwtest:1";

/// A running dockerd. Dropped, its containers and it are ended and reaped.
#[derive(Debug)]
pub struct Docker {
    folder: TempDir,
    daemon: Child,
    made: Vec<PathBuf>,
}

impl Docker {
    /// Starts dockerd in `netns`, where it may make bridges and rules as it likes, and imports [`IMAGE`].
    pub fn start(netns: &Netns, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pwd").tempdir_in("/tmp")?;
        let outside = OUTSIDE.iter().map(PathBuf::from).chain(cgroups("docker")?);
        let made = outside.filter(|path| !path.exists()).collect();
        let within = |name: &str| folder.path().join(name);
        let log = File::create(within("log"))?;
        let mut command = Command::new("dockerd");
        command
            .arg("--data-root")
            .arg(within("data"))
            .arg("--exec-root")
            .arg(within("exec"))
            .arg("--pidfile")
            .arg(within("pid"))
            .arg("--host")
            .arg(format!("unix://{}", within("s").display()))
            .args(["--storage-driver", "vfs"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let daemon = netns.enter(|| command.spawn().with_context(|| format!("{command:?}")))?;
        let docker = Self { folder, daemon, made };
        let answers = || docker.client(&["version"]).status().is_ok_and(|status| status.success());
        wait_until("dockerd to answer", DEADLINE, || answers().then_some(()))
            .with_context(|| fs::read_to_string(docker.folder.path().join("log")).unwrap_or_default())?;
        docker.import()?;
        Ok(docker)
    }

    fn import(&self) -> anyhow::Result<()> {
        let archive = image(self.folder.path())?;
        self.docker(&["import", archive.to_str().context("path")?, IMAGE]).map(drop)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// dockerd's pid.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Runs the client and gives what it printed.
    pub fn docker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.client(arguments).stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            bail!("docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Starts a container that serves HTTP on `port` inside; `published` as `--publish` takes it.
    pub fn serve(&self, name: &str, published: &str, port: u16, more: &[&str]) -> anyhow::Result<String> {
        let port = port.to_string();
        let mut arguments = vec!["run", "--detach", "--name", name, "--publish", published];
        arguments.extend_from_slice(more);
        arguments.extend_from_slice(&[IMAGE, "/bin/httpd", "-f", "-p", &port, "-h", "/"]);
        self.docker(&arguments)
    }

    /// One fact of `docker inspect`.
    pub fn inspect(&self, name: &str, what: &str) -> anyhow::Result<String> {
        self.docker(&["inspect", "--format", what, name])
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.folder.path().join("client"))
            .env_remove("DOCKER_CONTEXT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    fn end(&mut self) -> anyhow::Result<()> {
        let all = self.docker(&["ps", "--all", "--quiet"])?;
        let ids: Vec<&str> = all.split_whitespace().collect();
        if !ids.is_empty() {
            self.docker(&[&["rm", "--force", "--volumes"], &ids[..]].concat())?;
        }
        kill(pid_of(&self.daemon)?, Signal::SIGTERM)?;
        wait_for(&mut self.daemon)?;
        Ok(())
    }
}

impl Drop for Docker {
    #[expect(clippy::print_stderr, reason = "what is left behind is said")]
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("dockerd did not end in order: {error:#}");
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
        for path in &self.made {
            // Not empty: another engine uses it by now.
            let _ = fs::remove_dir(path);
        }
    }
}

/// The files of [`IMAGE`], packed.
pub(crate) fn image(folder: &Path) -> anyhow::Result<PathBuf> {
    let root = folder.join("root");
    fs::create_dir_all(root.join("bin"))?;
    fs::copy("/bin/busybox", root.join("bin/busybox")).context("busybox-static")?;
    std::os::unix::fs::symlink("busybox", root.join("bin/httpd"))?;
    fs::write(root.join("index.html"), "from inside\n")?;
    let archive = folder.join("image.tar");
    let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status()?;
    anyhow::ensure!(packed.success(), "tar: {packed}");
    Ok(archive)
}

/// A group of this name in every hierarchy of control groups.
pub(crate) fn cgroups(name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    Ok(fields
        .by_ref()
        .filter_map(|line| match line[..] {
            [_, path, "cgroup" | "cgroup2", ..] => Some(Path::new(path).join(name)),
            _ => None,
        })
        .collect())
}
