//! What holds on every page, and what the pages together must have.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};

use book::learner::{self, Event, Learner};
use book::page::Page;
use book::sources::{self, library};
use book::{generated, habits, markdown, measure, messages, repo};
use items::include;
use items::source::Lines;
use lab::Chapter;
use libtest_mimic::{Arguments, Trial};

/// The headings of a chapter, in their order.
const HEADINGS: [&str; 13] = [
    "What you will be able to do",
    "Where we are",
    "Predict",
    "By hand",
    "In Rust",
    "What changed in main.rs",
    "Run it",
    "Look from outside",
    "Break it",
    "What the originals did",
    "What Docker and runc do",
    "Exercises",
    "Recap",
];

/// Each rule is a test. What one says is shown also where it passes: the words of each page.
fn main() -> ExitCode {
    macro_rules! trials {
        ($($rule:ident),* $(,)?) => {
            vec![$(Trial::test(stringify!($rule), || { $rule(); Ok(()) })),*]
        };
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // so that what they say is not mixed
    let trials = trials![
        code_is_only_included,
        what_is_included_exists,
        every_drawing_diff_and_break_is_used,
        every_line_of_a_chapter_is_on_its_pages,
        every_line_of_a_chapter_belongs_to_an_item,
        no_code_carries_marks_of_the_book,
        what_is_not_typed_is_for_reading,
        every_diff_applies,
        links_lead_somewhere,
        every_check_is_explained_once,
        every_message_is_in_troubleshooting,
        chapters_have_their_headings,
        chapters_pages_have_their_openers,
        folds_and_boxes_are_closed,
        a_page_begins_with_its_title,
        the_tone_is_calm,
        the_text_is_without_some_habits,
        every_drawing_has_a_name,
        pages_are_sittings,
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Fails with all that is wrong.
fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// The path in an `{{#include …}}`, by which drawings and diffs get into a page.
fn included(line: &str) -> Option<&str> {
    Some(line.trim().strip_prefix("{{#include ")?.strip_suffix("}}")?.trim())
}

/// All files that pages include whole: page, line's index, path below the top of the repository.
fn includes() -> Vec<(Page, usize, String)> {
    let mut all = Vec::new();
    for page in Page::all().unwrap() {
        for (index, line) in page.lines.iter().enumerate() {
            if let Some(path) = included(line) {
                let path = normal(&Path::new("book/src").join(path));
                all.push((page.clone(), index, path.display().to_string()));
            }
        }
    }
    all
}

fn code_is_only_included() {
    let mut wrong = Vec::new();
    for page in Page::all().unwrap() {
        for block in page.blocks() {
            let info = block.info.first().map(String::as_str).unwrap_or_default();
            for index in block.start..block.end {
                let line = &page.lines[index];
                let good = match info {
                    "rust" => line.is_empty() || include::item(line).is_some(),
                    "diff" => included(line).is_some(),
                    _ => true,
                };
                if !good {
                    wrong.push(format!(
                        "{}: a {info} block holds only includes, and not {line:?}",
                        page.place(index)
                    ));
                }
            }
            if block.start == block.end {
                wrong.push(format!("{}: an empty block", page.place(block.start)));
            }
        }
        for (index, line) in page.lines.iter().enumerate() {
            if line.contains("{{#") && included(line).is_none() && include::item(line).is_none() {
                wrong.push(format!("{}: not an include on a line of its own: {line:?}", page.place(index)));
            }
        }
    }
    none(wrong);
}

fn what_is_included_exists() {
    let mut wrong = Vec::new();
    for (page, index, path) in includes() {
        let result = repo::read(&repo::root().join(&path));
        wrong.extend(result.err().map(|error| format!("{}: {error:#}", page.place(index))));
    }
    let library = library();
    for page in Page::all().unwrap() {
        for (index, line) in page.lines.iter().enumerate() {
            let result = include::item(line).map(|inside| library.include(inside));
            wrong.extend(
                result.and_then(Result::err).map(|error| format!("{}: {error:#}", page.place(index))),
            );
        }
    }
    none(wrong);
}

fn every_drawing_diff_and_break_is_used() {
    let used: BTreeSet<_> = includes().into_iter().map(|(_, _, path)| path).collect();
    let files = repo::files().unwrap().into_iter().filter_map(|file| file.to_str().map(String::from));
    let mut wanted: BTreeSet<String> = files.filter(|file| file.starts_with("book/breaks/")).collect();
    let root = repo::root();
    let generated = generated::all().unwrap().into_keys();
    let for_pages = |path: &PathBuf| {
        path.parent().is_some_and(|parent| parent.ends_with("drawings") || parent.ends_with("diffs"))
    };
    let generated = generated.filter(for_pages);
    wanted.extend(generated.filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_str()?.to_string())));
    let unused = wanted.difference(&used).map(|path| format!("no page includes {path}"));
    none(unused.collect());
}

fn every_line_of_a_chapter_is_on_its_pages() {
    let library = library();
    let mut wrong = Vec::new();
    for chapter in Chapter::ALL {
        let mut learner = Learner::before(&library, chapter).unwrap();
        let mut shown: BTreeMap<String, Lines> = BTreeMap::new();
        for page in Page::of_chapter(chapter).unwrap() {
            for event in learner::events(&library, &page).unwrap_or_default() {
                if let Event::Block(block) = event {
                    wrong.extend(
                        learner.type_in(&block, &page, &library).err().map(|error| format!("{error:#}")),
                    );
                }
            }
            for (path, lines) in library.on_page(&page.text()) {
                shown.entry(path).or_default().extend(lines);
            }
        }
        // What a program has in common with the one whose place it takes need not be shown again.
        for (path, written) in learner.typed.written {
            shown.entry(path).or_default().extend(written.lines);
        }
        for source in sources::of_chapter(&library, chapter).unwrap() {
            let shown = shown.get(&source.path).cloned().unwrap_or_default();
            for index in source.taught().difference(&shown) {
                let line = source.lines[*index].trim();
                wrong.push(format!("{}:{}: on no page of its chapter: {line}", source.path, index + 1));
            }
        }
    }
    none(wrong);
}

/// Else no include could show it.
fn every_line_of_a_chapter_belongs_to_an_item() {
    let library = library();
    let mut wrong = Vec::new();
    for chapter in Chapter::ALL {
        for source in sources::of_chapter(&library, chapter).unwrap() {
            for index in source.strays() {
                let line = source.lines[index].trim();
                wrong.push(format!(
                    "{}:{}: a comment that stands above nothing: {line}",
                    source.path,
                    index + 1
                ));
            }
        }
    }
    none(wrong);
}

/// Those of mdBook, by which one includes parts of a file. Ours goes by the names of items.
fn no_code_carries_marks_of_the_book() {
    let mut wrong = Vec::new();
    for file in repo::files().unwrap().into_iter().filter(|file| file.starts_with("chapters")) {
        let bytes = std::fs::read(repo::root().join(&file)).unwrap();
        for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            if line.contains("ANCHOR") {
                wrong.push(format!("{}:{}: {}", file.display(), index + 1, line.trim()));
            }
        }
    }
    none(wrong);
}

