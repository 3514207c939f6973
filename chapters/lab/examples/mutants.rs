//! How well the checks judge: small changes to the chapters' code, one at a time, and whether any check or unit test
//! finds it: `.ci/run mutants`, or, for some of them,
//!
//!     cargo build --bins -p lab --example mutants && target/debug/examples/mutants --sample 30 --seed 1
//!
//! It runs as whoever builds, and only the lab becomes root. All that it builds is in `target/mutants`.
//!
//! First the checks of `cargo lab check` are asked, and then, of the few that are left, the fault checks, which take minutes.
//! A change that nobody can find, for nothing that can be seen depends on it, is in mutants.txt, with the reason.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use lab::Chapter;
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, ItemMod, Lit, PatGuard, ReturnType, Stmt};

#[derive(Parser)]
struct Arguments {
    /// So many, and not all
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Which ones
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Of those, the I-th of N parts: `1/4`
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
    /// Only those whose line in the list has this in it
    #[arg(long, default_value = "")]
    only: String,
    /// Do not ask the fault checks, which take minutes for each change that nobody else finds
    #[arg(long)]
    no_faults: bool,
    /// Tell them, and that is all
    #[arg(long)]
    list: bool,
    /// Fail if fewer than so many in 100 are found
    #[arg(long, default_value_t = 0)]
    least: usize,
}

/// A change: these bytes of a file by that text.
#[derive(Default)]
struct Mutant {
    file: String,
    line: usize,
    start: usize,
    end: usize,
    text: String,
    /// The function or constant that it is in, wherever that stands: `Child::wait`.
    item: String,
    /// What it says, for people and for mutants.txt.
    name: String,
    /// Which of those there that say the same.
    number: usize,
}

impl Mutant {
    fn package(&self) -> &str {
        self.file.split('/').nth(1).unwrap_or_default()
    }

    /// Where it is, for people.
    fn place(&self) -> String {
        format!("{}:{}: {}", self.file, self.line, self.name)
    }

    /// What it is called in mutants.txt: functions move, and lines even more so.
    fn key(&self) -> String {
        let number = if self.number > 1 { format!(" #{}", self.number) } else { String::new() };
        self.unnumbered() + &number
    }

    fn unnumbered(&self) -> String {
        format!("{}::{}: {}", self.package(), self.item, self.name)
    }

    /// Whether it is of the cgroup version that this machine has not got, so that nothing of it ever runs.
    fn is_elsewhere(&self) -> bool {
        let name = Path::new(&self.file).file_stem().unwrap_or_default();
        (name == "v1" || name == "v2") && name != version()
    }
}

/// The version of this machine's memory controller.
fn version() -> &'static str {
    if Path::new("/sys/fs/cgroup/memory").exists() { "v1" } else { "v2" }
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    parsed.filter(|(part, of)| (1..=*of).contains(part)).ok_or_else(|| "write it as 1/4".to_string())
}

/// What mutants.txt lists, each with the cgroup version that it holds for, if it holds for one only.
fn equivalents(lab: &Path) -> Result<Vec<(String, Option<&'static str>)>> {
    let text = fs::read_to_string(lab.join("mutants.txt")).context("reading mutants.txt")?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let of_line = |line: &str| {
        let versions = [(" @v1", "v1"), (" @v2", "v2")];
        let version = versions.into_iter().find(|(suffix, _)| line.ends_with(suffix));
        let key = version.map_or(line, |(suffix, _)| line.trim_end_matches(suffix));
        (key.to_string(), version.map(|(_, name)| name))
    };
    Ok(lines.map(of_line).collect())
}

