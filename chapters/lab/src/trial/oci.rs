//! Images made by hand, byte by byte: layers as tar archives, a config, a manifest, and the two forms in which a file holds
//! them. So a check knows each digest beforehand, and can make what no good program would write.
//!
//! Formats: tar(5), and the image specification of the Open Container Initiative (OCI).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::see::cannot_run;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// `sha256:` and 64 hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    let digits: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// One thing in a layer.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    kind: EntryType,
    name: String,
    /// A file's bytes; or where a link leads to.
    content: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
    device: (u32, u32),
    xattrs: Vec<(String, Vec<u8>)>,
}

impl Entry {
    fn new(kind: EntryType, name: &str, content: &[u8], mode: u32) -> Entry {
        let (name, content) = (name.to_string(), content.to_vec());
        Entry { kind, name, content, mode, owner: (0, 0), device: (0, 0), xattrs: Vec::new() }
    }

    pub(crate) fn file(name: &str, content: impl AsRef<[u8]>) -> Entry {
        Entry::new(EntryType::Regular, name, content.as_ref(), 0o644)
    }

    pub(crate) fn directory(name: &str) -> Entry {
        Entry::new(EntryType::Directory, name, b"", 0o755)
    }

    pub(crate) fn symlink(name: &str, to: &str) -> Entry {
        Entry::new(EntryType::Symlink, name, to.as_bytes(), 0o777)
    }

    pub(crate) fn hard_link(name: &str, to: &str) -> Entry {
        Entry::new(EntryType::Link, name, to.as_bytes(), 0o644)
    }

    pub(crate) fn fifo(name: &str) -> Entry {
        Entry::new(EntryType::Fifo, name, b"", 0o644)
    }

    /// A character device.
    pub(crate) fn device(name: &str, major: u32, minor: u32) -> Entry {
        Entry { device: (major, minor), ..Entry::new(EntryType::Char, name, b"", 0o666) }
    }

    /// A block device.
    pub(crate) fn disk(name: &str, major: u32, minor: u32) -> Entry {
        Entry { kind: EntryType::Block, ..Entry::device(name, major, minor) }
    }

    pub(crate) fn mode(mut self, mode: u32) -> Entry {
        self.mode = mode;
        self
    }

    pub(crate) fn owner(mut self, user: u64, group: u64) -> Entry {
        self.owner = (user, group);
        self
    }

    pub(crate) fn xattr(mut self, name: &str, value: impl AsRef<[u8]>) -> Entry {
        self.xattrs.push((name.to_string(), value.as_ref().to_vec()));
        self
    }

    /// What does not fit into the header of 512 bytes, as records of the POSIX.1-2001 format.
    fn records(&self) -> Vec<(String, Vec<u8>)> {
        let mut records = Vec::new();
        let is_link = matches!(self.kind, EntryType::Symlink | EntryType::Link);
        if self.name.len() >= 100 {
            records.push(("path".to_string(), self.name.clone().into_bytes()));
        }
        if is_link && self.content.len() >= 100 {
            records.push(("linkpath".to_string(), self.content.clone()));
        }
        let attributes = self.xattrs.iter();
        records.extend(attributes.map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.clone())));
        records
    }

    /// Appends it exactly as it is: the library itself would not write some of the names.
    fn append(&self, tar: &mut Builder<Vec<u8>>) -> Result<()> {
        let records = self.records();
        if !records.is_empty() {
            let records = records.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            tar.append_pax_extensions(records).context("writing a tar entry's records")?;
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(1_000_000_000);
        header.set_device_major(self.device.0)?;
        header.set_device_minor(self.device.1)?;
        let is_link = matches!(self.kind, EntryType::Symlink | EntryType::Link);
        let fields = header.as_old_mut();
        let target = if is_link { self.content.as_slice() } else { b"" };
        for (field, text) in [(&mut fields.name, self.name.as_bytes()), (&mut fields.linkname, target)] {
            let length = text.len().min(field.len() - 1);
            field[..length].copy_from_slice(&text[..length]);
        }
        let bytes = if is_link { b"" } else { self.content.as_slice() };
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, bytes).context("writing a tar entry")
    }
}

/// A layer's bytes: a tar archive of these.
pub(crate) fn tar_of(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    entries.iter().try_for_each(|entry| entry.append(&mut tar))?;
    tar.into_inner().context("ending a tar archive")
}

/// The host's busybox, one program for all.
pub(crate) fn host_busybox() -> Result<Vec<u8>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/bin", "/usr/bin"].map(PathBuf::from);
    let found = std::env::split_paths(&path).chain(usual).map(|directory| directory.join("busybox"));
    let bytes = found.filter_map(|file| fs::read(file).ok()).next().context("reading busybox")?;
    if bytes[..bytes.len().min(4096)].windows(4).any(|part| part == b"/ld-") {
        return Err(cannot_run("the host's busybox is not static (package busybox-static)"));
    }
    Ok(bytes)
}

