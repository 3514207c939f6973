//! What goes, and what stays.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod made;

use std::fs::{self, create_dir_all};
use std::path::{Path, PathBuf};
use std::slice;

use ch07_lifecycle::lowers;
use ch08_images::digest::Digest;
use ch08_images::garbage::{InUse, Needed};
use ch08_images::image::Image;
use ch08_images::layers::chain_ids;
use ch08_images::store::Store;
use made::image;

/// The paths of all that is in a directory, in their order.
fn entries(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths: Vec<_> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// A store with a made-up directory for each layer.
fn with_layers(state: &Path) -> (Store, Image, Image) {
    let store = Store::open(state).unwrap();
    let (one, two) = (image(&store, &["below", "one"]), image(&store, &["below", "two"]));
    for id in [&one, &two].map(|image| chain_ids(&image.config.rootfs.diff_ids)).concat() {
        create_dir_all(store.path("layers").join(id.hex()).join("etc")).unwrap();
    }
    (store, one, two)
}

#[test]
fn what_two_images_share_goes_with_the_second() {
    let state = tempfile::tempdir().unwrap();
    let (store, one, two) = with_layers(state.path());
    let ids = chain_ids(&one.config.rootfs.diff_ids);
    assert_eq!(store.remove_image(&one, &InUse::default()).unwrap(), [ids[1]]);
    assert_eq!(store.images().unwrap().len(), 1);
    assert!(store.waste(&Needed::by([&two], &InUse::default())).unwrap().is_empty());
    assert_eq!(store.remove_image(&two, &InUse::default()).unwrap().len(), 2);
    assert!(store.blobs().unwrap().is_empty() && entries(&store.path("layers")).unwrap().is_empty());
}

#[test]
fn what_a_container_lies_upon_stays() {
    let state = tempfile::tempdir().unwrap();
    let (store, one, _) = with_layers(state.path());
    let below = store.path("layers").join(chain_ids(&one.config.rootfs.diff_ids)[0].hex());
    let record = state.path().join("records/0123456789ab");
    create_dir_all(&record).unwrap();
    fs::write(record.join(lowers::FACT), lowers::fact(slice::from_ref(&below))).unwrap();
    fs::write(record.join("image-id"), format!("{}\n", one.digest)).unwrap();
    let used = InUse::of(state.path()).unwrap();
    assert_eq!(used.images.keys().collect::<Vec<_>>(), [&one.digest]);
    for waste in store.waste(&Needed::by([], &used)).unwrap() {
        store.take_away(&waste).unwrap();
    }
    assert_eq!(entries(&store.path("layers")).unwrap(), [below]);
}

#[test]
fn leftovers_go_and_strangers_stay() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path()).unwrap();
    let hex = Digest::of(b"x").hex();
    let ours = [format!("layers/{hex}.unfinished/etc"), format!("layers/{hex}.gone/etc")];
    let strange = ["layers/etc", "layers/notes.gone", "incoming/notes", "blobs/sha256/notes"];
    ours.iter().for_each(|name| create_dir_all(store.path(name)).unwrap());
    strange.iter().for_each(|name| create_dir_all(store.path(name)).unwrap());
    fs::write(store.path("incoming/0123456789ab"), "half").unwrap();
    let coming = store.incoming().unwrap();
    let (mut bytes, nothing) = (0, Needed::by([], &InUse::default()));
    for waste in store.waste(&nothing).unwrap() {
        bytes += store.take_away(&waste).unwrap();
    }
    assert!(bytes > 0);
    assert_eq!(store.waste(&nothing).unwrap().len(), 1, "what comes just now");
    assert!(strange.iter().all(|name| store.path(name).exists()));
    drop(coming);
}

#[test]
fn the_next_one_takes_what_a_killed_one_left_unless_somebody_is_there() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path()).unwrap();
    let hex = Digest::of(b"x").hex();
    let [layer, half] =
        [format!("layers/{hex}.gone"), format!("incoming/{hex}")].map(|name| store.path(&name));
    create_dir_all(&layer).unwrap();
    fs::write(&half, "half").unwrap();
    std::mem::forget(store.incoming().unwrap().park().unwrap());
    let busy = store.share().unwrap();
    store.tidy().unwrap();
    assert!(layer.exists() && entries(&store.path("incoming")).unwrap().len() == 2);
    drop(busy);
    store.tidy().unwrap();
    assert!(!layer.exists() && entries(&store.path("incoming")).unwrap() == [half]);
}
