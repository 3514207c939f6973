//! `push`, step by step: the blobs first, and the manifest when all that it names is there.

use anyhow::{Context, Result};
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{Method, StatusCode, Uri};

use crate::answer::{accepted, location};
use crate::digest::Digest;
use crate::formats::{Descriptor, MANIFEST};
use crate::image::Image;
use crate::name::Name;
use crate::progress::Progress;
use crate::registry::{Payload, Question, Registry};
use crate::store::Store;

/// An image that goes to a registry.
pub struct Sending<'a> {
    /// Where to.
    pub registry: &'a Registry,
    /// And there, by which name.
    pub name: &'a Name,
    /// From where.
    pub store: &'a Store,
}

impl Sending<'_> {
    /// Sends what the registry does not have. All bytes are those that came, so their names stay the same. Returns the length
    /// of the manifest.
    pub fn send(&self, image: &Image, progress: &Progress) -> Result<usize> {
        for layer in &image.manifest.layers {
            let bar = progress.layer(&layer.digest, layer.size);
            let sent = self.blob(layer).with_context(|| format!("sending layer {}", layer.digest))?;
            bar.end(if sent { "Pushed" } else { "Layer already exists" });
        }
        self.blob(&image.manifest.config).context("sending the image's config")?;
        self.manifest(image).context("sending the image's manifest")
    }

    /// Sends a blob, if the registry does not have it.
    fn blob(&self, blob: &Descriptor) -> Result<bool> {
        let repository = &self.name.repository;
        let there =
            self.question(Method::HEAD, &format!("{repository}/blobs/{}", blob.digest), Payload::None)?;
        if self.registry.ask(&there)?.status() == StatusCode::OK {
            return Ok(false);
        }
        let begin =
            self.question(Method::POST, &format!("{repository}/blobs/uploads/"), Payload::Bytes(b""))?;
        let answer = accepted(self.registry.ask(&begin)?, &[StatusCode::ACCEPTED])?;
        let path = self.store.blob(&blob.digest);
        let headers = vec![(CONTENT_TYPE.as_str(), "application/octet-stream".to_string())];
        let uri = with_digest(&location(&answer)?, &blob.digest)?;
        let whole = Question { method: Method::PUT, uri, headers, payload: Payload::File(&path) };
        accepted(self.registry.ask(&whole)?, &[StatusCode::CREATED])?;
        Ok(true)
    }

    fn manifest(&self, image: &Image) -> Result<usize> {
        let bytes = self.store.read(&image.digest)?;
        let path = format!("{}/manifests/{}", self.name.repository, self.name.which);
        let mut question = self.question(Method::PUT, &path, Payload::Bytes(&bytes))?;
        let kind = Some(&*image.manifest.media_type).filter(|kind| !kind.is_empty());
        question.headers.push((CONTENT_TYPE.as_str(), kind.unwrap_or(MANIFEST).to_string()));
        accepted(self.registry.ask(&question)?, &[StatusCode::CREATED])?;
        Ok(bytes.len())
    }

    fn question<'a>(&self, method: Method, path: &str, payload: Payload<'a>) -> Result<Question<'a>> {
        Ok(Question { method, uri: self.registry.at(path)?, headers: Vec::new(), payload })
    }
}

/// The place of an upload, with the digest of what comes.
fn with_digest(place: &Uri, digest: &Digest) -> Result<Uri> {
    let mark = if place.query().is_some() { '&' } else { '?' };
    Ok(format!("{place}{mark}digest={digest}").parse()?)
}
