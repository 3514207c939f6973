//! A chapter's title: its number above what it is about.

/// A page whose title is `# Chapter 1: what it is about`, with the number and the rest told apart; its id stays. Other
/// pages of a chapter, by their names, get its number above the title.
pub fn dress(name: &str, page: &str) -> String {
    let (first, rest) = page.split_once('\n').unwrap_or((page, ""));
    match first.strip_prefix("# Chapter ").and_then(|title| title.split_once(": ")) {
        Some((number, title)) => format!(
            "# <span class=\"number\">Chapter {number}<span>:</span></span> <span class=\"title\">{title}</span>\n{rest}"
        ),
        None => match chapter(name) {
            Some(number) => format!("<p class=\"chapter\">Chapter {number}</p>\n\n{page}"),
            None => page.to_string(),
        },
    }
}

/// 3, for `ch03-image`.
fn chapter(name: &str) -> Option<u32> {
    let (number, _) = name.strip_prefix("ch")?.split_once('-')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::dress;

    #[test]
    fn the_number_is_told_from_the_title() {
        let html = "# <span class=\"number\">Chapter 2<span>:</span></span> <span class=\"title\">limits</span>\na\n";
        assert_eq!(dress("ch02-cgroups", "# Chapter 2: limits\na\n"), html);
        assert_eq!(
            dress("ch03-image", "# The image\n"),
            "<p class=\"chapter\">Chapter 3</p>\n\n# The image\n"
        );
        assert_eq!(dress("glossary", "# Glossary\na\n"), "# Glossary\na\n");
    }
}
