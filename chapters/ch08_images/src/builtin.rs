//! An image without a network: `busybox`, made of the host's own.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ch03_pivot_root::image;
use ch07_lifecycle::time;

use crate::formats::{CONFIG, Descriptor, Execution, History, ImageConfig, LAYER, RootFs};
use crate::image::Image;
use crate::layer_pack::pack;
use crate::name::Name;
use crate::new_image::write_image;
use crate::platform::this_machine;
use crate::store::Store;

/// What everybody begins with.
const NAME: &str = "busybox";

/// Whether it's the name of the image that we can make.
pub fn is_ours(name: &Name) -> bool {
    NAME.parse::<Name>().is_ok_and(|ours| ours == *name)
}

/// Makes it of chapter 3's directory, and gives it its name. Two who do that at once make the same.
pub fn make(state_directory: &Path, store: &Store) -> Result<Image> {
    let directory = image::busybox(state_directory)?;
    let made = || format!("making the image busybox of {}", directory.display());
    let mut incoming = store.incoming()?;
    pack(&directory, &mut incoming).with_context(made)?;
    let (layer, length) = incoming.keep(None).with_context(made)?;
    let seconds = directory.metadata().with_context(made)?.mtime();
    let created = Some(time::rfc3339(Duration::from_secs(seconds.unsigned_abs())));
    let here = this_machine();
    let config = ImageConfig {
        architecture: here.architecture,
        os: here.os,
        created: created.clone(),
        config: Execution { cmd: vec!["sh".to_string()], ..Execution::default() },
        rootfs: RootFs { kind: "layers".to_string(), diff_ids: vec![layer] },
        history: vec![History { created, ..History::default() }],
        ..ImageConfig::default()
    };
    let bytes = serde_json::to_vec(&config).context("writing a config")?;
    let config = Descriptor::of(CONFIG, store.add(&bytes)?, bytes.len() as u64);
    let image = write_image(store, config, vec![Descriptor::of(LAYER, layer, length)])?;
    store.tag(&NAME.parse()?, &image.digest)?;
    Ok(image)
}
