//! `load`, `save` and `import`: images as files, ours and others'.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{load, other, text};
use crate::chapter::Chapter::Images;
use crate::checks::check::Check;
use crate::machine::snapshot::Snapshot;
use crate::see::{self, differs};
use crate::trial::oci::{Blob, Entry, Image, Read, busybox, digest, index, tar_of, write_archive};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "load",
        Images,
        "load takes an OCI image layout in a tar archive, from a file or from stdin, and says its name.",
        loads,
    ),
    Check::new("load-docker", Images, "load takes what docker save used to write.", loads_docker),
    Check::new(
        "load-without-name",
        Images,
        "An image that has no name in the archive is loaded, and known by its id.",
        loads_nameless,
    ),
    Check::new(
        "load-several",
        Images,
        "Of an archive with several images load takes all; of those for other machines, it takes ours.",
        loads_several,
    ),
    Check::new(
        "load-bad",
        Images,
        "An archive that lies or lacks something is refused with 1, and the images are as before.",
        refuses_bad,
    ),
    Check::new(
        "load-hostile",
        Images,
        "Names and digests in an archive cannot lead load out of its store.",
        refuses_hostile,
    ),
    Check::new(
        "load-killed",
        Images,
        "Whenever load is killed, the images that were there work, and the next load makes it whole.",
        killed,
    ),
    Check::new(
        "save",
        Images,
        "save writes an OCI image layout, to a file or to stdout: the manifest, byte for byte, and all it names.",
        saves,
    ),
    Check::new(
        "save-load",
        Images,
        "An image that is saved and loaded elsewhere is the same: its id, its manifest's digest, its name.",
        saved_and_loaded,
    ),
    Check::new(
        "save-refused",
        Images,
        "save of what is not there ends with 1, and leaves no file.",
        save_refused,
    ),
    Check::new(
        "import",
        Images,
        "import makes an image of one layer out of a tar archive of a root directory.",
        imports,
    ),
    Check::new(
        "skopeo",
        Images,
        "skopeo reads what save writes, and load takes what skopeo writes, in both of its formats.",
        with_skopeo,
    ),
    Check::new(
        "umoci",
        Images,
        "umoci unpacks what save writes, and load takes what umoci packs.",
        with_umoci,
    ),
];

const NAME: &str = "lab/archive:1";

fn image() -> Result<Image> {
    Ok(Image::of(&[busybox()?, vec![Entry::file("from", "the image\n")]])?
        .says("Cmd", json!(["cat", "/from"])))
}

fn runs(lab: &Lab, name: &str) -> Result<()> {
    lab.run([""; 0]).of(name).finish()?.succeeds()?.prints("the image\n").map(drop)
}

/// The ids of all images, as `images -q` has them.
fn ids(lab: &Lab) -> Result<Vec<String>> {
    let outcome = lab.call("images", ["-q"]).finish()?;
    outcome.succeeds()?;
    Ok(outcome.output().lines().map(str::to_string).collect())
}

fn loads(lab: &Lab) -> Result<()> {
    let outcome = load(lab, &image()?, NAME)?;
    outcome.prints(format!("Loaded image: {NAME}\n"))?;
    runs(lab, NAME)?;
    let file = lab.path("zipped.tar");
    image()?.zipped()?.write_archive(&file, "localhost/zipped")?;
    let bytes = fs::read(&file)?;
    lab.call("load", [""; 0])
        .input(bytes)
        .finish()?
        .succeeds()?
        .prints("Loaded image: localhost/zipped:latest\n")?;
    runs(lab, "localhost/zipped")?;
    // The id is the config's digest, which says nothing of how the layers are packed.
    see::same(
        "load",
        "the ids in images -q, each once:",
        BTreeSet::from([image()?.id()]),
        ids(lab)?.into_iter().collect(),
    )
}

fn loads_docker(lab: &Lab) -> Result<()> {
    one_layer_more(lab)?;
    let file = lab.path("docker.tar");
    image()?.write_docker_archive(&file, NAME)?;
    let outcome = lab.call("load", ["-i".as_ref(), file.as_os_str()]).finish()?;
    outcome.succeeds()?.prints(format!("Loaded image: {NAME}\n"))?;
    runs(lab, NAME)?;
    see::same(&outcome.line, "the id in images -q:", vec![image()?.id()], ids(lab)?)
}

