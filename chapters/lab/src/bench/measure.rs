//! Times of whole processes, taken in random order.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::bench::contender::Contender;
use crate::bench::statistics::Random;

/// Ctrl-C was typed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on, Ctrl-C ends the measurement like an error does, and all that was made is removed.
pub(crate) fn catch_interrupts() -> Result<()> {
    extern "C" fn remember(_: i32) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let action = SigAction::new(SigHandler::Handler(remember), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: storing to an atomic is all that the handler does, and that is allowed in one.
        unsafe { sigaction(signal, &action) }.context("catching Ctrl-C")?;
    }
    Ok(())
}

/// Fails if Ctrl-C was typed meanwhile.
pub(crate) fn go_on() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// Runs a command and returns how long it took, from before fork(2) to after wait(2), in milliseconds.
pub(crate) fn time(command: &mut Command) -> Result<f64> {
    go_on()?;
    let began = Instant::now();
    let status = command.status().with_context(|| format!("running {command:?}"))?;
    let took = began.elapsed();
    if !status.success() {
        go_on()?; // Ctrl-C reaches the containers, too
        bail!("{command:?} failed: {status}");
    }
    Ok(milliseconds(took))
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Runs each contender `runs` times, all of them mixed, `pause` apart. Returns the times of each.
///
/// Mixed, because what one leaves to the kernel to tidy up, a network namespace above all, slows down whatever
/// comes next; in a fixed order that would always be the same one.
pub(crate) fn all(contenders: &[Contender], runs: usize, pause: Duration) -> Result<Vec<Vec<f64>>> {
    let mut order: Vec<usize> = (0..contenders.len()).flat_map(|index| vec![index; runs]).collect();
    let seed =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    Random::new(seed).shuffle(&mut order);
    let mut times = vec![Vec::new(); contenders.len()];
    for (number, index) in order.into_iter().enumerate() {
        sleep(pause);
        times[index].push(time(&mut contenders[index].command(number + 1))?);
    }
    Ok(times)
}
