//! A new container's record, with all that is asked for: mkdir(2), open(2).

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process;

use anyhow::{Context, Result};
use ch02_cgroups::walk::path_to;
use ch03_pivot_root::state::make_directory;
use log::error;

use crate::asked::Plan;
use crate::record::Record;
use crate::{facts, lowers, names, time, unfinished};

/// What is undone when it is dropped before all of it is there.
struct Unfinished<'a> {
    plan: &'a Plan,
    directory: &'a Path,
    /// Something that was made elsewhere for this container.
    named: Option<&'a str>,
    cidfile: Option<&'a Path>,
    complete: bool,
}

/// Makes the record, with the container's name and its place for files. Returns it with its lock held.
pub fn create(plan: &Plan) -> Result<Record> {
    let (directory, lock) = unfinished::make(&plan.state, &plan.id)?;
    let keeping = &plan.asked.keeping;
    let mut unfinished =
        Unfinished { plan, directory: &directory, named: None, cidfile: None, complete: false };
    let write = |name, bytes: &[u8]| {
        facts::write(&path_to(&lock), name, bytes)
            .with_context(|| format!("writing {}", directory.join(name).display()))
    };
    write(lowers::FACT, &lowers::fact(&plan.lowers))?;
    plan.facts.iter().try_for_each(|(name, bytes)| write(name, bytes))?;
    write("created", format!("{}\n", time::now()).as_bytes())?;
    write("keeper", format!("{}\n", process::id()).as_bytes())?;
    if keeping.remove {
        write("remove", b"")?;
    }
    for name in ["upper", "work", "merged"] {
        make_directory(&directory.join(name), 0o755)?;
    }
    plan.lowers.first().map_or(Ok(()), |image| copy_looks(image, &directory.join("upper")))?;
    if let Some(path) = &keeping.cidfile {
        let made = File::create_new(path);
        unfinished.cidfile = made.is_ok().then_some(path);
        let written = made.and_then(|mut file| file.write_all(plan.id.as_bytes()));
        written.with_context(|| format!("writing the id to {}", path.display()))?;
    }
    if let Some(name) = &keeping.name {
        names::take(&plan.state, name, &plan.id)?;
        unfinished.named = Some(name);
        write("name", format!("{name}\n").as_bytes())?;
    }
    let record = unfinished::publish(&plan.state, &plan.id, lock)?;
    unfinished.complete = true;
    Ok(record)
}

/// Gives `upper` the image's owner and mode: inside it becomes `/`.
fn copy_looks(image: &Path, upper: &Path) -> Result<()> {
    let data = image.metadata().with_context(|| format!("looking at {}", image.display()))?;
    chown(upper, Some(data.uid()), Some(data.gid()))
        .and_then(|()| fs::set_permissions(upper, Permissions::from_mode(data.mode() & 0o7777)))
        .with_context(|| format!("setting owner and mode of {}", upper.display()))
}

impl Unfinished<'_> {
    fn undo(&self) -> Result<()> {
        if let Some(name) = self.named {
            names::give_up(&self.plan.state, name, &self.plan.id)?;
        }
        if let Some(path) = self.cidfile {
            fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
        }
        unfinished::remove_files(self.directory)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.complete
            && let Err(error) = self.undo()
        {
            error!("{error:#}");
        }
    }
}
