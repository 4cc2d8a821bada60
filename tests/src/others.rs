//! The same portwatch, as other users of the machine ask it.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Stdio},
};

use crate::{Portwatch, Ran};

/// A binary and a socket that every user may reach. Only root can become somebody else.
#[derive(Debug)]
pub struct Others<'a> {
    portwatch: &'a Portwatch,
}

impl Portwatch {
    /// Opens its folder for other users; the state stays closed to them.
    pub fn for_others(&self) -> anyhow::Result<Others<'_>> {
        let binary = self.folder().join("portwatch");
        // One that runs cannot be written (ETXTBSY).
        if !binary.exists() {
            fs::copy(self.binary(), &binary)?;
            fs::set_permissions(&binary, Permissions::from_mode(0o755))?;
        }
        fs::set_permissions(self.folder(), Permissions::from_mode(0o711))?;
        Ok(Others { portwatch: self })
    }
}

impl Others<'_> {
    /// A program that runs as the user of this uid, with the environment of portwatch.
    pub fn around(&self, uid: u32, program: Command) -> Command {
        let mut command = self.portwatch.environment().around(program);
        // The standard library drops the groups of root too.
        command.uid(uid).gid(uid).env("HOME", "/nonexistent").current_dir("/").stdin(Stdio::null());
        command
    }

    /// portwatch as that user.
    pub fn command(&self, uid: u32, arguments: &[&str]) -> Command {
        let mut command = self.around(uid, Command::new(self.portwatch.folder().join("portwatch")));
        command.args(arguments);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, uid: u32, arguments: &[&str]) -> anyhow::Result<Ran> {
        Ran::of(&mut self.command(uid, arguments))
    }
}
