//! What a registry wants of somebody it does not know: the header `WWW-Authenticate`. RFC 9110, 11.3; RFC 6750.

use std::collections::BTreeMap;

/// The two ways that registries know.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token, to be had somewhere else.
    Bearer {
        /// Where.
        realm: String,
        /// What to say there: for whom, and for which rights.
        query: Vec<(&'static str, String)>,
    },
}

impl Challenge {
    /// Reads the header's value. `None` if it is neither way.
    pub fn parse(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut found = parameters(rest);
        let realm = found.remove("realm")?;
        let mut query = Vec::new();
        query.extend(found.remove("service").map(|service| ("service", service)));
        // Several scopes stand in one parameter there, and in one each where they are asked for.
        let scopes = found.remove("scope").unwrap_or_default();
        query.extend(scopes.split_whitespace().map(|scope| ("scope", scope.to_string())));
        Some(Challenge::Bearer { realm, query })
    }
}

/// `a="b",c=d`, up to where it is something else. Quoted values may have commas and escaped letters.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim().to_ascii_lowercase();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            break; // the next challenge, for one
        }
        let (value, after) = value(after.trim_start());
        found.entry(key).or_insert(value); // of two, the first counts
        rest = after.trim_start().strip_prefix(',').unwrap_or_default();
    }
    found
}

/// One value, and what stands behind it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_string(), &text[end..]);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_two_ways() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".to_string(),
            query: vec![
                ("service", "registry.docker.io".to_string()),
                ("scope", "repository:library/busybox:pull,push".to_string()),
            ],
        };
        assert_eq!(Challenge::parse(docker), Some(expected));
        assert_eq!(Challenge::parse("BASIC realm=x"), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Basic"), Some(Challenge::Basic));
        let bare = Challenge::Bearer { realm: "r".to_string(), query: Vec::new() };
        assert_eq!(Challenge::parse(r#"bearer  Realm = r , error="x""#), Some(bare));
        for other in ["", "Bearer", "Bearer service=x", "Negotiate x=y", "Bearer realm"] {
            assert_eq!(Challenge::parse(other), None, "{other}");
        }
    }

    #[test]
    fn quoted_values() {
        let found = parameters(r#"a="x,\"y\\",b=,c="open"#);
        assert_eq!((&*found["a"], &*found["b"], &*found["c"]), (r#"x,"y\"#, "", "open"));
        let two = parameters(r#"realm="a", Basic realm="b""#);
        assert_eq!((two.len(), &*two["realm"]), (1, "a"));
    }

    proptest! {
        #[test]
        fn whatever_comes_it_ends(text in "\\PC*") {
            let _ = Challenge::parse(&format!("Bearer {text}"));
        }
    }
}
