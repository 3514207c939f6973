//! Images in one file: a tar of an image layout, and what `docker save` wrote before there were layouts. tar(5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tar::{Builder, Header};

use crate::digest::{Digest, Hashing};
use crate::files::Files;
use crate::formats::{CONFIG, Descriptor, INDEX, ImageConfig, Index, MANIFEST};
use crate::image::{Image, MOST_LAYERS};
use crate::layout::{self, Loaded, REFERENCE, VERSION, WHOLE_NAME};
use crate::name::{Name, new_name};
use crate::new_image::{json, packed_how, write_image};
use crate::platform::Platform;
use crate::store::Store;

/// What `manifest.json` says of an image. The files are anywhere in the archive.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Takes all images into the store, whichever form the files have.
pub fn load(store: &Store, files: &Files) -> Result<Vec<Loaded>> {
    if layout::is_layout(files)? {
        return layout::load(store, files);
    }
    let images: Vec<Docker> = files
        .document("manifest.json")?
        .context("there is no image: neither oci-layout nor manifest.json is at the top")?;
    let mut loaded = Vec::new();
    for docker in &images {
        let tags = docker.repo_tags.iter().flatten().map(|name| new_name(name));
        let names: Vec<Name> = tags.collect::<Result<_>>().context("manifest.json")?;
        let image = take(store, files, docker)?;
        let one = |name| Loaded { manifest: image.digest, id: image.id(), name };
        loaded.extend(names.iter().cloned().map(Some).map(one));
        if names.is_empty() {
            loaded.push(one(None));
        }
    }
    Ok(loaded)
}

/// Docker had no manifests then, so one is made. All that is known of a layer is what it unpacks to.
fn take(store: &Store, files: &Files, docker: &Docker) -> Result<Image> {
    ensure!(docker.layers.len() <= MOST_LAYERS, "{} has too many layers", docker.config);
    let bytes = files.read(&docker.config)?.with_context(|| format!("{} is missing", docker.config))?;
    let config: ImageConfig =
        serde_json::from_slice(&bytes).with_context(|| format!("reading {}", docker.config))?;
    let (has, wants) = (docker.layers.len(), config.rootfs.diff_ids.len());
    ensure!(has == wants, "manifest.json has {has} layers, and {} has {wants}", docker.config);
    let mut layers = Vec::new();
    for (name, diff_id) in docker.layers.iter().zip(&config.rootfs.diff_ids) {
        let (digest, size) = files.keep(store, name, None)?;
        let (media_type, unpacked) = packed_how(&store.blob(&digest), &digest)?;
        ensure!(unpacked == *diff_id, "{name} unpacks to {unpacked}, and the image says {diff_id}");
        layers.push(Descriptor::of(media_type, digest, size));
    }
    let config_blob = Descriptor::of(CONFIG, store.add(&bytes)?, bytes.len() as u64);
    write_image(store, config_blob, layers)
}

/// Writes images, and their names, as the tar of a layout that `docker load` can read, too. The same images make the same
/// bytes.
pub fn save(store: &Store, images: &[(Option<Name>, Image)], to: impl Write) -> Result<()> {
    let mut tar = Builder::new(to);
    let blobs: BTreeSet<Digest> = images
        .iter()
        .flat_map(|(_, image)| [image.digest].into_iter().chain(image.parts().map(|part| part.digest)))
        .collect();
    for blob in &blobs {
        append_blob(&mut tar, store, blob)?;
    }
    append(&mut tar, "index.json", &json(&index(store, images)?)?)?;
    append(&mut tar, "manifest.json", &json(&for_docker(images))?)?;
    append(&mut tar, "oci-layout", VERSION.as_bytes())?;
    tar.finish().context("writing the archive")
}

fn index(store: &Store, images: &[(Option<Name>, Image)]) -> Result<Index> {
    let mut manifests = Vec::new();
    for (name, image) in images {
        let media_type = match &*image.manifest.media_type {
            "" => MANIFEST,
            its => its,
        };
        let size = store.read(&image.digest)?.len() as u64;
        let mut descriptor = Descriptor::of(media_type, image.digest, size);
        let (architecture, os) = (image.config.architecture.clone(), image.config.os.clone());
        descriptor.platform = Some(Platform { architecture, os, variant: None });
        if let Some(name) = name
            && let Some(tag) = name.tag()
        {
            let whole = format!("{}/{}:{tag}", name.registry, name.repository);
            descriptor.annotations = [(WHOLE_NAME, whole), (REFERENCE, tag.to_string())]
                .map(|(key, value)| (key.to_string(), value))
                .into();
        }
        manifests.push(descriptor);
    }
    let media_type = INDEX.to_string();
    Ok(Index { schema_version: 2, media_type, manifests })
}

/// Each image once, with all its names.
fn for_docker(images: &[(Option<Name>, Image)]) -> Vec<Docker> {
    let mut all: BTreeMap<Digest, Docker> = BTreeMap::new();
    for (name, image) in images {
        let path = |part: &Descriptor| layout::path(&part.digest);
        let docker = all.entry(image.digest).or_insert_with(|| Docker {
            config: path(&image.manifest.config),
            repo_tags: None,
            layers: image.manifest.layers.iter().map(path).collect(),
        });
        if let Some(name) = name
            && name.tag().is_some()
        {
            docker.repo_tags.get_or_insert_default().push(name.to_string());
        }
    }
    all.into_values().collect()
}

/// A blob, if it still is what its name says: a damaged one is worth nothing to anybody.
fn append_blob(tar: &mut Builder<impl Write>, store: &Store, blob: &Digest) -> Result<()> {
    let path = store.blob(blob);
    let reading = || format!("reading {}", path.display());
    let file = File::open(&path).with_context(reading)?;
    let length = file.metadata().with_context(reading)?.len();
    let mut bytes = Hashing::new(file.take(length));
    tar.append_data(&mut header(length), layout::path(blob), &mut bytes).with_context(reading)?;
    let is = bytes.finish().0;
    ensure!(is == *blob, "{} is damaged: its bytes are not what its name says", path.display());
    Ok(())
}

fn append(tar: &mut Builder<impl Write>, name: &str, bytes: &[u8]) -> Result<()> {
    tar.append_data(&mut header(bytes.len() as u64), Path::new(name), bytes)
        .with_context(|| format!("writing {name}"))
}

/// Nothing of this machine, and no time, so that the archive depends on the images alone.
fn header(length: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_size(length);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
