//! Every console block of the book, typed into real terminals: `cargo test -p book --test transcripts -- PAGE`.
//! With `BLESS=1`, what appears is written into the page. `BOOK_BLOCKS=v2` is for the machine that `.ci/vm/boot`
//! starts: there it runs the blocks for cgroup v2 and, if its kernel has it, for aufs; and only those.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use book::page::Page;
use book::stage::Store;
use book::transcript::{self, Bless, Outcome};
use book::{repo, stage, sudo};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    if name == "sudo" || name.ends_with("/sudo") {
        return sudo::main(arguments);
    }
    if name == stage::INIT {
        return stage::main();
    }
    let mut arguments = Arguments::from_args();
    // Most of the time is spent in waiting for what appears. Who asks for some pages gets them one by one, at once.
    let at_once = match arguments.test_threads {
        _ if stage::emulated() => 1,
        Some(number) => number.max(1),
        None if arguments.filter.is_some() => 1,
        None => 3,
    };
    arguments.test_threads = Some(at_once);
    let stores = Arc::new(Mutex::new(Store::some(at_once).collect::<Vec<_>>()));
    let pages = match Page::all() {
        Ok(pages) => pages,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let with_blocks = pages.into_iter().filter(|page| !transcript::blocks(page).is_empty());
    let with_blocks: Vec<_> = with_blocks.collect();
    if with_blocks.is_empty() {
        eprintln!("no page has a block to run");
        return ExitCode::FAILURE;
    }
    let trials = with_blocks.into_iter().map(|page| {
        let (name, stores) = (page.name.clone(), stores.clone());
        Trial::ignorable_test(name, move || {
            ready()?;
            let free = || stores.lock().unwrap_or_else(PoisonError::into_inner);
            let store = free().pop().ok_or("more pages at a time than places for them")?;
            let result = transcript::run(&page, store, Bless::from_environment());
            free().push(store);
            match result {
                Ok(Outcome::Done) => Ok(Completion::Completed),
                Ok(Outcome::Skipped(reason)) => Ok(Completion::ignored_with(reason)),
                Err(error) => Err(Failed::from(format!("{error:#}"))),
            }
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// The stage there uses the whole machine: it must be the one that is meant.
fn emulated() -> Result<Option<File>, String> {
    if !Path::new("/vm/settings").exists() {
        return Err("BOOK_BLOCKS=v2 is for the machine that .ci/vm/boot starts, and this is none".into());
    }
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Err("this machine was not booted with --layout v2".into());
    }
    Ok(None)
}

/// Before the first page: nobody else uses the same checkouts, and all chapters are built in them.
fn ready() -> Result<(), Failed> {
    static LOCK: OnceLock<Result<Option<File>, String>> = OnceLock::new();
    let prepare = || {
        if !nix::unistd::geteuid().is_root() {
            return Err(
                "the transcripts make containers, and only root can: run them as root or with sudo".into()
            );
        }
        if stage::emulated() {
            return emulated();
        }
        let path = Store::FIRST.path().with_extension("lock");
        let lock = lab::as_owner(&repo::root(), || Ok(File::create(&path)?));
        let lock = lock.map_err(|error| format!("{}: {error:#}", path.display()))?;
        lock.lock().map_err(|error| format!("{}: {error}", path.display()))?;
        transcript::build().map_err(|error| format!("{error:#}"))?;
        Ok(Some(lock))
    };
    match LOCK.get_or_init(prepare) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failed::from(error.clone())),
    }
}