/// The entries that a container needs for a shell: the host's busybox, under each of its names, and two users.
pub(crate) fn busybox() -> Result<Vec<Entry>> {
    let list = Command::new("busybox").arg("--list").output();
    let list = list.map_err(|error| cannot_run(format!("there is no busybox on this host: {error}")))?;
    let mut entries = vec![
        Entry::directory("bin/"),
        Entry::file("bin/busybox", host_busybox()?).mode(0o755),
        Entry::directory("etc/"),
        Entry::file("etc/passwd", "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n"),
        Entry::file("etc/group", "root:x:0:\nanna:x:1000:\n"),
        Entry::directory("home/"),
        Entry::directory("home/anna/").owner(1000, 1000),
        Entry::directory("root/").mode(0o700),
        Entry::directory("tmp/").mode(0o1777),
    ];
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let names = list.lines().filter(|name| *name != "busybox");
    entries.extend(names.map(|name| Entry::symlink(&format!("bin/{name}"), "busybox")));
    Ok(entries)
}

/// Bytes with a kind and a name: their digest.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) kind: String,
    pub(crate) bytes: Vec<u8>,
}

impl Blob {
    pub(crate) fn new(kind: &str, bytes: Vec<u8>) -> Blob {
        Blob { kind: kind.to_string(), bytes }
    }

    pub(crate) fn json(kind: &str, document: &Value) -> Blob {
        Blob::new(kind, document.to_string().into_bytes())
    }

    pub(crate) fn digest(&self) -> String {
        digest(&self.bytes)
    }

    /// How a document points to it.
    pub(crate) fn descriptor(&self) -> Value {
        json!({"mediaType": self.kind, "digest": self.digest(), "size": self.bytes.len()})
    }

    /// Where it is in a layout.
    fn place(&self) -> String {
        format!("blobs/{}", self.digest().replace(':', "/"))
    }
}

/// An image: its layers, and what its config says. All of it can be changed by hand before it is written.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// As they are stored, compressed perhaps, the lowest first.
    pub(crate) layers: Vec<Blob>,
    pub(crate) config: Value,
}

impl Image {
    /// An image of these layers, the lowest first, not compressed.
    pub(crate) fn of(layers: &[Vec<Entry>]) -> Result<Image> {
        let tars = layers.iter().map(|entries| tar_of(entries)).collect::<Result<Vec<_>>>()?;
        Ok(Image::of_tars(tars))
    }

    pub(crate) fn of_tars(tars: Vec<Vec<u8>>) -> Image {
        let ids: Vec<_> = tars.iter().map(|tar| digest(tar)).collect();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let step =
            |number| json!({"created": "2001-09-09T01:46:40Z", "created_by": format!("step {number}")});
        let history: Vec<_> = (1..=ids.len()).map(step).collect();
        let config = json!({
            "created": "2001-09-09T01:46:40Z", "architecture": architecture, "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": ids}, "history": history,
        });
        Image { layers: tars.into_iter().map(|tar| Blob::new(LAYER, tar)).collect(), config }
    }

    /// With this default for its containers: Env, Cmd, Entrypoint and so on.
    pub(crate) fn says(mut self, name: &str, value: Value) -> Image {
        self.config["config"][name] = value;
        self
    }

    /// Compresses the layers by gzip.
    pub(crate) fn zipped(mut self) -> Result<Image> {
        use std::io::Write;
        for layer in &mut self.layers {
            let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
            zip.write_all(&layer.bytes)?;
            *layer = Blob::new(&format!("{LAYER}+gzip"), zip.finish()?);
        }
        Ok(self)
    }

    pub(crate) fn config(&self) -> Blob {
        Blob::json(CONFIG, &self.config)
    }

    pub(crate) fn manifest(&self) -> Blob {
        let layers: Vec<_> = self.layers.iter().map(Blob::descriptor).collect();
        let config = self.config().descriptor();
        let document = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        Blob::json(MANIFEST, &document)
    }

    /// Docker's IMAGE ID: 12 hexadecimal digits of the config's digest.
    pub(crate) fn id(&self) -> String {
        self.config().digest()[7..19].to_string()
    }

    /// All blobs, the manifest last.
    pub(crate) fn blobs(&self) -> Vec<Blob> {
        self.layers.iter().cloned().chain([self.config(), self.manifest()]).collect()
    }

    /// Writes a tar archive of its layout.
    pub(crate) fn write_archive(&self, file: &Path, name: &str) -> Result<()> {
        write_archive(file, &self.blobs(), &index(&[(&self.manifest(), name)]))
    }

    /// Writes what `docker save` wrote before it knew the layout.
    pub(crate) fn write_docker_archive(&self, file: &Path, name: &str) -> Result<()> {
        let config = self.config();
        let config_name = format!("{}.json", &config.digest()[7..]);
        let layers: Vec<_> = (0..self.layers.len()).map(|number| format!("{number}/layer.tar")).collect();
        let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": layers}]);
        let mut entries: Vec<_> =
            layers.iter().zip(&self.layers).map(|(name, layer)| Entry::file(name, &layer.bytes)).collect();
        entries.push(Entry::file(&config_name, &config.bytes));
        entries.push(Entry::file("manifest.json", manifest.to_string()));
        Ok(fs::write(file, tar_of(&entries)?)?)
    }
}

