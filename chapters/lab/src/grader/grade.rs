//! Grading: many checks of one runtime, each on a host of its own, some at a time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::chapter::Chapter;
use crate::checks::check::Check;
use crate::grader::cell;
use crate::grader::interrupt::stop_in_order;
use crate::grader::one::{self, Limits};
use crate::grader::verdict::{Graded, Verdict};
use crate::see::Failure;

/// So many checks in a row that all ran into their limit, and the rest is not tried: it would take an hour to say
/// the same.
const HOPELESS: usize = 6;

/// What is to be graded, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How far the runtime has come.
    pub chapter: Chapter,
    /// What is asked of it, in the order in which it is told.
    pub checks: Vec<&'static Check>,
    /// Its program.
    pub runtime: PathBuf,
    /// The lab's own program, which is started for each check.
    pub lab: PathBuf,
    /// How long things may take.
    pub limits: Limits,
    /// How many checks at a time.
    pub jobs: usize,
}

/// Someone who follows the grading.
pub trait Watcher {
    /// A result, in the order of the plan.
    fn result(&mut self, graded: &Graded);
    /// Called now and then: how many results there are, and which checks run, since when.
    fn waiting(&mut self, _done: usize, _running: &[(&'static str, Duration)]) {}
}

/// Whoever does not follow it.
impl Watcher for () {
    fn result(&mut self, _graded: &Graded) {}
}

/// Carries out all checks of the plan. An error means that the lab itself could not go on.
pub fn grade(plan: &Plan, watcher: &mut dyn Watcher) -> Result<Vec<Graded>> {
    cell::sweep()?;
    stop_in_order()?;
    let next = AtomicUsize::new(0);
    let hopeless = Streak::default();
    let running = Mutex::new(BTreeMap::new());
    let (sender, receiver) = mpsc::channel();
    let work = |sender: mpsc::Sender<(usize, Result<Graded>)>| {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(check) = plan.checks.get(index) else { return };
            if let Ok(mut running) = running.lock() {
                running.insert(index, Instant::now());
            }
            let result = if hopeless.is_one() { Ok(not_tried(check)) } else { one(plan, check) };
            if let Ok(graded) = &result {
                hopeless.note(graded, plan.limits);
            }
            if let Ok(mut running) = running.lock() {
                running.remove(&index);
            }
            let failed = result.is_err();
            if sender.send((index, result)).is_err() || failed {
                return;
            }
        }
    };
    let graded = thread::scope(|scope| {
        for _ in 0..plan.jobs.clamp(1, plan.checks.len().max(1)) {
            let sender = sender.clone();
            scope.spawn(|| work(sender));
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut graded: Vec<Graded> = Vec::new();
        loop {
            match receiver.recv_timeout(Duration::from_millis(100)) {
                Ok((index, result)) => {
                    // One that the lab cannot carry out ends the grading: the others are not even begun.
                    let one = result.inspect_err(|_| next.store(plan.checks.len(), Ordering::Relaxed))?;
                    early.insert(index, one);
                    while let Some(one) = early.remove(&graded.len()) {
                        watcher.result(&one);
                        graded.push(one);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok::<_, anyhow::Error>(graded),
            }
            let now: Vec<_> =
                running.lock().map(|running| running.clone()).unwrap_or_default().into_iter().collect();
            let now: Vec<_> =
                now.iter().map(|(index, since)| (plan.checks[*index].id, since.elapsed())).collect();
            watcher.waiting(graded.len(), &now);
        }
    });
    cell::sweep()?;
    graded
}

/// One check, in a cell that nothing else is called by.
fn one(plan: &Plan, check: &'static Check) -> Result<Graded> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    one::carry_out(&plan.lab, &name, check, plan.chapter, &plan.runtime, plan.limits)
        .with_context(|| format!("check {}", check.id))
}

fn not_tried(check: &'static Check) -> Graded {
    let saw = format!("not tried, for {HOPELESS} checks one after the other ran into their time limit");
    let failure = Failure { expected: check.says.to_string(), saw, ..Failure::default() };
    Graded { check, verdict: Verdict::Fail(failure), seconds: 0.0, left: Vec::new() }
}

/// How many of the last results were failures that took all the time they had.
#[derive(Default)]
struct Streak(AtomicUsize);

impl Streak {
    fn note(&self, graded: &Graded, limits: Limits) {
        let slow = graded.seconds >= limits.run as f64 && graded.failure().is_some();
        if slow {
            self.0.fetch_add(1, Ordering::Relaxed);
        } else if !self.is_one() {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    fn is_one(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= HOPELESS
    }
}
