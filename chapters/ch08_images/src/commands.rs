//! The commands, each with its story in a file of its own.

use anyhow::Result;
use clap::Subcommand;

pub mod login;
pub mod logout;
pub mod pull;
pub mod push;
pub mod diff;
pub mod commit;
pub mod images;
pub mod history;
pub mod inspect;
pub mod tag;
pub mod rmi;
pub mod load;
pub mod save;
pub mod import;
pub mod prune;
pub mod df;
pub mod run;

/// The commands that are about images.
#[derive(Subcommand)]
#[command(about = None)] // else this sentence would stand above all commands
pub enum OfImages {
    /// Fetch an image from a registry
    Pull(pull::Args),
    /// Bring an image to a registry
    Push(push::Args),
    /// Keep a user and a password for a registry
    Login(login::Args),
    /// Forget them
    Logout(logout::Args),
    /// Tell what a container has changed in its image's files
    Diff(diff::Args),
    /// Make an image of a container: its image, and what it has changed
    Commit(commit::Args),
    /// List images
    Images(images::Args),
    /// Give an image one more name
    Tag(tag::Args),
    /// Take names from images, and remove those that have none left
    Rmi(rmi::Args),
    /// Tell how an image was made
    History(history::Args),
    /// Take images from an archive
    Load(load::Args),
    /// Write images into an archive
    Save(save::Args),
    /// Make an image of a tar of its files
    Import(import::Args),
    /// Remove what nobody needs
    Prune(prune::Args),
    /// Tell what takes how much of the disk
    Df(df::Args),
}

impl OfImages {
    /// Does what is asked for. Returns the exit status.
    pub fn carry_out(self) -> Result<u8> {
        match self {
            OfImages::Pull(args) => pull::pull(args),
            OfImages::Push(args) => push::push(&args),
            OfImages::Login(args) => login::login(args),
            OfImages::Logout(args) => logout::logout(&args),
            OfImages::Diff(args) => diff::diff(&args),
            OfImages::Commit(args) => commit::commit(&args),
            OfImages::Images(args) => images::images(&args),
            OfImages::Tag(args) => tag::tag(&args),
            OfImages::Rmi(args) => rmi::rmi(&args),
            OfImages::History(args) => history::history(&args),
            OfImages::Load(args) => load::load(&args),
            OfImages::Save(args) => save::save(&args),
            OfImages::Import(args) => import::import(&args),
            OfImages::Prune(args) => prune::prune(&args),
            OfImages::Df(args) => df::df(&args),
        }
    }
}
