//! `portwatch man`

use std::{fs, path::Path};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::{
    args::{self, Cli},
    exit::Exit,
    failure::Failure,
    session::Session,
};

pub(super) fn run(args: &args::Man, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    command.build();
    match &args.dir {
        None => Man::new(command).render(session.out)?,
        Some(dir) => {
            write(&command, dir, "portwatch")?;
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                write(sub, dir, &format!("portwatch-{}", sub.get_name()))?;
            }
        }
    }
    Ok(Exit::Yes)
}

fn write(command: &Command, dir: &Path, name: &str) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    Man::new(command.clone().display_name(name.to_owned())).render(&mut page)?;
    fs::write(&path, page).map_err(|error| Failure::Page { path, error })
}
