//! What people call an image: `busybox`, `localhost:5000/team/app:2`, `alpine@sha256:…`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};

use crate::digest::Digest;

/// Where a name without a registry leads: what everybody means by `busybox`.
pub const HOME: &str = "docker.io";

/// And there, to whom a name without an owner belongs.
const OFFICIAL: &str = "library/";

/// A name in full: registry, repository, and which of the images there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The host of the registry, with its port if one was given.
    pub registry: String,
    /// The path there.
    pub repository: String,
    /// Which image.
    pub which: Which,
}

/// One image of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// The one that has this tag now.
    Tag(String),
    /// The one with this manifest, for ever.
    Digest(Digest),
}

impl FromStr for Name {
    type Err = anyhow::Error;

    /// `[HOST/]PATH[:TAG][@DIGEST]`, of which the tag does not count if there is a digest. The parts become names of
    /// directories, so nothing passes but what the specification has.
    fn from_str(text: &str) -> Result<Name> {
        ensure!(text.len() <= 512, "the image's name is longer than 512 letters");
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash is a port's.
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (rest, "latest"),
        };
        let (registry, repository) = match path.split_once('/') {
            // What has a dot or a colon is no owner's name, and `localhost` is nobody's.
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
                (host, path.to_string())
            }
            Some(_) => (HOME, path.to_string()),
            None => (HOME, path.to_string()),
        };
        let registry = if registry == "index.docker.io" { HOME } else { registry };
        let official = registry == HOME && !repository.contains('/');
        let repository = if official { format!("{OFFICIAL}{repository}") } else { repository };
        if !is_host(registry) || repository.len() > 255 || !repository.split('/').all(is_part) {
            bail!("invalid reference format: {text:?} is no image's name{}", hint(&repository));
        }
        ensure!(is_tag(tag), "invalid reference format: {tag:?} is no tag");
        let which = digest.map_or_else(|| Which::Tag(tag.to_string()), Which::Digest);
        Ok(Name { registry: registry.to_string(), repository, which })
    }
}

fn hint(repository: &str) -> &'static str {
    if repository.chars().any(char::is_uppercase) { ": its letters must be lowercase" } else { "" }
}

/// A name or an address of a host, with a port or without.
pub fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 255 && name.split('.').all(label) && port.parse::<u16>().is_ok()
}

/// Lowercase letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_part(part: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let between = part.split(|c: char| letter(c as u8) && c.is_ascii()).filter(|run| !run.is_empty());
    let ends = |byte: Option<u8>| byte.is_some_and(letter);
    ends(part.bytes().next())
        && ends(part.bytes().last())
        && between.into_iter().all(|run| [".", "_", "__"].contains(&run) || run.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let more = |byte: u8| letter(byte) || byte == b'.' || byte == b'-';
    tag.len() <= 128 && tag.bytes().next().is_some_and(letter) && tag.bytes().all(more)
}

impl Name {
    /// Registry and repository, as one says them.
    pub fn familiar(&self) -> String {
        match (&*self.registry, self.repository.strip_prefix(OFFICIAL)) {
            (HOME, Some(name)) if !name.contains('/') => name.to_string(),
            (HOME, _) => self.repository.clone(),
            (registry, _) => format!("{registry}/{}", self.repository),
        }
    }

    /// With the registry, which is left out by those who know it.
    pub fn full(&self) -> String {
        let mark = if self.tag().is_some() { ':' } else { '@' };
        format!("{}/{}{mark}{}", self.registry, self.repository, self.which)
    }

    /// The tag, or nothing.
    pub fn tag(&self) -> Option<&str> {
        match &self.which {
            Which::Tag(tag) => Some(tag),
            Which::Digest(_) => None,
        }
    }
}

/// What stands behind `:` or `@`.
impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Tag(tag) => f.write_str(tag),
            Which::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// As one says it, with the tag.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Tag(tag) => write!(f, "{}:{tag}", self.familiar()),
            Which::Digest(digest) => write!(f, "{}@{digest}", self.familiar()),
        }
    }
}

/// A name that can be given. That with a digest says what an image is, and nobody can give it.
pub fn new_name(text: &str) -> Result<Name> {
    let name: Name = text.parse()?;
    if name.tag().is_none() {
        bail!("refusing to create a tag with a digest reference: {text:?}");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_in_full() {
        let digest = Digest::of(b"abc");
        for (text, registry, repository, shown) in [
            ("busybox", "docker.io", "library/busybox", "busybox:latest"),
            ("docker.io/library/busybox:1", "docker.io", "library/busybox", "busybox:1"),
            ("index.docker.io/busybox", "docker.io", "library/busybox", "busybox:latest"),
            ("anna/app:v1.0", "docker.io", "anna/app", "anna/app:v1.0"),
            ("localhost/app", "localhost", "app", "localhost/app:latest"),
            ("localhost:5000/a/b_c/d--e:x", "localhost:5000", "a/b_c/d--e", "localhost:5000/a/b_c/d--e:x"),
            ("quay.io/a", "quay.io", "a", "quay.io/a:latest"),
            (&format!("a:1@{digest}"), "docker.io", "library/a", &format!("a@{digest}")),
        ] {
            let name: Name = text.parse().unwrap();
            assert_eq!(
                (&*name.registry, &*name.repository, &*name.to_string()),
                (registry, repository, shown)
            );
            assert_eq!(shown.parse::<Name>().unwrap(), name);
        }
    }

    #[test]
    fn what_is_no_name() {
        for bad in [
            "",
            "A",
            "a/",
            "/a",
            "a//b",
            "a/../b",
            "..",
            ".",
            "a:",
            "a:b:c",
            "a@",
            "a@sha256:1",
            "_a",
            "a_",
            "a___b",
            "a..b",
            "a b",
            "a:-x",
            "local host:5/a",
            "h:99999/a",
            "-h.x/a",
            "ä",
            "a\n",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_leads_out_of_the_store(text in "\\PC*") {
            if let Ok(name) = text.parse::<Name>() {
                let parts = [&name.registry, &name.repository].map(|part| part.split('/').collect::<Vec<_>>()).concat();
                prop_assert!(parts.iter().all(|part| !part.is_empty() && !part.starts_with(['.', '_'])));
            }
        }
    }
}
