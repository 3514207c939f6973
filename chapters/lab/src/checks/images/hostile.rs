//! Registries that lie, stall, or send more than anybody asked for.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::pull::{call, image, pull, runs};
use crate::chapter::Chapter::Images;
use crate::checks::check::Check;
use crate::see::{self, wait_for};
use crate::trial::oci::{Blob, Image, digest};
use crate::trial::outcome::Outcome;
use crate::trial::registry::{Answer, Door, Registry, USER};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "registry-lies",
        Images,
        "What a registry sends is taken only if it has the digest and the size that were asked for.",
        lies,
    ),
    Check::new(
        "registry-breaks-off",
        Images,
        "A registry that breaks off, or answers with nonsense or errors, is an error in one line, 1, and leaves no image.",
        breaks_off,
    ),
    Check::new(
        "registry-never-ends",
        Images,
        "A registry that sends more than it said, or without end, fills neither the memory nor the disk.",
        never_ends,
    ),
    Check::new(
        "registry-silent",
        Images,
        "While a registry says nothing, Ctrl-C ends the wait at once, and other images can be had and run.",
        silent,
    ),
    Check::new(
        "registry-lists",
        Images,
        "A list that names a list, or itself, is refused; so is one of names that lead elsewhere.",
        lists,
    ),
    Check::new(
        "registry-leads-away",
        Images,
        "Where a registry sends its clients to another host, neither password nor token goes along, and not for ever.",
        leads_away,
    ),
    Check::new(
        "registry-changes",
        Images,
        "If a tag comes to mean another image while it is pulled, all of the one comes, or all of the other.",
        changes,
    ),
    Check::new("registry-speaks", Images, "What a registry says cannot command the terminal.", speaks),
];

/// It ends with 1 and a line, and there is no image, where nothing was before.
fn refused(lab: &Lab, name: &str, what: &str) -> Result<Outcome> {
    let state = lab.path("empty-state");
    if state.exists() {
        fs::remove_dir_all(&state).with_context(|| format!("removing {}", state.display()))?;
    }
    let little = || Ok(setrlimit(Resource::RLIMIT_DATA, 64_000_000, 64_000_000)?);
    let outcome = pull(lab, name)?.state(&state).prepared(little).finish()?;
    outcome.refuses(&[1]).with_context(|| format!("of a registry that sends {what}"))?;
    let images = lab.call("images", ["-q"]).state(&state).finish()?;
    see::same(
        format!("{} from a registry that sends {what}", outcome.line),
        "images there",
        "",
        &images.output(),
    )?;
    Ok(outcome)
}

fn whole(blob: &Blob) -> Answer {
    Answer::Whole(200, vec![("Content-Type", blob.kind.clone())], blob.bytes.clone())
}

fn lies(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let image = image("true")?;
    let name = registry.put(&image, "lab/app:1");
    let parts = [&image.layers[0], &image.layers[1], &image.config()];
    for (number, blob) in parts.into_iter().enumerate() {
        let of = blob.digest();
        let other = |bytes: Vec<u8>| Answer::Whole(200, Vec::new(), bytes);
        let mut changed = blob.bytes.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        // A runtime may try once more, and wait before: not all of it for each part.
        let shorter = blob.bytes[..middle].to_vec();
        let longer = [&blob.bytes[..], b"more"].concat();
        for (what, bytes) in
            [("changed", changed), ("shorter", shorter), ("longer", longer), ("empty", Vec::new())]
        {
            if number != 1 && what != "changed" {
                continue;
            }
            registry.forget();
            registry.answers("GET", &of, 99, other(bytes));
            refused(lab, &name, &format!("its part {number} {what}"))?;
        }
    }
    registry.forget();
    // The header says what it should be, and it is not.
    let mut manifest = image.manifest();
    manifest.bytes.push(b'\n');
    let said =
        vec![("Content-Type", manifest.kind.clone()), ("Docker-Content-Digest", image.manifest().digest())];
    registry.answers("GET", "/manifests/", 1, Answer::Whole(200, said, manifest.bytes));
    refused(lab, &name, "another manifest than it says")?;
    // A lie is not kept: when the registry says the truth, it is heard.
    let mut changed = image.layers[0].bytes.clone();
    changed[0] ^= 1;
    registry.forget();
    registry.answers("GET", &image.layers[0].digest(), 99, Answer::Whole(200, Vec::new(), changed));
    pull(lab, &name)?.finish()?.refuses(&[1])?;
    registry.forget();
    pull(lab, &name)?.finish()?.succeeds()?;
    runs(lab, &name, "true\n")
}

