//! What users, projects and root say of claims in files: policies, imports, worktrees, ports kept back in the kernel.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, Ran, free_port, require_netns, wait_until};
use serde_json::Value;

const SERVER: &str = "import socket, sys
s = socket.socket(); s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); print('ready', flush=True)
sys.stdin.read()";

/// Of the namespace of whoever opens it.
const SETTING: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

fn directory(portwatch: &Portwatch, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = portwatch.folder().join(name);
    for (file, text) in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn run_in(portwatch: &Portwatch, directory: &Path, words: &[&str]) -> Ran {
    let output = portwatch.command(words).current_dir(directory).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn claims(portwatch: &Portwatch, pattern: &str) -> Vec<Value> {
    let ran = portwatch.run(&["find", pattern, "--json"]).unwrap();
    ran.json().unwrap()["claims"].as_array().unwrap().clone()
}

fn start(directory: &Path, script: &str, port: &str) -> Actor {
    let mut actor =
        Actor::start(Command::new("python3").args([script, port]).current_dir(directory)).unwrap();
    assert_eq!(actor.line().unwrap(), "ready");
    actor
}

fn configure(portwatch: &Portwatch, text: &str) {
    fs::write(portwatch.folder().join("config.toml"), text).unwrap();
}

#[test]
fn the_users_file_says_what_is_claimed_and_from_where_and_the_project_has_the_first_word() {
    let mut portwatch = Portwatch::new().unwrap();
    configure(
        &portwatch,
        "exclude = ['24000-24003']\n[auto]\nenabled = false\n[ranges]\ndefault = '24000-24009'\nweb = '24010-24019'
[rogue]\nallow = ['*allowed-by-file*']\n",
    );
    portwatch.start(&[]).unwrap();
    let plain =
        directory(&portwatch, "plain", &[("package.json", r#"{"name": "plain"}"#), ("api.py", SERVER)]);
    let keen = directory(
        &portwatch,
        "keen",
        &[(".portwatch.toml", "auto = true\n[ranges]\nweb = '24020-24029'\n"), ("api.py", SERVER)],
    );
    let port = |words: &[&str], at: &Path| -> u16 {
        let ran = run_in(&portwatch, at, words);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout.trim().parse().unwrap()
    };
    assert!((24004..=24009).contains(&port(&["claim", "plain:db", "-q"], &plain)));
    assert!((24010..=24019).contains(&port(&["claim", "plain:web", "-q"], &plain)));
    assert!((24020..=24029).contains(&port(&["claim", "web", "-q"], &keen)), "the project's range");

    let ports = [0; 3].map(|_| free_port().unwrap().to_string());
    let _quiet = start(&plain, "api.py", &ports[0]);
    let _keen = start(&keen, "api.py", &ports[1]);
    wait_until("the claim of the project that wants them", DEADLINE, || {
        claims(&portwatch, "keen:api").pop().filter(|claim| claim["state"] == "live")
    })
    .unwrap();
    assert_eq!(claims(&portwatch, "plain:api"), Vec::<Value>::new(), "the file switched them off");

    let home = directory(&portwatch, "home", &[("allowed-by-file.py", SERVER)]);
    let _allowed = start(&home, "allowed-by-file.py", &ports[2]);
    let listed = wait_until("the listener", DEADLINE, || {
        let list = portwatch.run(&["ls", "--port", &ports[2], "--json"]).unwrap().json().unwrap();
        list["sockets"].as_array()?.first().cloned()
    })
    .unwrap();
    assert_eq!(listed["standing"], "allowed", "{listed:#}");
    assert_eq!(portwatch.run(&["rogue", "--port", &ports[2]]).unwrap().code, Some(1));
    let allowed = portwatch.run(&["rogue", "allowed", "--json"]).unwrap().json().unwrap();
    assert_eq!(
        (&allowed["rules"][0]["rule"], &allowed["rules"][0]["origin"]),
        (&Value::from("*allowed-by-file*"), &Value::from("file"))
    );

    let config = run_in(&portwatch, &keen, &["config", "--json"]).json().unwrap();
    let row = |name: &str| {
        let rows = config["settings"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        (row["value"].clone(), row["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(row("auto.enabled"), (true.into(), "project".to_owned()));
    assert_eq!(row("ranges.web"), ("24020-24029".into(), "project".to_owned()));
    assert_eq!(row("ranges.default"), ("24000-24009".into(), "file".to_owned()));
    assert_eq!(row("auto.grace"), ("10s".into(), "default".to_owned()));
    assert_eq!(row("database").0, portwatch.database().to_str().unwrap());
    assert!(config["project_file"].as_str().unwrap().ends_with("keen/.portwatch.toml"));

    for (text, part) in [
        ("[auto]\nenable = true\n", "did you mean 'auto.enabled'"),
        ("[rogu]\n", "did you mean 'rogue'"),
        ("[ranges]\nweb = '9-5'\n", "ranges.web"),
        ("[rogue]\nallow = ['port:x']\n", "rogue.allow"),
    ] {
        configure(&portwatch, text);
        let ran = portwatch.run(&["find"]).unwrap();
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(part), "{ran:?}");
    }
}

#[test]
fn an_import_is_shown_first_may_be_repeated_and_takes_nothing_from_others() {
    let portwatch = Portwatch::new().unwrap();
    let ports = [0; 4].map(|_| free_port().unwrap());
    let rc = format!(
        r#"{{"project": "MyApp", "services": {{
            "api": {{"cmd": "node .", "port": {}, "healthPath": "/up"}},
            "web": {{"preferredPort": {}}},
            "worker": {{"noPort": true}} }} }}"#,
        ports[0], ports[1]
    );
    let app = directory(&portwatch, "app", &[(".portdaddyrc", &rc)]);
    let rows = |words: &[&str], code: i32| -> Vec<(String, String, Value)> {
        let ran = run_in(&portwatch, &app, &[&["import", "--json"], words].concat());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let rows = ran.json().unwrap()["rows"].as_array().unwrap().clone();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(row, "name"), text(row, "result"), row["port"].clone())).collect()
    };
    let both = |result: &str| {
        vec![
            ("myapp:api".to_owned(), result.to_owned(), Value::from(ports[0])),
            ("myapp:web".to_owned(), result.to_owned(), Value::from(ports[1])),
        ]
    };
    assert_eq!(rows(&["--dry-run"], 0), both("would-claim"));
    assert_eq!(claims(&portwatch, "*"), Vec::<Value>::new(), "nothing was claimed yet");
    assert_eq!(rows(&[], 0), both("claimed"));
    let before = claims(&portwatch, "*");
    assert_eq!(rows(&[], 0), both("kept"));
    assert_eq!(claims(&portwatch, "*"), before);
    assert_eq!(before[0]["owner"], nix::unistd::geteuid().as_raw());
    let shown = run_in(&portwatch, &app, &["import", "--dry-run"]).stdout;
    assert!(shown.contains("as it was") && shown.contains("services.worker has no port"), "{shown}");
    // Where it lies it holds as the project's file.
    let again = run_in(&portwatch, &app, &["claim", "api", "-q"]);
    assert_eq!((again.code, again.stdout.trim()), (Some(0), ports[0].to_string().as_str()), "{again:?}");

    let registry = format!(
        r#"{{"ranges": {{"web": {{"start": 24030, "end": 24039}}}}, "allocations": [
            {{"port": {}, "worktree": "review-GH-42", "service": "web"}},
            {{"port": {}, "worktree": "main", "service": "api"}}], "metadata": {{}} }}"#,
        ports[2], ports[0]
    );
    let other = directory(
        &portwatch,
        "other",
        &[("package.json", r#"{"name": "other"}"#), ("design/worktrees/ports.json", &registry)],
    );
    let ran = run_in(&portwatch, &other, &["import"]);
    assert_eq!(ran.code, Some(1), "one port is another's: {ran:?}");
    assert!(ran.stdout.contains("other:web:review-gh-42"), "{ran:?}");
    assert!(ran.stdout.contains(&format!("port {} is claimed by myapp:api", ports[0])), "{ran:?}");
    let ran = run_in(&portwatch, &other, &["import", "--reassign"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(claims(&portwatch, "other:*").len(), 2);
    assert_eq!(claims(&portwatch, "myapp:api")[0]["port"], ports[0]);
    let toml = run_in(&portwatch, &other, &["import", "--toml"]).stdout;
    assert_eq!(toml, "project = \"other\"\n\n[ranges]\nweb = \"24030-24039\"\n");

    let twins = format!(
        r#"{{"project": "twins", "services": {{"a": {{"port": {0}}}, "b": {{"port": {0}}}}}}}"#,
        ports[3]
    );
    let twins = directory(&portwatch, "twins", &[(".portdaddyrc", &twins)]);
    for words in [&["import", "--dry-run"][..], &["import"]] {
        let ran = run_in(&portwatch, &twins, words);
        assert_eq!(ran.code, Some(1), "two services with one port, {words:?}: {ran:?}");
        assert!(ran.stdout.contains("refused") && ran.stdout.contains("claimed by twins:a"), "{ran:?}");
    }

    for (text, part) in [
        ("{", "not JSON"),
        (r#"{"services": {"api": {"port": 70000}}}"#, "services.api.port"),
        ("[]", "object"),
    ] {
        let bad = directory(&portwatch, "bad", &[("x.json", text)]);
        let ran = run_in(&portwatch, &bad, &["import", "x.json", "--project", "bad"]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(part) && ran.stderr.contains("x.json"), "{ran:?}");
    }
    let empty = portwatch.folder().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(run_in(&portwatch, &empty, &["import"]).code, Some(1));
}

#[test]
fn both_kinds_of_files_that_lie_in_one_place_are_imported_together() {
    let portwatch = Portwatch::new().unwrap();
    let ports = [0; 2].map(|_| free_port().unwrap());
    // Both kinds of files lie here, and each has a port for main's web.
    let both_files = directory(
        &portwatch,
        "both",
        &[
            (
                ".portdaddyrc",
                &format!(r#"{{"project": "both", "services": {{"web": {{"port": {}}}}}}}"#, ports[0]),
            ),
            (
                "design/worktrees/ports.json",
                &format!(
                    r#"{{"ranges": {{"api": {{"start": 24040, "end": 24049}}}}, "allocations": [
                        {{"port": {}, "worktree": "main", "service": "web"}}]}}"#,
                    ports[1]
                ),
            ),
        ],
    );
    let ran = run_in(&portwatch, &both_files, &["import", "--dry-run"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains(&format!("both:web would have port {}", ports[0])), "{ran:?}");
    let again = run_in(&portwatch, &both_files, &["import", "--dry-run", "--reassign"]);
    assert_eq!((again.code, again.stdout.matches(&ports[0].to_string()).count()), (Some(0), 2), "{again:?}");
    let toml = run_in(&portwatch, &both_files, &["import", "--toml"]).stdout;
    let expected = format!(
        "project = \"both\"\n\n[ranges]\napi = \"24040-24049\"\n\n[stacks.web]\nport = {}\n",
        ports[0]
    );
    assert_eq!(toml, expected, "one project file of both");
}

fn git(directory: &Path, words: &[&str]) {
    let mut git = Command::new("git");
    git.arg("-C").arg(directory).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(words);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    let output = git.output().unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn each_worktree_has_ports_of_its_own_and_all_are_told_together() {
    let portwatch = Portwatch::new().unwrap();
    let shop = directory(
        &portwatch,
        "shop",
        &[(
            ".portwatch.toml",
            "project = 'shop'\n[ranges]\nweb = '24040-24049'\n[stacks.api]\nports = 2\nport = 24048\n",
        )],
    );
    git(&shop, &["init", "-q", "-b", "trunk"]);
    git(&shop, &["add", "-A"]);
    git(&shop, &["commit", "-q", "-m", "first"]);
    git(&shop, &["worktree", "add", "-q", "-b", "feature/tax", "../shop-tax"]);
    git(&shop, &["worktree", "add", "-q", "-b", "idle", "../shop-idle"]);
    let tax = portwatch.folder().join("shop-tax");
    let claimed = |at: &Path| -> BTreeSet<u16> {
        let ran = run_in(&portwatch, at, &["claim", "-q"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout.lines().map(|line| line.parse().unwrap()).collect()
    };
    let (main, linked) = (claimed(&shop), claimed(&tax));
    assert_eq!((main.len(), linked.len()), (3, 3), "two for api, one for web");
    assert!(main.is_disjoint(&linked), "{main:?} {linked:?}");
    assert_eq!(claimed(&tax), linked, "the same again");

    let answer = run_in(&portwatch, &tax, &["claims", "--worktree", "--json"]).json().unwrap();
    let told: Vec<_> = answer["worktrees"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tree| {
            let names =
                tree["claims"].as_array().unwrap().iter().map(|claim| claim["name"].as_str().unwrap());
            (tree["name"].as_str().unwrap(), tree["branch"].as_str().unwrap(), names.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("main", "trunk", vec!["shop:api", "shop:web"]),
            ("shop-idle", "idle", vec![]),
            ("shop-tax", "feature/tax", vec!["shop:api:shop-tax", "shop:web:shop-tax"])
        ]
    );
    let text = run_in(&portwatch, &shop, &["claims", "--worktree"]).stdout;
    assert!(text.contains("worktree shop-tax") && text.contains("(feature/tax)"), "{text}");
    let own = run_in(&portwatch, &tax, &["env"]).stdout;
    let values: BTreeSet<u16> =
        own.lines().map(|line| line.split_once('=').unwrap().1.parse().unwrap()).collect();
    assert_eq!(values, linked, "{own}");
    let idle = run_in(&portwatch, &portwatch.folder().join("shop-idle"), &["env"]);
    assert_eq!((idle.code, idle.stdout.as_str()), (Some(1), ""), "those of others are not its own");
    for part in [
        "for worktree shop-idle of project shop",
        "portwatch claim claims what .portwatch.toml names",
        "portwatch env 'shop:*'",
    ] {
        assert!(idle.stderr.contains(part), "{idle:?}");
    }
    let compose = || run_in(&portwatch, &shop, &["env", "shop:*", "--format", "compose"]).stdout;
    let services = |text: &str| ["  api:\n", "  web:\n"].map(|service| text.matches(service).count());
    assert_eq!(services(&compose()), [1, 1], "one entry a service: {}", compose());
    fs::write(shop.join("compose.yaml"), "services:\n  web:\n    image: nginx # api: none\n    environment:\n      api: x\n  worker:\n    image: nginx\n").unwrap();
    assert_eq!(services(&compose()), [0, 1], "compose has no such service: {}", compose());
    assert!(compose().contains("  worker:\n    environment:\n      PORT_"), "every service: {}", compose());
    assert!(compose().contains("PORT_SHOP_API"), "{}", compose());
}

#[test]
fn env_without_claims_says_so_beside_an_empty_output_and_what_to_type() {
    type Case<'a> = (&'a Path, &'a [&'a str], i32, &'a str, &'a [&'a str]);
    let portwatch = Portwatch::new().unwrap();
    let plain = directory(&portwatch, "plain", &[("package.json", r#"{"name": "plain"}"#)]);
    let files = directory(&portwatch, "files", &[(".portwatch.toml", "project = 'files'\n[stacks.api]\n")]);
    let bare = portwatch.folder().join("bare");
    fs::create_dir(&bare).unwrap();
    let claim = "portwatch claim api claims a port for plain:api";
    // Where, what is typed, the exit code, what is printed, and what is said beside it.
    let cases: [Case<'_>; 7] = [
        (&plain, &["env"], 1, "", &["nothing is claimed for project plain", claim]),
        (&plain, &["env", "--format", "shell"], 1, "", &[claim]),
        (&plain, &["env", "--format", "json"], 1, "{}\n", &[claim]),
        (&plain, &["env", "--format", "compose"], 1, "services: {}\n", &[claim]),
        (
            &files,
            &["env"],
            1,
            "",
            &["for project files", "portwatch claim claims what .portwatch.toml names"],
        ),
        (&plain, &["env", "no:*", "b:c"], 1, "", &["no:* or b:c", "portwatch find '*'"]),
        (&bare, &["env"], 2, "", &["there is no project"]),
    ];
    for (at, words, code, stdout, said) in cases {
        let ran = run_in(&portwatch, at, words);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), stdout), "{words:?} {ran:?}");
        assert_eq!(ran.stderr.trim_end().lines().count(), 1, "{words:?} {ran:?}");
        for part in said {
            assert!(ran.stderr.contains(part), "{part}: {words:?} {ran:?}");
        }
    }
    // What it says to type does that, and then it is quiet.
    assert_eq!(run_in(&portwatch, &plain, &["claim", "api"]).code, Some(0));
    let ran = run_in(&portwatch, &plain, &["env"]);
    assert!(ran.code == Some(0) && ran.stderr.is_empty() && ran.stdout.starts_with("PORT_API="), "{ran:?}");
}

#[test]
fn an_exhausted_range_is_told_with_counts_and_the_command_that_mends_it() {
    let portwatch = Portwatch::new().unwrap();
    let home = directory(&portwatch, "home", &[("x", "")]);
    let range = "24050-24053";
    let (_holder, _) = Actor::listener("127.0.0.1", 24050).unwrap();
    for name in ["a:one", "a:two"] {
        assert_eq!(run_in(&portwatch, &home, &["claim", name, "--range", range]).code, Some(0));
    }
    let words = ["claim", "a:four", "--range", range, "--exclude", "24053"];
    let used = claims(&portwatch, "*").iter().any(|claim| claim["port"] == 24053);
    let ran = run_in(&portwatch, &home, &words);
    if used {
        // Then one of the others is left.
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let ran = run_in(&portwatch, &home, &["claim", "a:five", "--range", range, "--exclude", "24053"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in [
        "no port of 24050-24053 is free: 1 excluded",
        "claimed",
        "1 in use",
        "nothing runs on a:",
        "portwatch release a:",
        "--range A-B",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
}

#[test]
fn claimed_ports_are_kept_back_in_the_kernel_beside_those_of_others_and_only_ours_are_taken_out() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    let read = || netns.enter(|| Ok(fs::read_to_string(SETTING)?.trim().to_owned())).unwrap();
    if netns.enter(|| Ok(fs::write(SETTING, "24060,24070-24072\n")?)).is_err() {
        assert!(std::env::var_os("PORTWATCH_REQUIRE").is_none(), "/proc/sys cannot be written");
        println!("skipped: /proc/sys cannot be written here");
        return;
    }
    let mut portwatch = Portwatch::new().unwrap();
    let wait_for = |setting: &str| {
        let is_so = || (read() == setting).then_some(());
        wait_until(&format!("{setting} in the kernel, not {}", read()), DEADLINE, is_so).unwrap();
    };
    let run = |portwatch: &Portwatch, words: &[&str]| {
        let ran = netns.enter(|| portwatch.run(words)).unwrap();
        assert_eq!(ran.code, Some(0), "{words:?} {ran:?}");
        ran.stdout
    };
    netns.enter(|| portwatch.start(&["--reserve-ports"])).unwrap();
    run(&portwatch, &["claim", "a:one", "--port", "24061"]);
    wait_for("24060-24061,24070-24072");
    // One that others keep back already is theirs.
    run(&portwatch, &["claim", "a:two", "--port", "24070"]);
    run(&portwatch, &["claim", "a:three", "--port", "24080"]);
    wait_for("24060-24061,24070-24072,24080");
    let lent = netns.enter(|| {
        Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "24079\t24081\n")?;
        let listener = std::net::TcpListener::bind("127.0.0.1:25000")?;
        let connect = || std::net::TcpStream::connect(listener.local_addr().unwrap());
        let streams: Vec<_> = std::iter::from_fn(|| connect().ok()).take(3).collect();
        Ok(streams.iter().map(|s| s.local_addr().unwrap().port()).collect::<Vec<_>>())
    });
    let lent = lent.unwrap();
    assert!(!lent.is_empty() && !lent.contains(&24080), "lent to connections: {lent:?}");

    portwatch.crash().unwrap();
    netns.enter(|| portwatch.start(&["--reserve-ports"])).unwrap();
    run(&portwatch, &["release", "a:one", "a:two"]);
    wait_for("24060,24070-24072,24080");
    // The name keeps its port, though the kernel keeps it back.
    run(&portwatch, &["claim", "a:three", "--port", "24080"]);
    let first = run(&portwatch, &["claim", "a:stable", "-q", "--range", "24090-24099"]);
    run(&portwatch, &["release", "a:stable"]);
    assert_eq!(run(&portwatch, &["claim", "a:stable", "-q", "--range", "24090-24099"]), first);
    portwatch.stop().unwrap();
    assert!(read().contains("24080"), "while it is claimed it is kept back: {}", read());
    netns.enter(|| portwatch.start(&[])).unwrap();
    wait_for("24060,24070-24072");
}
