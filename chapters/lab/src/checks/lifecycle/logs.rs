//! `logs`: what a container has written.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::runtime::Lab;
use crate::trial::terminal::Terminal;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "logs-streams",
        Lifecycle,
        "logs writes the container's stdout to stdout and its stderr to stderr.",
        streams,
    ),
    Check::new(
        "logs-times",
        Lifecycle,
        "logs -t puts the time before each line: 2026-11-24T14:56:29.767064755Z.",
        times,
    ),
    Check::new("logs-tail", Lifecycle, "logs --tail N shows the last N lines of both streams.", tail),
    Check::new(
        "logs-since",
        Lifecycle,
        "logs --since shows what was written since a time, or in the last so many seconds or minutes.",
        since,
    ),
    Check::new(
        "logs-follow",
        Lifecycle,
        "logs -f goes on with what is written, and ends when the container ends: 0.",
        follow,
    ),
    Check::new(
        "logs-follow-ends",
        Lifecycle,
        "logs -f ends with a container that ends by whatever death, and not before.",
        follow_ends,
    ),
    Check::new(
        "logs-exact",
        Lifecycle,
        "logs gives back every byte: long lines, none at all, no newline at the end, bytes that are no text.",
        exact,
    ),
    Check::new(
        "logs-foreground",
        Lifecycle,
        "What run shows is in the log too, and run shows it at once and apart.",
        foreground,
    ),
    Check::new(
        "printed-whole",
        Lifecycle,
        "At the caller's terminal, too, each stream of a container without -t arrives whole and in its order.",
        printed_whole,
    ),
    Check::new(
        "logs-bounded",
        Lifecycle,
        "However much a container writes, its log stays below 40 MB, and the newest lines are in it.",
        bounded,
    ),
    Check::new(
        "logs-unread",
        Lifecycle,
        "A detached container that writes a lot is not held up by anybody.",
        unread,
    ),
];

fn streams(lab: &Lab) -> Result<()> {
    let script = "echo out1; echo err1 >&2; echo out2; echo; echo err2 >&2";
    let one = lab.kept(["sh", "-c", script]).detach()?;
    one.exits(0)?;
    one.logs()?.prints("out1\nout2\n\n")?.complains("err1\nerr2\n")?;
    let empty = lab.kept(["true"]).detach()?;
    empty.exits(0)?;
    empty.logs()?.succeeds()?.prints("")?;
    let terminal = lab.kept(["echo", "line"]).with(["-t"]).detach()?;
    terminal.exits(0)?;
    terminal.logs()?.succeeds()?.prints("line\r\n").map(drop)
}

/// Whether it is as `2026-11-24T14:56:29.767064755Z`.
fn is_time(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
    text.len() == form.len()
        && text.chars().zip(form.chars()).all(|(seen, asked)| match asked {
            'd' => seen.is_ascii_digit(),
            other => seen == other,
        })
}

fn times(lab: &Lab) -> Result<()> {
    let script = "trap 'echo err >&2' USR1; trap 'echo two words; exit 0' TERM; echo one; echo; while :; do sleep 0.02; done";
    let one = lab.kept(["sh", "-c", script]).detach()?;
    let name = format!("{}\n", one.id());
    one.wrote("one\n\n")?;
    lab.says("kill", ["-s", "USR1", one.id()], &name)?;
    let told = wait_for(SOON, || Ok((one.logs()?.error() == "err\n").then_some(())))?;
    told.ok_or_else(|| one.differs("err on stderr", "nothing"))?;
    lab.says("stop", [one.id()], &name)?;
    one.exits(0)?;
    let outcome = lab.call("logs", ["-t", one.id()]).finish()?;
    outcome.exits(0)?;
    let text = outcome.output();
    let lines: Vec<_> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    let (times, words): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
    if words != ["one", "", "two words"] || !times.iter().all(|time| is_time(time)) || !times.is_sorted() {
        return Err(outcome.differs("a time, a blank and the line, three times"));
    }
    let err = outcome.error();
    match err.split_once(' ') {
        Some((time, "err\n")) if is_time(time) && time >= times[1] && time <= times[2] => Ok(()),
        _ => Err(outcome.differs("a time, a blank and err on stderr")),
    }
}

fn tail(lab: &Lab) -> Result<()> {
    let script = "n=0; while [ $n -lt 2000 ]; do n=$((n+1)); echo $n; done; echo err >&2";
    let one = lab.kept(["sh", "-c", script]).detach()?;
    one.exits(0)?;
    // The streams come through two pipes, so that the one line of stderr is anywhere.
    let last = |words: &[&str]| lab.call("logs", words.iter().copied().chain([one.id()])).finish();
    let both = last(&["--tail", "3"])?;
    both.exits(0)?;
    let count = both.output().lines().count() + both.error().lines().count();
    see::same(&both.line, "lines of both streams:", 3, count)?;
    if !both.output().ends_with("2000\n") {
        return Err(both.differs("the last lines"));
    }
    last(&["--tail", "0"])?.succeeds()?.prints("")?;
    for all in ["all", "5000"] {
        let option = format!("--tail={all}");
        let outcome = last(&[&option])?;
        outcome.exits(0)?.complains("err\n")?;
        see::same(&outcome.line, "lines on stdout:", 2000, outcome.output().lines().count())?;
    }
    last(&["--tail", "many"])?.refuses(&[1, 2, 125]).map(drop)
}

