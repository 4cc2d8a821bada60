//! The one program of a guest of `cargo xtask vm`: init, the scenarios, their children, and portwatch itself,
//! by the name it is called by. On the host it lists what it would run.

use std::{env, path::Path, process::ExitCode};

use portwatch_tests::{guest, kernel::child};

fn main() -> ExitCode {
    let called = env::args_os().next().unwrap_or_default();
    if Path::new(&called).file_name().is_some_and(|name| name == guest::PORTWATCH) {
        return portwatch::cli::run();
    }
    if let Some(played) = child::play() {
        return match played {
            Ok(code) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
            Err(_) => ExitCode::FAILURE,
        };
    }
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if std::process::id() == 1 {
        guest::init(&words);
    }
    match words.as_slice() {
        ["list"] => guest::list(),
        ["run", plans @ ..] => guest::run(plans),
        _ => ExitCode::from(2),
    }
}
