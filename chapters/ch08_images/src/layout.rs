//! How an image lies in a directory, or in a tar of one: the OCI image layout, image-layout.md in its specification.
//!
//! `oci-layout` says which version of it this is, `index.json` which images there are, and `blobs/sha256` has what they
//! point to, each with its digest for a name.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::files::Files;
use crate::formats::{DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, INDEX, Index, MANIFEST, Manifest};
use crate::image::{Image, MOST_LAYERS};
use crate::name::Name;
use crate::platform::this_machine;
use crate::store::Store;

/// The annotation that has an image's whole name, as containerd and Docker write it.
pub const WHOLE_NAME: &str = "io.containerd.image.name";
/// The annotation of the specification: a tag, or what else one likes.
pub const REFERENCE: &str = "org.opencontainers.image.ref.name";
/// What is in `oci-layout`.
pub const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// An image that is in the store now, and the name that it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its manifest.
    pub manifest: Digest,
    /// Its id.
    pub id: Digest,
    /// What it is called. It has to be given the name yet.
    pub name: Option<Name>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    image_layout_version: String,
}

/// Whether these files are an image layout.
pub fn is_layout(files: &Files) -> Result<bool> {
    let Some(version) = files.document::<Version>("oci-layout")? else { return Ok(false) };
    let version = version.image_layout_version;
    ensure!(version.starts_with("1."), "the image layout has version {version:?}, and only 1 is known here");
    Ok(true)
}

/// Takes all images of a layout into the store.
pub fn load(store: &Store, files: &Files) -> Result<Vec<Loaded>> {
    let index: Index = files.document("index.json")?.context("index.json is missing")?;
    ensure!(index.schema_version == 2, "index.json has version {}, not 2", index.schema_version);
    let mut loaded = Vec::new();
    for descriptor in &index.manifests {
        let name = name_of(descriptor).context("index.json")?;
        let image = take(store, files, descriptor)?;
        loaded.push(Loaded { manifest: image.digest, id: image.id(), name });
    }
    Ok(loaded)
}

/// What it is to be called. Who gives it another tag may not know containerd's annotation, and leave it as it was. A word
/// alone can be a name, and if it can't, it is only a tag of nobody knows what.
fn name_of(descriptor: &Descriptor) -> Result<Option<Name>> {
    let said = |key| descriptor.annotations.get(key);
    let text = match (said(WHOLE_NAME), said(REFERENCE)) {
        (Some(whole), Some(other)) if is_other(whole, other) => other,
        (Some(text), _) | (None, Some(text)) => text,
        (None, None) => return Ok(None),
    };
    match text.parse::<Name>() {
        Ok(name) if name.tag().is_none() => Ok(None), // only a registry that was asked for it says what has a digest
        Err(_) if format!("x:{text}").parse::<Name>().is_ok() => Ok(None),
        name => name.map(Some),
    }
}

fn is_other(whole: &str, reference: &str) -> bool {
    let is_digest = reference.starts_with('@'); // containerd's, of a name with a digest
    whole != reference && !is_digest && whole.parse().is_ok_and(|name: Name| name.tag() != Some(reference))
}

/// An image, or of an image for several kinds of machines the one for this.
fn take(store: &Store, files: &Files, descriptor: &Descriptor) -> Result<Image> {
    match &*descriptor.media_type {
        MANIFEST | DOCKER_MANIFEST => take_image(store, files, descriptor),
        INDEX | DOCKER_INDEX => {
            let index: Index = parse(&document(files, descriptor)?, &descriptor.digest)?;
            let chosen = index.for_machine(&this_machine())?;
            let is_image = [MANIFEST, DOCKER_MANIFEST].contains(&&*chosen.media_type);
            ensure!(is_image, "{} is no image, but {:?}", chosen.digest, chosen.media_type);
            take_image(store, files, chosen)
        }
        other => bail!("{} is no image, but {other:?}", descriptor.digest),
    }
}

/// First what the manifest points to, and itself last: where a manifest is, all of its image is.
fn take_image(store: &Store, files: &Files, descriptor: &Descriptor) -> Result<Image> {
    let bytes = document(files, descriptor)?;
    let manifest: Manifest = parse(&bytes, &descriptor.digest)?;
    ensure!(manifest.layers.len() <= MOST_LAYERS, "{} has too many layers", descriptor.digest);
    let config = document(files, &manifest.config)?;
    let image = Image::of(descriptor.digest, manifest, parse(&config, &descriptor.digest)?)?;
    for layer in &image.manifest.layers {
        if !store.has(&layer.digest)? {
            let (_, length) = files.keep(store, &path(&layer.digest), Some(&layer.digest))?;
            ensure_length(layer, length)?;
        }
    }
    // These two also if they are there: one that was damaged is whole again.
    store.add(&config)?;
    store.add(&bytes)?;
    Ok(image)
}

/// A document of the layout, if it is what points to it says.
fn document(files: &Files, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let path = path(&descriptor.digest);
    let bytes = files.read(&path)?.with_context(|| format!("{path} is missing"))?;
    let (is, length) = (Digest::of(&bytes), bytes.len() as u64);
    ensure!(is == descriptor.digest, "{path} is {is}");
    ensure_length(descriptor, length)?;
    Ok(bytes)
}

fn ensure_length(descriptor: &Descriptor, length: u64) -> Result<()> {
    let Descriptor { digest, size, .. } = descriptor;
    ensure!(length == *size, "{digest} has {length} bytes, and should have {size}");
    Ok(())
}

fn parse<T: DeserializeOwned>(bytes: &[u8], digest: &Digest) -> Result<T> {
    serde_json::from_slice(bytes).with_context(|| format!("reading {digest}"))
}

/// Where a blob is in a layout.
pub fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
