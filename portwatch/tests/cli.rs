//! The real binary: exit codes, which stream says what, closed pipes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    io::Read,
    path::Path,
    process::{Command, Output, Stdio},
};

/// portwatch in a home of its own, with no daemon anywhere near.
fn command(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portwatch"));
    command
        .args(words)
        .env_clear()
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .env("XDG_CONFIG_HOME", home)
        .env("PORTWATCH_SOCKET", home.join("none.sock"))
        .env("PORTWATCH_STATE", home.join("state"))
        .stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    command(home.path(), words).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn wrong_usage_ends_with_2_and_says_so_on_stderr_only() {
    for words in [
        &["whoo"][..],
        &["who"],
        &["who", ""],
        &["who", "70000"],
        &["who", "3100/sctp"],
        &["ls", "--port", "9-5"],
        &["log", "--since", "yesterdayish"],
        &["log", "--type", "nothing"],
        &["ls", "--source", "magic"],
        &["ls", "--config", "/nonexistent/portwatch.toml"],
        &["daemon", "--retention-days", "0"],
        &[],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{words:?}");
        let message = text(&output.stderr);
        assert!(!message.is_empty() && !message.contains("panicked"), "{words:?}: {message}");
    }
}

#[test]
fn help_version_config_completions_and_man_end_with_0() {
    for words in [
        &["--help"][..],
        &["who", "--help"],
        &["--version"],
        &["version"],
        &["config"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["completions", "powershell"],
        &["man"],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        assert!(!output.stdout.is_empty(), "{words:?}");
        assert_eq!(text(&output.stderr), "", "{words:?}");
    }
}

#[test]
fn config_says_which_of_flag_variable_file_and_default_won() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("c.toml");
    std::fs::write(&file, "hooks = \"stable\"\nsource = \"ebpf\"\n").unwrap();
    let output = command(home.path(), &["config", "--json", "--color", "never", "--config"])
        .arg(&file)
        .env("PORTWATCH_SOURCE", "scan")
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let origin = |name: &str| {
        let row = report["settings"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap();
        (row["value"].as_str().unwrap_or_default().to_owned(), row["origin"].as_str().unwrap().to_owned())
    };
    let pair = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(origin("color"), pair("never", "flag"));
    assert_eq!(origin("source"), pair("scan", "env"));
    assert_eq!(origin("hooks"), pair("stable", "file"));
    assert_eq!(origin("no_daemon").1, "default");
    assert_eq!(origin("socket").1, "env");
}

#[test]
fn man_writes_a_page_for_every_command() {
    let home = tempfile::tempdir().unwrap();
    let pages = tempfile::tempdir().unwrap();
    let output = command(home.path(), &["man"]).arg(pages.path()).output().unwrap();
    assert!(output.status.success());
    for page in ["portwatch.1", "portwatch-who.1", "portwatch-log.1", "portwatch-daemon.1"] {
        let page = std::fs::read_to_string(pages.path().join(page)).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains("Examples:"), "{page}");
    }
    let output = command(home.path(), &["man", "/nonexistent/man"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}

#[test]
fn a_reader_that_leaves_early_ends_it_quietly_with_0() {
    let home = tempfile::tempdir().unwrap();
    // Nothing is written before the reader is gone, or it is written to a pipe nobody reads: both must end well.
    let mut child = command(home.path(), &["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{message}");
    assert_eq!(message, "");
}
