//! The chapters' programs, built for this: release, static where that can be.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::place::{Place, copied};
use crate::chapter::{Chapter, repository};
use crate::grader::caller;

/// What is measured.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    chapters: BTreeMap<&'static str, PathBuf>,
    /// The last chapter once more, linked dynamically, if the others are static.
    pub(crate) dynamic: Option<PathBuf>,
    /// How they were built.
    pub(crate) how: String,
}

impl Programs {
    /// The same, each in a copy of its own.
    pub(crate) fn copied(mut self, place: &Place) -> Result<Programs> {
        let (programs, dynamic) = (place.path("programs"), place.path("dynamic"));
        for directory in [&programs, &dynamic] {
            fs::create_dir(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        for (name, path) in &mut self.chapters {
            *path = copied(path, programs.join(name))?;
        }
        if let Some(path) = &mut self.dynamic {
            *path = copied(path, dynamic.join(Chapter::LAST_TYPED.package()))?;
        }
        Ok(self)
    }

    pub(crate) fn of(&self, chapter: Chapter) -> Option<&Path> {
        self.chapters.get(chapter.package()).map(PathBuf::as_path)
    }

    /// Those in a directory, however they were built.
    pub(crate) fn in_directory(directory: &Path) -> Result<Programs> {
        let directory = directory.canonicalize().with_context(|| format!("looking for {directory:?}"))?;
        let named = Chapter::ALL.map(|chapter| (chapter.package(), directory.join(chapter.package())));
        let chapters = named.into_iter().filter(|(_, path)| path.is_file()).collect();
        Ok(Programs { chapters, dynamic: None, how: "as found".to_string() })
    }

    /// Builds all chapters statically, with the musl C library or else with glibc, and the last one dynamically too; or
    /// all dynamically where there is neither.
    pub(crate) fn build() -> Result<Programs> {
        let all: Vec<_> = Chapter::ALL.iter().flat_map(|chapter| ["--bin", chapter.package()]).collect();
        let (musl, gnu) = (format!("{ARCH}-unknown-linux-musl"), format!("{ARCH}-unknown-linux-gnu"));
        // Linked for one place in memory: nothing is to be moved before main, which saves some page faults.
        let flags = |target| {
            format!("target.{target}.rustflags=['-Crelocation-model=static', '-Ctarget-feature=+crt-static']")
        };
        let (musl_flags, gnu_flags) = (flags(&musl), flags(&gnu));
        let ways: [&[&str]; 2] =
            [&["--target", &musl, "--config", &musl_flags], &["--target", &gnu, "--config", &gnu_flags]];
        eprintln!("Building (the first time takes minutes)");
        for (way, helps) in ways.into_iter().zip([Some(what_helps(&musl)), None]) {
            match cargo_build(&[way, all.as_slice()].concat()) {
                Ok(chapters) => {
                    let last = Chapter::LAST_TYPED.package();
                    let dynamic = cargo_build(&["--bin", last])?.remove(last);
                    let how = format!("cargo build --release {}", way.join(" "));
                    return Ok(Programs { chapters, dynamic, how });
                }
                Err(error) => {
                    eprintln!("Building with --target {}: {error:#}", way[1]);
                    helps.into_iter().for_each(|helps| eprintln!("{helps}"));
                }
            }
        }
        eprintln!("No static programs, so dynamic ones are measured.");
        let chapters = cargo_build(&all)?;
        Ok(Programs { chapters, dynamic: None, how: "cargo build --release".to_string() })
    }
}

/// What to do where the musl build fails. glibc's static programs start more slowly, above all on a virtual machine, and so
/// the numbers would be worse for no fault of the chapters.
fn what_helps(musl: &str) -> String {
    format!(
        "(What helps: rustup target add {musl}, and the package musl-tools, for the C and assembler in the crate ring, which \
         chapter 8 needs. With glibc, which comes next, each program takes longer to start.)"
    )
}

/// `cargo build --release` in the repository, as the caller; returns the programs by name.
fn cargo_build(arguments: &[&str]) -> Result<BTreeMap<&'static str, PathBuf>> {
    let repository = repository();
    let mut cargo = caller::cargo(&repository, caller::user_for(&repository)?.as_ref());
    cargo.args(caller::BUILD).args(["--release", "--locked"]).args(arguments);
    let built = cargo.output().context("running cargo, which must be in PATH")?;
    let said = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "cargo build failed: {}", said.trim());
    let messages = String::from_utf8_lossy(&built.stdout);
    let executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    let named = executables.filter_map(|path| {
        let chapter = Chapter::ALL.into_iter().find(|c| path.file_name() == Some(c.package().as_ref()))?;
        Some((chapter.package(), path))
    });
    Ok(named.collect())
}
