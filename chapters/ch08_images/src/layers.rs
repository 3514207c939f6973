//! Layers unpacked, each once for all images that have it upon the same ones below. overlayfs.rst.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch03_pivot_root::whole;

use crate::decompress::decompressed;
use crate::digest::{Digest, Hashing};
use crate::image::Image;
use crate::layer_unpack::unpack;
use crate::store::Store;

/// The id of each layer together with all that are below it. The lowest is called by its own.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::new();
    for diff_id in diff_ids {
        let id = chain.last().map_or(*diff_id, |below| Digest::of(format!("{below} {diff_id}").as_bytes()));
        chain.push(id);
    }
    chain
}

impl Store {
    /// The directories of an image's layers, the topmost first, as overlayfs wants them. Those that are not there yet are
    /// unpacked. Hold the store's lock while the paths are in use, until a record names them.
    pub fn lowers(&self, image: &Image) -> Result<Vec<PathBuf>> {
        let diff_ids = &image.config.rootfs.diff_ids;
        let mut below: Vec<PathBuf> = Vec::new();
        for ((layer, diff_id), chain_id) in
            image.manifest.layers.iter().zip(diff_ids).zip(chain_ids(diff_ids))
        {
            let unpacked = self.unpack(&self.blob(&layer.digest), diff_id, &chain_id, &below);
            below.insert(0, unpacked.with_context(|| format!("unpacking layer {}", layer.digest))?);
        }
        Ok(below)
    }

    /// The directory of one layer, which is unpacked from `blob` if it is not there yet.
    pub fn unpack(&self, blob: &Path, diff_id: &Digest, id: &Digest, below: &[PathBuf]) -> Result<PathBuf> {
        let path = self.path("layers").join(id.hex());
        if !path.try_exists().with_context(|| format!("looking for {}", path.display()))? {
            whole::make(&path, |directory| fill(blob, diff_id, below, directory))?;
        }
        Ok(path)
    }
}

/// Unpacks a blob, and sees that it was what the image says. What is unpacked from anything else is not kept.
fn fill(blob: &Path, diff_id: &Digest, below: &[PathBuf], directory: &Path) -> Result<()> {
    let file = File::open(blob).with_context(|| format!("opening {}", blob.display()))?;
    let mut tar = Hashing::new(decompressed(file)?);
    unpack(tar.by_ref(), below, directory)?;
    io::copy(&mut tar, &mut io::sink()).context("reading what is behind the tar's end")?;
    let (unpacked, _) = tar.finish();
    ensure!(unpacked == *diff_id, "it unpacks to {unpacked}, and the image says {diff_id}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain() {
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        let chain = chain_ids(&[a, b]);
        assert_eq!(chain, [a, Digest::of(format!("{a} {b}").as_bytes())]);
        assert!(chain_ids(&[]).is_empty());
    }
}
