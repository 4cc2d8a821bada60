//! A virtual machine's only program: it sets the machine up, runs the scenarios with each plan, and tells the
//! console. What it says is read by `cargo xtask vm`; a line that counts begins with `MARK`.
#![expect(clippy::print_stdout, reason = "the console is where a guest speaks")]

use std::{
    convert::Infallible,
    fs,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};
use portwatch::source::ebpf::HookChoice;
use tracing_subscriber::EnvFilter;

use crate::{
    kernel::{
        self, Outcome, PLANS, SCENARIOS, Scenario,
        cost::{self, Cost},
    },
    netns::loopback_up,
    wait_until,
};

/// The name by which this program is portwatch.
pub const PORTWATCH: &str = "portwatch";

/// Begins each line that counts: kernel messages share the console.
const MARK: &str = "@portwatch";

/// What the kernel gives init to mount. tracefs is left to the loader, as on machines that do not mount it.
const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("tmpfs", "/tmp"),
];

/// Longest time for all plans together, under emulation.
const DEADLINE: Duration = Duration::from_mins(8);

/// The scenarios of a plan; none for a word that is no plan.
fn of_plan(plan: &str) -> Option<(HookChoice, Vec<&'static Scenario>)> {
    let hooks = HookChoice::from_word(plan)?;
    Some((hooks, SCENARIOS.iter().filter(|scenario| scenario.applies(hooks)).collect()))
}

/// Tells the plans and how many scenarios each has, so that a guest which runs fewer is found out.
pub fn list() -> ExitCode {
    for plan in PLANS {
        if let Some((_, scenarios)) = of_plan(plan) {
            println!("{plan} {}", scenarios.len());
        }
    }
    ExitCode::SUCCESS
}

/// Runs plans and tells how each scenario ended.
///
/// A kernel parameter `RUST_LOG=…` becomes init's environment: with it the verifier's complaints can be read.
pub fn run(plans: &[&str]) -> ExitCode {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_ansi(false).init();
    let mut failed = 0;
    for plan in plans {
        if *plan == cost::WORD {
            if let Err(error) = cost::measure(|cost| println!("{MARK} {}", as_line(cost))) {
                failed += 1;
                println!("{MARK} trouble measuring: {error:#}");
            }
            continue;
        }
        let Some((hooks, scenarios)) = of_plan(plan) else {
            println!("{MARK} unknown {plan}");
            return ExitCode::FAILURE;
        };
        let mut begun = Instant::now();
        kernel::run(&scenarios, hooks, |name, outcome| {
            let ms = begun.elapsed().as_millis();
            begun = Instant::now();
            match outcome {
                Ok(Outcome::Held) => println!("{MARK} held {plan} {name} {ms}"),
                Ok(Outcome::NotHere(why)) => println!("{MARK} not-here {plan} {name} {why}"),
                Err(why) => {
                    failed += 1;
                    println!("{MARK} failed {plan} {name}");
                    for line in why.lines() {
                        println!("{MARK} | {line}");
                    }
                }
            }
        });
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// As the console has it.
fn as_line(cost: Result<Cost, String>) -> String {
    match cost {
        Ok(Cost { hooks, event, program, runs, instructions }) => {
            format!("cost {hooks} {event} {} {runs} {instructions}", program.as_deref().unwrap_or("all"))
        }
        Err(why) => format!("cost {why}"),
    }
}

/// The life of a guest. It ends with the machine.
pub fn init(plans: &[&str]) -> Infallible {
    let told = match live(plans) {
        Ok(release) => format!("done {release}"),
        Err(error) => format!("trouble {error:#}"),
    };
    println!("{MARK} {told}");
    loop {
        // Only an init without its privileges would get past this.
        let _ = reboot(RebootMode::RB_POWER_OFF);
        nix::unistd::pause();
    }
}

/// Runs the plans in a process of their own: init is nobody's child, and must not end.
fn live(plans: &[&str]) -> anyhow::Result<String> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place).with_context(|| format!("making {place}"))?;
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mounting {place}"))?;
    }
    loopback_up()?;
    load_modules()?;
    let own = std::env::current_exe()?;
    let portwatch = own.with_file_name(PORTWATCH);
    // A file of its own: binds that portwatch's own program tries are not told.
    fs::copy(&own, &portwatch).context("a second program")?;
    let mut command = Command::new(&own);
    command.arg("run").args(plans).env("PORTWATCH_BIN", &portwatch).env("PATH", "/bin");
    let mut child = command.spawn().context("starting the scenarios")?;
    wait_until("the scenarios", DEADLINE, || child.try_wait().transpose())??;
    Ok(nix::sys::utsname::uname()?.release().to_string_lossy().into_owned())
}

/// Loads what the archive brought, in the order of its names. The kernel asks for these by itself where it can start
/// modprobe.
fn load_modules() -> anyhow::Result<()> {
    let mut files: Vec<_> =
        fs::read_dir("/modules")?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    for path in files {
        let file = fs::File::open(&path)?;
        finit_module(&file, c"", ModuleInitFlags::empty())
            .with_context(|| format!("loading {}", path.display()))?;
    }
    Ok(())
}
