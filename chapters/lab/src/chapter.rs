//! The chapters of the book: one table, which the lab, the book's tools and the tests read.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Makes [`Chapter`] and its rows of one list, so that no chapter can be without a row.
macro_rules! chapters {
    ($($(#[$adds:meta])* $chapter:ident { $($column:ident: $value:expr),+ $(,)? })+) => {
        /// How far a runtime has come. Its order is the book's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Chapter { $($(#[$adds])* $chapter),+ }

        impl Chapter {
            /// All of them, in the book's order.
            pub const ALL: [Chapter; ROWS.len()] = [$(Chapter::$chapter),+];
        }

        const ROWS: &[Row] = &[$(Row { $($column: $value),+ }),+];
    };
}

/// What is to be known of a chapter.
struct Row {
    name: &'static str,
    title: &'static str,
    package: &'static str,
    pages: &'static [&'static str],
    builds_on: Option<Chapter>,
    is_typed: bool,
}

chapters! {
    /// Chapter 1: a process in namespaces of its own.
    Run {
        name: "1",
        title: "Chapter 1: a process in namespaces of its own",
        package: "ch01_run",
        pages: &["ch01-run", "ch01-start", "ch01-ends", "ch01-terminal"],
        builds_on: None,
        is_typed: true,
    }

    /// Chapter 2: limits.
    Cgroups {
        name: "2",
        title: "Chapter 2: limits",
        package: "ch02_cgroups",
        pages: &["ch02-cgroups", "ch02-processors", "ch02-anywhere", "ch02-leftovers"],
        builds_on: Some(Chapter::Run),
        is_typed: true,
    }

    /// Chapter 3: a root of its own.
    PivotRoot {
        name: "3",
        title: "Chapter 3: a root of its own",
        package: "ch03_pivot_root",
        pages: &["ch03-pivot-root", "ch03-image", "ch03-others"],
        builds_on: Some(Chapter::Cgroups),
        is_typed: true,
    }

    /// Chapter 4, as Docker first did it: a writable layer by aufs. Nothing builds on it.
    Aufs {
        name: "4-aufs",
        title: "Chapter 4 with aufs: a writable layer",
        package: "ch04_aufs",
        pages: &["ch04-aufs"],
        builds_on: Some(Chapter::PivotRoot),
        is_typed: false,
    }

    /// Chapter 4, as Docker does it now: a writable layer by overlayfs.
    Overlay {
        name: "4",
        title: "Chapter 4 with overlayfs: a writable layer",
        package: "ch04_overlay",
        pages: &["ch04-overlay", "ch04-overlay-leftovers"],
        builds_on: Some(Chapter::PivotRoot),
        is_typed: true,
    }

    /// Chapter 5: data that outlives the container.
    Volumes {
        name: "5",
        title: "Chapter 5: volumes",
        package: "ch05_volumes",
        pages: &["ch05-volumes", "ch05-targets"],
        builds_on: Some(Chapter::Overlay),
        is_typed: true,
    }

    /// Chapter 6: a process 1 that does its duty, and a terminal of its own.
    Init {
        name: "6",
        title: "Chapter 6: init and terminal",
        package: "ch06_init",
        pages: &["ch06-init", "ch06-terminal", "ch06-relay", "ch06-pipes"],
        builds_on: Some(Chapter::Volumes),
        is_typed: true,
    }

    /// Chapter 7: containers that stay when whoever started them leaves, and the commands that look after them.
    Lifecycle {
        name: "7",
        title: "Chapter 7: containers that stay",
        package: "ch07_lifecycle",
        pages: &[
            "ch07-background",
            "ch07-looking-in",
            "ch07-stopping",
            "ch07-record",
            "ch07-ends",
            "ch07-keeper",
            "ch07-client",
            "ch07-run",
            "ch07-log",
            "ch07-user",
            "ch07-exec",
            "ch07-control",
            "ch07-files",
        ],
        builds_on: Some(Chapter::Init),
        is_typed: false,
    }

    /// Chapter 8: images in layers, from anywhere.
    Images {
        name: "8",
        title: "Chapter 8: images in layers",
        package: "ch08_images",
        pages: &["ch08-images", "ch08-store", "ch08-layers", "ch08-commit", "ch08-archives", "ch08-registry"],
        builds_on: Some(Chapter::Lifecycle),
        is_typed: false,
    }

    /// Chapter 9: a network, on which containers reach each other.
    Network {
        name: "9",
        title: "Chapter 9: a network",
        package: "ch09_network",
        pages: &["ch09-network", "ch09-cables", "ch09-ports", "ch09-names", "ch09-networks", "ch09-connect", "ch09-ipv6"],
        builds_on: Some(Chapter::Images),
        is_typed: false,
    }
}

impl Chapter {
    /// The last of the book, which has all that there is.
    pub const LAST: Chapter = Chapter::ALL[Chapter::ALL.len() - 1];

    /// The last whose code a learner types.
    pub const LAST_TYPED: Chapter = {
        let mut at = ROWS.len() - 1;
        while !ROWS[at].is_typed {
            at -= 1;
        }
        Chapter::ALL[at]
    };

    /// Those whose code a learner types, in the book's order.
    pub fn typed() -> impl Iterator<Item = Chapter> {
        Chapter::ALL.into_iter().filter(|chapter| chapter.row().is_typed)
    }

    const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// How the lab's command line calls it.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What it adds.
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// Its crate, which is also the name of its program.
    pub const fn package(self) -> &'static str {
        self.row().package
    }

    /// The first of its pages.
    pub const fn page(self) -> &'static str {
        self.row().pages[0]
    }

    /// Its pages of the book, in their order: each the name of a file in `book/src/`, without `.md`.
    pub const fn pages(self) -> &'static [&'static str] {
        self.row().pages
    }

    /// The chapter that this is a page of.
    pub fn of_page(name: &str) -> Option<Chapter> {
        Chapter::ALL.into_iter().find(|chapter| chapter.pages().contains(&name))
    }

    /// The chapter that this one takes up, and whose `main.rs` its own is a change of.
    pub const fn builds_on(self) -> Option<Chapter> {
        self.row().builds_on
    }

    /// Whether a runtime of this chapter has what `other` teaches.
    pub fn includes(self, other: Chapter) -> bool {
        self == other || self.builds_on().is_some_and(|earlier| earlier.includes(other))
    }

    /// Whether none builds on it.
    pub(crate) fn is_last(self) -> bool {
        Chapter::ALL.into_iter().all(|other| other.builds_on() != Some(self))
    }

    /// All names, for those who have to choose one.
    pub(crate) fn names() -> String {
        Chapter::ALL.map(Chapter::name).join(", ")
    }
}

