//! A new image, of a config and layers that are in the store: its manifest is written, and with that it is there.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::decompress::{decompressed, largest_image};
use crate::digest::{Digest, Hashing};
use crate::formats::{Descriptor, LAYER, LAYER_GZIP, LAYER_ZSTD, MANIFEST, Manifest};
use crate::image::Image;
use crate::store::Store;

/// Writes down an image whose config and layers are in the store.
pub fn write_image(store: &Store, config: Descriptor, layers: Vec<Descriptor>) -> Result<Image> {
    let manifest = Manifest { schema_version: 2, media_type: MANIFEST.to_string(), config, layers };
    let config = store.document(&manifest.config.digest)?;
    let bytes = json(&manifest)?;
    let image = Image::of(Digest::of(&bytes), manifest, config)?;
    store.add(&bytes)?;
    Ok(image)
}

/// A layer's media type, and what it unpacks to.
pub fn packed_how(path: &Path, blob: &Digest) -> Result<(&'static str, Digest)> {
    let reading = || format!("reading {}", path.display());
    let (mut file, mut start) = (File::open(path).with_context(reading)?, [0; 2]);
    let _ = file.read_exact(&mut start); // one that is shorter is no gzip
    file.rewind().with_context(reading)?;
    let mut tar = Hashing::new(decompressed(file, largest_image()?)?);
    io::copy(&mut tar, &mut io::sink()).with_context(reading)?;
    let unpacked = tar.finish().0;
    let media_type = match start {
        _ if unpacked == *blob => LAYER,
        [0x1f, 0x8b] => LAYER_GZIP,
        _ => LAYER_ZSTD,
    };
    Ok((media_type, unpacked))
}

/// A document as it is written down.
pub fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("writing JSON")
}