enum Fate {
    /// By this check, or by a unit test.
    Killed(String),
    Survived,
    Equivalent,
    Elsewhere,
    DoesNotBuild,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    let repository = lab.ancestors().nth(2).context("no repository")?;
    let mut mutants = Vec::new();
    for package in Chapter::typed().map(Chapter::package) {
        let source = format!("chapters/{package}/src");
        let mut files: Vec<_> =
            fs::read_dir(repository.join(&source))?.flatten().map(|one| one.file_name()).collect();
        files.sort();
        for file in files {
            mutants.extend(mutants_of(repository, format!("{source}/{}", file.to_string_lossy()))?);
        }
    }
    let equivalents = equivalents(lab)?;
    let is_there = |key: &str| mutants.iter().any(|mutant| mutant.key() == key);
    let gone: Vec<_> = equivalents.iter().map(|(key, _)| key.as_str()).filter(|key| !is_there(key)).collect();
    ensure!(gone.is_empty(), "mutants.txt lists changes that there are not:\n{}", gone.join("\n"));
    mutants.retain(|mutant| mutant.place().contains(&arguments.only));
    if let Some(sample) = arguments.sample {
        shuffle(&mut mutants, arguments.seed);
        mutants.truncate(sample);
    }
    if let Some((part, of)) = arguments.shard {
        let mut number = 0..;
        mutants.retain(|_| number.next().is_some_and(|number| number % of == part - 1));
    }
    if arguments.list {
        mutants.iter().for_each(|mutant| println!("{}  [{}]", mutant.place(), mutant.key()));
        println!("{} mutants", mutants.len());
        return Ok(ExitCode::SUCCESS);
    }

