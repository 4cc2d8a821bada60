//! Settings: a flag beats a variable, a variable beats the file, the file beats the default.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, parser::ValueSource};

mod claims;
mod file;

use self::file::{File, default_file, judge, text};
use super::{
    args::{ColorWhen, Global, Start},
    project::Here,
};
use crate::registry::{PORTS_PER_USER, UserPolicy, nearest};
use crate::wire::{ConfigReport, ConfigSetting, SCHEMA};

const SOURCES: [&str; 6] = ["auto", "ebpf", "scan", "lsof", "netstat", "replay:FILE"];
const HOOKS: [&str; 5] = ["auto", "fentry", "kprobe", "stable", "none"];

/// Why settings cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("there is no configuration file {}; make one, or name another with --config", path.display())]
    Missing { path: PathBuf },
    #[error("cannot read the configuration file {}: {error}; {}name another with --config", path.display(),
            if error.kind() == io::ErrorKind::PermissionDenied { "mend its permissions, or " } else { "" })]
    Read { path: PathBuf, error: io::Error },
    #[error("configuration file {}: {message}", path.display())]
    Parse { path: PathBuf, message: String },
    #[error("configuration file {}: there is no setting '{key}'; {hint}", path.display())]
    Key { path: PathBuf, key: String, hint: String },
    #[error("'{value}' is not a {what}; {hint}")]
    Value { what: &'static str, value: String, hint: String },
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Flag,
    Env,
    Project,
    File,
    Default,
}

impl Origin {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Env => "env",
            Self::Project => "project",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// Everything outside the command line that settings depend on.
pub(super) struct Surroundings<'a> {
    /// A variable of the environment.
    pub(super) env: &'a dyn Fn(&str) -> Option<OsString>,
    /// The effective user is root.
    pub(super) root: bool,
}

/// Every setting in effect.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) file: Option<PathBuf>,
    pub(super) file_read: bool,
    /// Why the file was not read, where nobody named it and it may be somebody else's.
    pub(super) file_problem: Option<String>,
    /// `None`: the default places, tried in their order.
    pub(super) socket: Setting<Option<PathBuf>>,
    /// `None`: the default place.
    pub(super) state: Setting<Option<PathBuf>>,
    pub(super) source: Setting<String>,
    pub(super) hooks: Setting<String>,
    pub(super) redact: Setting<String>,
    pub(super) engines: Setting<String>,
    pub(super) color: Setting<ColorWhen>,
    pub(super) json: Setting<bool>,
    pub(super) verbose: Setting<bool>,
    pub(super) no_daemon: Setting<bool>,
    pub(super) all: Setting<bool>,
    pub(super) retention_days: Setting<u32>,
    pub(super) retention_mb: Setting<u32>,
    /// Claimed ports are kept back in the kernel.
    pub(super) reserve_ports: Setting<bool>,
    /// So many ports a user other than root may have claimed; 0 is no limit.
    pub(super) ports_per_user: Setting<u32>,
    /// What the file says of claims.
    pub(super) policy: UserPolicy,
    /// Where the file says that webhooks may lead; `None` where it says nothing.
    pub(super) webhooks: Option<Vec<String>>,
}

