//! Names and ids: given, taken, found, changed.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "name-taken",
        Lifecycle,
        "A name belongs to one container: of twenty runs at once one gets it.",
        taken,
    ),
    Check::new(
        "name-rules",
        Lifecycle,
        "A name that is no name, `..` or `a/b`, is refused with 125, and nothing is made.",
        rules,
    ),
    Check::new(
        "name-found",
        Lifecycle,
        "A container is meant by its id, the beginning of its id if no other begins so, or its name.",
        found,
    ),
    Check::new(
        "name-unknown",
        Lifecycle,
        "Of a container that nobody knows every command says so in one line: status 1.",
        unknown,
    ),
    Check::new(
        "name-changed",
        Lifecycle,
        "rename gives another name, if it is free, and the old one is free then.",
        renamed,
    ),
];

fn taken(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(["--name", "one"]).detach()?;
    for detached in [None, Some("-d")] {
        let second = lab.kept(["echo", "the command ran"]).with(["--name", "one"]).with(detached).finish()?;
        second.refuses(&[125])?.mentions("one")?;
    }
    lab.says("ps", ["-a", "-q"], &format!("{}\n", one.id()))?;
    let run = || lab.kept(["sleep", "1000"]).with(["-d", "--name", "two"]).start();
    let all = (0..20).map(|_| run()).collect::<Result<Vec<_>>>()?;
    let line = all[0].line().to_string();
    let mut winners = 0;
    for run in all {
        let outcome = run.finish()?;
        if outcome.status.success() {
            winners += 1;
            continue;
        }
        outcome.refuses(&[125])?.mentions("two")?;
    }
    see::same(format!("twenty times at once: {line}"), "how many got the name:", 1, winners)?;
    see::same(&line, "how many containers ps -a has:", 2, lab.listed()?.len())?;
    lab.says("rm", ["-f", "two"], "two\n")?;
    lab.kept(["true"]).with(["--rm", "--name", "two"]).finish()?.succeeds()?;
    one.remove()
}

fn rules(lab: &Lab) -> Result<()> {
    let long = "x".repeat(300);
    for name in ["..", ".", "a/b", "../a", "", "-a", ".a", "a b", "a\nb", "é", "a:b", long.as_str()] {
        let option = format!("--name={name}");
        let outcome = lab.kept(["echo", "the command ran"]).with([option.as_str()]).finish()?;
        outcome.refuses(&[125])?;
        see::same(&outcome.line, "what is left:", Vec::new(), lab.containers())?;
    }
    let one = lab.kept(["sleep", "1000"]).with(["--name", "a_1.b-C"]).detach()?;
    lab.says("rm", ["-f", "a_1.b-C"], "a_1.b-C\n")?;
    drop(one);
    lab.kept(["true"]).detach()?.remove() // nobody has to give one
}

/// Whom `inspect` takes the word for.
fn meant(lab: &Lab, word: &str) -> Result<String> {
    let outcome = lab.call("inspect", [word]).finish()?;
    outcome.succeeds()?;
    let value: serde_json::Value = serde_json::from_slice(&outcome.stdout)?;
    Ok(value[0]["Id"].as_str().unwrap_or_default().to_string())
}

fn found(lab: &Lab) -> Result<()> {
    let mut all: BTreeMap<char, Kept<'_>> = BTreeMap::new();
    // Sixteen first digits: soon two begin alike.
    let (first, second) = loop {
        let next = lab.kept(["true"]).with(["--name", &format!("name{}", all.len())]).detach()?;
        let digit = next.id().chars().next().unwrap_or_default();
        match all.remove(&digit) {
            Some(first) => break (first, next),
            None => all.insert(digit, next),
        };
    };
    for word in [first.id(), &first.id()[..11]] {
        see::same(format!("inspect {word}"), "whom it means:", first.id().to_string(), meant(lab, word)?)?;
    }
    let name = format!("name{}", all.len() + 1);
    see::same(format!("inspect {name}"), "whom it means:", second.id().to_string(), meant(lab, &name)?)?;
    let alike = first.id().bytes().zip(second.id().bytes()).take_while(|(one, two)| one == two).count();
    let ambiguous = &first.id()[..alike];
    for verb in ["start", "stop", "kill", "wait", "logs", "rm"] {
        let outcome = lab.call(verb, [ambiguous]).finish()?;
        outcome.refuses(&[1])?.mentions(ambiguous)?;
        if outcome.error().to_lowercase().contains("no such") {
            return Err(outcome.differs("to hear that there are several"));
        }
    }
    // A name that looks like the beginning of an id is a name.
    lab.call("rename", [second.id(), &first.id()[..6]]).finish()?.succeeds()?;
    see::same(
        "inspect a name like an id",
        "whom it means:",
        second.id().to_string(),
        meant(lab, &first.id()[..6])?,
    )?;
    see::same("inspect an id", "whom it means:", first.id().to_string(), meant(lab, first.id())?)
}

fn unknown(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).detach()?;
    for verb in ["start", "stop", "kill", "wait", "logs", "rm", "attach"] {
        for word in ["nobody", "0123456789ab", "..", "", "../records", "*"] {
            lab.refuses(verb, [word], word)?;
        }
    }
    lab.refuses("rename", ["nobody", "somebody"], "nobody")?;
    let outcome = lab.call("inspect", ["nobody"]).finish()?;
    outcome.exits(1)?.prints("[]\n")?.mentions("nobody")?;
    let outcome = lab.call("rm", ["-f", "nobody"]).finish()?; // nothing to do
    outcome.exits(0)?.mentions("nobody")?.prints("")?;
    for (verb, words) in
        [("no-such-command", vec![]), ("stop", vec![]), ("stop", vec!["-t", "soon", one.id()])]
    {
        let outcome = lab.call(verb, words).finish()?;
        outcome.refuses(&[1, 2, 125])?;
    }
    see::same(one.line(), "the State in ps -a:", "running".to_string(), one.state()?)
}

fn renamed(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(["--name", "one"]).detach()?;
    let two = lab.kept(["true"]).with(["--name", "two"]).detach()?;
    let name = |of: &Kept<'_>| -> Result<_> { Ok(of.listed()?.map(|one| one["Names"].clone())) };
    let did = lab.call("rename", ["one", "uno"]).finish()?;
    did.succeeds()?.prints("")?;
    see::same(&did.line, "its name in ps -a:", Some("uno".into()), name(&one)?)?;
    lab.refuses("stop", ["one"], "one")?;
    for new in ["two", "..", "a/b", ""] {
        lab.call("rename", ["uno", new]).finish()?.refuses(&[1, 125])?.mentions("name")?;
    }
    see::same("rename uno two", "its name in ps -a:", Some("uno".into()), name(&one)?)?;
    two.exits(0)?;
    lab.call("rename", [two.id(), "one"]).finish()?.succeeds()?; // one that has ended, and the name is free
    lab.says("rm", ["one"], "one\n")?;
    lab.says("rm", ["-f", "uno"], "uno\n")
}
