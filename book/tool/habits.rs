//! Words and turns that the book's text does without: what a native speaker would not say, and what belittles.

use regex_lite::Regex;

use crate::markdown;
use crate::page::Page;

/// What to look for, what to say instead, and what may stand right behind it after all.
struct Habit {
    pattern: &'static str,
    instead: &'static str,
    unless: &'static [&'static str],
}

const fn habit(pattern: &'static str, instead: &'static str) -> Habit {
    Habit { pattern, instead, unless: &[] }
}

const HABITS: &[Habit] = &[
    Habit {
        pattern: r"\b\w*([^e\s]|[^r\s]e|[^e\s]re|[^h\s]ere) (is|are|was|were) none\b",
        instead: "isn't one, there aren't any",
        unless: &["of", "in"],
    },
    Habit {
        pattern: r"\b([Ii]t|[Tt]hat|[Tt]his|[Tt]hey|[Tt]hese|[Tt]hose|which) (is|are|was|were) no\b",
        instead: "isn't a, aren't any",
        unless: &[
            "longer",
            "more",
            "less",
            "better",
            "worse",
            "different",
            "good",
            "accident",
            "use",
            "help",
        ],
    },
    habit(r"\b[Mm]ostly\b", "usually, most of"),
    habit(r"\b[Aa]new\b", "again, from scratch"),
    habit(r"\b[Ss]hall\b", "will, must, should"),
    habit(r"\b[Mm]end(s|ed|ing)?\b", "fix, repair"),
    habit(
        r"[,;:] for (it|they|we|you|he|she|I|there|nobody|everybody|this|that) (is|are|was|were|has|have|had|can|could|cannot|can't|do|does|did|will|would|may|might|must|needs?|isn't|aren't|doesn't|don't|won't)\b",
        "because",
    ),
    habit(
        r"^For (it|they|we|you|he|she|there|nobody) (is|are|was|were|has|have|can|could|do|does|did|will|would|may|must)\b",
        "Because",
    ),
    habit(r"\bsome (tens|dozens|hundreds|thousands|millions)\b", "hundreds of, a few hundred"),
    habit(
        r"\b(a|an|any|no|another) (\w+ )?(file|directory|program|process|table|list|rule|mount|device|link|name|number|thing) of (the|our|your) \w+'s([.,;:)]| (and|or|that|which|is|are|for|in|on|to|of|with|by)\b)",
        "a file of the host",
    ),
    habit(r"\b[a-z]\S* meanwhile([.;:)]|$)", "in the meantime"),
    habit(
        r"\b(is|are|was|were|works?|worked|starts?|started|calls?|called|looks?|looked|made|written|stands?|goes|done|run) so([.,;:)]|$)",
        "like this, that way",
    ),
    habit(r"^So (it|they) (was|were|is|are) (when|until|before|in|with)\b", "That was true"),
    habit(r"\btells (what|how|whether|where|why|which|when|that|from)\b", "tells you, says"),
    habit(r"\bon what (it|they|this|that) depends?\b", "what it depends on"),
    habit(
        r"\b[Ii]t (is|was|isn't|wasn't) (not )?(the|its|this|only the) [a-z ]{1,30} that (is|are|was|has|have|does|do|makes?|takes?|keeps?|gives?|decides?|ends?|holds?|waits?|shows?)\b",
        "say it straight: the … does",
    ),
    habit(r"\b[Ss]imply\b", "nothing"),
    Habit {
        pattern: r"(?i)\b(is|are|it's|that's|you|can|and|to|we|they|but|or) just\b",
        instead: "nothing, only",
        unless: &[
            "as", "before", "after", "below", "above", "now", "typed", "made", "being", "seen", "been",
            "left", "one", "read", "like", "saw",
        ],
    },
    habit(r"\b([Ee]asy|(can|is|are|be|it) easily)\b", "nothing, or what makes it so"),
];