/// What `docker save` used to write, with a layer that the image doesn't have.
fn one_layer_more(lab: &Lab) -> Result<()> {
    let (mut more, file) = (image()?, lab.path("more.tar"));
    more.layers.push(Blob::new("", tar_of(&[Entry::file("more", "")])?));
    more.write_docker_archive(&file, NAME)?;
    let outcome = lab.call("load", ["-i".as_ref(), file.as_os_str()]).finish()?;
    outcome.refuses(&[1])?;
    see::same(&outcome.line, "the ids in images -q:", Vec::new(), ids(lab)?)
}

fn loads_nameless(lab: &Lab) -> Result<()> {
    let outcome = load(lab, &image()?, "")?;
    outcome.prints(format!("Loaded image ID: {}\n", image()?.config().digest()))?;
    see::same(&outcome.line, "the id in images -q:", vec![image()?.id()], ids(lab)?)?;
    runs(lab, &image()?.id())?;
    // A digest is no name that somebody can give: it would be a promise of another.
    let (file, pinned) = (lab.path("pinned.tar"), format!("lab/pinned@{}", digest(b"another image")));
    let reference = format!("@{}", digest(b"another image"));
    let mut named = index(&[(&image()?.manifest(), "")]);
    named["manifests"][0]["annotations"] =
        json!({"io.containerd.image.name": pinned, "org.opencontainers.image.ref.name": reference});
    for old in [false, true] {
        match old {
            false => write_archive(&file, &image()?.blobs(), &named)?,
            true => image()?.write_docker_archive(&file, &pinned)?,
        }
        let loaded = lab.call("load", ["-i".as_ref(), file.as_os_str()]).finish()?;
        if !old {
            loaded.succeeds()?; // it is an image like others, and has no name
        }
        let run = lab.run(["true"]).with(["--pull", "never"]).of(&pinned).finish()?;
        run.refuses(&[125])?;
    }
    Ok(())
}

/// A manifest list that has this image for this machine, and another one for another, which is not there.
fn for_machines(image: &Image, first: &Value) -> Blob {
    let mut ours = image.manifest().descriptor();
    ours["platform"] = json!({"os": "linux", "architecture": image.config["architecture"]});
    let kind = "application/vnd.oci.image.index.v1+json";
    Blob::json(kind, &json!({"schemaVersion": 2, "mediaType": kind, "manifests": [first, ours]}))
}

