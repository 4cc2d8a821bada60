//! A package state of our own below the target folder, over the mirrors that the machine uses already. The machine's
//! own packages and sources stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{output, put};

/// Signs all suites from bullseye to the backports of trixie.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Longest time for one of apt's programs: a mirror that drips is one that does not answer.
const LIMIT: &str = "240";

/// The state.
pub(super) struct Apt {
    place: PathBuf,
    configuration: PathBuf,
    /// What the mirrors did not give of the indexes; what they gave is used.
    pub(super) complaint: Option<String>,
}

impl Apt {
    /// One that knows these suites, for machines of this architecture; their indexes are fetched, as far as the mirrors give them.
    pub(super) fn new(place: &Path, suites: &[&str], architecture: &str) -> Result<Self> {
        if !Path::new(KEYRING).exists() {
            bail!("{KEYRING} is not there");
        }
        let mirrors = Mirrors::of_this_machine()?;
        for folder in [
            "etc/sources.list.d",
            "etc/preferences.d",
            "etc/apt.conf.d",
            "etc/trusted.gpg.d",
            "state/lists/partial",
            "cache/archives/partial",
        ] {
            fs::create_dir_all(place.join(folder)).with_context(|| format!("making {}", place.display()))?;
        }
        let mut sources = String::new();
        for suite in suites {
            put(&mut sources, format_args!("deb [signed-by={KEYRING}] {} {suite} main\n", mirrors.of(suite)));
        }
        fs::write(place.join("etc/sources.list"), sources)?;
        fs::write(place.join("status"), "")?;
        let configuration = place.join("apt.conf");
        let shown = place.display();
        fs::write(
            &configuration,
            format!(
                "Dir \"{shown}\"; Dir::Etc \"etc\"; Dir::State \"state\"; Dir::State::status \"{shown}/status\";\n\
                 Dir::Cache \"cache\"; APT::Architecture \"{architecture}\"; Acquire::Languages \"none\";\n\
                 APT::Sandbox::User \"root\"; Acquire::Retries \"2\"; Acquire::http::Timeout \"20\";\n\
                 APT::Update::Error-Mode \"any\";\n"
            ),
        )?;
        let mut apt = Self { place: place.to_owned(), configuration, complaint: None };
        let updated = output(apt.command("apt-get").args(["-qq", "update"]));
        apt.complaint = updated.err().map(|error| format!("{error:#}"));
        Ok(apt)
    }

    /// A program of apt's over this state.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args([LIMIT, program]);
        command.env("APT_CONFIG", &self.configuration).env("LC_ALL", "C").current_dir(&self.place);
        command
    }

    /// Fetches a package into an empty folder and gives its path.
    pub(super) fn download(&self, package: &str, into: &Path) -> Result<PathBuf> {
        if into.exists() {
            fs::remove_dir_all(into)?;
        }
        fs::create_dir_all(into)?;
        output(self.command("apt-get").args(["-qq", "download", package]).current_dir(into))?;
        let file = fs::read_dir(into)?.next().context("apt-get download left nothing")??;
        Ok(file.path())
    }
}

/// Base addresses of the archive.
struct Mirrors {
    main: String,
    security: String,
}

impl Mirrors {
    /// Those in the machine's own package sources.
    fn of_this_machine() -> Result<Self> {
        let format = "$(ORIGIN) $(RELEASE) $(REPO_URI)";
        let targets = output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            format,
            "Created-By: Packages",
        ]))?;
        Self::from_targets(&targets)
    }

    fn from_targets(targets: &str) -> Result<Self> {
        let find = |security: bool| {
            targets.lines().find_map(|line| {
                let mut words = line.split_whitespace();
                let (origin, release, uri) = (words.next()?, words.next()?, words.next()?);
                let fits = origin == "Debian" && release.ends_with("-security") == security;
                fits.then(|| uri.to_owned())
            })
        };
        Ok(Self {
            main: find(false).context("the package sources name no Debian mirror")?,
            security: find(true).context("the package sources name no Debian security mirror")?,
        })
    }

    fn of(&self, suite: &str) -> &str {
        if suite.ends_with("-security") { &self.security } else { &self.main }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_looked_for_where_the_machine_has_its_kind() {
        let targets = "Docker bookworm http://x/docker\nDebian bookworm http://x/debian\n\
            Debian bookworm-security http://x/security\n";
        let mirrors = Mirrors::from_targets(targets).unwrap();
        assert_eq!(mirrors.of("trixie-backports"), "http://x/debian");
        assert_eq!(mirrors.of("bullseye-security"), "http://x/security");
        assert!(Mirrors::from_targets("Ubuntu noble http://x/ubuntu\n").is_err());
    }
}