/// The document `index.json` of a layout with these manifests and their names.
pub(crate) fn index(manifests: &[(&Blob, &str)]) -> Value {
    let named = |(blob, name): &(&Blob, &str)| {
        let mut descriptor = blob.descriptor();
        if !name.is_empty() {
            // Tools differ in which of the two they read. A colon before the last slash is a port's.
            let tag =
                name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or("latest", |(_, tag)| tag);
            descriptor["annotations"] =
                json!({"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": name});
        }
        descriptor
    };
    let manifests: Vec<_> = manifests.iter().map(named).collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

/// The files of a layout.
fn files(blobs: &[Blob], index: &Value) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = blobs.iter().map(|blob| (blob.place(), blob.bytes.clone())).collect();
    files.push(("oci-layout".to_string(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    files.push(("index.json".to_string(), index.to_string().into_bytes()));
    files
}

pub(crate) fn write_archive(file: &Path, blobs: &[Blob], index: &Value) -> Result<()> {
    let files = files(blobs, index);
    let mut entries = vec![Entry::directory("blobs/"), Entry::directory("blobs/sha256/")];
    entries.extend(files.iter().map(|(name, bytes)| Entry::file(name, bytes)));
    Ok(fs::write(file, tar_of(&entries)?)?)
}

/// An archive of a layout, as another program has written it.
#[derive(Debug)]
pub(crate) struct Read {
    files: std::collections::BTreeMap<String, Vec<u8>>,
}

impl Read {
    pub(crate) fn archive(bytes: &[u8]) -> Result<Read> {
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(bytes).entries().context("reading an archive")? {
            let mut entry = entry.context("reading an archive")?;
            let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).context("reading an archive")?;
            files.insert(name, bytes);
        }
        Ok(Read { files })
    }

    fn json(&self, name: &str) -> Result<Value> {
        let bytes = self.files.get(name).with_context(|| format!("there is no {name} in the archive"))?;
        serde_json::from_slice(bytes).with_context(|| format!("{name} is no JSON"))
    }

    /// What a descriptor points to, which has to have this digest and size.
    pub(crate) fn blob(&self, descriptor: &Value) -> Result<&[u8]> {
        let of = descriptor["digest"].as_str().context("a descriptor without digest")?;
        let name = format!("blobs/{}", of.replace(':', "/"));
        let bytes = self.files.get(&name).with_context(|| format!("there is no {name} in the archive"))?;
        ensure!(digest(bytes) == of, "{name} has another digest: {}", digest(bytes));
        ensure!(descriptor["size"] == bytes.len(), "{name} has another size: {descriptor}");
        Ok(bytes)
    }

    /// The descriptors of its manifests.
    pub(crate) fn manifests(&self) -> Result<Vec<Value>> {
        let layout = self.json("oci-layout")?;
        ensure!(layout["imageLayoutVersion"] == "1.0.0", "oci-layout says {layout}");
        let index = self.json("index.json")?;
        Ok(index["manifests"].as_array().context("index.json has no manifests")?.clone())
    }

    /// The one image in it: its config, and its layers as tar archives or compressed.
    pub(crate) fn image(&self) -> Result<Image> {
        let manifests = self.manifests()?;
        ensure!(manifests.len() == 1, "one manifest was expected: {manifests:?}");
        let manifest: Value = serde_json::from_slice(self.blob(&manifests[0])?)?;
        let config = serde_json::from_slice(self.blob(&manifest["config"])?)?;
        let layers = manifest["layers"].as_array().context("a manifest without layers")?;
        let layer = |descriptor: &Value| -> Result<Blob> {
            let kind = descriptor["mediaType"].as_str().unwrap_or_default();
            Ok(Blob::new(kind, self.blob(descriptor)?.to_vec()))
        };
        Ok(Image { layers: layers.iter().map(layer).collect::<Result<_>>()?, config })
    }
}