fn loads_several(lab: &Lab) -> Result<()> {
    let file = lab.path("several.tar");
    let other = Image::of(&[busybox()?, vec![Entry::file("from", "the other\n")]])?
        .says("Cmd", json!(["cat", "/from"]));
    let blobs = [image()?.blobs(), other.blobs()].concat();
    let (one, two) = (image()?.manifest(), other.manifest());
    write_archive(&file, &blobs, &index(&[(&one, NAME), (&two, "lab/other:2")]))?;
    let option = ["-i".as_ref(), file.as_os_str()];
    lab.call("load", option)
        .finish()?
        .succeeds()?
        .prints(format!("Loaded image: {NAME}\nLoaded image: lab/other:2\n"))?;
    runs(lab, NAME)?;
    lab.run([""; 0]).of("lab/other:2").finish()?.succeeds()?.prints("the other\n")?;
    let mut elsewhere =
        Blob::new("application/vnd.oci.image.manifest.v1+json", b"not there".to_vec()).descriptor();
    elsewhere["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let list = for_machines(&image()?, &elsewhere);
    let mut blobs = image()?.blobs();
    blobs.push(list.clone());
    write_archive(&file, &blobs, &index(&[(&list, "lab/machines:3")]))?;
    lab.call("load", option).finish()?.succeeds()?;
    runs(lab, "lab/machines:3")
}

/// Tries to load blobs that are not as they should be. Nothing may be there afterwards.
fn refused(lab: &Lab, what: &str, blobs: &[Blob], index: &Value) -> Result<()> {
    let file = lab.path("bad.tar");
    write_archive(&file, blobs, index)?;
    let outcome = lab.call("load", ["-i".as_ref(), file.as_os_str()]).finish()?;
    outcome.refuses(&[1]).with_context(|| format!("with an archive that has {what}"))?;
    let did = format!("{} with an archive that has {what}", outcome.line);
    see::same(did, "the images that are there:", Vec::new(), ids(lab)?)
}

/// What is done to a manifest.
type Change<'a> = &'a dyn Fn(&mut Value);

fn refuses_bad(lab: &Lab) -> Result<()> {
    let image = image()?;
    let good = image.blobs();
    let of = |blob: &Blob| index(&[(blob, NAME)]);
    let manifest = image.manifest();
    for (missing, what) in ["no base layer", "no layer", "no config", "no manifest"].into_iter().enumerate() {
        let mut blobs = good.clone();
        blobs.remove(missing);
        refused(lab, what, &blobs, &of(&manifest))?;
    }
    let changed = |change: Change<'_>| -> Result<(Vec<Blob>, Blob)> {
        let mut document: Value = serde_json::from_slice(&manifest.bytes)?;
        change(&mut document);
        let blob = Blob::json(&manifest.kind, &document);
        let mut blobs = good.clone();
        blobs.push(blob.clone());
        Ok((blobs, blob))
    };
    let zeros = format!("sha256:{}", "0".repeat(64));
    let cases: [(&str, Change<'_>); 7] = [
        ("a layer of another size", &|d| d["layers"][1]["size"] = json!(7)),
        ("a layer that is not there", &|d| d["layers"][1]["digest"] = json!(zeros)),
        ("a layer less than the config says", &|d| {
            d["layers"].as_array_mut().map(Vec::pop);
        }),
        ("the two layers in the other order", &|d| {
            if let Some(layers) = d["layers"].as_array_mut() {
                layers.reverse();
            }
        }),
        ("no layers", &|d| {
            d.as_object_mut().map(|d| d.remove("layers"));
        }),
        ("a config of another kind", &|d| d["config"] = d["layers"][0].clone()),
        ("a size below 0", &|d| d["config"]["size"] = json!(-1)),
    ];
    for (what, change) in cases {
        let (blobs, blob) = changed(change)?;
        // What shows only when the layer is unpacked may show as late as that.
        let file = lab.path("bad.tar");
        write_archive(&file, &blobs, &of(&blob))?;
        let outcome = lab.call("load", ["-i".as_ref(), file.as_os_str()]).finish()?;
        if outcome.status.success() && what.contains("order") {
            lab.run(["true"]).of(NAME).finish()?.refuses(&[125])?;
            lab.call("rmi", [NAME]).finish()?.exits(0)?;
            continue;
        }
        outcome.refuses(&[1]).with_context(|| format!("with an archive that has {what}"))?;
        see::same(&outcome.line, "the images that are there:", Vec::new(), ids(lab)?)?;
    }
    for (what, bytes) in [("nothing", &b""[..]), ("no archive", b"no archive at all, but long enough. ")] {
        let outcome = lab.call("load", [""; 0]).input(bytes.repeat(100)).finish()?;
        outcome.refuses(&[1]).with_context(|| format!("with a file that has {what}"))?;
    }
    let empty = tar_of(&[Entry::file("hello", "no layout\n")])?;
    lab.call("load", [""; 0]).input(empty).finish()?.refuses(&[1])?;
    lab.call("load", ["-i", "/no/such/file"]).finish()?.refuses(&[1])?.mentions("/no/such/file")?;
    see::same("load of bad files", "the images that are there:", Vec::new(), ids(lab)?)
}

fn refuses_hostile(lab: &Lab) -> Result<()> {
    let outside = lab.folder("outside")?;
    fs::write(outside.join("secret"), "the host's\n")?;
    let before = Snapshot::of(&outside)?;
    let place = outside.to_str().context("the temporary directory's path is no text")?;
    let up = format!("{}{}", "../".repeat(20), place.trim_start_matches('/'));
    let image = image()?;
    let manifest = image.manifest();
    let (blobs, good) = (image.blobs(), index(&[(&manifest, NAME)]));
    for bad in [
        format!("sha256:../../../../{up}/secret"),
        format!("sha256:{up}/secret"),
        format!("{up}:secret"),
        "sha256:".to_string(),
        "sha256:ABCDEF".to_string(),
        manifest.digest().to_uppercase(),
        format!("md5:{}", "0".repeat(32)),
        format!("{}\n", manifest.digest()),
    ] {
        let mut document = good.clone();
        document["manifests"][0]["digest"] = json!(bad);
        refused(lab, &format!("the digest {bad:?}"), &blobs, &document)?;
    }
    for name in ["../../x:1", &format!("{up}/x:1"), "a/../../b:1", "A:1", "x:../../y", "a\nb:1", "_tags/x:1"]
    {
        let mut document = good.clone();
        let annotations =
            json!({"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name});
        document["manifests"][0]["annotations"] = annotations;
        refused(lab, &format!("the name {name:?}"), &blobs, &document)?;
    }
    // A list in a list, and one that is in itself: nobody needs them, and nobody should follow them for ever.
    let inner = for_machines(&image, &json!({"digest": digest(b""), "size": 0}));
    let kind = "application/vnd.oci.image.index.v1+json";
    let mut pointing = inner.descriptor();
    pointing["platform"] = json!({"os": "linux", "architecture": image.config["architecture"]});
    let outer = Blob::json(kind, &json!({"schemaVersion": 2, "mediaType": kind, "manifests": [pointing]}));
    let mut all = blobs.clone();
    all.extend([inner, outer.clone()]);
    refused(lab, "a list in a list", &all, &index(&[(&outer, NAME)]))?;
    let large = Blob::new(&manifest.kind, [&manifest.bytes[..], &vec![b' '; 5 << 20]].concat());
    let mut all = blobs.clone();
    all.push(large.clone());
    refused(lab, "a manifest of 5 MiB", &all, &index(&[(&large, NAME)]))?;
    // Names of the archive itself.
    let file = lab.path("outside.tar");
    image.write_archive(&file, NAME)?;
    let mut bytes = tar_of(&[
        Entry::symlink("blobs", place),
        Entry::file(&format!("{up}/escaped"), "x"),
        Entry::file(&format!("{place}/escaped"), "x"),
        Entry::file("blobs/escaped", "x"),
        Entry::hard_link("oci-layout", &format!("{place}/secret")),
    ])?;
    bytes.truncate(bytes.len() - 1024); // the two empty blocks that end an archive
    bytes.extend(fs::read(&file)?);
    let outcome = lab.call("load", [""; 0]).input(bytes).finish()?;
    if !outcome.status.success() {
        outcome.refuses(&[1])?;
    }
    before.still(&outcome.line)?;
    lab.host_unchanged(&outcome.line)
}

fn killed(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    load(lab, &image()?, "lab/before:1")?;
    let layer = |number| vec![Entry::file("big", vec![number; 2_000_000]), Entry::file("last", [number])];
    let mut layers = vec![busybox()?];
    layers.extend((b'a'..=b'e').map(layer));
    let file = lab.path("large.tar");
    let large = Image::of(&layers)?.zipped()?;
    large.write_archive(&file, NAME)?;
    let option = ["-i".as_ref(), file.as_os_str()];
    let (mut moment, mut whole) = (0, false);
    while !whole && moment < 5_000 {
        let mut one = lab.call("load", option).start()?;
        sleep(Duration::from_millis(moment));
        one.signal(Signal::SIGKILL);
        see::wait_for(see::SOON, || one.ended())?;
        whole = one.ended()?.is_some_and(|status| status.success());
        runs(lab, "lab/before:1")
            .with_context(|| format!("after a load that was killed after {moment} ms"))?;
        // The name is there when all that it names is there.
        let named = lab.run(["cat", "/last"]).with(["--pull", "never"]).of(NAME).finish()?;
        if named.status.success() {
            named.prints("e")?;
        } else {
            named.refuses(&[125])?.mentions("no such image")?;
        }
        lab.call("rmi", ["-f", NAME]).finish()?;
        moment += 1 + moment / 4;
    }
    lab.call("load", option).finish()?.succeeds()?;
    lab.run(["cat", "/last"]).of(NAME).finish()?.succeeds()?.prints("e")?;
    // What the killed ones left can be taken away.
    lab.call("prune", ["-f"]).finish()?.exits(0)?;
    lab.run(["cat", "/last"]).of(NAME).finish()?.succeeds()?.prints("e").map(drop)
}

fn saves(lab: &Lab) -> Result<()> {
    let image = image()?.zipped()?;
    load(lab, &image, NAME)?;
    let file = lab.path("saved.tar");
    let outcome = lab.call("save", ["-o".as_ref(), file.as_os_str(), NAME.as_ref()]).finish()?;
    outcome.succeeds()?.prints("")?;
    let to_stdout = lab.call("save", [image.id()]).finish()?;
    to_stdout.exits(0)?.complains("")?;
    for (bytes, name) in [(fs::read(&file)?, NAME), (to_stdout.stdout, "")] {
        let read = Read::archive(&bytes).map_err(|error| differs(&outcome.line, "an archive", error))?;
        let manifests =
            read.manifests().map_err(|error| differs(&outcome.line, "a layout", format!("{error:#}")))?;
        see::same(&outcome.line, "manifests in index.json:", 1, manifests.len())?;
        let of = manifests[0]["digest"].as_str().unwrap_or_default();
        see::same(&outcome.line, "the manifest's digest:", image.manifest().digest().as_str(), of)?;
        let whole =
            read.image().map_err(|error| differs(&outcome.line, "all blobs", format!("{error:#}")))?;
        see::same(&outcome.line, "its layers:", image.layers.len(), whole.layers.len())?;
        let annotations = manifests[0]["annotations"].to_string();
        if !annotations.contains(name) {
            return Err(differs(&outcome.line, format!("the name {name} in the annotations"), annotations));
        }
    }
    Ok(())
}

fn saved_and_loaded(lab: &Lab) -> Result<()> {
    let image = image()?.zipped()?;
    load(lab, &image, NAME)?;
    lab.run(["true"]).finish()?.succeeds()?;
    let file = lab.path("saved.tar");
    let words = ["-o".as_ref(), file.as_os_str(), NAME.as_ref(), "busybox".as_ref()];
    lab.call("save", words).finish()?.succeeds()?;
    let other = lab.path("other-state");
    let option = ["-i".as_ref(), file.as_os_str()];
    let loaded = lab.call("load", option).state(&other).finish()?;
    loaded.succeeds()?.prints(format!("Loaded image: {NAME}\nLoaded image: busybox:latest\n"))?;
    let ids_there = lab.call("images", ["-q"]).state(&other).finish()?;
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_string).collect();
        lines.sort();
        lines
    };
    see::same(&ids_there.line, "the ids to be", sorted(&ids(lab)?.join("\n")), sorted(&ids_there.output()))?;
    lab.run([""; 0]).state(&other).of(NAME).finish()?.succeeds()?.prints("the image\n")?;
    lab.run(["true"]).state(&other).finish()?.succeeds()?;
    let again = lab.call("save", [NAME]).state(&other).finish()?;
    let manifests = Read::archive(&again.stdout)?.manifests()?;
    let digest = manifests[0]["digest"].as_str().unwrap_or_default();
    see::same(&again.line, "the manifest's digest:", image.manifest().digest().as_str(), digest)
}

fn save_refused(lab: &Lab) -> Result<()> {
    load(lab, &image()?, NAME)?;
    let file = lab.path("saved.tar");
    let words = ["-o".as_ref(), file.as_os_str(), "no-such-image".as_ref()];
    let outcome = lab.call("save", words).finish()?;
    outcome.refuses(&[1])?.mentions("no-such-image")?;
    see::same(&outcome.line, "a file made:", false, file.exists())?;
    lab.refuses("save", ["-o", "/no/such/place/file", NAME], "/no/such/place")?;
    // Not into somebody's terminal, nor half a file where there is no room.
    let full = lab.call("save", ["-o", "/dev/full", NAME]).finish()?;
    full.refuses(&[1]).map(drop)
}

fn imports(lab: &Lab) -> Result<()> {
    let tar = tar_of(&[busybox()?, vec![Entry::file("from", "the archive\n").owner(5, 6)]].concat())?;
    let file = lab.path("root.tar");
    fs::write(&file, &tar)?;
    let name = "lab/imported:1";
    let outcome = lab.call("import", [file.as_os_str(), name.as_ref()]).finish()?;
    outcome.succeeds()?;
    let id = outcome.output().trim_end().to_string();
    if !(id.len() == 71 && id.starts_with("sha256:")) {
        return Err(outcome.differs("sha256: and 64 hexadecimal digits"));
    }
    let script = "cat /from; stat -c %u:%g /from";
    for image in [name, &id] {
        lab.sh(script).of(image).finish()?.succeeds()?.prints("the archive\n5:6\n")?;
    }
    let words = ["--change", "CMD [\"cat\", \"/from\"]", "-c", "ENV COLOUR=green", "-", "lab/two"];
    lab.call("import", words).input(tar).finish()?.succeeds()?;
    lab.run([""; 0]).of("lab/two").finish()?.succeeds()?.prints("the archive\n")?;
    lab.sh("echo $COLOUR").of("lab/two").finish()?.succeeds()?.prints("green\n")?;
    lab.call("import", ["-", "lab/three"]).input("no archive").finish()?.refuses(&[1])?;
    lab.refuses("import", ["/no/such/file", "lab/three"], "/no/such/file")?;
    lab.refuses("import", [&file.display().to_string(), "Bad/Name"], "name")
}

fn with_skopeo(lab: &Lab) -> Result<()> {
    other("skopeo", &["--version"])?;
    let image = image()?.zipped()?;
    load(lab, &image, NAME)?;
    let saved = lab.path("saved.tar");
    let saved = text(&saved)?;
    lab.call("save", ["-o", saved, NAME]).finish()?.succeeds()?;
    let raw = other("skopeo", &["inspect", "--raw", &format!("oci-archive:{saved}")])?;
    see::same("skopeo inspect --raw", "the manifest's digest:", image.manifest().digest(), digest(&raw))?;
    for (kind, name) in [("oci-archive", ":lab/skopeo:1"), ("docker-archive", ":lab/skopeo:2")] {
        let file = lab.path(kind);
        let to = format!("{kind}:{}{name}", text(&file)?);
        other("skopeo", &["copy", "-q", "--insecure-policy", &format!("oci-archive:{saved}"), &to])?;
        let outcome = lab.call("load", ["-i".as_ref(), file.as_os_str()]).finish()?;
        outcome.succeeds().with_context(|| format!("loading what skopeo copied to {to}"))?;
        runs(lab, &name[1..])?;
    }
    Ok(())
}

fn with_umoci(lab: &Lab) -> Result<()> {
    other("umoci", &["--version"])?;
    let layer = vec![
        Entry::file("from", "the image\n").mode(0o4755).owner(5, 6),
        Entry::file("etc/.wh.group", ""),
        Entry::symlink("link", "from"),
    ];
    load(lab, &Image::of(&[busybox()?, layer])?.says("Cmd", json!(["cat", "/from"])).zipped()?, NAME)?;
    let saved = lab.path("saved.tar");
    lab.call("save", ["-o", text(&saved)?, NAME]).finish()?.succeeds()?;
    let layout = lab.folder("layout")?;
    other("tar", &["-x", "-C", text(&layout)?, "-f", text(&saved)?])?;
    let names = other("umoci", &["ls", "--layout", text(&layout)?])?;
    let image = format!("{}:{}", text(&layout)?, String::from_utf8_lossy(&names).trim_end());
    let bundle = lab.path("bundle");
    other("umoci", &["unpack", "--image", &image, text(&bundle)?])?;
    let root = bundle.join("rootfs");
    see::same("umoci unpack", "the file", "the image\n".to_string(), fs::read_to_string(root.join("from"))?)?;
    see::same("umoci unpack", "etc/group to be there:", false, root.join("etc/group").exists())?;
    fs::write(root.join("new"), "by umoci\n")?;
    fs::remove_file(root.join("link"))?;
    let packed = format!("{}:packed", text(&layout)?);
    other("umoci", &["repack", "--image", &packed, text(&bundle)?])?;
    other("umoci", &["rm", "--image", &image])?;
    let file = lab.path("packed.tar");
    other("tar", &["-c", "-C", text(&layout)?, "-f", text(&file)?, "."])?;
    // It has a tag from umoci, and perhaps still the whole name from save.
    let loaded = lab.call("load", ["-i", text(&file)?]).finish()?;
    loaded.succeeds()?;
    let name = loaded.output().trim_end().trim_start_matches("Loaded image: ").to_string();
    if name.is_empty() || name.contains('\n') {
        return Err(loaded.differs("one image"));
    }
    let script = "cat /new; stat -c '%a %u:%g' /from; ls /link /etc/group 2> /dev/null; echo .";
    lab.sh(script).of(&name).finish()?.succeeds()?.prints("by umoci\n4755 5:6\n.\n").map(drop)
}
