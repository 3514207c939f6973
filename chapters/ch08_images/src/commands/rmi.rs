//! `rmi`: away with names, and with images that have none left.

use std::ffi::OsString;

use anyhow::{Context, Result, bail, ensure};
use ch01_run::messages;
use ch07_lifecycle::common::Common;
use ch07_lifecycle::record::Record;
use ch07_lifecycle::state::State;
use ch07_lifecycle::{output, several};

use crate::digest::Digest;
use crate::garbage::InUse;
use crate::image::Image;
use crate::name::Name;
use crate::store::Store;

/// What `rmi` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not mind containers that have ended, nor several names, nor what is not there
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    common: Common,
    /// The images: names, or the beginnings of ids
    #[arg(required = true)]
    images: Vec<OsString>,
}

/// All that `rmi` does, in order.
pub fn rmi(args: &Args) -> Result<u8> {
    let state = args.common.begin()?;
    let store = Store::open(&state)?;
    let _lock = store.alone()?;
    several::each(&args.images, |word| {
        let word = word.to_str().with_context(|| format!("No such image: {}", word.display()))?;
        let (name, image) = match store.find(word) {
            Err(error) if is_broken(&store, word)? => {
                messages::fail(&error.context("only the name is removed"));
                return untag(&store, &word.parse()?).map(|()| true);
            }
            Err(error) if args.force && error.to_string().starts_with("No such image") => {
                messages::fail(&error);
                return Ok(true);
            }
            found => found?,
        };
        let used = InUse::of(&state)?;
        let images = if name.is_some() { vec![image] } else { all_of(&store, image, word)? };
        let names = names_of(&store, &images)?;
        match name.filter(|name| names.contains(name)) {
            Some(name) if names.len() > 1 => untag(&store, &name)?,
            Some(name) => {
                allow_name(&images, &name, &used, args.force)?;
                remove(&store, &images, &[name], &used)?;
            }
            None => {
                allow_id(&images, word, &names, &used, args.force)?;
                remove(&store, &images, &names, &used)?;
            }
        }
        Ok(true)
    })
}

/// All that an id stands for: an image that is packed in several ways has one id, and several manifests.
fn all_of(store: &Store, image: Image, word: &str) -> Result<Vec<Image>> {
    if !image.id().hex().starts_with(word.trim_start_matches("sha256:")) {
        return Ok(vec![image]); // the word begins its manifest's digest
    }
    Ok(store.images()?.into_iter().filter(|other| other.id() == image.id()).collect())
}

/// Whether the word is a name whose image is not there, or damaged.
fn is_broken(store: &Store, word: &str) -> Result<bool> {
    let name = word.parse::<Name>().ok();
    let tagged = name.map(|name| store.tagged(&name)).transpose()?.flatten();
    Ok(tagged.is_some_and(|digest| store.image(&digest).is_err()))
}

fn names_of(store: &Store, images: &[Image]) -> Result<Vec<Name>> {
    let names = store.names()?.into_iter();
    let is_theirs = |digest: &Digest| images.iter().any(|image| image.digest == *digest);
    Ok(names.filter(|(_, digest)| is_theirs(digest)).map(|(name, _)| name).collect())
}

/// Fails if the last name of an image is to go that a container uses. Forced, it goes, and the image stays.
fn allow_name(images: &[Image], name: &Name, used: &InUse, force: bool) -> Result<()> {
    let (Some(image), Some(container)) = (images.first(), users(images, used).next()) else { return Ok(()) };
    ensure!(
        force,
        "conflict: unable to remove repository reference {name:?} (must force) - container {} is using its referenced image {}",
        container.id(),
        image.id().short(),
        name = name.to_string(),
    );
    Ok(())
}

/// Fails if an image is to go that a container uses, or that is known by several names.
fn allow_id(images: &[Image], word: &str, names: &[Name], used: &InUse, force: bool) -> Result<()> {
    allow_running(images, word, used)?;
    if let Some(container) = users(images, used).next().filter(|_| !force) {
        let id = container.id();
        bail!(
            "conflict: unable to delete {word} (must be forced) - image is being used by stopped container {id}"
        );
    }
    let first = names.first().map(Name::familiar);
    let is_one = names.iter().all(|name| Some(name.familiar()) == first);
    ensure!(
        force || is_one,
        "conflict: unable to delete {word} (must be forced) - image is referenced in multiple repositories"
    );
    Ok(())
}

fn allow_running(images: &[Image], word: &str, used: &InUse) -> Result<()> {
    for container in users(images, used) {
        let id = container.id();
        ensure!(
            !State::of(container)?.runs(),
            "conflict: unable to delete {word} (cannot be forced) - image is being used by running container {id}"
        );
    }
    Ok(())
}

fn users<'a>(images: &'a [Image], used: &'a InUse) -> impl Iterator<Item = &'a Record> {
    images.iter().filter_map(|image| used.images.get(&image.digest)).flatten()
}

fn untag(store: &Store, name: &Name) -> Result<()> {
    store.untag(name)?;
    output::print_line(&format!("Untagged: {name}"))
}

/// First the names: nobody finds what is half gone. What a container uses stays, without a name.
fn remove(store: &Store, images: &[Image], names: &[Name], used: &InUse) -> Result<()> {
    names.iter().try_for_each(|name| untag(store, name))?;
    let mut gone = Vec::new();
    for image in images.iter().filter(|image| !used.images.contains_key(&image.digest)) {
        gone.push(image.id());
        gone.extend(store.remove_image(image, used)?);
    }
    gone.dedup(); // one id, several manifests
    gone.iter().try_for_each(|id| output::print_line(&format!("Deleted: {id}")))
}