impl FromStr for Chapter {
    type Err = String;

    fn from_str(name: &str) -> Result<Chapter, String> {
        let found = Chapter::ALL.into_iter().find(|chapter| chapter.name() == name);
        found.ok_or_else(|| format!("one of {}", Chapter::names()))
    }
}

/// The top of the repository that this lab was built from.
pub(crate) fn repository() -> PathBuf {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.ancestors().nth(2).unwrap_or(lab).to_path_buf()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Chapter::*;
    use super::*;

    #[test]
    fn volumes_builds_on_all_but_aufs() {
        for earlier in [Run, Cgroups, PivotRoot, Overlay, Volumes] {
            assert!(Volumes.includes(earlier));
        }
        assert!(!Volumes.includes(Aufs));
        assert!(Aufs.includes(PivotRoot));
        assert!(!PivotRoot.includes(Overlay));
    }

    #[test]
    fn the_last_typed_is_the_last_of_those_that_are() {
        assert_eq!(Chapter::typed().last(), Some(Chapter::LAST_TYPED));
    }

    #[test]
    fn aufs_and_the_newest_are_last() {
        assert!(Chapter::ALL.into_iter().filter(|chapter| chapter.is_last()).eq([Aufs, Chapter::LAST]));
    }

    #[test]
    fn a_row_has_its_crate_its_page_and_its_place_in_the_book() {
        let summary = fs::read_to_string(repository().join("book/src/SUMMARY.md")).unwrap();
        let mut places = Vec::new();
        for chapter in Chapter::ALL {
            let manifest = repository().join("chapters").join(chapter.package()).join("Cargo.toml");
            let manifest = fs::read_to_string(&manifest).unwrap_or_else(|e| panic!("{manifest:?}: {e}"));
            assert!(manifest.contains(&format!("\nname = {:?}\n", chapter.package())), "{manifest}");
            for name in chapter.pages() {
                let page = repository().join("book/src").join(format!("{name}.md"));
                assert!(page.is_file(), "there is no {page:?}");
                let place = summary.find(&format!("]({name}.md)"));
                places.push(place.unwrap_or_else(|| panic!("SUMMARY.md does not list {name}")));
                assert_eq!(Chapter::of_page(name), Some(chapter), "{name} is a page of another chapter too");
            }
            assert!(chapter.builds_on().is_none_or(|earlier| earlier < chapter), "{chapter:?}");
            assert_eq!(chapter.name().parse(), Ok(chapter));
        }
        assert!(places.is_sorted(), "SUMMARY.md has another order");
    }

    /// Without a row nobody would look at it.
    #[test]
    fn every_page_of_a_chapter_is_in_a_row() {
        let summary = fs::read_to_string(repository().join("book/src/SUMMARY.md")).unwrap();
        let names = summary.split("](").skip(1).filter_map(|rest| Some(rest.split_once(".md)")?.0));
        let is_chapter =
            |name: &&str| name.starts_with("ch") && name[2..].starts_with(|c: char| c.is_numeric());
        for name in names.filter(is_chapter) {
            assert!(Chapter::of_page(name).is_some(), "SUMMARY.md has {name}, and chapter.rs has not");
        }
    }

    #[test]
    fn every_crate_of_a_chapter_has_its_row() {
        let crates = fs::read_dir(repository().join("chapters")).unwrap().map(|entry| entry.unwrap());
        let mut names: Vec<_> = crates.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with("ch"));
        names.sort();
        assert_eq!(names, Chapter::ALL.map(Chapter::package));
    }
}
