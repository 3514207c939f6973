//! Images into an archive and back, and archives that lie.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod made;

use std::io::{Cursor, Read};

use anyhow::Result;
use ch08_images::archive::{load, save};
use ch08_images::digest::Digest;
use ch08_images::files::Files;
use ch08_images::formats::{INDEX, MANIFEST};
use ch08_images::layout::{self, Loaded, REFERENCE, WHOLE_NAME};
use ch08_images::name::Name;
use ch08_images::platform::this_machine;
use ch08_images::store::Store;
use made::image;
use serde_json::{Value, json};
use tar::{Builder, Header};

fn store() -> (tempfile::TempDir, Store) {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path()).unwrap();
    (state, store)
}

fn loaded(store: &Store, tar: &[u8]) -> Result<Vec<Loaded>> {
    load(store, &Files::of_tar(store, Cursor::new(tar.to_vec()))?)
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

fn untar(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let (mut entry, mut bytes) = (entry.unwrap(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        files.push((entry.path().unwrap().display().to_string(), bytes));
    }
    files
}

#[test]
fn what_is_saved_and_loaded_is_the_same_in_any_order() {
    let ((_state, store), (_other_state, other)) = (store(), store());
    let image = image(&store, &["one", "two", "one"]);
    let name: Name = "localhost:5000/a/b:2".parse().unwrap();
    let mut archive = Vec::new();
    save(&store, &[(Some(name.clone()), image.clone()), (None, image.clone())], &mut archive).unwrap();
    let mut files = untar(&archive);
    files.reverse();
    for archive in [archive, tar(&files)] {
        let loaded = loaded(&other, &archive).unwrap();
        let one = |name| Loaded { manifest: image.digest, id: image.id(), name };
        assert_eq!(loaded, [one(Some(name.clone())), one(None)]);
        assert_eq!(other.blobs().unwrap(), store.blobs().unwrap());
    }
}

#[test]
fn a_damaged_document_is_whole_again() {
    let (_state, store) = store();
    let image = image(&store, &["one"]);
    let mut archive = Vec::new();
    save(&store, &[(None, image.clone())], &mut archive).unwrap();
    for digest in [image.digest, image.id()] {
        std::fs::write(store.blob(&digest), "{}").unwrap();
        assert!(store.image(&image.digest).is_err());
        loaded(&store, &archive).unwrap();
        assert!(store.image(&image.digest).is_ok());
    }
}

#[test]
fn dockers_own_form() {
    let ((_state, store), (_other_state, other)) = (store(), store());
    let image = image(&store, &["one", "two"]);
    let mut archive = Vec::new();
    save(&store, &[("a:1".parse().ok(), image.clone()), ("b".parse().ok(), image.clone())], &mut archive)
        .unwrap();
    let mut files = untar(&archive);
    files.retain(|(name, _)| name != "oci-layout");
    let loaded_names: Vec<_> =
        loaded(&other, &tar(&files)).unwrap().into_iter().map(|one| (one.name, one.id)).collect();
    let names = ["a:1", "b"].map(|name| (name.parse().ok(), image.id()));
    assert_eq!(loaded_names, names);
    // A layer in another's place unpacks to something else than the config says.
    let layers = [1, 0].map(|at| layout::path(&image.manifest.layers[at].digest));
    let config = layout::path(&image.id());
    let swapped = json!([{"Config": config, "RepoTags": null, "Layers": layers}]);
    for (name, bytes) in &mut files {
        if name == "manifest.json" {
            *bytes = swapped.to_string().into_bytes();
        }
    }
    assert!(format!("{:#}", loaded(&other, &tar(&files)).unwrap_err()).contains("unpacks to"));
}

#[test]
fn nothing_is_taken_on_trust() {
    let (_state, store) = store();
    let image = image(&store, &["one", "two"]);
    let mut archive = Vec::new();
    save(&store, &[("a:1".parse().ok(), image.clone())], &mut archive).unwrap();
    let whole = untar(&archive);
    // Each file missing, and each blob changed.
    for at in 0..whole.len() {
        let name = &whole[at].0;
        let (_other_state, other) = self::store();
        let mut without = whole.clone();
        without.remove(at);
        let is_needed = !["manifest.json", "oci-layout"].contains(&&**name);
        assert_eq!(loaded(&other, &tar(&without)).is_err(), is_needed, "without {name}");
        let (_other_state, other) = self::store();
        let mut changed = whole.clone();
        changed[at].1.push(b' ');
        assert_eq!(loaded(&other, &tar(&changed)).is_err(), name.starts_with("blobs"), "changed {name}");
        assert_eq!(other.images().unwrap().len(), usize::from(!name.starts_with("blobs")), "{name}");
    }
}

#[test]
fn an_index_leads_to_the_image_for_this_machine_and_no_further() {
    let (_state, store) = store();
    let image = image(&store, &["one"]);
    let mut archive = Vec::new();
    save(&store, &[(None, image.clone())], &mut archive).unwrap();
    let here = this_machine();
    let platform = json!({"os": here.os, "architecture": here.architecture});
    let point = |media_type: &str, digest: &Digest, size: u64, platform: &Value| json!({"mediaType": media_type, "digest": digest, "size": size, "platform": platform});
    let size = store.read(&image.digest).unwrap().len() as u64;
    let other = point(MANIFEST, &Digest::of(b"x"), 1, &json!({"os": "plan9", "architecture": "z80"}));
    let this = point(MANIFEST, &image.digest, size, &platform);
    let to = |index: &str| point(INDEX, &Digest::of(index.as_bytes()), index.len() as u64, &Value::Null);
    let with = |manifests: Value, extra: &[&[u8]]| {
        let mut files = untar(&archive);
        files.retain(|(name, _)| name != "index.json");
        files.extend(extra.iter().map(|bytes| (layout::path(&Digest::of(bytes)), bytes.to_vec())));
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        files.push(("index.json".to_string(), index.to_string().into_bytes()));
        tar(&files)
    };
    let inner = json!({"schemaVersion": 2, "manifests": [other, this]}).to_string();
    let outer = to(&inner);
    let found = loaded(&store, &with(json!([outer]), &[inner.as_bytes()])).unwrap();
    assert_eq!(found[0].manifest, image.digest);
    let foreign = json!({"schemaVersion": 2, "manifests": [other]}).to_string();
    let to_foreign = to(&foreign);
    let error = loaded(&store, &with(json!([to_foreign]), &[foreign.as_bytes()])).unwrap_err();
    assert!(format!("{error:#}").contains("plan9/z80"), "{error:#}");
    let deep = json!({"schemaVersion": 2, "manifests": [outer]}).to_string();
    let to_deep = to(&deep);
    let error = loaded(&store, &with(json!([to_deep]), &[inner.as_bytes(), deep.as_bytes()])).unwrap_err();
    assert!(format!("{error:#}").contains("is no image"), "{error:#}");
    let named = |key: &str, name: &str| {
        let mut named = this.clone();
        named["annotations"] = json!({key: name});
        loaded(&store, &with(json!([named]), &[])).map(|loaded| loaded[0].name.clone())
    };
    assert!(named(WHOLE_NAME, "../../etc").is_err() && named(REFERENCE, "../../etc").is_err());
    assert_eq!(named(REFERENCE, "a").unwrap(), "a:latest".parse().ok());
    assert_eq!(named(REFERENCE, "V1").unwrap(), None);
}
