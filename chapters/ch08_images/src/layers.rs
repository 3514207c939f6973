//! Layers unpacked, each once for all images that have it upon the same ones below. overlayfs.rst.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch03_pivot_root::whole;

use crate::decompress::{decompressed, largest_image};
use crate::digest::{Digest, Hashing};
use crate::disk::usage;
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
        let chain_ids = chain_ids(diff_ids);
        let mut room = self.room(&chain_ids)?;
        for ((layer, diff_id), chain_id) in image.manifest.layers.iter().zip(diff_ids).zip(&chain_ids) {
            let unpacked = self.unpack(&self.blob(&layer.digest), diff_id, chain_id, &below, &mut room);
            below.insert(0, unpacked.with_context(|| format!("unpacking layer {}", layer.digest))?);
        }
        Ok(below)
    }

    /// How much the missing ones of these layers may unpack to, in bytes. Those that are there count too, or a second try
    /// would go on where the first had to end.
    fn room(&self, chain_ids: &[Digest]) -> Result<u64> {
        let paths = chain_ids.iter().map(|id| self.layer(id));
        let (there, missing): (Vec<_>, Vec<_>) = paths.partition(|path| path.exists());
        let all = largest_image()?;
        if missing.is_empty() {
            return Ok(all); // the usual case, which is to be quick
        }
        there.iter().try_fold(all, |room, path| Ok(room.saturating_sub(usage(path)?)))
    }

    fn layer(&self, id: &Digest) -> PathBuf {
        self.path("layers").join(id.hex())
    }

    /// The directory of one layer, which is unpacked from `blob` if it is not there yet. That takes some of the `room`, in
    /// bytes, which is an error if there is not enough.
    pub fn unpack(
        &self,
        blob: &Path,
        diff_id: &Digest,
        id: &Digest,
        below: &[PathBuf],
        room: &mut u64,
    ) -> Result<PathBuf> {
        let path = self.layer(id);
        if !path.try_exists().with_context(|| format!("looking for {}", path.display()))? {
            whole::make(&path, |directory| fill(blob, diff_id, below, directory, room))?;
        }
        Ok(path)
    }
}

/// Unpacks a blob, and sees that it was what the image says. What is unpacked from anything else is not kept.
fn fill(blob: &Path, diff_id: &Digest, below: &[PathBuf], directory: &Path, room: &mut u64) -> Result<()> {
    let file = File::open(blob).with_context(|| format!("opening {}", blob.display()))?;
    let mut tar = Hashing::new(decompressed(file, *room)?);
    unpack(tar.by_ref(), below, directory)?;
    io::copy(&mut tar, &mut io::sink()).context("reading what is behind the tar's end")?;
    *room -= tar.length();
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