/// `book.toml` tells the program that puts code into pages what the table of chapters tells all others.
fn what_is_not_typed_is_for_reading() {
    let typed: Vec<_> = Chapter::typed().collect();
    let read = Chapter::ALL.into_iter().filter(|chapter| !typed.contains(chapter));
    let line = format!("read = {:?}", read.flat_map(Chapter::pages).collect::<Vec<_>>());
    let settings = repo::read(&repo::root().join("book/book.toml")).unwrap();
    assert!(settings.lines().any(|one| one == line), "book/book.toml: [preprocessor.items] must have {line}");
}

/// The book's breaks and the lab's solved exercises: they are tried in the end, which is late to hear that one is old.
fn every_diff_applies() {
    let mut wrong = Vec::new();
    let ours =
        |file: &&PathBuf| file.starts_with("book/breaks") || file.starts_with("chapters/lab/exercises");
    for file in repo::files().unwrap().iter().filter(ours) {
        let mut git = Command::new("git");
        git.args(["-c", "safe.directory=*", "apply", "--check"]).arg(file).current_dir(repo::root());
        let output = git.output().unwrap();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).trim().to_string();
            wrong.push(format!("{}: {error}", file.display()));
        }
    }
    none(wrong);
}

fn links_lead_somewhere() {
    let root = repo::root();
    let files = repo::files().unwrap();
    let mut pages = BTreeMap::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "md")) {
        pages.insert(file.clone(), Page::read(&root.join(file)).unwrap());
    }
    let mut wrong = Vec::new();
    for (file, page) in &pages {
        for (index, target) in markdown::links(page) {
            let place = format!("{}:{}", file.display(), index + 1);
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, id) =
                target.split_once('#').map_or((target.as_str(), None), |(path, id)| (path, Some(id)));
            let to = match path {
                "" => file.clone(),
                path => normal(&file.parent().unwrap().join(path)),
            };
            let exists = root.join(&to).exists();
            // What git does not have is missing in every other clone.
            let is_kept = files.iter().any(|kept| kept.starts_with(&to));
            if !exists || !is_kept {
                wrong.push(format!("{place}: no {}", to.display()));
            } else if let (Some(id), Some(page)) = (id, pages.get(&to))
                && !markdown::headings(page).iter().any(|heading| heading.id == id)
            {
                wrong.push(format!("{place}: {} has no heading #{id}", to.display()));
            } else if file.starts_with("book/src") && to.starts_with("book/src") && !in_summary(&to) {
                wrong.push(format!("{place}: {} is no page of the book", to.display()));
            }
        }
    }
    none(wrong);
}