fn since(lab: &Lab) -> Result<()> {
    let script =
        "trap 'echo two' USR1; trap 'echo three; exit 0' TERM; echo one; while :; do sleep 0.02; done";
    let one = lab.kept(["sh", "-c", script]).detach()?;
    let name = format!("{}\n", one.id());
    one.wrote("one\n")?;
    lab.says("kill", ["-s", "USR1", one.id()], &name)?;
    one.wrote("two\n")?;
    lab.says("stop", [one.id()], &name)?;
    one.exits(0)?;
    let text = lab.call("logs", ["-t", one.id()]).finish()?.output();
    let second = text.lines().nth(1).and_then(|line| line.split_once(' ')).map(|(time, _)| time);
    let Some(second) = second else { return Err(one.logs()?.differs("three lines with times")) };
    let of = |since: &str| lab.call("logs", ["--since", since, one.id()]).finish();
    of(second)?.succeeds()?.prints("two\nthree\n")?;
    for long_ago in ["10m", "1h30m", "600s", "2020-01-01T00:00:00Z", "1500000000"] {
        of(long_ago)?.succeeds()?.prints("one\ntwo\nthree\n")?;
    }
    of("2999-01-01T00:00:00Z")?.succeeds()?.prints("")?;
    for bad in ["yesterday", "", "10 parsecs"] {
        of(bad)?.refuses(&[1, 2, 125])?;
    }
    Ok(())
}

fn follow(lab: &Lab) -> Result<()> {
    let script = "trap 'echo more; echo err >&2' USR1; trap 'echo end; exit 3' TERM; echo first; while :; do sleep 0.02; done";
    let one = lab.kept(["sh", "-c", script]).detach()?;
    one.wrote("first")?;
    let mut follows = lab.call("logs", ["-f", one.id()]).start()?;
    follows.wrote("first\n")?;
    // Nothing tells when this one has begun: it has when it prints, and until then there is more, and more again.
    let newest = lab.call("logs", ["-f", "--tail", "0", one.id()]).start()?;
    let name = format!("{}\n", one.id());
    let began = wait_for(SOON, || {
        lab.says("kill", ["-s", "USR1", one.id()], &name)?;
        Ok(newest.stdout().starts_with(b"more\n").then_some(()))
    })?;
    began.ok_or_else(|| newest.differs("what is written from now on", "nothing"))?;
    follows.wrote("first\nmore\n")?;
    lab.says("stop", [one.id()], &name)?;
    let begin = Instant::now();
    let all = follows.finish()?;
    let count = all.output().matches("more\n").count();
    let whole = format!("first\n{}end\n", "more\n".repeat(count));
    all.exits(0)?.prints(&whole)?.complains("err\n".repeat(count))?;
    let outcome = newest.finish()?;
    outcome.exits(0)?;
    if !whole.ends_with(&outcome.output()) || !outcome.output().starts_with("more\n") {
        return Err(outcome.differs("what was written since it began"));
    }
    if begin.elapsed() > Duration::from_secs(3) {
        return Err(outcome.differs("an end in the same second"));
    }
    lab.call("logs", ["-f", one.id()]).finish()?.exits(0)?.prints(&whole).map(drop) // ended already
}

fn follow_ends(lab: &Lab) -> Result<()> {
    let killed = lab.kept(["sh", "-c", "echo first; exec sleep 1000"]).detach()?;
    killed.wrote("first")?;
    let mut follows = lab.call("logs", ["-f", killed.id()]).start()?;
    follows.wrote("first")?;
    lab.says("kill", [killed.id()], &format!("{}\n", killed.id()))?;
    follows.finish()?.succeeds()?.prints("first\n")?;
    // Removed while somebody reads.
    let removed = lab.kept(["sh", "-c", "echo first; exec sleep 1000"]).detach()?;
    removed.wrote("first")?;
    let mut follows = lab.call("logs", ["-f", removed.id()]).start()?;
    follows.wrote("first")?;
    removed.remove()?;
    follows.finish()?.exits(0)?.prints("first\n")?;
    // A restart is no end.
    let script = "echo once >> /file; echo try; [ $(wc -l < /file) -ge 3 ]";
    let again = lab.kept(["sh", "-c", script]).with(["--restart", "on-failure"]).detach()?;
    lab.call("logs", ["-f", again.id()]).finish()?.succeeds()?.prints("try\ntry\ntry\n").map(drop)
}

