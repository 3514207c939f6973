//! Console blocks as terminals: what is typed, and what appears.

use std::fmt::Write as _;

/// The prompt that a line begins with, and what is typed.
pub fn prompt_of(line: &str) -> Option<(&str, &str)> {
    for prompt in ["$ ", "# "] {
        if let Some(typed) = line.strip_prefix(prompt) {
            return Some((prompt, typed));
        }
    }
    if line == "$" || line == "#" {
        return Some((if line == "$" { "$ " } else { "# " }, ""));
    }
    let end = [" # ", " $ "].iter().filter_map(|mark| line.find(mark).map(|at| at + mark.len())).min();
    let end = end.or_else(|| (line.ends_with(" #") || line.ends_with(" $")).then_some(line.len()))?;
    let (prompt, typed) = line.split_at(end);
    is_prompt(&format!("{} ", prompt.trim_end())).then_some((prompt, typed))
}

/// Whether a line is a prompt of a shell that waits: bash's, a root shell's, a container's, or any one's second.
pub fn is_prompt(line: &str) -> bool {
    matches!(line, "$ " | "# " | "> ") || {
        let container = line.strip_suffix(" # ").or(line.strip_suffix(" $ "));
        container.is_some_and(|path| path.starts_with(['/', '~']) && !path.contains(char::is_whitespace))
    }
}

/// The key that a line such as `^C` stands for.
pub fn key_of(line: &str) -> Option<char> {
    let mut characters = line.strip_prefix('^')?.chars();
    let key = characters.next().filter(|c| c.is_ascii_uppercase() || *c == '\\')?;
    characters.next().is_none().then_some(key)
}

/// What is typed at a prompt's second line and those after it.
pub fn continuation(line: &str) -> Option<&str> {
    if line == ">" { Some("") } else { line.strip_prefix("> ") }
}

/// Lines of code that are longer take the room beside the text too.
const NARROW: usize = 91;

/// A page with its console blocks as HTML: a title, prompts, what is typed, output. Blocks of any kind with long
/// lines say so in their info.
pub fn dress(page: &str) -> String {
    let mut out = String::new();
    let mut lines = page.lines();
    let mut inside = [Vec::new(), Vec::new()];
    while let Some(line) = lines.next() {
        let marks = line.trim_start();
        let (ticks, info) = marks.split_at(marks.len() - marks.trim_start_matches('`').len());
        let indent = &line[..line.len() - marks.len()];
        if ticks.len() < 3 || info.contains('`') {
            out.extend([line, "\n"]);
            continue;
        }
        let mut block = Vec::new();
        let mut end = "";
        for line in lines.by_ref() {
            let rest = line.trim_start().trim_start_matches('`');
            if rest.trim().is_empty() && line.trim_start().len() - rest.len() >= ticks.len() {
                end = line;
                break;
            }
            block.push(line.strip_prefix(indent).unwrap_or(line.trim_start()));
        }
        let words: Vec<_> = info.split(',').map(str::trim).collect();
        let wide = block.iter().any(|line| line.chars().count() > NARROW);
        if words[0] == "console" {
            let terminal = usize::from(words.contains(&"second"));
            let html = terminal_of(&words, &block, wide, &mut inside[terminal]);
            out.extend(html.lines().map(|line| format!("{indent}{line}\n")));
        } else {
            let mark = if wide && !words[0].is_empty() { ",wide" } else { "" };
            out += &format!("{line}{mark}\n");
            out.extend(block.iter().map(|line| format!("{indent}{line}\n")));
            out.extend([end, "\n"]);
        }
    }
    out
}