fn in_summary(file: &Path) -> bool {
    let page = file.extension().is_some_and(|end| end == "md");
    !page || Page::all().unwrap().iter().any(|page| page.path.ends_with(file))
}

fn every_check_is_explained_once() {
    let mut claimed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for page in Page::all().unwrap() {
        for (index, line) in page.lines.iter().enumerate() {
            for id in Page::mark(line, "checks").unwrap_or_default().split_whitespace() {
                claimed.entry(id.to_string()).or_default().push(page.place(index));
            }
        }
    }
    let known: BTreeSet<_> = lab::checks().chain(lab::fault_checks()).map(|check| check.id).collect();
    let mut wrong = Vec::new();
    for (id, places) in &claimed {
        if !known.contains(id.as_str()) {
            wrong.push(format!("{}: the lab has no check {id}", places.join(", ")));
        } else if places.len() > 1 {
            wrong.push(format!("{id} is claimed more than once: {}", places.join(", ")));
        }
    }
    none(wrong);
    // The grader points learners to these; what lets everything go wrong is for the chapters alone.
    let missing = lab::checks().map(|check| check.id).filter(|id| !claimed.contains_key(*id));
    none(missing.map(|id| format!("no page explains the check {id}")).collect());
}

fn every_message_is_in_troubleshooting() {
    let page = Page::named("troubleshooting").unwrap();
    let shown = markdown::code(&page);
    let mut missing = Vec::new();
    for message in messages::all().unwrap() {
        if !shown.iter().any(|line| message.printed.is_match(line)) {
            missing
                .push(format!("{}: {:?} is not in troubleshooting.md, as code", message.place, message.text));
        }
    }
    none(missing);
}

fn chapters_have_their_headings() {
    let mut wrong = Vec::new();
    for chapter in Chapter::ALL {
        let pages = Page::of_chapter(chapter).unwrap();
        let headings: Vec<_> = pages.iter().flat_map(markdown::headings).collect();
        let second: Vec<_> =
            headings.iter().filter(|heading| heading.level == 2).map(|h| h.text.as_str()).collect();
        let missing: Vec<_> = HEADINGS.into_iter().filter(|heading| !second.contains(heading)).collect();
        if !missing.is_empty() {
            wrong.push(format!("chapter {}: its pages have no heading {missing:?}", chapter.name()));
        }
        let strange: Vec<_> = second.iter().filter(|heading| !HEADINGS.contains(heading)).collect();
        if !strange.is_empty() {
            wrong.push(format!("chapter {}: headings that no chapter has: {strange:?}", chapter.name()));
        }
        for page in pages {
            let on_page = markdown::headings(&page).into_iter().filter(|heading| heading.level == 2);
            let places: Vec<_> =
                on_page.filter_map(|one| HEADINGS.iter().position(|other| *other == one.text)).collect();
            if !places.is_sorted() {
                wrong.push(format!("{}: the headings stand in another order than {HEADINGS:?}", page.name));
            }
        }
    }
    none(wrong);
}