fn breaks_off(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let image = image("whole")?;
    let name = registry.put(&image, "lab/app:1");
    let manifest = image.manifest();
    let layer = image.layers[0].digest();
    let half = |bytes: &[u8]| Answer::Cut { promised: bytes.len(), sent: bytes[..bytes.len() / 2].to_vec() };
    let kind = |text: &str| vec![("Content-Type", text.to_string())];
    let nonsense = |bytes: &[u8]| Answer::Whole(200, kind(&manifest.kind), bytes.to_vec());
    let mut cases = vec![
        ("/manifests/", "half a manifest", half(&manifest.bytes)),
        ("/manifests/", "no manifest", nonsense(b"")),
        ("/manifests/", "no JSON", nonsense(b"<html>Please log in to the hotel's network</html>")),
        ("/manifests/", "an empty object", nonsense(b"{}")),
        ("/manifests/", "deep nonsense", nonsense("[".repeat(100_000).as_bytes())),
        (
            "/manifests/",
            "a manifest of an unknown kind",
            Answer::Whole(200, kind("text/html"), b"<html>".to_vec()),
        ),
        (layer.as_str(), "half a layer", half(&image.layers[0].bytes)),
        (
            layer.as_str(),
            "nothing of a layer",
            Answer::Cut { promised: image.layers[0].bytes.len(), sent: Vec::new() },
        ),
    ];
    for status in [204, 301, 400, 404, 410, 429, 500, 503] {
        cases.push(("/manifests/", "an error", Answer::Whole(status, Vec::new(), b"sorry\n".to_vec())));
        if [404, 429].contains(&status) {
            cases.push((&layer, "an error for a layer", Answer::Whole(status, Vec::new(), Vec::new())));
        }
    }
    for (part, what, answer) in cases {
        registry.forget();
        registry.answers("GET", part, 999, answer.clone());
        registry.answers("HEAD", part, 999, answer);
        refused(lab, &name, what)?;
    }
    registry.forget();
    pull(lab, &name)?.finish()?.succeeds()?;
    runs(lab, &name, "whole\n")
}

fn never_ends(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let image = image("short")?;
    let name = registry.put(&image, "lab/app:1");
    let layer = image.layers[0].digest();
    for (part, what) in
        [("/manifests/", "a manifest"), (&layer, "a layer"), (&image.config().digest(), "a config")]
    {
        for length in [None, Some(1 << 30), Some(u64::MAX)] {
            registry.forget();
            registry.answers("GET", part, 999, Answer::Endless(length));
            refused(lab, &name, &format!("{what} without end, and the length {length:?}"))?;
        }
    }
    // It says itself how long the layer is: more than there will ever be room for.
    let mut document: Value = serde_json::from_slice(&image.manifest().bytes)?;
    document["layers"][0]["size"] = json!(1_u64 << 62);
    registry.forget();
    let huge = Blob::json(&image.manifest().kind, &document);
    registry.put_manifest(&huge, "lab/huge:1");
    refused(lab, &registry.name("lab/huge:1"), "a layer of another size").map(drop)
}

fn silent(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let image = image("never")?;
    let name = registry.put(&image, "lab/app:1");
    let other = registry.put(&super::pull::image("another")?, "lab/other:1");
    let layer = &image.layers[1];
    let of_layer = layer.digest();
    let stalls = Answer::Stalls { promised: layer.bytes.len(), sent: layer.bytes[..100].to_vec() };
    for (part, answer) in
        [("/app/manifests/", Answer::Silence), (&of_layer, Answer::Silence), (&of_layer, stalls)]
    {
        registry.forget();
        registry.answers("GET", part, 999, answer.clone());
        registry.answers("HEAD", part, 999, answer);
        let mut waiting = [pull(lab, &name)?.start()?, pull(lab, &name)?.start()?];
        let asked = || {
            let asked = ["GET", "HEAD"].iter().any(|method| !registry.asked(method, part).is_empty());
            Ok(asked.then_some(()))
        };
        wait_for(see::SOON, asked)?;
        pull(lab, &other)?.finish()?.succeeds()?;
        runs(lab, &other, "another\n")?;
        for one in &mut waiting {
            one.signal(Signal::SIGINT);
            if wait_for(Duration::from_secs(5), || one.ended())?.is_none() {
                return Err(one.differs("SIGINT to end it while the registry is silent", "it still runs"));
            }
        }
    }
    registry.forget();
    pull(lab, &name)?.finish()?.succeeds()?;
    runs(lab, &name, "never\n")
}