impl Settings {
    /// Joins flags, variables (both in `global`, told apart by `matches`), the file and defaults.
    pub(super) fn resolve(
        global: &Global,
        start: Option<&Start>,
        matches: &ArgMatches,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let asked = global.config.is_some();
        let path = global.config.clone().or_else(|| default_file(around));
        let (file, file_read, file_problem) = match &path {
            Some(path) => judge(path, asked, text(path, asked))?,
            None => (File::default(), false, None),
        };
        let from = |name: &str| origin(matches, name);
        let color = match file.color.as_deref() {
            None => None,
            Some("auto") => Some(ColorWhen::Auto),
            Some("always") => Some(ColorWhen::Always),
            Some("never") => Some(ColorWhen::Never),
            Some(other) => return Err(wrong("colour mode", other, &["auto", "always", "never"])),
        };
        let given = start.and_then(|s| s.retention_days);
        let retention_days =
            pick(given, Origin::Flag, file.daemon.retention_days.map(std::num::NonZeroU32::get), 30);
        let given = start.and_then(|s| s.retention_mb);
        let retention_mb =
            pick(given, Origin::Flag, file.daemon.retention_mb.map(std::num::NonZeroU32::get), 256);
        let settings = Self {
            socket: optional(global.socket.clone(), from("socket"), file.socket),
            state: optional(global.state.clone(), from("state"), file.state),
            source: pick(global.source.clone(), from("source"), file.source, "auto".to_owned()),
            hooks: pick(global.hooks.clone(), from("hooks"), file.hooks, "auto".to_owned()),
            redact: pick(global.redact.clone(), from("redact"), file.redact, "on".to_owned()),
            engines: pick(global.engines.clone(), from("engines"), file.engines, "auto".to_owned()),
            color: pick(global.color, from("color"), color, ColorWhen::Auto),
            json: pick(Some(true).filter(|_| global.json), from("json"), None, false),
            verbose: pick(Some(true).filter(|_| global.verbose), from("verbose"), None, false),
            no_daemon: pick(
                Some(true).filter(|_| global.no_daemon),
                from("no_daemon"),
                file.no_daemon,
                false,
            ),
            all: pick(
                Some(true).filter(|_| start.is_some_and(|s| s.all)),
                Origin::Flag,
                file.daemon.all,
                false,
            ),
            retention_days,
            retention_mb,
            reserve_ports: pick(
                Some(true).filter(|_| start.is_some_and(|s| s.reserve_ports)),
                Origin::Flag,
                file.daemon.reserve_ports,
                false,
            ),
            ports_per_user: pick(
                start.and_then(|s| s.ports_per_user),
                Origin::Flag,
                file.daemon.ports_per_user,
                PORTS_PER_USER,
            ),
            policy: file.policy,
            webhooks: file.webhooks.allow,
            file: path,
            file_read,
            file_problem,
        };
        let source = settings.source.value.as_str();
        let replays = source.strip_prefix("replay:").is_some_and(|file| !file.is_empty());
        if !replays && (!SOURCES.contains(&source) || source == "replay:FILE") {
            return Err(wrong("source", source, &SOURCES));
        }
        if !HOOKS.contains(&settings.hooks.value.as_str()) {
            return Err(wrong("family of hooks", &settings.hooks.value, &HOOKS));
        }
        Ok(settings)
    }

    /// So many ports a user other than root may have claimed; `None` is no limit.
    pub(super) fn ports_per_user(&self) -> Option<u32> {
        Some(self.ports_per_user.value).filter(|&limit| limit > 0)
    }

    /// Everything, for `config`.
    pub(super) fn report(&self, socket: &Path, state: &Path, here: &Here) -> ConfigReport {
        let path = |path: &Path| path.display().to_string().into();
        let color = match self.color.value {
            ColorWhen::Auto => "auto",
            ColorWhen::Always => "always",
            ColorWhen::Never => "never",
        };
        let database = path(&self.state.value.as_deref().unwrap_or(state).join(crate::api::DATABASE));
        let (allow, allow_origin) = match &self.webhooks {
            Some(allow) => (allow.clone(), Origin::File),
            None => (vec!["loopback".to_owned()], Origin::Default),
        };
        let rows: [(&str, serde_json::Value, Origin, Option<&str>); 17] = [
            (
                "socket",
                path(self.socket.value.as_deref().unwrap_or(socket)),
                self.socket.origin,
                Some("SOCKET"),
            ),
            ("state", path(self.state.value.as_deref().unwrap_or(state)), self.state.origin, Some("STATE")),
            ("database", database, self.state.origin, None),
            ("source", self.source.value.clone().into(), self.source.origin, Some("SOURCE")),
            ("hooks", self.hooks.value.clone().into(), self.hooks.origin, Some("HOOKS")),
            ("redact", self.redact.value.clone().into(), self.redact.origin, Some("REDACT")),
            ("engines", self.engines.value.clone().into(), self.engines.origin, Some("ENGINES")),
            ("color", color.into(), self.color.origin, Some("COLOR")),
            ("json", self.json.value.into(), self.json.origin, Some("JSON")),
            ("verbose", self.verbose.value.into(), self.verbose.origin, Some("VERBOSE")),
            ("no_daemon", self.no_daemon.value.into(), self.no_daemon.origin, Some("NO_DAEMON")),
            ("daemon.all", self.all.value.into(), self.all.origin, None),
            ("daemon.retention_days", self.retention_days.value.into(), self.retention_days.origin, None),
            ("daemon.retention_mb", self.retention_mb.value.into(), self.retention_mb.origin, None),
            ("daemon.reserve_ports", self.reserve_ports.value.into(), self.reserve_ports.origin, None),
            ("daemon.ports_per_user", self.ports_per_user.value.into(), self.ports_per_user.origin, None),
            ("webhooks.allow", allow.into(), allow_origin, None),
        ];
        let rows = rows.into_iter().map(|(name, value, origin, variable)| ConfigSetting {
            name: name.to_owned(),
            value,
            origin: origin.as_str().to_owned(),
            variable: variable.map(|v| format!("PORTWATCH_{v}")),
        });
        let settings = rows.chain(claims::rows(&self.policy, &here.config)).collect();
        ConfigReport {
            schema: SCHEMA,
            file: self.file.as_ref().map(|f| f.display().to_string()),
            file_read: self.file_read,
            file_problem: self.file_problem.clone(),
            project_file: here.file.as_ref().map(|f| f.display().to_string()),
            settings,
        }
    }
}

