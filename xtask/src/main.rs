//! portwatch's development tasks. `cargo xtask help` lists them.

#[cfg(target_os = "linux")]
mod bench;
mod cross;
mod ebpf;
mod setup;
mod test;
mod tidy;
#[cfg(target_os = "linux")]
mod vm;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// portwatch's development tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks the rules that a machine can check: import ranks, file sizes, lint opt-in, documents.
    Tidy,
    /// Runs the tests; with --strict everything that CI runs.
    Test(test::Arguments),
    /// Installs what a rebuild of the kernel programs needs, below target/tools.
    Setup,
    /// Rebuilds the kernel programs and their lock.
    BuildEbpf {
        /// Change nothing; fail unless a fresh build gives the committed object, byte for byte.
        #[arg(long)]
        verify: bool,
    },
    /// Builds portwatch for Windows, macOS, aarch64 and musl as far as this machine can, and runs what can be run here.
    Cross(cross::Arguments),
    /// Measures the budgets against ss, lsof and fuser, prints a table and writes docs/benchmarks.md.
    #[cfg(target_os = "linux")]
    Bench(bench::Arguments),
    /// Boots other kernels under emulation and runs the end-to-end scenarios there with each family of hooks.
    #[cfg(target_os = "linux")]
    Vm(vm::Arguments),
    /// What `bench` starts: sleeping processes, loops, listeners.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    BenchWork(bench::work::Arguments),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let root = root()?;
    match arguments.task {
        Task::Tidy => tidy::run(&root),
        Task::Test(arguments) => test::run(&root, &arguments),
        Task::Setup => setup::run(&root).map(drop),
        Task::Cross(arguments) => cross::run(&root, &arguments),
        Task::BuildEbpf { verify } => ebpf::run(&root, verify),
        #[cfg(target_os = "linux")]
        Task::Bench(arguments) => bench::run(&root, &arguments),
        #[cfg(target_os = "linux")]
        Task::Vm(arguments) => vm::run(&root, &arguments),
        #[cfg(target_os = "linux")]
        Task::BenchWork(arguments) => bench::work::run(arguments),
    }
}

/// The workspace's directory. Cargo names the one it runs for; the binary may have been built for another.
fn root() -> Result<PathBuf> {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&own).parent().map(Path::to_owned).context("xtask lies in the workspace")
}

/// One line for the person who runs the task.
#[expect(clippy::print_stderr, reason = "the one place of xtask that speaks")]
fn say(line: &str) {
    eprintln!("{line}");
}
