//! Where the cgroups of a kept container are, and how they can be frozen: cgroups(7), admin-guide/cgroup-v1/freezer-subsystem.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use ch02_cgroups::hierarchy::Hierarchy;
use ch02_cgroups::mountinfo::{self, Mount};
use ch02_cgroups::version::Version;

/// A tree of cgroups that this host has mounted.
#[derive(Debug)]
pub struct Tree {
    /// Where it is mounted.
    pub root: PathBuf,
    /// How its files are called.
    pub version: Version,
    /// Version 1: its controllers, each its own word between commas.
    options: String,
}

impl Tree {
    /// Whether the files of this controller are in this tree. In version 2 they may be, in every directory.
    pub fn may_have(&self, controller: &str) -> bool {
        self.version == Version::V2 || self.options.split(',').any(|option| option == controller)
    }

    /// The directory of all our containers in it.
    pub fn ours(&self) -> PathBuf {
        self.root.join("byhand")
    }

    /// The tree as chapter 2 knows one, for a cgroup without limits.
    pub fn hierarchy(&self) -> Hierarchy {
        Hierarchy { root: self.root.clone(), version: self.version, controllers: Vec::new() }
    }
}

/// All trees of this host, looked up once: `ps` asks for each of many containers.
pub fn all() -> Result<&'static [Tree]> {
    static TREES: OnceLock<Vec<Tree>> = OnceLock::new();
    if TREES.get().is_none() {
        // The file system first: others may be dead, and a look at them would never end.
        let is_cgroup = |mount: &Mount| mount.filesystem.starts_with("cgroup");
        let mut found = Vec::new();
        for mount in mountinfo::read()?.into_iter().filter(is_cgroup) {
            if is_visible(&mount)? {
                found.extend(tree(mount));
            }
        }
        let _ = TREES.set(found); // or another thread has just found the same
    }
    Ok(TREES.get().map_or(&[], Vec::as_slice))
}

/// Whether its path leads to it: another mount may cover it. A look that fails is no look that sees nothing. The container
/// would run without this cgroup then, and could not be paused, say, which is told when it's too late.
fn is_visible(mount: &Mount) -> Result<bool> {
    match fs::metadata(&mount.target) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => Ok(false),
        data => {
            Ok(data.with_context(|| format!("looking at {}", mount.target.display()))?.dev() == mount.device)
        }
    }
}

fn tree(mount: Mount) -> Option<Tree> {
    let version = match mount.filesystem.as_str() {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    Some(Tree { root: mount.target, version, options: mount.super_options })
}

/// The tree in which processes can be frozen. In version 1 a controller of its own does that; in version 2 every cgroup
/// but the root can, without any controller.
/// `None` where a host has neither: then a container runs all the same, and can't be paused.
pub fn freezer() -> Result<Option<&'static Tree>> {
    let of =
        |version| all().map(|trees| trees.iter().find(|t| t.version == version && t.may_have("freezer")));
    let first = of(Version::V1)?;
    Ok(first.or(of(Version::V2)?))
}
