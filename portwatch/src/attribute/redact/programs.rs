//! Options that mean a secret in some programs only: a table.

/// How a short option carries its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    /// Only in the same argument: `mysql -psecret`; alone it asks.
    Attached,
    /// In the same argument or in the next.
    Secret,
    /// `user:secret`, in the same argument or in the next.
    Pair,
}

/// A program and its options.
#[derive(Debug)]
pub(super) struct Program {
    names: &'static [&'static str],
    pub(super) options: &'static [(&'static str, Short)],
    /// Only after the word `login`: elsewhere `docker -p` is a port.
    pub(super) login_only: bool,
    /// Between user and secret.
    pub(super) between: char,
}

const fn program(names: &'static [&'static str], options: &'static [(&'static str, Short)]) -> Program {
    Program { names, options, login_only: false, between: ':' }
}

const PROGRAMS: &[Program] = &[
    program(
        &[
            "mysql",
            "mysqladmin",
            "mysqlbinlog",
            "mysqlcheck",
            "mysqldump",
            "mysqlimport",
            "mysqlsh",
            "mysqlshow",
            "mysqlslap",
            "mariadb",
            "mariadb-admin",
            "mariadb-backup",
            "mariadb-check",
            "mariadb-dump",
            "mycli",
            "xtrabackup",
        ],
        &[("-p", Short::Attached)],
    ),
    program(&["sshpass", "rabbitmqadmin", "rdesktop"], &[("-p", Short::Secret)]),
    program(
        &[
            "mongo",
            "mongodump",
            "mongoexport",
            "mongoimport",
            "mongorestore",
            "mongosh",
            "mongostat",
            "mongotop",
        ],
        &[("-p", Short::Secret)],
    ),
    program(&["redis-cli", "valkey-cli", "keydb-cli"], &[("-a", Short::Secret)]),
    program(
        &["curl"],
        &[
            ("-u", Short::Pair),
            ("-U", Short::Pair),
            ("--user", Short::Pair),
            ("--proxy-user", Short::Pair),
            ("-b", Short::Secret),
            ("--cookie", Short::Secret),
        ],
    ),
    program(&["ab"], &[("-A", Short::Pair), ("-P", Short::Pair), ("-C", Short::Secret)]),
    program(&["http", "https", "httpie"], &[("-a", Short::Pair)]),
    program(&["gotty", "ttyd"], &[("-c", Short::Pair)]),
    program(&["smbclient", "rpcclient"], &[("-U", Short::Pair)]),
    program(&["ldapadd", "ldapdelete", "ldapmodify", "ldapsearch", "ldapwhoami"], &[("-w", Short::Secret)]),
    program(
        &["bcp", "sqlcmd", "tsql", "ipmitool", "mosquitto_pub", "mosquitto_sub"],
        &[("-P", Short::Secret)],
    ),
    program(&["zip", "unzip"], &[("-P", Short::Secret)]),
    program(&["7z", "7za", "7zr"], &[("-p", Short::Attached)]),
    program(&["openssl", "ss-local", "ss-redir", "ss-server", "ss-tunnel"], &[("-k", Short::Secret)]),
    program(&["ssserver", "sslocal"], &[("-k", Short::Secret)]),
    program(&["ssh-keygen"], &[("-N", Short::Secret), ("-P", Short::Secret)]),
    program(&["snmpget", "snmpwalk"], &[("-A", Short::Secret), ("-X", Short::Secret), ("-c", Short::Secret)]),
    program(&["xfreerdp", "wlfreerdp"], &[("/p:", Short::Attached)]),
    Program {
        names: &["docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "oc", "az"],
        options: &[("-p", Short::Secret)],
        login_only: true,
        between: ':',
    },
];

/// Words after which a secret stands, whatever the program: `ngrok config add-authtoken x`.
const BEFORE_SECRET: [&str; 4] = ["add-authtoken", "authtoken", "requirepass", "masterauth"];

const SHELLS: [&str; 7] = ["ash", "bash", "dash", "fish", "ksh", "sh", "zsh"];

/// The last part of a path. A login shell's name begins with a dash.
pub(super) fn base_name(word: &str) -> &str {
    let base = word.rsplit('/').next().unwrap_or(word);
    base.strip_suffix(".exe").unwrap_or(base)
}

pub(super) fn find(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.names.contains(&name))
}

pub(super) fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name.trim_start_matches('-'))
}

/// `-c`, `-lc`, `-euxc`: the next argument is a script.
pub(super) fn takes_script(word: &str) -> bool {
    word.len() < 8
        && word.strip_prefix('-').is_some_and(|letters| {
            letters.ends_with('c') && letters.bytes().all(|letter| letter.is_ascii_alphabetic())
        })
}

pub(super) fn takes_secret(word: &str) -> bool {
    BEFORE_SECRET.contains(&word)
}

/// `8080:80`, `127.0.0.1:8080:80/tcp`: a container's ports.
pub(super) fn is_port_mapping(value: &str) -> bool {
    let value = value.strip_suffix("/tcp").or_else(|| value.strip_suffix("/udp")).unwrap_or(value);
    let number = |part: &str| part.parse::<u16>().is_ok();
    let mut parts = value.rsplitn(3, ':');
    let both = parts.next().is_some_and(number) && parts.next().is_some_and(number);
    both && parts
        .next()
        .is_none_or(|address| address.is_empty() || address.parse::<std::net::IpAddr>().is_ok())
}
