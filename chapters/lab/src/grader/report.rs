//! `cargo lab report`: many submissions, each built and graded by itself, in one table.

use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::chapter::Chapter;
use crate::checks::check::Check;
use crate::grader::grade::grade;
use crate::grader::interrupt::interrupted;
use crate::grader::show::counted;
use crate::grader::verdict::{Graded, Verdict};
use crate::grader::{caller, command};
use crate::see::tell;

/// What `report` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The submissions: directories of crates, or programs
    #[arg(required = true, value_name = "DIR")]
    pub(crate) submissions: Vec<PathBuf>,
    /// How far the submissions have come.
    #[arg(long, value_name = "N", default_value = Chapter::LAST_TYPED.name())]
    #[arg(help = format!("The chapter that they have come to: one of {}", Chapter::names()))]
    pub(crate) chapter: Chapter,
    /// Only this check; may be given again
    #[arg(long, value_name = "ID")]
    pub(crate) only: Vec<String>,
    /// The checks of an exercise, too; may be given again
    #[arg(long, value_name = "NAME")]
    pub(crate) exercise: Vec<String>,
    /// Write the table as comma-separated values
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Write the table as a web page, with what failed and why
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// How many checks at a time [default: the number of processors]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// How long a single run of a submission may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) limit: u64,
    /// How long the build of a submission may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) build_limit: u64,
}

/// What came of a submission.
struct Row {
    path: PathBuf,
    graded: Vec<Graded>,
    /// Why there is nothing to grade, or what the teacher should know besides.
    remark: String,
    seconds: f64,
}