/// The same layer twice, of two sizes.
fn wrong_sizes(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let mut twice = image("twice")?;
    twice.layers.push(twice.layers[0].clone());
    let ids = &mut twice.config["rootfs"]["diff_ids"];
    let first = ids[0].clone();
    ids.as_array_mut().context("diff_ids")?.push(first);
    registry.put_blobs(&twice.blobs());
    let mut manifest: Value = serde_json::from_slice(&twice.manifest().bytes)?;
    let last = twice.layers.len() - 1;
    manifest["layers"][last]["size"] = json!(u64::MAX);
    registry.put_manifest(&Blob::json(&twice.manifest().kind, &manifest), "lab/twice:1");
    let name = registry.name("lab/twice:1");
    pull(lab, &name)?.finish()?;
    for (verb, words) in [("images", &[][..]), ("images", &["--format", "json"]), ("df", &[])] {
        lab.call(verb, words).finish()?.succeeds()?;
    }
    lab.call("rmi", [&name]).finish()?;
    lab.call("prune", ["-f"]).finish()?.succeeds().map(drop)
}

fn lists(lab: &Lab) -> Result<()> {
    wrong_sizes(lab)?;
    let registry = Registry::open()?;
    let image = image("inner")?;
    registry.put(&image, "lab/app:1");
    let kind = "application/vnd.oci.image.index.v1+json";
    let list = |entries: Vec<Value>| {
        let here = json!({"os": "linux", "architecture": image.config["architecture"]});
        let entries = entries.into_iter().map(|mut entry| {
            entry["platform"] = here.clone();
            entry
        });
        let entries: Vec<_> = entries.collect();
        Blob::json(kind, &json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries}))
    };
    let inner = list(vec![image.manifest().descriptor()]);
    registry.put_manifest(&inner, "lab/inner:1");
    // All is there that whoever follows it asks for.
    registry.put(&image, "lab/outer:image");
    registry.put_manifest(&inner, "lab/outer:inner");
    registry.put_manifest(&list(vec![inner.descriptor()]), "lab/outer:1");
    refused(lab, &registry.name("lab/outer:1"), "a list in a list")?;
    // No list can have its own digest in it, but a registry can send it under that name.
    let of_none = digest(b"nothing");
    let circle = list(vec![json!({"mediaType": kind, "digest": of_none, "size": 300})]);
    registry.put_manifest(&circle, "lab/circle:1");
    registry.answers("GET", &of_none, 999, whole(&circle));
    refused(lab, &registry.name("lab/circle:1"), "a list that names itself")?;
    for bad in ["sha256:../../../etc/passwd", "../../x", "", "md5:00", "sha256:ABC"] {
        let list = list(vec![json!({"mediaType": image.manifest().kind, "digest": bad, "size": 300})]);
        registry.put_manifest(&list, "lab/bad:1");
        refused(lab, &registry.name("lab/bad:1"), &format!("a list with the digest {bad:?}"))?;
    }
    let elsewhere = json!({"mediaType": image.layers[0].kind, "digest": image.layers[0].digest(),
        "size": image.layers[0].bytes.len(), "urls": ["http://127.0.0.1:5001/elsewhere"]});
    let mut document: Value = serde_json::from_slice(&image.manifest().bytes)?;
    document["layers"][0] = elsewhere;
    let other = Registry::beside(5001)?;
    registry.put_manifest(&Blob::json(&image.manifest().kind, &document), "lab/urls:1");
    pull(lab, &registry.name("lab/urls:1"))?.finish()?;
    see::same("pull", "questions at a place that the manifest names:", 0, other.asked("GET", "").len())
}

