//! Debian's cloud kernels: the newest of each series, resolved at run time, for names change with each update. Nothing
//! is installed; image and modules are taken out of the packages.

use std::{
    cmp::Ordering,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{apt::Apt, machine::Machine, output};
use crate::{say, setup::status};

/// Packages smaller than this hold no kernel, only dependencies.
const SMALLEST: u64 = 5_000_000;

/// A kernel to boot.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// As it was asked for: `6.12`, `arm64-6.12`.
    pub(super) series: String,
    /// Debian's package.
    pub(super) package: String,
    /// Holds [`IMAGE`] and the [`MODULES`].
    pub(super) folder: PathBuf,
}

/// The image's name in the cache.
const IMAGE: &str = "vmlinuz";

/// Modules that the guest loads, in this order: what every installed machine loads by itself when it is asked for
/// its sockets.
const MODULES: [&str; 3] = ["inet_diag", "tcp_diag", "udp_diag"];

impl Kernel {
    /// What it runs on.
    pub(super) fn machine(&self) -> Machine {
        Machine::of(&self.series).0
    }

    /// What is booted.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join(IMAGE)
    }

    /// The modules that are no part of the image: name and content.
    pub(super) fn modules(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut found = Vec::new();
        for name in MODULES {
            let path = self.folder.join(name);
            match fs::read(&path) {
                Ok(content) => found.push((name, content)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
            }
        }
        Ok(found)
    }
}

/// The suite in which a series is kept up to date.
fn suite(series: &str) -> &'static str {
    match Machine::of(series).1 {
        "5.10" => "bullseye-security",
        "6.1" => "bookworm-security",
        "6.12" => "trixie-security",
        _ => "trixie-backports",
    }
}

/// A kernel, or why the mirror does not give it.
pub(super) type Fetched = Result<Kernel, String>;

/// Fetches the newest kernel of each series, or takes it from the cache. An error is no matter of the mirror's.
pub(super) fn fetch(place: &Path, series: &[&str]) -> Result<Vec<Fetched>> {
    let cache = place.join("kernels");
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let mut states = Vec::new();
    for machine in Machine::ALL {
        let mut suites: Vec<&str> =
            series.iter().filter(|s| Machine::of(s).0 == machine).map(|s| suite(s)).collect();
        suites.sort_unstable();
        suites.dedup();
        if !suites.is_empty() {
            let folder = place.join(format!("apt-{}", machine.debian()));
            states.push((machine, Apt::new(&folder, &suites, machine.debian())));
        }
    }
    series
        .iter()
        .map(|series| {
            let machine = Machine::of(series).0;
            let state = states.iter().find(|(of, _)| *of == machine).context("a machine without packages")?;
            let newest = match &state.1 {
                Ok(apt) => newest(apt, &cache, series)?,
                Err(error) => Err(format!("{error:#}")),
            };
            // Without a mirror a kernel of an earlier run is as good, and named in the table.
            newest.map_or_else(|why| cached(&cache, series, &why), |kernel| Ok(Ok(kernel)))
        })
        .collect()
}

fn newest(apt: &Apt, cache: &Path, series: &str) -> Result<Fetched> {
    let names = output(apt.command("apt-cache").args(["search", "--names-only", &pattern(series)]))?;
    let mut gone: Vec<String> = apt.complaint.iter().cloned().collect();
    for package in candidates(&names) {
        let folder = cache.join(&package);
        if !folder.exists() {
            if size(apt, &package)? < SMALLEST {
                continue;
            }
            let work = cache.with_file_name(format!("deb-{series}"));
            // An index entry is no promise: some packages are gone from the mirror.
            match download(apt, &package, &work) {
                Ok(files) => unpack(&files, &work, &folder).with_context(|| package.clone())?,
                Err(error) => {
                    gone.push(format!("{package}: {error:#}"));
                    continue;
                }
            }
            fs::remove_dir_all(&work)?;
        }
        return Ok(Ok(Kernel { series: series.to_owned(), package, folder }));
    }
    Ok(Err(format!("{} gives no kernel {series} ({})", suite(series), gone.join("; "))))
}

/// A kernel of this series from an earlier run; without one, why there is no newer one.
fn cached(cache: &Path, series: &str, why: &str) -> Result<Fetched> {
    let names: Vec<String> = fs::read_dir(cache)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| of_series(name, series))
        .collect();
    let Some(package) = candidates(&names.join("\n")).into_iter().next() else {
        return Ok(Err(why.to_owned()));
    };
    say(&format!("{series}: {package}, which was fetched before: {why}"));
    Ok(Ok(Kernel { series: series.to_owned(), folder: cache.join(&package), package }))
}

fn pattern(series: &str) -> String {
    let (machine, series) = Machine::of(series);
    let (series, machine) = (series.replace('.', "\\."), machine.debian());
    format!("^linux-(image|binary)-{series}\\.[0-9.+~a-z-]*-cloud-{machine}(-unsigned)?$")
}

fn of_series(package: &str, series: &str) -> bool {
    let (machine, series) = Machine::of(series);
    let named = format!("-cloud-{}", machine.debian());
    ["linux-image-", "linux-binary-"]
        .iter()
        .any(|kind| package.strip_prefix(kind).is_some_and(|rest| rest.starts_with(&format!("{series}."))))
        && package.contains(&named)
}

/// Packages in the output of `apt-cache search`, newest first.
fn candidates(names: &str) -> Vec<String> {
    let mut found: Vec<String> = names
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        // Debug symbols, and rebuilds of newer kernels for an older release.
        .filter(|name| !name.contains("dbg") && !name.contains("deb11"))
        .map(str::to_owned)
        .collect();
    found.sort_by(|a, b| by_version(b, a));
    found
}

