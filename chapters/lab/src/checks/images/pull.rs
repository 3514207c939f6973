//! `pull`, `login` and `run` of what is not there: images from a registry.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::chapter::Chapter::Images;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::oci::{Blob, Entry, Image, busybox};
use crate::trial::registry::{Answer, Door, Registry, USER};
use crate::trial::runtime::{Lab, Run};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "pull",
        Images,
        "pull brings an image from a registry: its manifest, its config, each layer once; and says its name.",
        pulls,
    ),
    Check::new(
        "pull-again",
        Images,
        "pull of what is there already asks for the manifest, and for no blob.",
        again,
    ),
    Check::new("pull-digest", Images, "pull NAME@DIGEST brings that very manifest, or nothing.", by_digest),
    Check::new(
        "pull-platform",
        Images,
        "Of a list of images for several machines pull takes the one for this; if there is none, it says so.",
        platforms,
    ),
    Check::new(
        "pull-docker-kinds",
        Images,
        "Docker's own kinds of manifests, lists and layers are taken, too.",
        docker,
    ),
    Check::new(
        "pull-missing",
        Images,
        "run pulls an image that is not there; with --pull always it looks for a newer one, with never for none.",
        missing,
    ),
    Check::new("pull-shared", Images, "What two images have in common is fetched once.", shared),
    Check::new(
        "pull-goes-on",
        Images,
        "A blob that was cut off is fetched from where it ended, if the registry can do that.",
        goes_on,
    ),
    Check::new(
        "pull-together",
        Images,
        "Several pulls at once fetch each blob once, and all of them succeed.",
        together,
    ),
    Check::new(
        "pull-killed",
        Images,
        "Whenever pull is killed, what was there works, and the next pull makes it whole.",
        killed,
    ),
    Check::new("pull-token", Images, "pull gets itself a token where the registry asks for one.", token),
    Check::new(
        "login",
        Images,
        "login keeps user and password where Docker has them, for root's eyes only; pull uses them, logout forgets them.",
        login,
    ),
    Check::new(
        "login-refused",
        Images,
        "login with a wrong password ends with 1, and keeps nothing; the password is nowhere to be seen.",
        login_refused,
    ),
];

/// An image whose upper layer says this.
pub(super) fn image(from: &str) -> Result<Image> {
    let image = Image::of(&[busybox()?, vec![Entry::file("from", format!("{from}\n"))]])?;
    image.says("Cmd", json!(["cat", "/from"])).zipped()
}

/// The command with a home of its own, where it has what it knows of registries.
pub(super) fn call<'a>(lab: &'a Lab, verb: &'static str, words: &[&str]) -> Result<Run<'a>> {
    let home = lab.folder("home")?;
    Ok(lab.call(verb, words).variable("HOME", &home.to_string_lossy()))
}

pub(super) fn pull<'a>(lab: &'a Lab, name: &str) -> Result<Run<'a>> {
    call(lab, "pull", &["-q", name])
}

pub(super) fn runs(lab: &Lab, name: &str, text: &str) -> Result<()> {
    lab.run([""; 0]).with(["--pull", "never"]).of(name).finish()?.succeeds()?.prints(text).map(drop)
}

fn pulls(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let image = image("the registry")?;
    let name = registry.put(&image, "lab/deep/app:1.0");
    pull(lab, &name)?.finish()?.succeeds()?.prints(format!("{name}\n"))?;
    runs(lab, &name, "the registry\n")?;
    for blob in image.blobs().iter().rev().skip(1) {
        let asked = registry.asked("GET", &blob.digest()).len();
        see::same("pull", &format!("questions for the blob {}", blob.digest()), 1, asked)?;
    }
    let asked = registry.asked("GET", "/v2/lab/deep/app/manifests/");
    let accepts = asked.first().and_then(|one| one.headers.get("accept").cloned()).unwrap_or_default();
    for kind in
        ["vnd.oci.image.manifest.v1+json", "vnd.oci.image.index.v1+json", "docker.distribution.manifest.v2"]
    {
        see::same("pull", &format!("{kind} among what it accepts:"), true, accepts.contains(kind))?;
    }
    // Not only to a script does it tell something.
    let told = call(lab, "pull", &[&name])?.finish()?;
    told.exits(0)?;
    if !told.output().contains(&image.manifest().digest()) || !told.output().ends_with(&format!("{name}\n")) {
        return Err(told.differs("the manifest's digest, and the name in the last line"));
    }
    let none = registry.name("lab/none:1");
    pull(lab, &none)?.finish()?.refuses(&[1])?.mentions("lab/none").map(drop)
}

