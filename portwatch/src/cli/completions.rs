//! `portwatch completions`

use clap::CommandFactory;
use clap_complete::{generate, shells};

use super::{
    args::{self, Cli, Shell},
    exit::Exit,
    failure::Failure,
    session::Session,
};

pub(super) fn run(args: &args::Completions, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    // Into memory first: the generator panics when its writer fails.
    let mut text = Vec::new();
    match args.shell {
        Shell::Bash => generate(shells::Bash, &mut command, "portwatch", &mut text),
        Shell::Zsh => generate(shells::Zsh, &mut command, "portwatch", &mut text),
        Shell::Fish => generate(shells::Fish, &mut command, "portwatch", &mut text),
        Shell::Powershell => generate(shells::PowerShell, &mut command, "portwatch", &mut text),
        Shell::Elvish => generate(shells::Elvish, &mut command, "portwatch", &mut text),
    }
    session.out.write_all(&text)?;
    Ok(Exit::Yes)
}
