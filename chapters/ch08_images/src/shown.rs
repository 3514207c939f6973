//! How images are shown to people, in Docker's words.

use std::cmp::Reverse;
use std::time::Duration;

use anyhow::Result;
use ch07_lifecycle::{since, time};

use crate::image::Image;
use crate::name::Name;
use crate::store::Store;

/// What Docker writes where there is nothing to tell.
pub const NONE: &str = "<none>";

/// An image with one of its names.
#[derive(Debug)]
pub struct Row {
    /// The name. `None` if it has none.
    pub name: Option<Name>,
    /// The image.
    pub image: Image,
}

/// All images, once for each name, the newest first. With those of the names that lead to no whole image.
pub fn rows(store: &Store) -> Result<(Vec<Row>, Vec<Name>)> {
    let (mut rows, mut broken) = (Vec::new(), Vec::new());
    let (names, images) = (store.names()?, store.images()?);
    for (name, digest) in &names {
        match images.iter().find(|image| image.digest == *digest) {
            Some(image) => rows.push(Row { name: Some(name.clone()), image: image.clone() }),
            None => broken.push(name.clone()),
        }
    }
    let nameless = images.into_iter().filter(|image| names.iter().all(|(_, digest)| *digest != image.digest));
    rows.extend(nameless.map(|image| Row { name: None, image }));
    rows.sort_by_key(|row| {
        (Reverse(created(row.image.config.created.as_deref())), row.image.digest, row.name.clone())
    });
    Ok((rows, broken))
}

/// When something was made. `None` if it doesn't say, or says that it was before there was Unix.
pub fn created(text: Option<&str>) -> Option<Duration> {
    text.filter(|text| text.contains('T')).and_then(|text| since::meant(text).ok())
}

/// How long ago that was: `5 minutes ago`.
pub fn ago(moment: Option<Duration>) -> String {
    moment.map_or("N/A".to_string(), |moment| format!("{} ago", time::in_words(time::age(moment))))
}

/// A size with three digits, as Docker writes it where disks and not memory are meant: in thousands, as in `4.26MB`.
pub fn size(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 999.5 && unit < 5 {
        number /= 1000.0;
        unit += 1;
    }
    let places = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    let digits = format!("{number:.places$}");
    let digits = if places > 0 { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{}", ["B", "kB", "MB", "GB", "TB", "PB"][unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (bytes, words) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4_261_550, "4.26MB"),
            (9_996_000, "10MB"),
            (72_800_000, "72.8MB"),
            (999_600_000, "1GB"),
            (1_100_000_000, "1.1GB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }

    #[test]
    fn moments_of_images() {
        assert_eq!(ago(created(Some("0001-01-01T00:00:00Z"))), "N/A");
        assert_eq!(ago(created(Some("10m"))), "N/A");
        assert!(created(Some("2025-11-29T02:15:43.012345678+01:00")).is_some());
    }
}