fn pick<T>(given: Option<T>, origin: Origin, file: Option<T>, default: T) -> Setting<T> {
    match (given, file) {
        (Some(value), _) => Setting { value, origin },
        (None, Some(value)) => Setting { value, origin: Origin::File },
        (None, None) => Setting { value: default, origin: Origin::Default },
    }
}

fn optional<T>(given: Option<T>, origin: Origin, file: Option<T>) -> Setting<Option<T>> {
    pick(given.map(Some), origin, file.map(Some), None)
}

fn origin(matches: &ArgMatches, name: &str) -> Origin {
    // A global flag is recorded where it was typed, so ask the subcommands first.
    let source = matches
        .subcommand()
        .and_then(|(_, sub)| sub.try_contains_id(name).ok().and_then(|_| sub.value_source(name)))
        .or_else(|| matches.value_source(name));
    match source {
        Some(ValueSource::CommandLine) => Origin::Flag,
        Some(ValueSource::EnvVariable) => Origin::Env,
        _ => Origin::Default,
    }
}

fn wrong(what: &'static str, value: &str, known: &[&str]) -> SettingsError {
    let hint = match nearest(value, known.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("say one of {}", known.join(", ")),
    };
    SettingsError::Value { what, value: value.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, path::Path};

    use clap::FromArgMatches;

    use super::{Settings, SettingsError, Surroundings, file::parse};
    use crate::{
        cli::{args::Cli, project::Here, tests::bare},
        registry::ProjectConfig,
    };

    fn resolve(words: &[&str], home: &Path) -> Result<Settings, SettingsError> {
        let matches = bare().try_get_matches_from(words).unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let env = |name: &str| (name == "XDG_CONFIG_HOME").then(|| OsString::from(home));
        Settings::resolve(&cli.global, None, &matches, &Surroundings { env: &env, root: false })
    }

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "of kernel programs there is a choice on Linux alone")]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("portwatch")).unwrap();
        let text = "source = \"scan\"\nhooks = \"stable\"\n[daemon]\nretention_days = 7\n
            [auto]\nenabled = true\ngrace = '3s'\n[ranges]\ndefault = '4000-4999'\nweb = '7000-7099'\n";
        std::fs::write(home.path().join("portwatch/config.toml"), text).unwrap();
        let settings = resolve(&["portwatch", "ls", "--source", "ebpf"], home.path()).unwrap();
        let here = Here {
            config: ProjectConfig::parse("[auto]\nenabled = false\n[ranges]\nweb = '8080-8099'").unwrap(),
            ..Here::default()
        };
        let report = settings.report(Path::new("/s"), Path::new("/d"), &here);
        let row = |name: &str| {
            let row = report.settings.iter().find(|s| s.name == name).unwrap();
            (row.value.clone(), row.origin.clone())
        };
        assert_eq!(row("source"), ("ebpf".into(), "flag".into()));
        assert_eq!(row("hooks"), ("stable".into(), "file".into()));
        assert_eq!(row("daemon.retention_days"), (7.into(), "file".into()));
        assert_eq!(row("daemon.retention_mb"), (256.into(), "default".into()));
        assert!(report.file_read);
        assert_eq!(row("database"), ("/d/portwatch.db".into(), "default".into()));
        assert_eq!(row("auto.enabled"), (false.into(), "project".into()));
        assert_eq!(row("auto.grace"), ("3s".into(), "file".into()));
        assert_eq!(row("auto.random"), (false.into(), "default".into()));
        assert_eq!(row("ranges.web"), ("8080-8099".into(), "project".into()));
        assert_eq!(row("ranges.default"), ("4000-4999".into(), "file".into()));
        assert_eq!(row("daemon.reserve_ports"), (false.into(), "default".into()));
    }

    #[test]
    fn an_absent_default_file_is_no_error_but_an_absent_named_one_is() {
        let home = tempfile::tempdir().unwrap();
        assert!(!resolve(&["portwatch", "ls"], home.path()).unwrap().file_read);
        let missing = home.path().join("none.toml");
        let error = resolve(&["portwatch", "ls", "--config", missing.to_str().unwrap()], home.path());
        assert!(matches!(error, Err(SettingsError::Missing { .. })));
    }

    /// HOME may be another user's: what lies there keeps nobody waiting.
    #[cfg(unix)]
    #[test]
    fn a_fifo_at_the_default_place_is_no_file_and_is_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("portwatch")).unwrap();
        let path = home.path().join("portwatch/config.toml");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = resolve(&["portwatch", "ls"], home.path()).unwrap_err().to_string();
        assert!(error.contains("it is not a regular file"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_named_and_no_file_of_text_is_not_waited_for_and_told_as_what_it_is() {
        let home = tempfile::tempdir().unwrap();
        let told = |path: &Path| {
            let named = ["portwatch", "ls", "--config", path.to_str().unwrap()];
            resolve(&named, home.path()).unwrap_err().to_string()
        };
        let (fifo, bytes, large) = (home.path().join("fifo"), home.path().join("x"), home.path().join("y"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(&bytes, [0xff]).unwrap();
        std::fs::write(&large, vec![b'#'; (1 << 20) + 1]).unwrap();
        for (path, words) in [
            (&*fifo, "it is not a regular file; name another with --config"),
            (Path::new("/dev/zero"), "it is not a regular file; name another with --config"),
            (home.path(), "it is a directory; name another with --config"),
            (&*bytes, "it is not a text in UTF-8; name another with --config"),
            (&*large, "it has more bytes than are read, 1048576 at most; name another with --config"),
        ] {
            let told = told(path);
            assert!(told.ends_with(words), "{told}");
        }
    }

    #[test]
    fn unknown_keys_and_values_are_errors_with_a_suggestion() {
        let message = |text: &str| parse(text, Path::new("/c.toml")).unwrap_err().to_string();
        let home = tempfile::tempdir().unwrap();
        let value = |flag: &str, value: &str| {
            resolve(&["portwatch", "ls", flag, value], home.path()).unwrap_err().to_string()
        };
        let messages = [
            message("sorce = 'scan'"),
            message("zebra = 1"),
            message("[daemon]\nretention_day = 3"),
            message("\nsource = 3"),
            message("a = "),
            message("[daemon]\nretention_days = 0"),
            message("daemon = 3"),
            message("[auto]\nenable = true"),
            message("rouge = 1"),
            message("[webhooks]\nalow = []"),
            message("[webhooks]\nallow = ['example.org']"),
            message("[ranges]\nweb = '9-5'"),
            value("--source", "ebfp"),
            value("--source", "replay:"),
            value("--hooks", "all"),
        ];
        insta::assert_snapshot!(messages.join("\n"));
    }
}
