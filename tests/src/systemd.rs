//! Debian's systemd as pid 1 of namespaces of its own, in a control group of its own.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::{DEADLINE, Netns, Portwatch, Ran, actor::wait_for, wait_until};

const SYSTEMD: &str = "/lib/systemd/systemd";

/// Makes the new namespaces a place for it, as systemd-nspawn would, with the units in `$1`. The machine's own
/// units, settings, state and identity are covered, its kernel's settings cannot be written.
const BEGIN: &str = r#"
mount --make-rprivate /
mount -t tmpfs tmpfs "$2"
mkdir "$2/up" "$2/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$2/up,workdir=$2/work" /etc
rm -rf /etc/systemd/system /etc/systemd/user
mkdir -p /etc/systemd
cp -r "$1/system" "$1/user" /etc/systemd/
echo 0123456789abcdef0123456789abcdef > /etc/machine-id
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
mount -t sysfs -o ro sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib
exec env -i "PATH=$PATH" container=portwatch "$3" --system --unit=begin.target --log-target=console --show-status=0
"#;

/// The managers of users, without the login that PAM would make of them.
const USER: &str = "[Unit]
DefaultDependencies=no
[Service]
Type=notify
User=%i
Slice=user-%i.slice
RuntimeDirectory=user/%i
Environment=XDG_RUNTIME_DIR=/run/user/%i
Environment=HOME=/nonexistent
ExecStart=/lib/systemd/systemd --user --unit=begin.target --log-target=console
Delegate=yes
";

/// systemd as pid 1 of its own pid, mount, control group, host name and message namespaces; the network is the test's. Dropped,
/// it and everything below it is killed, and its control groups are removed.
#[derive(Debug)]
pub struct Systemd {
    outer: Child,
    pid: u32,
    group: PathBuf,
    folder: TempDir,
}

impl Systemd {
    /// Starts it in a network namespace with these units, by name; none is started. Units of users' managers are named
    /// `user/NAME`.
    pub fn start(netns: &Netns, units: &[(&str, &str)]) -> anyhow::Result<Self> {
        anyhow::ensure!(Path::new(SYSTEMD).exists(), "no {SYSTEMD}");
        let folder = tempfile::Builder::new().prefix("pwsystemd").tempdir_in("/tmp")?;
        let [system, user, cover] = ["system", "user", "cover"].map(|name| folder.path().join(name));
        let alone = "[Unit]\nDefaultDependencies=no\n";
        fs::create_dir(&cover)?;
        for units in [&system, &user] {
            fs::create_dir(units)?;
            fs::write(units.join("begin.target"), alone)?;
        }
        fs::write(system.join("user@.service"), USER)?;
        for (name, text) in units {
            let place = name.strip_prefix("user/").map_or_else(|| system.join(name), |name| user.join(name));
            fs::write(place, format!("{alone}{text}"))?;
        }
        let group = group()?;
        fs::create_dir(&group).with_context(|| format!("make {}", group.display()))?;

        let script = format!("set -e\n{BEGIN}");
        // Its group is the root of what it sees: it enters that before the namespace is made.
        let enter = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        let mut command = Command::new("sh");
        command.args(["-c", enter]).arg(&group);
        command.args(["unshare", "--pid", "--mount", "--cgroup", "--uts", "--ipc", "--fork", "--kill-child"]);
        command.args(["sh", "-c", &script, "sh"]).args([folder.path(), &cover]).arg(SYSTEMD);
        let log = fs::File::create(folder.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let spawned = netns.enter(|| command.spawn().with_context(|| format!("{command:?}")));
        let outer = match spawned {
            Ok(outer) => outer,
            Err(error) => {
                let _ = fs::remove_dir(&group);
                return Err(error);
            }
        };
        let mut systemd = Self { outer, pid: 0, group, folder };
        let answers = wait_until("systemd to answer", DEADLINE, || systemd.answers());
        match answers {
            Ok(Ok(())) => Ok(systemd),
            Ok(Err(error)) | Err(error) => Err(error.context(systemd.log())),
        }
    }

    fn answers(&mut self) -> Option<anyhow::Result<()>> {
        if let Ok(Some(status)) = self.outer.try_wait() {
            return Some(Err(anyhow::anyhow!("it ended with {status}")));
        }
        let outer = self.outer.id();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
        self.pid = children.split_whitespace().next()?.parse().ok()?;
        // Until it is there, it is a shell.
        let comm = fs::read_to_string(format!("/proc/{}/comm", self.pid)).ok()?;
        let state = (comm.trim_end() == "systemd").then(|| self.ctl(&["is-system-running"]).ok())??;
        (state.trim_end() == "running").then_some(Ok(()))
    }

    /// Its pid, in the namespace of whoever asks.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A program with its environment, inside.
    pub fn inside(&self, program: &Command) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.pid));
        command.args(["--pid", "--mount", "--cgroup", "--uts", "--ipc", "--net", "--"]);
        command.arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Runs portwatch inside.
    pub fn portwatch(&self, portwatch: &Portwatch, words: &[&str]) -> anyhow::Result<Ran> {
        portwatch.run_command(self.inside(&portwatch.command(words)))
    }

    /// What `systemctl` prints, whatever its exit code.
    pub fn ctl<S: AsRef<OsStr>>(&self, words: &[S]) -> anyhow::Result<String> {
        let mut program = Command::new("systemctl");
        program.args(words).env("XDG_RUNTIME_DIR", "/run/user/0");
        let output = self.inside(&program).output().context("nsenter systemctl")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        if !complaint.is_empty() {
            bail!("systemctl: {complaint}{}", self.log());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> anyhow::Result<String> {
        let text = self.ctl(&["show", "--value", "--property", name, "--", unit])?;
        Ok(text.trim_end().to_owned())
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The kernel kills pid 1 with its parent, and everybody in the namespace with pid 1.
        let _ = self.outer.kill();
        let _ = wait_for(&mut self.outer);
        let emptied = || remove(&self.group).is_ok().then_some(());
        let _ = wait_until("its control groups to be empty", DEADLINE, emptied);
    }
}

/// A control group of the version 2 hierarchy for it.
fn group() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let root = mounts.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [_, path, "cgroup2", ..] => Some(PathBuf::from(path)),
        _ => None,
    });
    let root = root.context("no control groups of version 2 are mounted")?;
    Ok(root.join(format!("pwsystemd{}.slice", std::process::id())))
}

/// Removes a tree of control groups that have no process.
fn remove(group: &Path) -> std::io::Result<()> {
    for below in fs::read_dir(group)?.flatten() {
        if below.file_type()?.is_dir() {
            remove(&below.path())?;
        }
    }
    fs::remove_dir(group)
}
