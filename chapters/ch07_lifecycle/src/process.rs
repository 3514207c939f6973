//! What a command gets besides its arguments, in Docker's words: variables, a directory, a user.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::report::Report;
use crate::user::Wanted;
use crate::{environment, user, workdir};

/// Options of `run` and `exec`.
#[derive(Debug, Clone, clap::Args)]
pub struct ProcessOptions {
    /// Set a variable; K alone: as the caller has it; may be given again
    #[arg(short, long, value_name = "K[=V]", value_parser = OsStringValueParser::new().try_map(environment::parse))]
    pub env: Vec<OsString>,
    /// Set the variables in this file, one a line; may be given again
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// The directory to begin in
    #[arg(short, long, value_name = "DIR", value_parser = workdir::parse)]
    pub workdir: Option<PathBuf>,
    /// Who the command is; names are looked up in the container
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<Wanted>,
}

impl ProcessOptions {
    /// The command's environment: `base`, and what the options say, the last of a name. Call it before anything is made:
    /// files can be missing. With another user than root, HOME is for [`ProcessOptions::become_user`] to find, unless the
    /// options have it.
    pub fn environment(&self, base: Vec<OsString>) -> Result<Vec<OsString>> {
        let mut variables = base;
        if self.user.is_some() {
            variables.retain(|variable| variable != user::HOME_OF_ROOT);
        }
        for path in &self.env_file {
            for variable in environment::read_file(path)? {
                environment::set(&mut variables, &variable);
            }
        }
        self.env.iter().for_each(|variable| environment::set(&mut variables, variable));
        Ok(variables)
    }

    /// Makes the directory to begin in, if there is one to make. Inside the container's root, as root.
    pub fn make_workdir(&self) -> Result<()> {
        self.workdir.as_deref().map_or(Ok(()), workdir::make)
    }

    /// Goes to the directory to begin in, and becomes the user. The last step in the command's process before execve(2),
    /// inside the container's root, with all descriptors closed but the command's and the `report`.
    pub fn become_user(&self, environment: &mut Vec<OsString>, report: &Report) -> Result<()> {
        if let Some(directory) = &self.workdir {
            workdir::enter(directory)?;
        }
        if let Some(user) = &self.user {
            let home = user.become_it()?;
            if !environment::has(environment, "HOME") {
                environment.push(format!("HOME={home}").into());
            }
            report.stay_bound()?;
        }
        Ok(())
    }
}
