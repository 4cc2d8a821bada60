//! A Podman of a test's own: Debian's podman as a service, in a network namespace of the test and a mount namespace of its
//! own, with all its files in a folder that goes with it.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::{
    Actor, DEADLINE, IMAGE, Netns,
    docker::{cgroups, image},
    wait_until,
};

/// Keeps what podman and its network plugins write outside of the folder off the machine, then serves. Arguments:
/// folder, group.
const SERVE: &str = r#"
mount --make-rprivate /
for place in /run /var/lib/cni /etc/cni/net.d /var/lib/containers; do
    mkdir -p $place && mount -t tmpfs none $place || exit
done
exec podman --root "$1/graph" --runroot "$1/run" --tmpdir "$1/tmp" --storage-driver vfs \
    --cgroup-manager cgroupfs --events-backend file --runtime runc system service --time 0 "unix://$1/s"
"#;

/// A running podman service. Dropped, its containers and it are ended.
#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
    group: String,
    service: Option<Actor>,
}

impl Podman {
    /// Starts the service in `netns`, where it may make bridges and rules as it likes, and imports [`IMAGE`].
    pub fn start(netns: &Netns) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pwp").tempdir_in("/tmp")?;
        let group = format!("pwpodman{}", std::process::id());
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SERVE, "sh"]).arg(folder.path());
        command.stderr(File::create(folder.path().join("log"))?);
        let service = netns.enter(|| Actor::start(&mut command))?;
        let podman = Self { folder, group, service: Some(service) };
        let answers = || {
            podman
                .client(&["version"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
        };
        wait_until("podman to answer", DEADLINE, || answers().then_some(()))
            .with_context(|| fs::read_to_string(podman.folder.path().join("log")).unwrap_or_default())?;
        let archive = image(podman.folder.path())?;
        podman.podman(&["import", archive.to_str().context("path")?, IMAGE])?;
        Ok(podman)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Runs the client and gives what it printed.
    pub fn podman(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.client(arguments).output()?;
        if !output.status.success() {
            bail!("podman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Starts a container that serves HTTP on `port` inside; gives its id.
    pub fn serve(&self, name: &str, port: u16, more: &[&str]) -> anyhow::Result<String> {
        let port = port.to_string();
        let parent = format!("/{}", self.group);
        let mut arguments = vec!["run", "--detach", "--name", name, "--cgroup-parent", &parent];
        // Its own defaults are more than who may not raise limits has.
        arguments.extend(["--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"]);
        arguments.extend_from_slice(more);
        arguments.extend_from_slice(&[IMAGE, "/bin/httpd", "-f", "-p", &port, "-h", "/"]);
        self.podman(&arguments)
    }

    /// One fact of `podman inspect`.
    pub fn inspect(&self, name: &str, what: &str) -> anyhow::Result<String> {
        self.podman(&["inspect", "--format", what, name])
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .args(["--remote", "--url", &format!("unix://{}", self.socket().display())])
            .args(arguments)
            .env("HOME", self.folder.path())
            .env_remove("CONTAINER_HOST")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Podman {
    #[expect(clippy::print_stderr, reason = "what is left behind is said")]
    fn drop(&mut self) {
        if let Err(error) = self.podman(&["rm", "--force", "--all", "--time", "0"]) {
            eprintln!("containers are left: {error:#}");
        }
        drop(self.service.take());
        for group in cgroups(&self.group).unwrap_or_default() {
            // The monitors' own group lies in it, and they end when their containers have.
            let emptied = || {
                let _ = fs::remove_dir(group.join("conmon"));
                (!group.exists() || fs::remove_dir(&group).is_ok()).then_some(())
            };
            if let Err(error) = wait_until(&format!("{} to be empty", group.display()), DEADLINE, emptied) {
                eprintln!("{error:#}");
            }
        }
    }
}
