//! `pull`, step by step: which manifest, then its blobs, several at a time, then the name.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Error, Result, bail, ensure};
use log::warn;
use serde::Deserialize;
use serde::de::IgnoredAny;
use ureq::http::header::ACCEPT;
use ureq::http::{Method, StatusCode};

use crate::answer;
use crate::digest::Digest;
use crate::fetch::Wanted;
use crate::formats::{
    BIGGEST, CONFIG, DOCKER_CONFIG, DOCKER_INDEX, DOCKER_MANIFEST, INDEX, ImageConfig, Index, MANIFEST,
    Manifest,
};
use crate::image::{Image, MOST_LAYERS};
use crate::name::{Name, Which};
use crate::platform::{Platform, this_machine};
use crate::progress::Progress;
use crate::registry::{Payload, Question, Registry};
use crate::store::Store;

/// How many blobs are fetched at once.
const AT_ONCE: usize = 3;

/// An image as a registry has it.
pub struct Offer {
    /// What its name stands for there: a manifest, or an index with one for each kind of machine.
    pub digest: Digest,
    /// The manifest's bytes.
    document: Vec<u8>,
    /// What is in them.
    manifest: Manifest,
    /// The kind of machine that was asked for.
    wanted: Option<Platform>,
}

/// Looks a name up: a manifest, or that of an index which is for this kind of machine.
pub fn look_up(registry: &Registry, name: &Name, wanted: Option<Platform>) -> Result<Offer> {
    let (digest, document) = manifest(registry, name)?;
    if !is_index(&document)? {
        let manifest = parse(&document)?;
        return Ok(Offer { digest, document, manifest, wanted });
    }
    let index: Index = serde_json::from_slice(&document).context("reading an index")?;
    let chosen = index.for_machine(&wanted.clone().unwrap_or_else(this_machine))?;
    let one = Name { which: Which::Digest(chosen.digest), ..name.clone() };
    let (_, document) = manifest(registry, &one)?;
    ensure!(document.len() as u64 == chosen.size, "a manifest is not as long as its index says");
    ensure!(!is_index(&document)?, "an index is in an index");
    let manifest = parse(&document)?;
    Ok(Offer { digest, document, manifest, wanted })
}

/// A document of a repository: a manifest or an index. Its bytes are what its name says, if that has a digest, and what the
/// registry says about them.
fn manifest(registry: &Registry, name: &Name) -> Result<(Digest, Vec<u8>)> {
    let uri = registry.at(&format!("{}/manifests/{}", name.repository, name.which))?;
    let kinds = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ");
    let headers = vec![(ACCEPT.as_str(), kinds)];
    let answer = registry.ask(&Question { method: Method::GET, uri, headers, payload: Payload::None })?;
    let answer =
        answer::accepted(answer, &[StatusCode::OK]).with_context(|| format!("looking for {name}"))?;
    let said = answer.headers().get("docker-content-digest").cloned();
    let document = answer::document(answer)?;
    let digest = Digest::of(&document);
    if let Which::Digest(named) = &name.which {
        ensure!(digest == *named, "the registry sends {digest}, and was asked for {named}");
    }
    if let Some(said) = said {
        ensure!(
            said.as_bytes() == digest.to_string().as_bytes(),
            "the registry sends {digest}, and calls it {said:?}"
        );
    }
    Ok((digest, document))
}

/// What a document is, by what is in it: its type is written in three places, and none of them need be right.
fn is_index(document: &[u8]) -> Result<bool> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Look {
        schema_version: u32,
        layers: Option<IgnoredAny>,
        manifests: Option<IgnoredAny>,
    }
    let look: Look = serde_json::from_slice(document).context("reading a manifest")?;
    ensure!(look.schema_version != 1, "the image has Docker's old format, schema 1, which is not understood");
    match (look.layers, look.manifests) {
        (Some(_), None) => Ok(false),
        (None, Some(_)) => Ok(true),
        _ => bail!("what the registry sends is neither a manifest nor an index"),
    }
}

fn parse(document: &[u8]) -> Result<Manifest> {
    let manifest: Manifest = serde_json::from_slice(document).context("reading a manifest")?;
    let kind = &*manifest.config.media_type;
    ensure!(
        [CONFIG, DOCKER_CONFIG].contains(&kind),
        "it's no image of a container: its config is a {kind:?}"
    );
    ensure!(manifest.config.size <= BIGGEST, "the image's config is longer than 4 MiB");
    let layers = manifest.layers.len();
    ensure!(layers <= MOST_LAYERS, "the image has {layers} layers, and an overlay at most {MOST_LAYERS}");
    Ok(manifest)
}

impl Offer {
    /// Fetches what the store does not have of it, unpacks it, and gives it its name. Hold the store's lock.
    pub fn accept(
        &self,
        registry: &Registry,
        name: &Name,
        store: &Store,
        progress: &Progress,
    ) -> Result<Image> {
        let wanted = |blob| Wanted { registry, repository: &name.repository, blob, store };
        store.remove_damaged(&self.manifest.config.digest)?;
        wanted(&self.manifest.config).fetch(None, || false).context("fetching the image's config")?;
        let config: ImageConfig =
            store.document(&self.manifest.config.digest).context("the image's config")?;
        self.check_platform(&config)?;
        let image = Image::of(Digest::of(&self.document), self.manifest.clone(), config)?;
        let mut seen = BTreeSet::new();
        let layers: Vec<_> = image.manifest.layers.iter().filter(|layer| seen.insert(layer.digest)).collect();
        let failed: OnceLock<Error> = OnceLock::new();
        let next = AtomicUsize::new(0);
        let fail = |error| drop(failed.set(error)); // of two, the first counts: the other may follow from it
        let stop = || failed.get().is_some();
        let fetch = || {
            while !stop()
                && let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let bar = progress.layer(&layer.digest, layer.size);
                match wanted(layer).fetch(Some(&bar), stop) {
                    Ok(true) => bar.end("Download complete"),
                    Ok(false) => bar.end("Already exists"),
                    Err(error) => fail(error.context(format!("fetching layer {}", layer.digest))),
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                let started = thread::Builder::new().spawn_scoped(scope, fetch);
                if let Err(error) = started.context("starting a thread") {
                    fail(error);
                }
            }
        });
        if let Some(error) = failed.into_inner() {
            return Err(error);
        }
        store.lowers(&image)?;
        // Last, because with it the image is there.
        store.add(&self.document)?;
        if store.tagged(name)? != Some(image.digest) {
            store.tag(name, &image.digest)?;
        }
        Ok(image)
    }

    /// An image for another kind of machine is an error if this kind was asked for, and else a surprise.
    fn check_platform(&self, config: &ImageConfig) -> Result<()> {
        let asked = self.wanted.clone().unwrap_or_else(this_machine);
        if (&config.os, &config.architecture) != (&asked.os, &asked.architecture) {
            let words =
                format!("the image is for {:?}/{:?}, not for {asked}", config.os, config.architecture);
            ensure!(self.wanted.is_none(), words);
            warn!("{words}");
        }
        Ok(())
    }
}
