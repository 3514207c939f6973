//! An image of the store: its manifest, and its config.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};

use anyhow::{Context, Result, bail, ensure};
use log::debug;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::formats::{Descriptor, ImageConfig, Manifest};
use crate::name::{Name, Which};
use crate::store::Store;

/// More lie upon each other in no overlay: the kernel's limit.
pub const MOST_LAYERS: usize = 500;

/// All that is known of an image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The manifest's digest, by which the store and registries know it.
    pub digest: Digest,
    /// Which config, which layers.
    pub manifest: Manifest,
    /// How it runs.
    pub config: ImageConfig,
}

impl Image {
    /// Puts one together. Fails if the two documents don't agree on how many layers there are.
    pub fn of(digest: Digest, manifest: Manifest, config: ImageConfig) -> Result<Image> {
        let version = manifest.schema_version;
        ensure!(version == 2, "the image's manifest has version {version}, and only 2 is known here");
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        ensure!(layers == diff_ids, "the image's manifest has {layers} layers, and its config {diff_ids}");
        ensure!(layers <= MOST_LAYERS, "the image has {layers} layers, and an overlay at most {MOST_LAYERS}");
        for layer in &manifest.layers {
            let kind = &layer.media_type;
            ensure!(is_tar(kind), "layer {} is {kind:?}, and only tar is known here", layer.digest);
        }
        Ok(Image { digest, manifest, config })
    }

    /// Its id, as Docker calls it: the config's digest. Two images that are packed differently and are the same otherwise
    /// have the same id.
    pub fn id(&self) -> Digest {
        self.manifest.config.digest
    }

    /// All that it points to: its config, and its layers.
    pub fn parts(&self) -> impl Iterator<Item = &Descriptor> {
        [&self.manifest.config].into_iter().chain(&self.manifest.layers)
    }

    /// How many bytes a registry keeps of it: its layers as they are packed, and its config.
    pub fn size(&self) -> u64 {
        self.parts().fold(0, |sum, part| sum.saturating_add(part.size)) // others wrote these numbers
    }
}

/// Whether it is a tar, by whatever name, and not encrypted. How it is compressed shows in its first bytes.
fn is_tar(media_type: &str) -> bool {
    [".tar", ".tar+gzip", ".tar.gzip", ".tar+zstd", ".tar.zstd"].iter().any(|end| media_type.ends_with(end))
}

impl Store {
    /// The image with this manifest. Its layers need not be there.
    pub fn image(&self, manifest: &Digest) -> Result<Image> {
        let document: Manifest = self.document(manifest).context("the image's manifest")?;
        let config: ImageConfig = self.document(&document.config.digest).context("the image's config")?;
        Image::of(*manifest, document, config)
    }

    /// All images, whether they have a name or not: each blob that is a manifest, and whose config is there. One that is
    /// damaged hides no other.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for blob in self.blobs()? {
            if self.is_json(&blob)? {
                images.extend(self.image(&blob).ok());
            }
        }
        Ok(images)
    }

    /// A JSON document.
    pub fn document<T: DeserializeOwned>(&self, digest: &Digest) -> Result<T> {
        serde_json::from_slice(&self.read(digest)?).with_context(|| format!("reading {digest}"))
    }

    /// The image that a word stands for: a name, or the beginning of an id. With the name, if it was one.
    pub fn find(&self, word: &str) -> Result<(Option<Name>, Image)> {
        self.look_up(word)?.with_context(|| format!("No such image: {word}"))
    }

    /// The same. `None` if there is none.
    pub fn look_up(&self, word: &str) -> Result<Option<(Option<Name>, Image)>> {
        if let Ok(name) = word.parse::<Name>() {
            let tagged = match &name.which {
                Which::Digest(digest) if self.has(digest)? => Some(*digest),
                _ => self.tagged(&name)?,
            };
            if let Some(digest) = tagged {
                return Ok(Some((Some(name), self.image(&digest)?)));
            }
        }
        Ok(self.of_id(word)?.map(|image| (None, image)))
    }

    /// As long as the file is open, the image stays: somebody makes a container of it, which has no record yet.
    pub fn hold(&self, manifest: &Digest) -> Result<File> {
        let path = self.blob(manifest);
        debug!("flock({path:?}, LOCK_SH)");
        let open = File::open(&path).and_then(|file| file.lock_shared().map(|()| file));
        open.with_context(|| format!("holding {}", path.display()))
    }

    /// Whether somebody holds it. Have the store for yourself, then nobody begins to.
    pub fn is_held(&self, manifest: &Digest) -> Result<bool> {
        let path = self.blob(manifest);
        let holding = || format!("holding {}", path.display());
        match File::open(&path).with_context(holding)?.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).with_context(holding),
            Ok(()) => Ok(false),
        }
    }

    fn of_id(&self, word: &str) -> Result<Option<Image>> {
        let hex = word.strip_prefix("sha256:").unwrap_or(word);
        if hex.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut found = self.images()?;
        found.retain(|image| [image.digest, image.id()].iter().any(|digest| digest.hex().starts_with(hex)));
        // The same image packed twice is one, and rather the one with a name.
        let named: BTreeSet<_> = self.names()?.into_iter().map(|(_, digest)| digest).collect();
        found.sort_by_key(|image| (image.id(), !named.contains(&image.digest)));
        found.dedup_by_key(|image| image.id());
        if found.len() > 1 {
            bail!("multiple images have an id that begins with {hex}");
        }
        Ok(found.pop())
    }
}