fn again(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let name = registry.put(&image("the first")?, "lab/app:1");
    pull(lab, &name)?.finish()?.succeeds()?;
    registry.forget();
    pull(lab, &name)?.finish()?.succeeds()?;
    see::same("pull, again", "questions for blobs", 0, registry.asked("GET", "/blobs/").len())?;
    // What is damaged comes again.
    for blob in [image("the first")?.manifest(), image("the first")?.config()] {
        let Some(file) = found(&lab.state(), &blob.digest()[7..]) else { continue };
        fs::write(&file, b"{}")?;
        pull(lab, &name)?.finish()?.succeeds()?;
        runs(lab, &name, "the first\n")?;
    }
    // The tag has moved.
    registry.put(&image("the second")?, "lab/app:1");
    pull(lab, &name)?.finish()?.succeeds()?;
    runs(lab, &name, "the second\n")
}

/// The file of this name somewhere below a directory.
fn found(directory: &Path, name: &str) -> Option<PathBuf> {
    let mut paths = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.find_map(|path| match path.symlink_metadata().ok()?.is_dir() {
        true => found(&path, name),
        false => path.file_name().is_some_and(|found| found == name).then_some(path),
    })
}

fn by_digest(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let (one, two) = (image("one")?, image("two")?);
    registry.put(&one, "lab/app:1");
    registry.put(&two, "lab/app:1");
    let name = registry.name(&format!("lab/app@{}", one.manifest().digest()));
    pull(lab, &name)?.finish()?.succeeds()?;
    runs(lab, &name, "one\n")?;
    // And what does not have that digest is not taken for it.
    let other = image("three")?.manifest().digest();
    let lie = Answer::Whole(200, vec![("Content-Type", two.manifest().kind)], two.manifest().bytes);
    registry.answers("GET", &other, 9, lie);
    let name = registry.name(&format!("lab/app@{other}"));
    pull(lab, &name)?.finish()?.refuses(&[1])?.mentions("sha256")?;
    lab.kept(["true"]).with(["--pull", "never"]).of(&name).finish()?.refuses(&[125]).map(drop)
}

/// A list of images for machines.
fn list(kind: &str, images: &[(&Blob, Value)]) -> Blob {
    let for_machine = |(manifest, platform): &(&Blob, Value)| {
        let mut descriptor = manifest.descriptor();
        descriptor["platform"] = platform.clone();
        descriptor
    };
    let manifests: Vec<_> = images.iter().map(for_machine).collect();
    Blob::json(kind, &json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}))
}

fn platforms(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let kind = "application/vnd.oci.image.index.v1+json";
    let (ours, theirs) = (image("ours")?, image("theirs")?);
    for one in [&ours, &theirs] {
        registry.put(one, "lab/machines:parts");
    }
    let on = |architecture: &Value| json!({"os": "linux", "architecture": architecture});
    let here = &ours.config["architecture"];
    let (ours, theirs) = (ours.manifest(), theirs.manifest());
    let all = [
        (&theirs, on(&json!("s390x"))),
        (&theirs, json!({"os": "windows", "architecture": here})),
        (&theirs, json!({"os": "unknown", "architecture": "unknown"})), // a statement about an image
        (&ours, on(here)),
        (&theirs, on(&json!("riscv64"))),
    ];
    registry.put_manifest(&list(kind, &all), "lab/machines:1");
    let name = registry.name("lab/machines:1");
    pull(lab, &name)?.finish()?.succeeds()?;
    runs(lab, &name, "ours\n")?;
    registry.put_manifest(&list(kind, &all[..3]), "lab/machines:2");
    let architecture = here.as_str().unwrap_or_default();
    pull(lab, &registry.name("lab/machines:2"))?.finish()?.refuses(&[1])?.mentions(architecture).map(drop)
}

