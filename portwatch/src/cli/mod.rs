//! Commands. Each file parses, asks `access::Access`, renders and returns an exit code.
//!
//! Never: hold logic.

mod agent;
mod args;
mod back;
mod backend;
mod channel;
mod claim;
mod completions;
mod config;
mod daemon;
mod doctor;
mod drift;
mod env;
mod exit;
mod failure;
mod find;
mod free;
mod glob;
mod hand_over;
mod health;
mod import;
mod link;
mod lock;
mod log;
mod ls;
mod man;
mod metrics;
mod netns;
mod places;
mod probe;
mod progress;
mod project;
mod release;
mod rogue;
mod run;
mod session;
mod settings;
mod started;
mod status;
mod stirs;
mod time;
mod version;
mod wait;
mod watch;
mod webhook;
mod who;
mod work;
mod worktrees;
mod zone;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

pub use exit::Exit;

use args::Command;
use failure::Failure;
use session::Session;
use settings::{Settings, Surroundings};

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let exit = dispatch(std::env::args_os().collect(), &mut out);
    match out.flush() {
        // The reader had enough: that is no failure of ours.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Yes.into(),
        Err(error) => report(&Failure::Output(error)).into(),
        Ok(()) => exit.into(),
    }
}

fn dispatch(words: Vec<OsString>, out: &mut dyn Write) -> Exit {
    let parsed = args::parse(&args::expand(words));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are answers and go to stdout; the rest goes to stderr.
            let printed = error.print();
            return match printed {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => report(&Failure::Output(error)),
                _ if error.use_stderr() => Exit::Usage,
                _ => Exit::Yes,
            };
        }
    };
    let start = match &cli.command {
        Command::Daemon(daemon) => Some(&daemon.start),
        Command::Start(start) | Command::Restart(start) => Some(&**start),
        _ => None,
    };
    let env = |name: &str| std::env::var_os(name);
    let around = Surroundings { env: &env, root: crate::platform::user::is_privileged() };
    let result = Settings::resolve(&cli.global, start, &matches, &around)
        .map_err(Failure::from)
        .and_then(|settings| command(&cli.command, settings, out));
    match result {
        Ok(exit) => exit,
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Yes,
        Err(failure) => report(&failure),
    }
}

fn command(command: &Command, settings: Settings, out: &mut dyn Write) -> Result<Exit, Failure> {
    let passed_over = settings.file.as_deref().zip(settings.file_problem.as_deref());
    let passed_over = passed_over.map(|(file, why)| {
        format!(
            "the configuration file {} is passed over: {why}; mend HOME, or name another with --config",
            file.display()
        )
    });
    let mut session = Session::new(settings, out);
    if let Some(words) = passed_over {
        session.warn(&words);
    }
    match command {
        Command::Who(args) => who::run(args, &mut session),
        Command::Ls(args) => ls::run(args, &mut session),
        Command::Log(args) => log::run(args, &mut session),
        Command::Watch(args) => watch::run(args, &mut session),
        Command::Probe(args) => probe::run(args, &mut session),
        Command::Wait(args) => wait::run(args, &mut session),
        Command::Run(args) => run::run(args, &mut session),
        Command::Free(args) => free::run(args, &mut session),
        Command::Claim(args) => claim::run(args, &mut session),
        Command::Find(args) => find::run(args, &mut session),
        Command::Claims(args) => find::claims(args, &mut session),
        Command::Release(args) => release::run(args, &mut session),
        Command::Cleanup(args) => release::cleanup(args, &mut session),
        Command::Env(args) => env::run(args, &mut session),
        Command::Import(args) => import::run(args, &mut session),
        Command::Health(args) => health::run(args, &mut session),
        Command::Rogue(args) => rogue::run(args, &mut session),
        Command::Drift(args) => drift::run(args, &mut session),
        Command::Lock(args) => lock::run(args, &mut session),
        Command::Unlock(args) => lock::unlock(args, &mut session),
        Command::Locks(args) => lock::list(args, &mut session),
        Command::WithLock(args) => lock::with(args, &mut session),
        Command::Agent(args) => agent::run(args, &mut session),
        Command::Agents(args) => agent::list(args, &mut session),
        Command::Salvage(args) => agent::salvage(args, &mut session),
        Command::Session(args) => work::run(args, &mut session),
        Command::Sessions(args) => work::list(args, &mut session),
        Command::Note(args) => work::note(args, &mut session),
        Command::Notes(args) => work::notes(args, &mut session),
        Command::Webhook(args) => webhook::run(args, &mut session),
        Command::Pub(args) => channel::publish(args, &mut session),
        Command::Sub(args) => channel::sub(args, &mut session),
        Command::Channels(args) => channel::list(args, &mut session),
        Command::Status => status::run(&mut session),
        Command::Metrics => metrics::run(&mut session),
        Command::Doctor => doctor::run(&mut session),
        Command::Daemon(args) => daemon::run(args, &mut session),
        Command::Start(_) => daemon::start(&mut session),
        Command::Stop => daemon::stop(&mut session),
        Command::Restart(_) => daemon::restart(&mut session),
        Command::Version => version::run(&mut session),
        Command::Config => config::run(&mut session),
        Command::Completions(args) => completions::run(args, &mut session),
        Command::Man(args) => man::run(args, &mut session),
    }
}

/// One sentence on stderr; a stderr that is closed changes nothing.
fn report(failure: &Failure) -> Exit {
    let look = session::stderr_look();
    let message = failure.to_string();
    // Only the log of a daemon that did not start has lines; each is made harmless by itself.
    for (at, line) in message.lines().enumerate() {
        let mut stderr = io::stderr().lock();
        drop(match at {
            0 => crate::render::error(&mut stderr, line, &look),
            _ => crate::render::quoted(&mut stderr, line, &look),
        });
    }
    failure.exit()
}
