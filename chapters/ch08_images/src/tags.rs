//! Which image a name stands for: one file for each name, and in it a digest.
//!
//! A repository is a directory below that of its registry, and a tag a file in its `_tags`. No part of a name begins with
//! `_`, so nothing can be in the way.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use log::debug;

use crate::digest::Digest;
use crate::name::{Name, Which};
use crate::store::Store;

impl Store {
    /// The manifest that has this name. `None` if there is none.
    pub fn tagged(&self, name: &Name) -> Result<Option<Digest>> {
        read(&self.tag_path(name))
    }

    /// Gives the manifest this name. Another one that has it loses it.
    pub fn tag(&self, name: &Name, manifest: &Digest) -> Result<()> {
        self.write(&self.tag_path(name), format!("{manifest}\n").as_bytes())
    }

    /// Takes a name away. Its image stays, and the directories of its repository.
    pub fn untag(&self, name: &Name) -> Result<()> {
        let path = self.tag_path(name);
        debug!("unlink({path:?})");
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
    }

    /// All names, in order, with their manifests.
    pub fn names(&self) -> Result<Vec<(Name, Digest)>> {
        let mut found = Vec::new();
        collect(&self.path("tags"), "", &mut found)?;
        found.sort();
        Ok(found)
    }

    fn tag_path(&self, name: &Name) -> PathBuf {
        let repository = self.path("tags").join(&name.registry).join(&name.repository);
        match &name.which {
            Which::Tag(tag) => repository.join("_tags").join(tag),
            Which::Digest(digest) => repository.join("_digests").join(digest.hex()),
        }
    }
}

fn read(path: &Path) -> Result<Option<Digest>> {
    let reading = || format!("reading {}", path.display());
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => text.with_context(reading)?.trim_end().parse().map(Some).with_context(reading),
    }
}

/// The names below a directory, whose path from the top is `path`. What is no name is not ours.
fn collect(directory: &Path, path: &str, found: &mut Vec<(Name, Digest)>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        let entry = entry.with_context(|| format!("listing {}", directory.display()))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        match &*name {
            "_tags" | "_digests" => {
                let mark = if name == "_tags" { ":" } else { "@sha256:" };
                for one in fs::read_dir(entry.path()).with_context(|| format!("listing {path}"))? {
                    let one = one.with_context(|| format!("listing {path}"))?;
                    let full = format!("{path}{mark}{}", one.file_name().to_string_lossy());
                    // It may have been taken away just now.
                    if let (Ok(name), Some(digest)) = (full.parse(), read(&one.path())?) {
                        found.push((name, digest));
                    }
                }
            }
            _ if entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                let slash = if path.is_empty() { "" } else { "/" };
                collect(&entry.path(), &format!("{path}{slash}{name}"), found)?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_and_go() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(state.path()).unwrap();
        let digest = Digest::of(b"x");
        let mut names: Vec<Name> = ["a", "a/b", "a/b:2", "localhost:5000/a:x.new", &format!("c@{digest}")]
            .map(|name| name.parse().unwrap())
            .into();
        names.sort();
        names.iter().for_each(|name| store.tag(name, &digest).unwrap());
        assert_eq!(
            store.names().unwrap(),
            names.iter().map(|name| (name.clone(), digest)).collect::<Vec<_>>()
        );
        store.untag(&names[0]).unwrap();
        assert_eq!(store.tagged(&names[0]).unwrap(), None);
        assert_eq!(store.tagged(&names[1]).unwrap(), Some(digest));
    }
}
