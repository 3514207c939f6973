//! `df`: what takes how much of the disk, and how much of that nobody needs.

use std::collections::BTreeSet;

use anyhow::Result;
use ch07_lifecycle::common::Common;
use ch07_lifecycle::{output, record, table};

use crate::disk::usage;
use crate::garbage::{InUse, Needed, Waste};
use crate::image::Image;
use crate::shown;
use crate::store::Store;

/// What `df` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

/// Things of one kind. What is not active goes with `prune -a`, or with `rm`.
#[derive(Debug, Default)]
struct Sum {
    total: usize,
    active: usize,
    bytes: u64,
    reclaimable: u64,
}

/// All that `df` does, in order.
pub fn df(args: &Args) -> Result<u8> {
    let state = args.common.begin()?;
    let store = Store::open(&state)?;
    let _lock = store.share()?;
    let used = InUse::of(&state)?;
    let images = store.images()?;
    let is_active = |image: &&Image| used.images.contains_key(&image.digest);
    let mut sums: [Sum; 4] = Default::default();
    let [blobs, layers, containers, unfinished] = &mut sums;
    // What nothing at all needs is all that there is.
    let all = store.waste(&Needed::by([], &InUse::default()))?;
    let reclaimable: BTreeSet<_> =
        store.waste(&Needed::by(images.iter().filter(is_active), &used))?.into_iter().collect();
    for one in &all {
        let sum = match one {
            Waste::Blob(_) => &mut *blobs,
            Waste::Layer(_) => &mut *layers,
            Waste::Incoming(_) => &mut *unfinished,
        };
        sum.add(store.usage(one)?, !reclaimable.contains(one));
    }
    // Nobody counts blobs.
    (blobs.total, blobs.active) = (images.len(), images.iter().filter(is_active).count());
    for record in record::unsorted(&state)? {
        containers.add(usage(&record.path("upper"))?, record.lives()?);
    }
    let kinds = ["Images", "Layers", "Containers", "Unfinished"];
    let rows: Vec<_> = kinds.iter().zip(&sums).map(|(kind, sum)| sum.row(kind)).collect();
    output::print(table::text(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], &rows).as_bytes())?;
    Ok(0)
}

impl Sum {
    fn add(&mut self, bytes: u64, is_active: bool) {
        self.total += 1;
        self.bytes += bytes;
        if is_active { self.active += 1 } else { self.reclaimable += bytes }
    }

    fn row(&self, kind: &str) -> [String; 5] {
        let percent = (self.reclaimable * 100).checked_div(self.bytes).unwrap_or(0);
        let reclaimable = format!("{} ({percent}%)", shown::size(self.reclaimable));
        let (total, active) = (self.total.to_string(), self.active.to_string());
        [kind.to_string(), total, active, shown::size(self.bytes), reclaimable]
    }
}
