//! The `portwatch` binary.

fn main() -> std::process::ExitCode {
    portwatch::cli::run()
}
