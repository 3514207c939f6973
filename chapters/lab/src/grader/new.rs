//! `cargo lab new PATH`: the crate that a learner starts with.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::chapter::Chapter;
use crate::grader::book::{ADDRESS, address};
use crate::grader::caller::Caller;
use crate::see::{quoted, tell};

/// Its files, and whether they are programs. Cargo.lock is the book's own: it has the very versions that are tried.
const FILES: [(&str, &str, bool); 8] = [
    ("Cargo.toml", include_str!("../../template/Cargo.toml"), false),
    ("Cargo.lock", include_str!("../../../../Cargo.lock"), false),
    (".gitignore", include_str!("../../template/.gitignore"), false),
    ("README.md", include_str!("../../template/README.md"), false),
    (".cargo/config.toml", include_str!("../../template/.cargo/config.toml"), false),
    (".cargo/as-root", include_str!("../../../../.cargo/as-root"), true),
    ("src/lib.rs", include_str!("../../template/src/lib.rs"), false),
    ("src/main.rs", include_str!("../../template/src/main.rs"), false),
];

/// What `new` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A directory that does not exist yet
    pub(crate) path: PathBuf,
}

/// The whole of `cargo lab new`.
pub(crate) fn new(Arguments { path }: &Arguments) -> Result<ExitCode> {
    // All that follows is done as the caller, and so belongs to the caller, and is only done where the caller may.
    if let Some(caller) = Caller::by_sudo()? {
        caller.become_them()?;
    }
    make(path)?;
    let path = path.canonicalize()?;
    tell(&format!("{} is a crate of your own, and compiles.\n", path.display()))?;
    tell(&format!("  read:  {}\n", address(Chapter::Run.page())))?;
    tell(&format!("  try:   cd {} && cargo run -- run sh\n", quoted(&path)))?;
    tell(&format!("  check: cargo lab check 1 --runtime {}\n", quoted(&path)))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the crate into a directory that does not exist yet.
pub(crate) fn make(path: &Path) -> Result<()> {
    ensure!(!fs::exists(path).unwrap_or(true), "{} is there already", path.display());
    for (name, text, program) in FILES {
        let file = path.join(name);
        let directory = file.parent().context("a file has a directory")?;
        DirBuilder::new()
            .recursive(true)
            .create(directory)
            .with_context(|| format!("making {}", directory.display()))?;
        let written = File::create_new(&file).and_then(|mut file| file.write_all(filled_in(text).as_bytes()));
        written.with_context(|| format!("writing {}", file.display()))?;
        if program {
            fs::set_permissions(&file, Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// A file of the template as a learner gets it: for each chapter that is typed, a copy of the lines with `CHAPTER`.
pub fn filled_in(text: &str) -> String {
    let text = text.replace("BOOK/", ADDRESS);
    let lines = text.split_inclusive('\n').flat_map(|line| {
        if line.contains("CHAPTER") {
            Chapter::typed().map(|chapter| line.replace("CHAPTER", chapter.package())).collect()
        } else {
            vec![line.to_string()]
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_knows_where_the_book_is() {
        for text in [include_str!("../../template/README.md"), include_str!("../../template/src/main.rs")] {
            assert!(text.contains("BOOK/ch01-run.html") && !text.contains(".md"), "{text}");
            let filled = super::filled_in(text);
            assert!(filled.contains("https://") && !filled.contains("BOOK"), "{filled}");
        }
    }

    /// The learner's crates are the book's, in its versions.
    #[test]
    fn the_manifest_is_the_workspace_s() {
        let workspace = include_str!("../../../../Cargo.toml");
        let template = include_str!("../../template/Cargo.toml");
        let dependencies = template.split("[dependencies]").nth(1).unwrap_or_default();
        let lines: Vec<_> = dependencies.lines().filter(|line| line.contains(" = ")).collect();
        assert_eq!(lines.len(), 6);
        for line in lines {
            assert!(
                workspace.lines().any(|other| other == line),
                "not in the workspace's Cargo.toml: {line}"
            );
        }
    }
}