    let target = Path::new(&std::env::current_exe()?).ancestors().nth(3).context("no target")?.to_path_buf();
    let tree = target.join("mutants");
    copy(repository, &tree)?;
    // What is not changed must build and be green, or nothing that is said of a change means anything.
    let none = Mutant { file: mutants.first().context("no mutants")?.file.clone(), ..Mutant::default() };
    match tried(&target, &tree, &none, false)? {
        Fate::Survived => {}
        Fate::Killed(by) => bail!("the code as it is does not pass: {by}"),
        _ => bail!("the code as it is does not build"),
    }
    let (mut killed, mut equivalent, mut survivors, mut unbuilt, mut elsewhere) = (0, 0, Vec::new(), 0, 0);
    for (number, mutant) in mutants.iter().enumerate() {
        let start = Instant::now();
        let place = mutant.place();
        let here = |of: &Option<&str>| of.is_none_or(|of| of == version());
        let fate = if equivalents.iter().any(|(key, of)| here(of) && mutant.key() == *key) {
            Fate::Equivalent
        } else if mutant.is_elsewhere() {
            Fate::Elsewhere
        } else {
            tried(&target, &tree, mutant, !arguments.no_faults)?
        };
        let said = match &fate {
            Fate::Killed(by) => format!("killed by {by}"),
            Fate::Survived => "SURVIVED".to_string(),
            Fate::Equivalent => "equivalent".to_string(),
            Fate::Elsewhere => "of the other cgroup version".to_string(),
            Fate::DoesNotBuild => "does not build".to_string(),
        };
        println!("{}/{} {place}: {said} ({} s)", number + 1, mutants.len(), start.elapsed().as_secs());
        match fate {
            Fate::Killed(_) => killed += 1,
            Fate::Survived => survivors.push(place),
            Fate::Equivalent => equivalent += 1,
            Fate::Elsewhere => elsewhere += 1,
            Fate::DoesNotBuild => unbuilt += 1,
        }
    }
    let judged = killed + survivors.len();
    ensure!(judged > 0, "no change was judged");
    let score = 100 * killed / judged;
    println!("\nsurvivors:");
    survivors.iter().for_each(|place| println!("{place}"));
    println!(
        "{killed} killed, {} survived, {equivalent} equivalent, {elsewhere} of the other cgroup version, \
         {unbuilt} do not build: {score} in 100",
        survivors.len()
    );
    Ok(if score >= arguments.least { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds it and asks everyone. The tree is as before afterwards.
fn tried(target: &Path, tree: &Path, mutant: &Mutant, by_faults: bool) -> Result<Fate> {
    let file = tree.join(&mutant.file);
    let before = fs::read_to_string(&file)?;
    fs::write(&file, [&before[..mutant.start], &mutant.text, &before[mutant.end..]].concat())?;
    let mut fate = judged(target, tree, &mutant.file);
    if by_faults && matches!(fate, Ok(Fate::Survived)) {
        fate = judged_by_faults(tree, mutant);
    }
    fs::write(&file, before)?;
    fate
}

fn judged(target: &Path, tree: &Path, file: &str) -> Result<Fate> {
    let package = file.split('/').nth(1).context("no package")?;
    let own: Chapter = package.get(3..4).unwrap_or_default().parse().map_err(anyhow::Error::msg)?;
    let parsers = tree.join("chapters").join(package).join("tests/parsers.rs").exists();
    let unit = |before: &str, after: &str| -> Result<bool> {
        let parsers = if parsers { "--test parsers" } else { "" };
        let line = format!("{before} cargo test --quiet --lib {parsers} --package {package} {after}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(tree).env_remove("CARGO_TARGET_DIR");
        Ok(shell.output().context("running cargo")?.status.success())
    };
    if !unit("", "--no-run")? {
        return Ok(Fate::DoesNotBuild);
    }
    // A change may well make a loop that never ends, and takes all memory.
    if !unit("ulimit -v 8000000; exec timeout --kill-after=5 60", "")? {
        return Ok(Fate::Killed("a unit test".to_string()));
    }
    // A chapter's library is in all later programs, or only in its own; its own program's story is in no other. First
    // those checks that are most likely to find it.
    let mut programs = if file.ends_with("main.rs") { vec![own] } else { vec![Chapter::LAST, own] };
    programs.dedup();
    let each = |of_chapter| programs.iter().map(move |last| (*last, of_chapter));
    for (last, of_chapter) in each(true).chain(each(false)) {
        let wanted = |check: &lab::Check| check.applies_to(last) && (check.since == own) == of_chapter;
        let ids: Vec<_> = lab::checks().filter(|check| wanted(check)).map(|check| check.id).collect();
        if ids.is_empty() {
            continue;
        }
        let mut check = Command::new(tree.join(".cargo/as-root"));
        check.arg(target.join("debug/lab")).args([
            "check",
            last.name(),
            "--json",
            "--limit",
            "20",
            "--runtime",
        ]);
        check.arg(tree.join("chapters").join(last.package())).args(ids);
        check.env_remove("CARGO_TARGET_DIR").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = check.spawn().context("starting the lab: cargo build --bins")?;
        let mut red = None;
        for line in BufReader::new(running.stdout.take().context("no stdout")?).lines() {
            let result: serde_json::Value = serde_json::from_str(&line?)?;
            if result["outcome"] == "fail" && red.is_none() {
                red = Some(result["id"].as_str().unwrap_or_default().to_string());
                // It need not go on, but clean up.
                let mut stop = Command::new(tree.join(".cargo/as-root"));
                stop.args(["kill", "-INT", &running.id().to_string()])
                    .status()
                    .context("stopping the lab")?;
            }
        }
        let output = running.wait_with_output()?;
        match (red, output.status.code()) {
            (Some(id), _) => return Ok(Fate::Killed(id)),
            (None, Some(0)) => {}
            _ => {
                let text = String::from_utf8_lossy(&output.stderr);
                ensure!(text.contains("cargo build failed"), "{text}");
                return Ok(Fate::DoesNotBuild);
            }
        }
    }
    Ok(Fate::Survived)
}

/// Asks the fault checks.
fn judged_by_faults(tree: &Path, mutant: &Mutant) -> Result<Fate> {
    let story = mutant.file.ends_with("main.rs");
    let package = if story { mutant.package() } else { Chapter::LAST_TYPED.package() };
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet", "--test", "faults", "--package", package]).current_dir(tree);
    let output = test.env_remove("CARGO_TARGET_DIR").output().context("running cargo")?;
    if output.status.success() {
        return Ok(Fate::Survived);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let red = text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix("FAILED"));
    let ids: Vec<_> = red.filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(!ids.is_empty(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(Fate::Killed(ids.join(", ")))
}

/// Copies what is built; what is the same already stays, for cargo goes by the time of a file.
fn copy(repository: &Path, tree: &Path) -> Result<()> {
    fs::create_dir_all(tree)?;
    for name in ["Cargo.toml", "Cargo.lock", ".cargo", "chapters", "book"] {
        let mut rsync = Command::new("rsync");
        rsync.args(["-rlp", "--checksum", "--delete"]).arg(repository.join(name)).arg(tree);
        ensure!(rsync.status().context("running rsync")?.success(), "{rsync:?} failed");
    }
    Ok(())
}

/// The same order for the same seed: Fisher and Yates, with xorshift.
fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for last in (1..list.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        list.swap(last, (state % (last as u64 + 1)) as usize);
    }
}

fn mutants_of(repository: &Path, file: String) -> Result<Vec<Mutant>> {
    let text = fs::read_to_string(repository.join(&file))?;
    let Ok(syntax) = syn::parse_file(&text) else { bail!("{file} is no Rust") };
    let mut finder = Finder { file, text, of: String::new(), item: String::new(), found: Vec::new() };
    finder.visit_file(&syntax);
    let mut found: Vec<Mutant> = Vec::new();
    for mut mutant in finder.found {
        mutant.number = 1 + found.iter().filter(|other| other.unnumbered() == mutant.unnumbered()).count();
        found.push(mutant);
    }
    Ok(found)
}

struct Finder {
    file: String,
    text: String,
    /// The type whose methods these are, with `::` behind it.
    of: String,
    /// The function or constant that this is in.
    item: String,
    found: Vec<Mutant>,
}

impl Finder {
    fn replace(&mut self, span: Span, text: &str) {
        let range = span.byte_range();
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let was = one_line(&self.text[range.clone()]);
        let name = match one_line(text) {
            nothing if nothing.is_empty() => format!("without `{was}`"),
            text => format!("`{was}` -> `{text}`"),
        };
        let (file, item, text) = (self.file.clone(), self.item.clone(), text.to_string());
        self.found.push(Mutant {
            file,
            item,
            line: span.start().line,
            start: range.start,
            end: range.end,
            text,
            name,
            number: 1,
        });
    }

    fn condition(&mut self, condition: &Expr) {
        if !matches!(condition, Expr::Let(_)) {
            self.replace(condition.span(), "true");
            self.replace(condition.span(), "false");
        }
    }
}

impl<'a> Visit<'a> for Finder {
    fn visit_item_mod(&mut self, module: &'a ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Expr(Expr::Return(_), _) => {} // the compiler wants it
            Stmt::Expr(_, Some(_)) => self.replace(statement.span(), ""),
            Stmt::Macro(_) => return, // log lines
            _ => {}
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        match expression {
            Expr::If(one) => self.condition(&one.cond),
            Expr::Binary(one) => {
                let other = match &one.op {
                    BinOp::Eq(_) => "!=",
                    BinOp::Ne(_) => "==",
                    BinOp::Lt(_) => "<=",
                    BinOp::Le(_) => "<",
                    BinOp::Gt(_) => ">=",
                    BinOp::Ge(_) => ">",
                    BinOp::And(_) => "||",
                    BinOp::Or(_) => "&&",
                    BinOp::BitOr(_) => {
                        for side in [&one.left, &one.right] {
                            let text = self.text[side.span().byte_range()].to_string();
                            self.replace(one.span(), &text);
                        }
                        ""
                    }
                    _ => "",
                };
                let whole = &self.text[one.span().byte_range()];
                let (start, operator) = (one.span().byte_range().start, one.op.span().byte_range());
                if !other.is_empty() {
                    let text =
                        [&whole[..operator.start - start], other, &whole[operator.end - start..]].concat();
                    self.replace(one.span(), &text);
                }
            }
            Expr::Lit(one) => {
                if let Lit::Int(number) = &one.lit
                    && let Ok(value) = number.base10_parse::<u64>()
                {
                    self.replace(number.span(), &format!("{}", value + 1));
                }
            }
            _ => {}
        }
        visit::visit_expr(self, expression);
    }

    fn visit_pat_guard(&mut self, guarded: &'a PatGuard) {
        let pattern = self.text[guarded.pat.span().byte_range()].to_string();
        self.replace(guarded.span(), &pattern);
        visit::visit_pat_guard(self, guarded);
    }

    fn visit_item_impl(&mut self, block: &'a syn::ItemImpl) {
        let of = self.text[block.self_ty.span().byte_range()].to_string();
        self.of = format!("{}::", of.split('<').next().unwrap_or_default());
        visit::visit_item_impl(self, block);
        self.of.clear();
    }

    fn visit_item_const(&mut self, constant: &'a syn::ItemConst) {
        let around = std::mem::replace(&mut self.item, constant.ident.to_string());
        visit::visit_item_const(self, constant);
        self.item = around;
    }

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.item = function.sig.ident.to_string();
        self.body(&function.sig.output, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.item = format!("{}{}", self.of, function.sig.ident);
        self.body(&function.sig.output, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

impl Finder {
    fn body(&mut self, output: &ReturnType, block: &Block) {
        if self.text[output.span().byte_range()].ends_with("Result<()>") {
            self.replace(block.span(), "{ Ok(()) }");
            if let Some(last) = self.found.last_mut() {
                last.name = format!("a function of {} statements -> `Ok(())`", block.stmts.len());
            }
        }
    }
}
