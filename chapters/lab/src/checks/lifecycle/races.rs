//! Two commands at once.

use anyhow::Result;
use serde_json::Value;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::checks::lifecycle::damage::in_words;
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "race-stop",
        Lifecycle,
        "Twenty stops of one container at once: all succeed, and it has ended once.",
        stops,
    ),
    Check::new(
        "race-rm-start",
        Lifecycle,
        "rm and start at once: one wins, and what is told then is true.",
        rm_and_start,
    ),
    Check::new("race-start", Lifecycle, "Twenty starts of one container at once start it once.", starts),
    Check::new(
        "race-exec-stop",
        Lifecycle,
        "exec and stop at once: the command runs or is refused, and nothing of it stays.",
        exec_and_stop,
    ),
    Check::new(
        "race-rm",
        Lifecycle,
        "Twenty rm -f of one container at once: it is gone, and none of them fails.",
        rms,
    ),
    Check::new(
        "race-rename",
        Lifecycle,
        "Fifty renames at once: one container has one name in the end, one name has one container, and all others are free.",
        renames,
    ),
    Check::new(
        "race-pause-stop",
        Lifecycle,
        "pause and stop at once: it has ended, and nothing of it stays, frozen or not.",
        pause_and_stop,
    ),
    Check::new(
        "race-all",
        Lifecycle,
        "Fifty commands of all kinds at once on one container: each works or refuses in one line, and ps tells the truth.",
        all_at_once,
    ),
    Check::new("race-ps", Lifecycle, "While containers come and go, ps never fails.", ps),
];

/// Starts them all, then waits for all.
fn at_once<'a>(
    lab: &'a Lab,
    calls: impl IntoIterator<Item = (&'static str, Vec<&'a str>)>,
) -> Result<Vec<Outcome>> {
    let all =
        calls.into_iter().map(|(verb, words)| lab.call(verb, words).start()).collect::<Result<Vec<_>>>()?;
    all.into_iter().map(|one| one.finish()).collect()
}

fn stops(lab: &Lab) -> Result<()> {
    let one = lab.kept([
        "sh",
        "-c",
        "trap 'echo got-TERM; sleep 0.1; exit 3' TERM; echo ready; while :; do sleep 0.02; done",
    ]);
    let one = one.detach()?;
    one.wrote("ready")?;
    for outcome in at_once(lab, (0..20).map(|_| ("stop", vec![one.id()])))? {
        outcome.succeeds()?.prints(format!("{}\n", one.id()))?;
    }
    one.exits(3)
}

fn starts(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", "echo once; exec sleep 1000"]).detach()?;
    one.wrote("once\n")?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    for outcome in at_once(lab, (0..20).map(|_| ("start", vec![one.id()])))? {
        outcome.succeeds()?.prints(format!("{}\n", one.id()))?;
    }
    one.wrote("once\nonce\n")?;
    see::same(
        "start, twenty times at once",
        "what it wrote",
        "once\nonce\n".to_string(),
        one.logs()?.output(),
    )?;
    one.process().map(drop)
}

fn rm_and_start(lab: &Lab) -> Result<()> {
    for round in 0..10 {
        let one = lab.kept(["sleep", "1000"]).detach()?;
        lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
        let verbs = if round % 2 == 0 { ["rm", "start"] } else { ["start", "rm"] };
        let outcomes = at_once(lab, verbs.map(|verb| (verb, vec![one.id()])))?;
        let mut won = Vec::new();
        for (verb, outcome) in verbs.iter().zip(&outcomes) {
            if outcome.status.success() {
                won.push(*verb);
            } else {
                outcome.refuses(&[1])?;
            }
        }
        let state = one.state()?;
        let is_true = match won[..] {
            ["rm"] => state == "none",
            ["start"] => state == "running" && one.process().is_ok(),
            _ => false,
        };
        if !is_true {
            return Err(one.differs(
                "rm or start to win, and ps -a to agree",
                format!("{won:?} won, and ps -a has it {state}"),
            ));
        }
    }
    Ok(())
}

/// Of all processes that this check has started.
fn none_is_left(lab: &Lab, one: &Kept<'_>) -> Result<()> {
    let left: Vec<_> = lab.mark().gone(see::SOON).iter().map(|process| process.command()).collect();
    if left.is_empty() { Ok(()) } else { Err(one.differs("no process left after stop", format!("{left:?}"))) }
}

fn exec_and_stop(lab: &Lab) -> Result<()> {
    for _ in 0..5 {
        let one = lab.kept(["sleep", "1000"]).detach()?;
        let exec = ("exec", vec![one.id(), "sh", "-c", "echo ran; exec sleep 1000"]);
        let stop = ("stop", vec!["-t", "0", one.id()]);
        let all = at_once(lab, [exec.clone(), exec.clone(), stop, exec.clone(), exec])?;
        let stop = &all[2];
        stop.succeeds()?;
        for outcome in all.iter().filter(|outcome| outcome.line != stop.line) {
            // Killed along with the container, or not begun.
            if outcome.status.code() != Some(137) {
                outcome.refuses(&[1, 125, 126])?;
            }
        }
        one.exits(137)?;
        none_is_left(lab, &one)?;
    }
    Ok(())
}