/// All that the lines of a page have of these: the line's index, what it is, what to say instead.
pub fn found(page: &Page) -> Vec<(usize, String)> {
    let patterns: Vec<_> =
        HABITS.iter().filter_map(|habit| Some((Regex::new(habit.pattern).ok()?, habit))).collect();
    let mut all = Vec::new();
    for (index, line) in markdown::prose(page) {
        let is_plain = !line.trim_start().starts_with(['#', '|', '<']);
        for sentence in sentences(&line) {
            for (pattern, habit) in &patterns {
                for hit in pattern.find_iter(sentence) {
                    let next = sentence[hit.end()..].trim_start();
                    let word: String = next.chars().take_while(|c| c.is_alphabetic()).collect();
                    if !habit.unless.contains(&word.as_str()) {
                        all.push((
                            index,
                            format!("{:?} (better: {}): {sentence}", hit.as_str(), habit.instead),
                        ));
                    }
                }
            }
            if is_plain && who_is_a_subject(sentence) {
                all.push((index, format!("\"who\" as a subject (better: whoever, anyone who): {sentence}")));
            }
            if is_plain && sentence.matches(": ").count() >= 3 {
                all.push((index, format!("three colons in a sentence: {sentence}")));
            }
        }
    }
    all
}

/// The sentences of a line, without the marks of a list, a quotation or emphasis.
fn sentences(line: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut rest = line.trim().trim_start_matches(['-', '>', '*', ' ']);
    while let Some(at) = rest.find(". ").or_else(|| rest.find("? ")) {
        let end = [rest.find(". "), rest.find("? ")].into_iter().flatten().min().unwrap_or(at) + 1;
        sentences.push(&rest[..end]);
        rest = rest[end..].trim_start_matches([' ', '*', '(']);
    }
    sentences.push(rest);
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// "Who types …, means …": no question.
fn who_is_a_subject(sentence: &str) -> bool {
    let is_question = sentence.contains('?');
    let begins = ["Who ", "So who ", "But who ", "And who "].iter().any(|start| sentence.starts_with(start));
    let within = [", so who ", "; who ", ", because who "].iter().any(|part| sentence.contains(part));
    !is_question && !sentence.contains(".**") && (begins || within) && sentence.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        let lines = text.lines().map(String::from).collect();
        found(&Page { path: std::path::PathBuf::new(), name: String::new(), lines }).len()
    }

    #[test]
    fn what_is_found() {
        for text in [
            "It looks like a mount and is none.",
            "They are no files on a disk.",
            "It is no thing that runs.",
            "This is mostly not enough.",
            "A remount says all flags anew.",
            "Everyone shall have the same.",
            "Linux 4.19 mended it.",
            "Read the others, for you will meet both.",
            "It is one of some hundreds at once.",
            "That is a rule of the kernel's.",
            "It looks whether the file was copied up meanwhile.",
            "What we call so is a process; it is called so.",
            "So it was when that was written.",
            "The file tells what there is.",
            "Say on what it depends.",
            "Who types this means five megabytes.",
            "That is said, so who counts on from field 6 reads the wrong column.",
            "Simply start it.",
            "It's just a file.",
            "That is easy.",
            "It is the parent that waits.",
            "One: two: three: four.",
        ] {
            assert!(count(text) >= 1, "{text}");
        }
    }

    #[test]
    fn what_is_not_found() {
        for text in [
            "There is no such file, and none of it stays.",
            "It is no longer there, and that is no accident.",
            "A wrong answer is worth more than none.",
            "Amend the commit. A shallow clone. The marshall.",
            "A limit, for the whole group, and for it alone.",
            "Meanwhile, the parent waits. The parent meanwhile waits.",
            "A copy of the host's, instead of the parent's. It could be reached more easily. It is none of them. It refuses where there is none.",
            "The names of the host's mounts. The end of the container's first process.",
            "It fails, and says so. If you do so, the kernel thinks so too.",
            "So it goes. You can't tell which is which. It tells you what to do.",
            "Who holds the lock? Who waits for it, and who takes it?",
            "The shell, who types nothing.",
            "It has just ended. You've just seen it, just below the fold, and it's just as well.",
            "`simply easy anew`",
            "## Who has the terminal",
            "| v1: a | v2: b | c: d |",
            "It is true that it waits.",
        ] {
            assert_eq!(count(text), 0, "{text}");
        }
    }

    #[test]
    fn a_line_has_sentences() {
        assert_eq!(sentences("- One. Two? Three (four. Five)"), ["One.", "Two?", "Three (four.", "Five)"]);
    }
}
