//! What a container runtime must do, chapter by chapter; `check` says what a check is.

pub(crate) mod check;

mod aufs;
mod cgroups;
mod exercises;
mod images;
mod init;
mod lifecycle;
pub(crate) mod network;
pub(crate) mod overlay;
mod pivot_root;
mod run;
mod volumes;

use check::Check;

/// All checks, in the order of the chapters.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [
        run::CHECKS,
        cgroups::CHECKS,
        pivot_root::CHECKS,
        aufs::CHECKS,
        overlay::CHECKS,
        volumes::CHECKS,
        init::CHECKS,
        lifecycle::CHECKS,
        images::CHECKS,
        network::CHECKS,
    ]
    .into_iter()
    .flatten()
    .copied()
    .flatten()
}

/// The checks of the book's exercises, which no chapter passes.
pub fn exercise_checks() -> impl Iterator<Item = &'static Check> {
    exercises::CHECKS.iter().copied().flatten()
}

/// The check of this name, an exercise's included.
pub(crate) fn by_id(id: &str) -> Option<&'static Check> {
    checks().chain(exercise_checks()).find(|check| check.id == id)
}
