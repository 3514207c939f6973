//! A chapter's title: its number above what it is about.

/// A page whose title is `# Chapter 1: what it is about`, with the number and the rest told apart. Its id stays.
pub fn dress(page: &str) -> String {
    let (first, rest) = page.split_once('\n').unwrap_or((page, ""));
    match first.strip_prefix("# Chapter ").and_then(|title| title.split_once(": ")) {
        Some((number, title)) => format!(
            "# <span class=\"number\">Chapter {number}<span>:</span></span> <span class=\"title\">{title}</span>\n{rest}"
        ),
        None => page.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_is_told_from_the_title() {
        let html = "# <span class=\"number\">Chapter 2<span>:</span></span> <span class=\"title\">limits</span>\na\n";
        assert_eq!(super::dress("# Chapter 2: limits\na\n"), html);
        assert_eq!(super::dress("# Glossary\na\n"), "# Glossary\na\n");
    }
}
