//! An image that is only carried around.

use ch08_images::digest::Digest;
use ch08_images::formats::{CONFIG, Descriptor, ImageConfig, LAYER, RootFs};
use ch08_images::image::Image;
use ch08_images::new_image::{json, write_image};
use ch08_images::store::Store;

/// An image with these layers, none of which is a tar: it is only carried around.
pub fn image(store: &Store, layers: &[&str]) -> Image {
    let digests: Vec<_> = layers.iter().map(|layer| store.add(layer.as_bytes()).unwrap()).collect();
    let rootfs = RootFs { kind: "layers".to_string(), diff_ids: digests.clone() };
    let config = json(&ImageConfig { rootfs, ..ImageConfig::default() }).unwrap();
    let id = store.add(&config).unwrap();
    let layer = |(digest, text): (&Digest, &&str)| Descriptor::of(LAYER, *digest, text.len() as u64);
    let layers = digests.iter().zip(layers).map(layer).collect();
    write_image(store, Descriptor::of(CONFIG, id, config.len() as u64), layers).unwrap()
}