/// Text that has all that a format of lines could stumble over.
const ODD: &str = r"printf 'a\0b\377\376\r\n\n\ntwo\nnot ended'; head -c 100000 /dev/zero | tr '\0' x; echo; head -c 16384 /dev/zero | tr '\0' y; echo; printf ' \t stdout F P \033[1m\n'; printf 'no newline'";

fn exact(lab: &Lab) -> Result<()> {
    let mut expected = b"a\0b\xff\xfe\r\n\n\ntwo\nnot ended".to_vec();
    expected.extend([b'x'; 100_000]);
    expected.push(b'\n');
    expected.extend([b'y'; 16384]);
    expected.extend(b"\n \t stdout F P \x1b[1m\nno newline");
    let one = lab.kept(["sh", "-c", ODD]).detach()?;
    one.exits(0)?;
    one.logs()?.succeeds()?.prints(&expected)?;
    let tail = lab.call("logs", ["--tail", "1", one.id()]).finish()?;
    tail.succeeds()?.prints("no newline")?;
    let both = lab
        .kept(["sh", "-c", "printf out; sleep 0.1; printf err >&2; sleep 0.1; echo put; echo or >&2"])
        .detach()?;
    both.exits(0)?;
    both.logs()?.prints("output\n")?.complains("error\n").map(drop)
}

fn foreground(lab: &Lab) -> Result<()> {
    let script = "echo out; echo err >&2; printf '\\0\\377'; exit 3";
    let run = lab.kept(["sh", "-c", script]).with(["--name", "one"]).finish()?;
    let one = lab.only_kept()?;
    run.exits(3)?.prints(b"out\n\0\xff")?.complains("err\n")?;
    let logs = one.logs()?;
    logs.prints(b"out\n\0\xff")?.complains("err\n")?;
    // While it runs, somebody else can look.
    let mut run = lab.run(["sh", "-c", "echo first; read line; echo second"]).with(["--name", "two", "-i"]);
    let (reader, writer) = std::io::pipe()?;
    let fd = std::os::fd::OwnedFd::from(reader);
    run = run.prepared(move || {
        // SAFETY: a system call with two numbers.
        nix::errno::Errno::result(unsafe { nix::libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&fd), 0) })?;
        Ok(())
    });
    let mut run = run.start()?;
    run.wrote("first\n")?;
    let told = || Ok((lab.call("logs", ["two"]).finish()?.output() == "first\n").then_some(()));
    wait_for(SOON, told)?.ok_or_else(|| run.differs("first in the log", "nothing"))?;
    drop(writer);
    run.finish()?.succeeds()?.prints("first\nsecond\n").map(drop)
}

fn printed_whole(lab: &Lab) -> Result<()> {
    let lines = "i=0; while [ $i -lt 200 ]; do echo out-$i; echo err-$i >&2; i=$((i+1)); done";
    let script = format!("\"$RUNTIME\" run --rm $IMAGE sh -c '{lines}'; echo \"status $?\"; read line");
    let mut terminal = Terminal::with_shell(lab, &["-c", &script])?;
    terminal.shows("status 0")?;
    let screen = terminal.screen();
    for stream in ["out", "err"] {
        let expected: Vec<_> = (0..200).map(|i| format!("{stream}-{i}")).collect();
        let seen: Vec<_> = screen.lines().filter(|line| line.contains(stream)).collect();
        if seen != expected {
            return Err(see::differs(
                terminal.line(),
                format!("{stream}-0 to {stream}-199, a line each"),
                screen,
            ));
        }
    }
    Ok(())
}

fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| {
        let data = entry.metadata().ok()?;
        Some(if data.is_dir() { size(&entry.path()) } else { data.len() })
    };
    entries.filter_map(of).sum()
}

fn bounded(lab: &Lab) -> Result<()> {
    // 45 MB, in lines of 1000 bytes.
    let script = "line=$(head -c 999 /dev/zero | tr '\\0' x); yes $line | head -c 45000000; echo last";
    let one = lab.kept(["sh", "-c", script]).detach()?;
    let follows = lab.call("logs", ["-f", "--tail", "1", one.id()]).start()?;
    // An emulated machine needs more than a moment for so much.
    wait_for(SOON * 2, || Ok((one.state()? == "exited").then_some(())))?;
    one.exits(0)?;
    let size = size(&lab.place_of_containers().join(one.id()));
    if size > 40_000_000 {
        return Err(one.differs("a log of at most 40 MB", format!("{size} bytes in the state directory")));
    }
    let tail = lab.call("logs", ["--tail", "1", one.id()]).finish()?;
    tail.succeeds()?.prints("last\n")?;
    let followed = follows.finish()?;
    followed.exits(0).map(drop)
}

fn unread(lab: &Lab) -> Result<()> {
    let begin = Instant::now();
    let one = lab.kept(["sh", "-c", "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2"]).detach()?;
    one.exits(0)?;
    if begin.elapsed() > Duration::from_secs(15) {
        return Err(one.differs("its end", format!("{:?}", begin.elapsed())));
    }
    Ok(())
}