fn leads_away(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let other = Registry::beside(5001)?;
    let image = image("from elsewhere")?;
    let name = registry.put(&image, "lab/app:1");
    let to = |place: &str| Answer::Whole(307, vec![("Location", place.to_string())], Vec::new());
    other.put_blobs(&image.blobs());
    for door in [Door::Password, Door::UsersToken] {
        registry.has_door(door);
        let words = ["-u", USER.0, "--password-stdin", "127.0.0.1:5000"];
        call(lab, "login", &words)?.input(USER.1).finish()?.exits(0)?;
        registry.forget();
        other.forget();
        for layer in &image.layers {
            let place = format!("http://127.0.0.1:5001/v2/store/blobs/{}?signature=x", layer.digest());
            registry.answers("GET", &layer.digest(), 1, to(&place));
        }
        let state = lab.path(&format!("state-{door:?}"));
        pull(lab, &name)?.state(&state).finish()?.succeeds()?;
        lab.run([""; 0]).state(&state).of(&name).finish()?.succeeds()?.prints("from elsewhere\n")?;
        let asked = other.asked("GET", "/v2/store/blobs/");
        see::same("pull", "questions where it was sent to:", image.layers.len(), asked.len())?;
        let known = asked.iter().any(|one| one.headers.contains_key("authorization"));
        see::same("pull", "a password or a token there:", false, known)?;
    }
    registry.has_door(Door::Open);
    let layer = image.layers[0].digest();
    for place in [
        format!("/v2/lab/app/blobs/{layer}"), // to itself
        "file:///etc/passwd".to_string(),
        "ftp://127.0.0.1/x".to_string(),
        "http://".to_string(),
        "\u{7f}".to_string(),
        "http://127.0.0.1:9/nobody".to_string(),
    ] {
        registry.forget();
        registry.answers("GET", &layer, 999, to(&place));
        refused(lab, &name, &format!("us to {place:?}"))?;
    }
    Ok(())
}

fn changes(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let (one, two) = (image("one")?, image("two")?);
    for round in 0..4 {
        // The first to ask is told of one image, and whoever asks then, of the other.
        registry.forget();
        registry.put(&one, "lab/app:1");
        let name = registry.put(&two, "lab/app:1");
        let first: &Image = &one;
        let headers = vec![
            ("Content-Type", first.manifest().kind),
            ("Docker-Content-Digest", first.manifest().digest()),
        ];
        let answer = Answer::Whole(200, headers, first.manifest().bytes);
        for method in ["HEAD", "GET"].into_iter().take(1 + round % 2) {
            registry.answers(method, "/manifests/1", 1, answer.clone());
        }
        let state = lab.path(&format!("state-{round}"));
        pull(lab, &name)?.state(&state).finish()?.succeeds()?;
        let outcome = lab.run([""; 0]).with(["--pull", "never"]).state(&state).of(&name).finish()?;
        outcome.succeeds()?;
        if !["one\n", "two\n"].contains(&outcome.output().as_str()) {
            return Err(outcome.differs("all of one image"));
        }
    }
    Ok(())
}

fn speaks(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let name = registry.put(&image("silent")?, "lab/app:1");
    let odd = "\u{1b}[2J\u{1b}]0;title\u{7}\r\nsecond line";
    let errors = json!({"errors": [{"code": odd, "message": odd, "detail": odd}]}).to_string().into_bytes();
    let answers = [
        Answer::Whole(400, vec![("Content-Type", "application/json".to_string())], errors),
        Answer::Whole(500, Vec::new(), odd.as_bytes().to_vec()),
        Answer::Whole(200, vec![("Content-Type", "a\u{1b}[2J/b".to_string())], b"{}".to_vec()),
        Answer::Whole(307, vec![("Location", "http://\u{1b}[2J/".to_string())], Vec::new()),
        Answer::Whole(
            401,
            vec![("WWW-Authenticate", "Bearer realm=\"\u{1b}[2J\",service=\"".to_string())],
            Vec::new(),
        ),
        Answer::Whole(
            401,
            vec![("WWW-Authenticate", "Bearer realm=\"file:///etc/passwd\"".to_string())],
            Vec::new(),
        ),
        Answer::Whole(401, vec![("WWW-Authenticate", "Nonsense ".repeat(1000))], Vec::new()),
        Answer::Whole(401, Vec::new(), Vec::new()),
        Answer::Whole(200, vec![("X", "long ".repeat(200_000))], b"{}".to_vec()),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        registry.forget();
        registry.answers("GET", "/manifests/", 999, answer.clone());
        registry.answers("HEAD", "/manifests/", 999, answer);
        let outcome = refused(lab, &name, &format!("the odd answer number {number}"))?;
        let raw: Vec<_> = outcome.error().trim_end().chars().filter(|c| c.is_control()).collect();
        see::same(&outcome.line, "control characters on stderr:", Vec::new(), raw)?;
    }
    Ok(())
}