fn docker(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let image = image("docker's")?;
    registry.put_blobs(&image.blobs());
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let mut document: Value = serde_json::from_slice(&image.manifest().bytes)?;
    document["mediaType"] = json!(kind);
    document["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
    for layer in document["layers"].as_array_mut().into_iter().flatten() {
        layer["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
    }
    let manifest = Blob::json(kind, &document);
    registry.put_manifest(&manifest, "lab/docker:1");
    let here = json!({"os": "linux", "architecture": image.config["architecture"]});
    let list = list("application/vnd.docker.distribution.manifest.list.v2+json", &[(&manifest, here)]);
    registry.put_manifest(&list, "lab/docker:2");
    for tag in ["1", "2"] {
        let name = registry.name(&format!("lab/docker:{tag}"));
        pull(lab, &name)?.finish()?.succeeds()?;
        runs(lab, &name, "docker's\n")?;
    }
    Ok(())
}

fn missing(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let name = registry.put(&image("the first")?, "lab/app:latest");
    let name = name.trim_end_matches(":latest");
    lab.kept([""; 0])
        .with(["--pull", "never"])
        .of(name)
        .finish()?
        .refuses(&[125])?
        .mentions("no such image")?;
    see::same("run --pull never", "questions", 0, registry.asked("GET", "").len())?;
    // What is told meanwhile is told on stderr: stdout is the container's.
    lab.run([""; 0]).of(name).finish()?.exits(0)?.prints("the first\n")?;
    registry.forget();
    lab.run([""; 0]).of(name).finish()?.succeeds()?.prints("the first\n")?;
    lab.run([""; 0]).with(["--pull", "missing"]).of(name).finish()?.succeeds()?.prints("the first\n")?;
    see::same("run of what is there", "questions", 0, registry.asked("GET", "").len())?;
    registry.put(&image("the second")?, "lab/app:latest");
    lab.run([""; 0]).of(name).finish()?.succeeds()?.prints("the first\n")?;
    lab.run([""; 0]).with(["--pull", "always"]).of(name).finish()?.exits(0)?.prints("the second\n")?;
    drop(registry);
    lab.run([""; 0]).of(name).finish()?.succeeds()?.prints("the second\n")?;
    let always = lab.kept([""; 0]).with(["--pull", "always"]).of(name).finish()?;
    always.exits(125)?.prints("")?.mentions("127.0.0.1:5000")?;
    see::same(&always.line, "what is left:", Vec::new(), lab.containers())
}

fn shared(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let (one, two) = (image("one")?, image("two")?);
    pull(lab, &registry.put(&one, "lab/one:1"))?.finish()?.succeeds()?;
    let name = registry.put(&two, "lab/two:1");
    pull(lab, &name)?.finish()?.succeeds()?;
    runs(lab, &name, "two\n")?;
    let base = registry.asked("GET", &one.layers[0].digest()).len();
    see::same("pull of two images", "questions for the layer that they share:", 1, base)
}

fn goes_on(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let image = image("whole")?;
    let name = registry.put(&image, "lab/app:1");
    let layer = &image.layers[0];
    let half = layer.bytes.len() / 2;
    let cut = Answer::Cut { promised: layer.bytes.len(), sent: layer.bytes[..half].to_vec() };
    registry.answers("GET", &layer.digest(), 1, cut);
    let first = pull(lab, &name)?.finish()?;
    if !first.status.success() {
        first.refuses(&[1])?;
        lab.kept([""; 0]).with(["--pull", "never"]).of(&name).finish()?.refuses(&[125])?;
        pull(lab, &name)?.finish()?.succeeds()?;
    }
    runs(lab, &name, "whole\n")?;
    let asked = registry.asked("GET", &layer.digest());
    let ranges: Vec<_> =
        asked.iter().map(|one| one.headers.get("range").cloned().unwrap_or_default()).collect();
    let expected = ["".to_string(), format!("bytes={half}-")];
    see::same(&first.line, "the ranges that it asked for:", expected.to_vec(), ranges)?;
    // One that sends all of it, whatever part it was asked for.
    let other = lab.path("other-state");
    let whole = Answer::Whole(200, Vec::new(), layer.bytes.clone());
    let cut = Answer::Cut { promised: layer.bytes.len(), sent: layer.bytes[..half].to_vec() };
    registry.answers("GET", &layer.digest(), 1, cut);
    registry.answers("GET", &layer.digest(), 1, whole);
    if !pull(lab, &name)?.state(&other).finish()?.status.success() {
        pull(lab, &name)?.state(&other).finish()?.succeeds()?;
    }
    lab.run([""; 0]).state(&other).of(&name).finish()?.succeeds()?.prints("whole\n").map(drop)
}

fn together(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let mut layers = vec![busybox()?];
    layers.extend((0..4).map(|number| vec![Entry::file(&format!("part{number}"), vec![number; 500_000])]));
    let image = Image::of(&layers)?.zipped()?;
    let name = registry.put(&image, "lab/app:1");
    let pulls = (0..8).map(|_| pull(lab, &name)?.start()).collect::<Result<Vec<_>>>()?;
    for one in pulls {
        one.finish()?.exits(0)?.prints(format!("{name}\n"))?; // and perhaps what it waited for
    }
    for layer in &image.layers {
        let asked = registry.asked("GET", &layer.digest()).len();
        see::same("eight pulls at once", "questions for a layer:", 1, asked)?;
    }
    lab.run(["wc", "-c", "/part3"]).of(&name).finish()?.succeeds()?.prints("500000 /part3\n").map(drop)
}

fn killed(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let registry = Registry::open()?;
    let before = registry.put(&image("before")?, "lab/before:1");
    pull(lab, &before)?.finish()?.succeeds()?;
    let name = registry.put(&image("whole")?, "lab/app:1");
    let (mut moment, mut whole) = (0, false);
    while !whole && moment < 5_000 {
        let mut one = pull(lab, &name)?.start()?;
        sleep(Duration::from_millis(moment));
        one.signal(Signal::SIGKILL);
        wait_for(SOON, || one.ended())?;
        whole = one.ended()?.is_some_and(|status| status.success());
        runs(lab, &before, "before\n")?;
        let named = lab.run([""; 0]).with(["--pull", "never"]).of(&name).finish()?;
        if named.status.success() {
            named.prints("whole\n")?;
        } else {
            named.refuses(&[125])?.mentions("no such image")?;
        }
        moment += 1 + moment / 4;
    }
    pull(lab, &name)?.finish()?.succeeds()?;
    runs(lab, &name, "whole\n")
}

fn token(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    registry.has_door(Door::Token);
    let name = registry.put(&image("behind a door")?, "lab/app:1");
    pull(lab, &name)?.finish()?.succeeds()?;
    runs(lab, &name, "behind a door\n")?;
    let asked = registry.asked("GET", "/token");
    let target = asked.first().map(|one| one.target.clone()).unwrap_or_default();
    let right = (target.contains("service=lab%2C%20ltd") || target.contains("service=lab%2C+ltd"))
        && target
            .to_lowercase()
            .replace("%3a", ":")
            .replace("%2f", "/")
            .contains("scope=repository:lab/app:pull");
    see::same(
        "pull",
        &format!("a question for a token with service and scope, where {target} came:"),
        true,
        right,
    )?;
    let with_password = asked.iter().any(|one| one.headers.contains_key("authorization"));
    see::same("pull", "a password for the token, of someone who has none:", false, with_password)?;
    // One that has run out is no help in getting another.
    registry.forget();
    let demand = "Bearer realm=\"http://127.0.0.1:5000/token\",service=\"lab\"".to_string();
    let over = Answer::Whole(401, vec![("WWW-Authenticate", demand)], b"{}".to_vec());
    let other = registry.put(&image("behind the same door")?, "lab/other:1");
    registry.answers("GET", "/blobs/", 1, over);
    pull(lab, &other)?.finish()?.succeeds()?;
    let asked = registry.asked("GET", "/token");
    see::same("pull", "two questions for a token:", true, asked.len() >= 2)?;
    let with_old = asked.iter().any(|one| one.headers.contains_key("authorization"));
    see::same("pull", "the old token sent where a new one is asked for:", false, with_old)
}

fn login(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let file = lab.folder("home")?.join(".docker/config.json");
    for door in [Door::Password, Door::UsersToken] {
        registry.has_door(door);
        let name = registry.put(&image(&format!("{door:?}"))?, &format!("lab/app:{}", door as u8));
        let refused = pull(lab, &name)?.finish()?;
        refused.refuses(&[1])?.mentions("401")?;
        let words = ["-u", USER.0, "--password-stdin", "127.0.0.1:5000"];
        let outcome = call(lab, "login", &words)?.input(format!("{}\n", USER.1)).finish()?;
        outcome.exits(0)?.prints("Login Succeeded\n")?;
        let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
        see::same(
            &outcome.line,
            "the mode of ~/.docker/config.json:",
            "600".to_string(),
            format!("{mode:o}"),
        )?;
        let content: Value = serde_json::from_slice(&fs::read(&file)?)?;
        let kept = content["auths"]["127.0.0.1:5000"]["auth"].clone();
        see::same(&outcome.line, "what it has of the registry:", json!("YW5uYTpzZXNhbWU="), kept)?;
        pull(lab, &name)?.finish()?.succeeds()?;
        runs(lab, &name, &format!("{door:?}\n"))?;
        call(lab, "logout", &["127.0.0.1:5000"])?.finish()?.exits(0)?;
        let content: Value = serde_json::from_slice(&fs::read(&file)?)?;
        see::same("logout", "what the file has:", None, content["auths"].get("127.0.0.1:5000"))?;
        pull(lab, &name)?.finish()?.refuses(&[1])?;
    }
    Ok(())
}

fn login_refused(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let home = lab.folder("home/.docker")?;
    let file = home.join("config.json");
    let before = "{\"auths\": {\"other.example\": {\"auth\": \"eA==\"}}, \"of\": [\"someone else's\"]}";
    fs::write(&file, before)?;
    for door in [Door::Password, Door::UsersToken] {
        registry.has_door(door);
        let words = ["-u", "anna", "--password-stdin", "127.0.0.1:5000"];
        let outcome = call(lab, "login", &words)?.input("wrong-password\n").finish()?;
        outcome.refuses(&[1])?.mentions("401")?;
        see::same(&outcome.line, "the file to be as before", before.to_string(), fs::read_to_string(&file)?)?;
        if outcome.error().contains("wrong-password") {
            return Err(outcome.differs("nobody's password on stderr"));
        }
        let debug = call(
            lab,
            "login",
            &["-u", USER.0, "--password-stdin", "--log-level", "trace", "127.0.0.1:5000"],
        )?;
        let outcome = debug.input(USER.1).finish()?;
        outcome.exits(0)?;
        let said = outcome.error();
        if [USER.1, "YW5uYTpzZXNhbWU", "bGFiLXRva2Vu"].iter().any(|secret| said.contains(secret)) {
            return Err(outcome.differs("neither password nor token in the log"));
        }
        // What others have in the file is theirs.
        let content: Value = serde_json::from_slice(&fs::read(&file)?)?;
        see::same(
            &outcome.line,
            "another program's part of the file:",
            json!(["someone else's"]),
            content["of"].clone(),
        )?;
        see::same(
            &outcome.line,
            "another registry's:",
            json!("eA=="),
            content["auths"]["other.example"]["auth"].clone(),
        )?;
        fs::write(&file, before)?;
    }
    Ok(())
}