fn a_page_begins_with_its_title() {
    let mut wrong = Vec::new();
    for page in Page::all().unwrap() {
        let titles: Vec<_> =
            markdown::headings(&page).into_iter().filter(|heading| heading.level == 1).collect();
        if titles.len() != 1 || titles[0].line != 0 {
            wrong.push(format!("{}: one title, in the first line", page.name));
        }
    }
    none(wrong);
}

fn the_tone_is_calm() {
    let is_emoji = |c: char| matches!(c, '\u{2600}'..='\u{27bf}' | '\u{1f000}'..='\u{1faff}' | '\u{fe0f}' | '\u{2b50}'..='\u{2b55}');
    let mut wrong = Vec::new();
    for page in Page::all().unwrap() {
        for (index, line) in markdown::prose(&page) {
            let line = line.replace("![", "[");
            if line.contains('!') || line.contains(is_emoji) {
                wrong.push(format!("{}: an exclamation mark or an emoji: {line}", page.place(index)));
            }
        }
    }
    none(wrong);
}

/// What a native speaker would not say, and what belittles: book/tool/habits.rs has the list.
fn the_text_is_without_some_habits() {
    let mut wrong = Vec::new();
    for page in Page::all().unwrap() {
        let found = habits::found(&page).into_iter();
        wrong.extend(found.map(|(index, what)| format!("{}: {what}", page.place(index))));
    }
    none(wrong);
}

/// What a sitting is about, what it needs, how long it takes.
fn chapters_pages_have_their_openers() {
    let mut wrong = Vec::new();
    for page in Chapter::ALL.into_iter().flat_map(|chapter| Page::of_chapter(chapter).unwrap()) {
        let first = page.lines.iter().skip(1).find(|line| !line.trim().is_empty());
        let end = page.lines.iter().position(|line| line.trim() == "</div>").unwrap_or(0);
        let opener = page.lines[..end].join("\n");
        if first.is_none_or(|line| line.trim() != "<div class=\"opener\">") {
            wrong.push(format!("{}: no <div class=\"opener\"> right below its title", page.place(0)));
            continue;
        }
        for part in ["**You'll build:**", "**You need:**", "**Time:**", "<!-- time -->"] {
            if !opener.contains(part) {
                wrong.push(format!("{}: its opener has no {part}", page.place(0)));
            }
        }
    }
    none(wrong);
}

/// What is opened is closed, in its order, and a fold has something to click on.
fn folds_and_boxes_are_closed() {
    let mut wrong = Vec::new();
    for page in Page::all().unwrap() {
        let mut open: Vec<(&str, usize)> = Vec::new();
        for (index, line) in markdown::prose(&page) {
            for tag in line.split('<').skip(1) {
                let name = tag.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next();
                let names = ["details", "summary", "div", "aside", "figure", "figcaption"];
                let Some(name) = names.into_iter().find(|one| Some(*one) == name) else { continue };
                if !tag.starts_with('/') {
                    open.push((name, index));
                } else if open.pop().is_none_or(|(opened, _)| opened != name) {
                    wrong.push(format!("{}: </{name}> closes something else, or nothing", page.place(index)));
                }
            }
        }
        wrong.extend(open.iter().map(|(name, index)| format!("{}: <{name}> stays open", page.place(*index))));
        let count = |what: &str| page.lines.iter().filter(|line| line.trim_start().starts_with(what)).count();
        if count("<details>") != count("<summary>") {
            wrong.push(format!("{}: a <details> without its <summary>", page.name));
        }
    }
    none(wrong);
}

/// How long the pages are: `cargo run -p book -- words` shows the same.
fn pages_are_sittings() {
    let measures = measure::all().unwrap();
    println!("\n{}", measure::table(&measures).unwrap());
    let over = measure::over(&measures);
    none(over);
}

/// For those who hear the page.
fn every_drawing_has_a_name() {
    let mut wrong = Vec::new();
    for name in generated::drawings().unwrap() {
        let path = format!("book/drawings/{name}.pikchr");
        let source = repo::read(&repo::root().join(&path)).unwrap();
        if generated::title(&source).is_none() {
            wrong.push(format!("{path}: no `// title: …` in the first line"));
        }
    }
    none(wrong);
}