fn rms(lab: &Lab) -> Result<()> {
    for _ in 0..3 {
        let one =
            lab.kept(["sh", "-c", "echo x > /file; exec sleep 1000"]).with(["--name", "one"]).detach()?;
        for outcome in at_once(lab, (0..20).map(|_| ("rm", vec!["-f", one.id()])))? {
            outcome.exits(0)?;
        }
        see::same("rm -f, twenty times at once", "what is left:", Vec::new(), lab.containers())?;
    }
    Ok(())
}

/// Who has this name, as `inspect` has it; an empty text if nobody has.
fn owner(lab: &Lab, name: &str) -> Result<String> {
    let told: Value = serde_json::from_slice(&lab.call("inspect", [name]).finish()?.stdout)?;
    Ok(told[0]["Id"].as_str().unwrap_or_default().to_string())
}

fn renames(lab: &Lab) -> Result<()> {
    let one = lab.kept(["true"]).with(["--name", "before"]).detach()?;
    one.exits(0)?;
    let names: Vec<_> = (0..50).map(|number| format!("name-{number}")).collect();
    for outcome in at_once(lab, names.iter().map(|name| ("rename", vec![one.id(), name])))? {
        outcome.succeeds()?;
    }
    let name = one.listed()?.and_then(|one| one["Names"].as_str().map(str::to_string)).unwrap_or_default();
    for word in names.iter().map(String::as_str).chain(["before"]) {
        let expected = if word == name { one.id() } else { "" };
        see::same(
            "fifty renames at once",
            &format!("the owner of {word}:"),
            expected.to_string(),
            owner(lab, word)?,
        )?;
    }
    one.remove()?;
    let all = (0..5)
        .map(|_| {
            let one = lab.kept(["true"]).detach()?;
            one.exits(0)?;
            Ok(one)
        })
        .collect::<Result<Vec<_>>>()?;
    let tries = at_once(lab, all.iter().cycle().take(50).map(|one| ("rename", vec![one.id(), "wanted"])))?;
    let won: Vec<_> = tries.iter().filter(|outcome| outcome.status.success()).collect();
    for outcome in tries.iter().filter(|outcome| !outcome.status.success()) {
        outcome.refuses(&[1])?.mentions("name")?;
    }
    see::same("fifty renames to one name at once", "how many got it:", 1, won.len())?;
    let of_it = lab.listed()?.iter().filter(|one| one["Names"] == "wanted").count();
    see::same("fifty renames to one name at once", "how many have it in ps -a:", 1, of_it)
}

fn pause_and_stop(lab: &Lab) -> Result<()> {
    for is_paused in [false, true] {
        let one = lab.kept(["sh", "-c", "sleep 1000 & exec sleep 1000"]).detach()?;
        if is_paused {
            lab.says("pause", [one.id()], &format!("{}\n", one.id()))?;
        }
        let calls = (0..20).map(|number| match number % 2 {
            0 => ("pause", vec![one.id()]),
            _ => ("stop", vec!["-t", "0", one.id()]),
        });
        for (number, outcome) in at_once(lab, calls)?.iter().enumerate() {
            if number % 2 == 1 {
                outcome.succeeds()?.prints(format!("{}\n", one.id()))?;
            } else if !outcome.status.success() {
                outcome.refuses(&[1])?;
            }
        }
        one.exits(137)?;
        none_is_left(lab, &one)?;
    }
    Ok(())
}

fn all_at_once(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(["--name", "one"]).detach()?;
    let id = one.id();
    let calls = (0..50).map(|number| match number % 10 {
        0 => ("stop", vec!["-t", "0", id]),
        1 => ("start", vec![id]),
        2 => ("exec", vec![id, "true"]),
        3 => ("pause", vec![id]),
        4 => ("unpause", vec![id]),
        5 => ("rename", vec![id, if number < 25 { "one" } else { "two" }]),
        6 => ("kill", vec![id]),
        7 => ("inspect", vec![id]),
        8 => ("logs", vec![id]),
        _ => ("rm", vec![id]),
    });
    for outcome in at_once(lab, calls)? {
        if outcome.status.success() {
            outcome.complains("")?;
        }
        in_words(&outcome, "forty-nine others at once")?;
    }
    match one.state()?.as_str() {
        "running" | "paused" => drop(one.process()?),
        "exited" | "none" => {
            see::same(one.line(), "processes of one that has ended:", 0, lab.mark().gone(see::SOON).len())?;
        }
        other => return Err(one.differs("running, paused, exited or none in ps -a", other)),
    }
    lab.call("rm", ["-f", id]).finish()?.exits(0)?;
    see::same("rm -f", "processes left:", 0, lab.mark().gone(see::SOON).len())?;
    see::same("rm -f", "what is left:", Vec::new(), lab.containers())
}

fn ps(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // the image is there then, and nobody waits for who makes it
    let others =
        (0..10).map(|_| lab.run(["sh", "-c", "echo x > /file"]).start()).collect::<Result<Vec<_>>>()?;
    for _ in 0..10 {
        for outcome in
            at_once(lab, [("ps", vec!["-a"]), ("ps", vec!["-a", "--format", "json"]), ("ps", vec!["-q"])])?
        {
            outcome.succeeds()?;
        }
    }
    others.into_iter().try_for_each(|run| run.finish()?.succeeds().map(drop))
}