/// The whole of `cargo lab report`.
pub(crate) fn report(arguments: &Arguments) -> Result<ExitCode> {
    let checks = command::chosen(&command::Arguments {
        chapter: arguments.chapter,
        runtime: None,
        ids: arguments.only.clone(),
        exercise: arguments.exercise.clone(),
        stop: None,
        json: false,
        jobs: arguments.jobs,
        limit: arguments.limit,
    })?;
    // All crates are built in one place, so that what they have in common is built once.
    let builds = tempfile::Builder::new()
        .prefix("lab-report-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir()?;
    let chapters = chapters(&checks);
    let names: Vec<_> = chapters.iter().map(|(_, name)| name.clone()).collect();
    tell(&format!("{}\n", line("submission", &names, "all", "", "")))?;
    let mut rows = Vec::new();
    for (number, path) in arguments.submissions.iter().enumerate() {
        let start = Instant::now();
        let mut row =
            match graded(arguments, &checks, path, &builds.path().join(number.to_string()), builds.path()) {
                Ok(graded) => Row { path: path.clone(), remark: remark(&graded), graded, seconds: 0.0 },
                Err(_) if interrupted() => bail!("interrupted"),
                Err(error) => {
                    Row { path: path.clone(), graded: Vec::new(), remark: format!("{error:#}"), seconds: 0.0 }
                }
            };
        row.seconds = start.elapsed().as_secs_f64();
        tell(&format!("{}\n", text(&row, &chapters, checks.len())))?;
        rows.push(row);
    }
    if let Some(file) = &arguments.csv {
        write(file, &csv(&rows, &chapters, checks.len()))?;
    }
    if let Some(file) = &arguments.html {
        write(file, &html(&rows, &chapters, checks.len()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, text: &str) -> Result<()> {
    let written = caller::as_user_for(file, || Ok(fs::write(file, text)?));
    written.with_context(|| format!("writing {}", file.display()))
}

/// The chapters that the checks are of, how many each has, and its name.
fn chapters(checks: &[&'static Check]) -> Vec<((Chapter, usize), String)> {
    let of = |chapter| checks.iter().filter(|check| check.since == chapter).count();
    let counted =
        Chapter::ALL.into_iter().map(|chapter| (chapter, of(chapter))).filter(|(_, count)| *count > 0);
    counted.map(|(chapter, count)| ((chapter, count), format!("ch{}", chapter.name()))).collect()
}

/// Builds a submission if it is a crate, takes a copy of the program, and grades that.
fn graded(
    arguments: &Arguments,
    checks: &[&'static Check],
    path: &Path,
    copy: &Path,
    builds: &Path,
) -> Result<Vec<Graded>> {
    let program =
        if path.is_dir() { build(path, builds, arguments.build_limit)? } else { path.to_path_buf() };
    ensure!(program.is_file(), "there is no program at {}", program.display());
    // A copy that stays as it is, whoever builds what next.
    fs::create_dir(copy)?;
    let own = copy.join(program.file_name().context("a program has a name")?);
    fs::copy(&program, &own).with_context(|| format!("copying {}", program.display()))?;
    fs::set_permissions(&own, Permissions::from_mode(0o755))?;
    let plan = command::plan(arguments.chapter, checks.to_vec(), own, arguments.limit, arguments.jobs)?;
    grade(&plan, &mut ())
}

/// `cargo build`, never as root if there is anyone else to be, ended when its time is over.
fn build(directory: &Path, builds: &Path, limit: u64) -> Result<PathBuf> {
    let user = caller::user_for(directory)?;
    let owner = user.as_ref().map(caller::Caller::ids);
    // One place for each user: none may write where another builds.
    let target = builds.join(format!("build-{}", owner.map_or(0, |(uid, _)| uid)));
    if !target.exists() {
        fs::create_dir(&target)?;
        if let Some((uid, gid)) = owner {
            chown(&target, Some(uid), Some(gid))?;
        }
    }
    let (output, mut errors) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut cargo = caller::cargo(directory, user.as_ref());
    cargo.args(caller::BUILD).arg("--target-dir").arg(&target);
    cargo.stdout(output.try_clone()?).stderr(errors.try_clone()?);
    std::os::unix::process::CommandExt::process_group(&mut cargo, 0);
    let mut child = cargo.spawn().context("running cargo, which must be in PATH")?;
    let ended = ended(&mut child, limit);
    // Whatever the build left running goes too.
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    child.wait().context("waiting for cargo")?;
    let Some(status) = ended? else { bail!("the build takes longer than {limit} s") };
    if !status.success() {
        bail!("does not build: {}", first_error(&mut errors)?);
    }
    caller::program(&start_of(output, 16 << 20)?)
}

fn ended(child: &mut Child, limit: u64) -> Result<Option<std::process::ExitStatus>> {
    let end = Instant::now() + Duration::from_secs(limit);
    loop {
        if let Some(status) = child.try_wait().context("waiting for cargo")? {
            return Ok(Some(status));
        }
        if Instant::now() > end || interrupted() {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn start_of(mut file: File, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The compiler's first words on what is wrong.
fn first_error(errors: &mut File) -> Result<String> {
    let text = start_of(errors.try_clone()?, 1 << 20)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find(|line| line.starts_with("error")).or(text.lines().last());
    Ok(clean(line.unwrap_or("no reason told")))
}

/// One line without what could move a cursor.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}

/// What the teacher should look at first.
fn remark(graded: &[Graded]) -> String {
    let failures = || graded.iter().filter_map(Graded::failure);
    let count = |what: &str| failures().filter(|failure| failure.saw.contains(what)).count();
    let hangs = count("still runs") + count("no end of it");
    let mut remarks = Vec::new();
    if hangs > 0 {
        remarks.push(format!("{hangs} checks took too long"));
    }
    let tried = count("not tried");
    if tried > 0 {
        remarks.push(format!("{tried} were not tried for that"));
    }
    let killed = count("was killed");
    if killed > 0 {
        remarks.push(format!("kills what it should not ({killed} checks)"));
    }
    let left = graded.iter().filter(|one| one.failure().is_some() && !one.left.is_empty()).count();
    if left > 0 {
        remarks.push(format!("left things behind in {left}"));
    }
    remarks.join("; ")
}

/// How many checks of this chapter passed.
fn passed(row: &Row, chapter: Chapter) -> usize {
    let of = row.graded.iter().filter(|one| one.check.since == chapter);
    of.filter(|one| matches!(one.verdict, Verdict::Pass)).count()
}

type Chapters = [((Chapter, usize), String)];

fn line(name: &str, chapters: &[String], all: &str, seconds: &str, remark: &str) -> String {
    let chapters: String = chapters.iter().map(|cell| format!(" {cell:>8}")).collect();
    format!("{name:<32}{chapters} {all:>8} {seconds:>7}  {remark}").trim_end().to_string()
}

fn text(row: &Row, chapters: &Chapters, checks: usize) -> String {
    let cells: Vec<_> =
        chapters.iter().map(|((chapter, count), _)| format!("{}/{count}", passed(row, *chapter))).collect();
    let (pass, _, _) = counted(&row.graded);
    let name = clean(&row.path.to_string_lossy());
    line(&name, &cells, &format!("{pass}/{checks}"), &format!("{:.0} s", row.seconds), &row.remark)
}

/// A cell of a CSV file. One that begins like a formula is kept from being one in a spreadsheet.
fn cell(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_string() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn failed_ids(row: &Row) -> Vec<&'static str> {
    let failed = row.graded.iter().filter(|one| one.failure().is_some());
    failed.map(|one| one.check.id).collect()
}

fn csv(rows: &[Row], chapters: &Chapters, checks: usize) -> String {
    let mut lines = String::from("submission");
    for (_, name) in chapters {
        lines += &format!(",{name}_pass,{name}_checks");
    }
    lines += ",pass,fail,skip,checks,seconds,remark,failed\n";
    for row in rows {
        lines += &cell(&row.path.to_string_lossy());
        for ((chapter, count), _) in chapters {
            lines += &format!(",{},{count}", passed(row, *chapter));
        }
        let (pass, _, skip) = counted(&row.graded);
        let fail = checks - pass - skip; // without a program, all
        let failed = failed_ids(row).join(" ");
        lines +=
            &format!(",{pass},{fail},{skip},{checks},{:.1},{},{failed}\n", row.seconds, cell(&row.remark));
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn html(rows: &[Row], chapters: &Chapters, checks: usize) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>cargo lab report</title>\n<style>\nbody { font-family: sans-serif; margin: 1em; }\n\
         table { border-collapse: collapse; }\nth, td { padding: .2em .6em; text-align: left; border-bottom: 1px solid #8888; \
         vertical-align: top; }\npre { white-space: pre-wrap; margin: .2em 0 1em; }\n</style>\n<h1>cargo lab report</h1>\n\
         <table>\n<tr><th>submission",
    );
    chapters.iter().for_each(|(_, name)| page += &format!("<th>{name}"));
    page += "<th>all<th>seconds<th>remark, and what failed\n";
    for row in rows {
        page += &format!("<tr><td>{}", escaped(&row.path.to_string_lossy()));
        for ((chapter, count), _) in chapters {
            page += &format!("<td>{}/{count}", passed(row, *chapter));
        }
        let (pass, _, _) = counted(&row.graded);
        page += &format!("<td>{pass}/{checks}<td>{:.0}<td>{}", row.seconds, escaped(&row.remark));
        for one in &row.graded {
            if let Some(failure) = one.failure() {
                let saw: String = failure.saw.chars().take(2000).collect();
                let words =
                    format!("did:      {}\nexpected: {}\nsaw:      {saw}", failure.did, failure.expected);
                let (id, says) = (one.check.id, escaped(one.check.says));
                page += &format!(
                    "<details><summary>{id}: {says}</summary><pre>{}</pre></details>",
                    escaped(&words)
                );
            }
        }
        page += "\n";
    }
    page + "</table>\n</html>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted() {
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("say \"x\""), "\"say \"\"x\"\"\"");
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("plain"), "plain");
    }
}
