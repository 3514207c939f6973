//! The chapters of the book, and which builds on which.

use std::str::FromStr;

/// How far a runtime has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chapter {
    /// Chapter 1: a process in namespaces of its own.
    Run,
    /// Chapter 2: limits.
    Cgroups,
    /// Chapter 3: a root of its own.
    PivotRoot,
    /// Chapter 4, as Docker first did it: a writable layer by aufs.
    Aufs,
    /// Chapter 4, as Docker does it now: a writable layer by overlayfs.
    Overlay,
    /// Chapter 5: data that outlives the container.
    Volumes,
}

impl Chapter {
    /// All of them, in the book's order.
    pub const ALL: [Chapter; 6] = [
        Chapter::Run,
        Chapter::Cgroups,
        Chapter::PivotRoot,
        Chapter::Aufs,
        Chapter::Overlay,
        Chapter::Volumes,
    ];

    /// How the lab's command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Chapter::Run => "1",
            Chapter::Cgroups => "2",
            Chapter::PivotRoot => "3",
            Chapter::Aufs => "4-aufs",
            Chapter::Overlay => "4",
            Chapter::Volumes => "5",
        }
    }

    /// What it adds.
    pub fn title(self) -> &'static str {
        match self {
            Chapter::Run => "Chapter 1: a process in namespaces of its own",
            Chapter::Cgroups => "Chapter 2: limits",
            Chapter::PivotRoot => "Chapter 3: a root of its own",
            Chapter::Aufs => "Chapter 4 with aufs: a writable layer",
            Chapter::Overlay => "Chapter 4 with overlayfs: a writable layer",
            Chapter::Volumes => "Chapter 5: volumes",
        }
    }

    /// Its crate, which is also the name of its program.
    pub fn package(self) -> &'static str {
        match self {
            Chapter::Run => "ch01_run",
            Chapter::Cgroups => "ch02_cgroups",
            Chapter::PivotRoot => "ch03_pivot_root",
            Chapter::Aufs => "ch04_aufs",
            Chapter::Overlay => "ch04_overlay",
            Chapter::Volumes => "ch05_volumes",
        }
    }

    /// Its page of the book, in `book/src/`.
    pub fn page(self) -> &'static str {
        match self {
            Chapter::Run => "ch01-run.md",
            Chapter::Cgroups => "ch02-cgroups.md",
            Chapter::PivotRoot => "ch03-pivot-root.md",
            Chapter::Aufs => "ch04-aufs.md",
            Chapter::Overlay => "ch04-overlay.md",
            Chapter::Volumes => "ch05-volumes.md",
        }
    }

    /// The chapter that this one takes up. Two take up chapter 3: nothing builds on aufs.
    fn builds_on(self) -> Option<Chapter> {
        match self {
            Chapter::Run => None,
            Chapter::Cgroups => Some(Chapter::Run),
            Chapter::PivotRoot => Some(Chapter::Cgroups),
            Chapter::Aufs | Chapter::Overlay => Some(Chapter::PivotRoot),
            Chapter::Volumes => Some(Chapter::Overlay),
        }
    }

    /// Whether a runtime of this chapter has what `other` teaches.
    pub fn includes(self, other: Chapter) -> bool {
        self == other || self.builds_on().is_some_and(|earlier| earlier.includes(other))
    }

    /// Whether none builds on it.
    pub fn is_last(self) -> bool {
        Chapter::ALL.into_iter().all(|other| other.builds_on() != Some(self))
    }
}

impl FromStr for Chapter {
    type Err = String;

    fn from_str(name: &str) -> Result<Chapter, String> {
        let found = Chapter::ALL.into_iter().find(|chapter| chapter.name() == name);
        found.ok_or_else(|| "one of 1, 2, 3, 4, 4-aufs, 5".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::Chapter::{self, *};

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
    fn aufs_and_the_newest_are_last() {
        assert!(Chapter::ALL.into_iter().filter(|chapter| chapter.is_last()).eq([Aufs, Volumes]));
    }
}
