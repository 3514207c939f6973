//! The chapters of the book, and which builds on which.

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
}

#[cfg(test)]
mod tests {
    use super::Chapter::*;

    #[test]
    fn volumes_builds_on_all_but_aufs() {
        for earlier in [Run, Cgroups, PivotRoot, Overlay, Volumes] {
            assert!(Volumes.includes(earlier));
        }
        assert!(!Volumes.includes(Aufs));
        assert!(Aufs.includes(PivotRoot));
        assert!(!PivotRoot.includes(Overlay));
    }
}
