//! `start`: a container that has ended, once more, with all that it wrote.

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ch01_run::inherited;
use ch01_run::signals::HeldSignals;
use ch06_init::raw;
use nix::sys::signal::SigSet;

use crate::asked::Plan;
use crate::launch::{Bond, launch};
use crate::process1::Process1;
use crate::record::Record;
use crate::several::{self, Containers};
use crate::state::State;
use crate::{find, orphans, output};

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print what the container prints, and end as it does
    #[arg(short, long)]
    attach: bool,
    /// Give it what is typed, too
    #[arg(short, long)]
    interactive: bool,
    #[command(flatten)]
    which: Containers,
}

/// How a plan is made of what is known of a container, and the state directory.
type Again = fn(&Record, PathBuf) -> Result<Plan>;

/// All that `start` does, in order.
pub fn start(args: &Args) -> Result<u8> {
    start_as(args, Plan::again)
}

/// The same, and each container is started as `again` says.
pub fn start_as(args: &Args, again: Again) -> Result<u8> {
    let state = args.which.begin()?;
    inherited::normalize()?;
    orphans::sweep(&state)?;
    let stays = args.attach || args.interactive;
    ensure!(!stays || args.which.containers.len() == 1, "one can stay with one container only");
    if stays {
        return stay(args, again, state);
    }
    several::each(&args.which.containers, |word| {
        let record = find::one(&state, word)?;
        // Like Docker: whoever wants it to run has what he wants.
        if let Some(held) = lock_unless_it_runs(&record)? {
            let plan = again(&held, state.clone())?;
            // Until we have the lock, Ctrl-C ends us at once; and so it's again for the next one, which may have to wait, too.
            let before = SigSet::thread_get_mask().context("looking which signals are held")?;
            let signals = HeldSignals::hold()?;
            let launched = launch(&plan, Some(held), Bond::Detached, false, &signals);
            before.thread_set_mask().context("letting signals through")?;
            let status = launched?;
            if status != 0 {
                return Ok(false); // the keeper's line has been printed
            }
        }
        output::print_line(&word.to_string_lossy()).map(|()| true)
    })
}

/// How often to look whether somebody who is starting or removing a container has done so. A number and no time: on a busy
/// machine they take longer, and so does a look. Otherwise it's two seconds.
const LOOKS: u32 = 1000;

/// The lock, which the keeper will have. `None` if the container runs. Somebody may be about to start it, or to remove it;
/// that doesn't take long. The pause before a restart may, and with a stopped keeper it has no end.
fn lock_unless_it_runs(record: &Record) -> Result<Option<Record>> {
    let end = Instant::now() + Duration::from_secs(60);
    let mut looks = 0;
    loop {
        if let Some(held) = record.lock()? {
            return Ok(Some(held));
        }
        ensure!(record.has("")?, "No such container: {}", record.id());
        let (state, has_process) = (State::of(record)?, Process1::of(record)?.is_some());
        // Without a number that's true the record is damaged, and the container runs all the same; or it ends just now.
        if state.runs() && (has_process || looks == LOOKS) {
            return Ok(None);
        }
        let in_time = looks < LOOKS && Instant::now() < end;
        ensure!(
            in_time,
            "somebody keeps container {}, and its record does not say that it runs",
            record.id()
        );
        let pauses = matches!(state, State::Restarting(_)) && !has_process;
        looks += u32::from(!pauses);
        sleep(Duration::from_millis(2));
    }
}

fn stay(args: &Args, again: Again, state: PathBuf) -> Result<u8> {
    let record = find::one(&state, &args.which.containers[0])?;
    let held = lock_unless_it_runs(&record)?;
    let held = held.with_context(|| format!("container {} runs already: attach to it", record.id()))?;
    let plan = again(&held, state)?;
    let signals = HeldSignals::hold()?;
    if args.interactive && plan.asked.options.terminal && stdin().is_terminal() {
        raw::wait_for_foreground(&signals)?;
    }
    launch(&plan, Some(held), Bond::Attached, args.interactive, &signals)
}
