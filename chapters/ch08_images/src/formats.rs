//! The documents of an image: the OCI image specification, and Docker's older words for the same things. Each is JSON, and
//! a blob like any other: its bytes are kept, because its name is what they add up to. So these structs are for looking
//! into it, and for writing new ones.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::platform::Platform;

/// What is in a manifest, and in an index.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// See [`MANIFEST`].
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// An image's config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// A layer that gzip has made smaller.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer that zstd has made smaller.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// A layer as it is.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The longest document that is read, in bytes. Real ones have some kilobytes, and registries accept no more either.
pub const BIGGEST: u64 = 4 << 20;

/// Points to a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// For which machine, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Whatever its maker wanted to say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Points to a blob of these bytes.
    pub fn of(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        let media_type = media_type.to_string();
        Descriptor { media_type, digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

/// One image: a config and layers, the lowest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// How to run it.
    pub config: Descriptor,
    /// Its files.
    pub layers: Vec<Descriptor>,
}

/// The same image for several kinds of machines, or several images.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u32,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The images.
    pub manifests: Vec<Descriptor>,
}

impl Index {
    /// Which of the images is for a kind of machine. A processor runs what is for older ones of its kind, and of these the
    /// newest is taken. What says nothing about machines is for all, if nothing else fits.
    pub fn for_machine(&self, machine: &Platform) -> Result<&Descriptor> {
        let fits = |its: &Platform| {
            (&its.os, &its.architecture) == (&machine.os, &machine.architecture)
                && its.variant <= machine.variant
        };
        let fitting = self.manifests.iter().filter(|one| one.platform.as_ref().is_none_or(fits));
        // Of equals, the first.
        let best = fitting.rev().max_by_key(|one| one.platform.as_ref().map(|its| its.variant.clone()));
        best.with_context(|| {
            let there = self.manifests.iter().filter_map(|one| Some(one.platform.as_ref()?.to_string()));
            let there: Vec<_> = there.filter(|name| name != "unknown/unknown").take(20).collect();
            format!("the image is not for {machine}, but for {}", there.join(", "))
        })
    }
}

/// How an image is to be run, and what its layers are once they are unpacked.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// For which processor.
    #[serde(default)]
    pub architecture: String,
    /// For which kernel.
    #[serde(default)]
    pub os: String,
    /// When it was made, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Defaults of `run`.
    #[serde(default)]
    pub config: Execution,
    /// The layers.
    pub rootfs: RootFs,
    /// Where they come from.
    #[serde(default, deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// What else there is, kept for whoever makes a new image of this one.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// The defaults of `run` that an image has. Docker writes `null` for what is empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    /// Whom the command runs as: `USER[:GROUP]`.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Variables, each K=V.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// What stands before the command, whatever that is.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The command, if none is given.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// The directory to begin in.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// What `stop` sends first.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Places for data that outlive containers. The values are empty objects.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Value>,
    /// Ports that somebody might want to reach. The values are empty objects.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// Whatever its maker wanted to say.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What else there is.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// The layers of an image, unpacked.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the bytes of each tar add up to, the lowest first. Not those of the blobs: the same layer can be packed by gzip,
    /// by another gzip, or not at all.
    pub diff_ids: Vec<Digest>,
}

/// One step of an image's making.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct History {
    /// When, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_runs_is_chosen() {
        let all = ["linux/arm/v5", "linux/arm/v6", "windows/arm/v6", "linux/arm/v6", "linux/arm64", ""];
        let one = |(at, text): (usize, &&str)| {
            let one = Descriptor::of("x", Digest::of(&[at as u8]), 1);
            Descriptor { platform: text.parse().ok(), ..one }
        };
        let manifests: Vec<_> = all.iter().enumerate().map(one).collect();
        let mut index = Index { schema_version: 2, media_type: String::new(), manifests };
        let chosen = |index: &Index, text: &str| Some(index.for_machine(&text.parse().unwrap()).ok()?.digest);
        for (machine, at) in [("linux/arm", 1), ("linux/arm/v5", 0), ("linux/arm64", 4), ("linux/amd64", 5)] {
            assert_eq!(chosen(&index, machine), Some(Digest::of(&[at])), "{machine}");
        }
        index.manifests.pop();
        assert_eq!(chosen(&index, "linux/amd64"), None);
    }

    #[test]
    fn what_docker_writes_is_read() {
        let text = r#"{"architecture":"amd64","os":"linux","os.version":"1","config":{"Cmd":["sh"],"Env":null,
            "Entrypoint":null,"Volumes":{"/data":{}},"Healthcheck":{"Test":["x"]}},
            "rootfs":{"type":"layers","diff_ids":[]},"history":null}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.config.cmd.len(), config.config.env.len(), config.history.len()), (1, 0, 0));
        let again = serde_json::to_value(&config).unwrap();
        assert_eq!(
            (&again["os.version"], &again["config"]["Healthcheck"]["Test"][0]),
            (&"1".into(), &"x".into())
        );
    }
}