/// One block. `shells` are those that wait in this terminal below the user's own: whether each is in a container.
fn terminal_of(words: &[&str], block: &[&str], wide: bool, shells: &mut Vec<bool>) -> String {
    let is = |word| words.contains(&word);
    let name = if is("second") { "Second terminal" } else { "Terminal" };
    let place = match () {
        () if is("vm") => ", in the classroom VM",
        () if is("v1") => ", cgroup v1",
        () if is("v2") => ", cgroup v2",
        () => "",
    };
    let class = if is("second") { " second" } else { "" }.to_string() + if wide { " wide" } else { "" };
    let mut out = format!("<div class=\"terminal{class}\" data-title=\"{name}{place}\">\n\n<pre>");
    let mut rest = block.iter().copied().peekable();
    let mut marked = false;
    let first = block.iter().find_map(|line| prompt_of(line));
    if shells.last() == Some(&true) && first.is_none_or(|(prompt, _)| prompt != "$ ") {
        // It went on from the block before.
        out += "<span class=\"inside\">";
        marked = true;
    }
    while let Some(line) = rest.next() {
        let mut html = String::new();
        if let Some((prompt, typed)) = prompt_of(line) {
            let path = prompt.starts_with(['/', '~']);
            if prompt == "$ " {
                shells.clear();
            } else if shells.is_empty() {
                shells.push(path);
            } else if path && let Some(last) = shells.last_mut() {
                *last = true;
            }
            let was = shells.last().copied().unwrap_or(false);
            if was != marked {
                html += if was { "<span class=\"inside\">" } else { "</span>" };
                marked = was;
            }
            let _ = write!(
                html,
                "<span class=\"prompt\">{}</span><kbd>{}</kbd>",
                escaped(prompt),
                escaped(typed)
            );
            let mut command = typed.to_string();
            while let Some(more) = rest.peek().and_then(|line| continuation(line)) {
                let _ = write!(html, "\n<span class=\"prompt\">&gt; </span><kbd>{}</kbd>", escaped(more));
                command.extend(["\n", more]);
                rest.next();
            }
            if typed == "exit" {
                shells.pop();
            } else if let Some(kind) = shell_in(&command) {
                // A shell at a user's prompt shows at the next one.
                shells.push(kind || was);
            }
        } else if key_of(line).is_some() {
            let _ = write!(html, "<kbd class=\"key\">{}</kbd>", escaped(line));
        } else if !line.is_empty() {
            let _ = write!(html, "<samp>{}</samp>", escaped(line));
        }
        out.extend([&html, "\n"]);
    }
    if marked {
        out += "</span>";
    }
    out + "</pre>\n\n</div>\n"
}

/// Whether a command starts a shell that one then types into, and whether that is one with walls around it.
fn shell_in(command: &str) -> Option<bool> {
    let words: Vec<_> = command.split_whitespace().collect();
    let is_shell = |word: &&str| matches!(word.rsplit('/').next(), Some("sh" | "bash" | "-i" | "-s"));
    if !words.last().is_some_and(is_shell) || words.contains(&"|") {
        return None;
    }
    let walls = ["unshare", "nsenter", "chroot", "run", "exec", "bare"];
    Some(words.iter().any(|word| walls.contains(word)))
}

/// Text in HTML. mdBook would take two braces for its own.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace("{{", "&#123;{")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_told_from_output() {
        let page = "a\n\n```console,second\n$ echo \"a\n> b\" < x\na\n\nb\n^C\n$\n```\nb\n";
        let html = "a\n\n<div class=\"terminal second\" data-title=\"Second terminal\">\n\n\
            <pre><span class=\"prompt\">$ </span><kbd>echo \"a</kbd>\n\
            <span class=\"prompt\">&gt; </span><kbd>b\" &lt; x</kbd>\n<samp>a</samp>\n\n<samp>b</samp>\n\
            <kbd class=\"key\">^C</kbd>\n<span class=\"prompt\">$ </span><kbd></kbd>\n</pre>\n\n</div>\nb\n";
        assert_eq!(dress(page), html);
    }

    #[test]
    fn other_blocks_stay() {
        let page = "- a\n  ````text\n  ```console\n  $ a\n  ```\n  ````\n";
        assert_eq!(dress(page), page);
        let long = "x".repeat(NARROW + 1);
        assert_eq!(dress(&format!("```rust\n{long}\n```\n")), format!("```rust,wide\n{long}\n```\n"));
    }

    #[test]
    fn a_container_is_marked_until_its_shell_ends() {
        let marked = |page: &str| {
            let html = dress(page);
            html.lines()
                .scan(false, |inside, line| {
                    *inside = (*inside || line.contains("\"inside\""))
                        && !line.contains("</span><span class=\"prompt\">$");
                    Some((*inside, line.to_string()))
                })
                .filter(|(inside, line)| *inside && line.contains("<kbd>"))
                .count()
        };
        assert_eq!(marked("```console\n$ run -ti sh\n/ # ls\na\n/ # exit\n$ ls\n```\n"), 2);
        assert_eq!(marked("```console\n$ sudo unshare -p bash\n# ls\n# exit\n$ ls\n```\n"), 2);
        assert_eq!(marked("```console\n$ sudo sh\n# ls\n# exit\n$ ls\n```\n"), 0);
        assert_eq!(
            marked("```console\n$ sudo unshare -p bash\n# ls\n```\n\n```console\n# ls\n# exit\n$ ls\n```\n"),
            3
        );
    }
}