/// Numbers compare as numbers; without any in front of it, the version is what differs between names.
fn by_version(a: &str, b: &str) -> Ordering {
    let numbers = |name: &str| -> Vec<u64> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    };
    numbers(a).cmp(&numbers(b)).then_with(|| a.cmp(b))
}

fn size(apt: &Apt, package: &str) -> Result<u64> {
    let shown = output(apt.command("apt-cache").args(["show", "--no-all-versions", package]))?;
    let size = shown.lines().find_map(|line| line.strip_prefix("Size: "));
    size.context("no size")?.parse().with_context(|| format!("the size of {package}"))
}

/// Fetches a kernel's packages.
fn download(apt: &Apt, package: &str, work: &Path) -> Result<Vec<PathBuf>> {
    let mut packages = vec![package.to_owned()];
    // Since 6.19 the modules are a package of their own.
    packages.extend(package.strip_prefix("linux-binary-").map(|rest| format!("linux-modules-{rest}")));
    packages.iter().map(|package| apt.download(package, &work.join("deb").join(package))).collect()
}

/// Keeps of a kernel's packages what a guest needs.
fn unpack(packages: &[PathBuf], work: &Path, folder: &Path) -> Result<()> {
    let unpacked = work.join("x");
    for package in packages {
        output(Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked))?;
    }
    let keep = work.join("keep");
    fs::create_dir_all(&keep)?;
    let image = find_file(&unpacked, &|name| name.starts_with(IMAGE))?;
    fs::copy(image.context("it holds no image")?, keep.join(IMAGE))?;
    for module in MODULES {
        let plain = format!("{module}.ko");
        let Some(found) = find_file(&unpacked, &|name| name.strip_suffix(".xz").unwrap_or(name) == plain)?
        else {
            continue;
        };
        let kept = keep.join(module);
        if found.extension().is_some_and(|extension| extension == "xz") {
            let out = fs::File::create(&kept)?;
            status(Command::new("xz").args(["--decompress", "--stdout"]).arg(&found).stdout(out))?;
        } else {
            fs::copy(&found, &kept)?;
        }
    }
    // Renamed into place: what was cut short leaves nothing that looks whole.
    Ok(fs::rename(&keep, folder)?)
}

/// A file whose name fits, somewhere below a folder. Debian moves them: the image is `boot/vmlinuz-VERSION`, later
/// `usr/lib/modules/VERSION/vmlinuz`.
fn find_file(folder: &Path, fits: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let (path, kind) = entry.and_then(|e| Ok((e.path(), e.file_type()?)))?;
        if kind.is_dir() {
            if let Some(found) = find_file(&path, fits)? {
                return Ok(Some(found));
            }
        } else if kind.is_file() && path.file_name().and_then(|name| name.to_str()).is_some_and(fits) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Names from bullseye-security and trixie-backports, November 2026.
    const SEARCH: &str = "linux-image-5.10.0-9-cloud-amd64-unsigned - Linux
linux-image-5.10.0-46-cloud-amd64-unsigned - Linux 5.10
linux-image-5.10.0-46-cloud-amd64-dbg - Debug symbols
linux-image-5.10.0-46-cloud-amd64 - Linux 5.10 (signed)
linux-image-6.1.0-0.deb11.56-cloud-amd64 - Linux 6.1
";

    #[test]
    fn the_newest_kernel_comes_first_and_no_debug_symbols() {
        let found = candidates(SEARCH);
        assert_eq!(
            found,
            [
                "linux-image-5.10.0-46-cloud-amd64-unsigned",
                "linux-image-5.10.0-46-cloud-amd64",
                "linux-image-5.10.0-9-cloud-amd64-unsigned",
            ]
        );
    }

    #[test]
    fn a_series_is_not_its_longer_namesake() {
        assert!(of_series("linux-binary-7.3.4+deb13-cloud-amd64", "7"));
        assert!(of_series("linux-image-6.1.0-56-cloud-amd64", "6.1"));
        assert!(of_series("linux-image-6.12.118+deb13-cloud-arm64-unsigned", "arm64-6.12"));
        assert!(!of_series("linux-image-6.12.118+deb13-cloud-arm64-unsigned", "6.12"));
        assert!(!of_series("linux-image-6.12.118+deb13-cloud-amd64", "6.1"));
    }

    #[test]
    fn where_the_mirror_gives_none_the_newest_of_an_earlier_run_serves_and_else_it_is_said_why() {
        let folder = tempfile::tempdir().unwrap();
        let none = cached(folder.path(), "6.12", "no route to host").unwrap();
        assert_eq!(none.unwrap_err(), "no route to host");
        for name in
            ["linux-image-6.12.9-cloud-amd64", "linux-image-6.12.118-cloud-amd64", "linux-image-6.1.0-56"]
        {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let kernel = cached(folder.path(), "6.12", "no route to host").unwrap().unwrap();
        assert_eq!(kernel.package, "linux-image-6.12.118-cloud-amd64");
        assert_eq!(kernel.folder, folder.path().join(&kernel.package));
    }

    #[test]
    fn a_file_is_found_wherever_a_package_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let image = |name: &str| name.starts_with(IMAGE);
        assert_eq!(find_file(folder.path(), &image).unwrap(), None);
        let deep = folder.path().join("usr/lib/modules/7.3.4");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("vmlinuz"), "").unwrap();
        assert_eq!(find_file(folder.path(), &image).unwrap(), Some(deep.join("vmlinuz")));
    }

    #[test]
    fn a_module_that_is_part_of_the_kernel_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("udp_diag"), "ELF").unwrap();
        let kernel =
            Kernel { series: "7".to_owned(), package: String::new(), folder: folder.path().to_owned() };
        assert_eq!(kernel.modules().unwrap(), [("udp_diag", b"ELF".to_vec())]);
    }
}
