//! What nobody needs any more, and how it goes: unlink(2), rename(2).
//!
//! An image is there as long as its manifest is. So the manifest goes first, and a crash on the way leaves parts that belong
//! to no image, which the next `prune` takes. All of this needs the store for itself: see [`Store::alone`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ch02_cgroups::lock;
use ch03_pivot_root::removal;
use ch07_lifecycle::lowers;
use ch07_lifecycle::record::{self, Record};
use log::debug;

use crate::digest::Digest;
use crate::disk::{entries, usage};
use crate::image::Image;
use crate::layers::chain_ids;
use crate::store::Store;

/// What containers use.
#[derive(Debug, Default)]
pub struct InUse {
    /// By which containers an image is used, which this manifest stands for.
    pub images: BTreeMap<Digest, Vec<Record>>,
    /// The names of unpacked layers that containers lie upon.
    layers: BTreeSet<String>,
}

impl InUse {
    /// Looks through all records. An image that somebody holds is used, by a container that has no record yet.
    pub fn of(state_directory: &Path) -> Result<InUse> {
        let mut used = InUse::default();
        let store = Store::open(state_directory)?;
        for image in store.images()? {
            if store.is_held(&image.digest)? {
                used.images.entry(image.digest).or_default();
                let layers = chain_ids(&image.config.rootfs.diff_ids);
                used.layers.extend(layers.iter().map(Digest::hex));
            }
        }
        for record in record::unsorted(state_directory)? {
            for lower in lowers::told(&record)? {
                used.layers.extend(lower.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
            let image = record.read("image-id")?.and_then(|text| text.parse().ok());
            if let Some(image) = image {
                used.images.entry(image).or_default().push(record);
            }
        }
        Ok(used)
    }
}

/// What has to stay.
#[derive(Debug)]
pub struct Needed {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<String>,
}

impl Needed {
    /// What these images need, and the containers.
    pub fn by<'a>(images: impl IntoIterator<Item = &'a Image>, used: &InUse) -> Needed {
        let mut needed = Needed { blobs: BTreeSet::new(), layers: used.layers.clone() };
        for image in images {
            needed.blobs.insert(image.digest);
            needed.blobs.extend(image.parts().map(|part| part.digest));
            needed.layers.extend(chain_ids(&image.config.rootfs.diff_ids).iter().map(Digest::hex));
        }
        needed
    }
}

/// Something of the store that is not needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waste {
    /// A blob.
    Blob(Digest),
    /// An unpacked layer, or what is left of one.
    Layer(PathBuf),
    /// A blob that never came to its end.
    Incoming(PathBuf),
}

impl Store {
    /// All that is not needed. What has no name that we give is not ours, and left out.
    pub fn waste(&self, needed: &Needed) -> Result<Vec<Waste>> {
        let blobs = self.blobs()?.into_iter().filter(|blob| !needed.blobs.contains(blob));
        let mut waste: Vec<_> = blobs.map(Waste::Blob).collect();
        let is_needed = |layer: &PathBuf| needed.layers.contains(&name(layer));
        waste.extend(self.layers()?.into_iter().filter(|layer| !is_needed(layer)).map(Waste::Layer));
        let incoming = entries(&self.path("incoming"))?.into_iter().filter(|it| is_hex(it));
        waste.extend(incoming.map(Waste::Incoming));
        Ok(waste)
    }

    /// The directories of layers, and of what was to become one, or has been one.
    fn layers(&self) -> Result<Vec<PathBuf>> {
        let mut layers = entries(&self.path("layers"))?;
        layers.retain(|path| {
            let (stem, extension) = (path.file_stem(), path.extension());
            let is_id = stem.and_then(|stem| format!("sha256:{}", stem.display()).parse::<Digest>().ok());
            is_id.is_some() && extension.is_none_or(|it| it == "unfinished" || it == GONE)
        });
        Ok(layers)
    }

    /// Takes away what killed commands have left, if nobody uses the store right now: then it is nobody's. Half a blob that
    /// has a digest for a name stays, for whoever fetches the rest.
    pub fn tidy(&self) -> Result<()> {
        let Some(_lock) = self.try_alone()? else { return Ok(()) };
        for half in self.layers()?.into_iter().filter(|layer| layer.extension().is_some()) {
            self.take_away(&Waste::Layer(half))?;
        }
        for half in entries(&self.path("incoming"))? {
            if half.file_name().is_some_and(lock::is_id) {
                self.take_away(&Waste::Incoming(half))?;
            }
        }
        Ok(())
    }

    /// Takes it away. Returns how many bytes of the disk that set free.
    pub fn take_away(&self, waste: &Waste) -> Result<u64> {
        let bytes = self.usage(waste)?;
        match waste {
            Waste::Blob(digest) => unlink(&self.blob(digest))?,
            Waste::Layer(path) => remove_layer(path)?,
            // Somebody who gets it without the store's lock has a lock of its own.
            Waste::Incoming(path) => match lock::try_hold(path)? {
                Some(_lock) => unlink(path)?,
                None => return Ok(0),
            },
        }
        Ok(bytes)
    }

    /// How much of the disk it takes, in bytes.
    pub fn usage(&self, waste: &Waste) -> Result<u64> {
        match waste {
            Waste::Blob(digest) => usage(&self.blob(digest)),
            Waste::Layer(path) | Waste::Incoming(path) => usage(path),
        }
    }

    /// Takes an image away that has no name and no container any more, and what nobody else needs of it. Returns the ids
    /// of its layers that went.
    pub fn remove_image(&self, image: &Image, used: &InUse) -> Result<Vec<Digest>> {
        unlink(&self.blob(&image.digest))?;
        let needed = Needed::by(&self.images()?, used);
        for part in image.parts().filter(|part| !needed.blobs.contains(&part.digest)) {
            unlink(&self.blob(&part.digest))?;
        }
        let mut gone = Vec::new();
        for id in chain_ids(&image.config.rootfs.diff_ids).into_iter().rev() {
            if !needed.layers.contains(&id.hex()) {
                remove_layer(&self.path("layers").join(id.hex()))?;
                gone.push(id);
            }
        }
        Ok(gone)
    }
}

/// What the name of a layer ends with while it's removed.
const GONE: &str = "gone";

/// Removes an unpacked layer, under another name, so that nobody takes the rest of it for the whole. No error if there is
/// none.
fn remove_layer(path: &Path) -> Result<()> {
    removal::ensure_nothing_on(path)?;
    let gone = path.with_extension(GONE);
    if path != gone {
        removal::remove_tree(&gone)?; // what a killed `prune` left
        debug!("rename({path:?}, {gone:?})");
        match fs::rename(path, &gone) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            renamed => renamed.with_context(|| format!("renaming {}", path.display()))?,
        }
    }
    removal::remove_tree(&gone)
}

fn unlink(path: &Path) -> Result<()> {
    debug!("unlink({path:?})");
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()), // named twice
        removed => removed.with_context(|| format!("removing {}", path.display())),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// All that is on its way has digits for a name.
fn is_hex(path: &Path) -> bool {
    let name = name(path);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
