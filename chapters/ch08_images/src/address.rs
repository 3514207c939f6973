//! Addresses of a registry, and where it sends you. RFC 3986.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// An address, if it is one that may be asked: `http` or `https`, with a host, and without a password in it.
pub fn parse(text: &str) -> Result<Uri> {
    let uri: Uri = text.parse().with_context(|| format!("{text:?} is no address"))?;
    let known = [Scheme::HTTP, Scheme::HTTPS].iter().any(|scheme| uri.scheme() == Some(scheme));
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    ensure!(known && !authority.is_empty(), "{text:?} is no address of a web server");
    ensure!(!authority.contains('@'), "an address has a user in it");
    Ok(uri)
}

/// Where an answer's `Location` leads, that came from `from`. From an encrypted connection to no other.
pub fn resolve(from: &Uri, location: &str) -> Result<Uri> {
    let scheme = from.scheme_str().unwrap_or_default();
    let here = format!("{scheme}://{}", from.authority().map_or("", |authority| authority.as_str()));
    let to = if location.starts_with("//") {
        parse(&format!("{scheme}:{location}"))?
    } else if location.starts_with('/') {
        parse(&format!("{here}{location}"))?
    } else if location.contains("://") {
        parse(location)?
    } else {
        let directory = from.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        parse(&format!("{here}{directory}/{location}"))?
    };
    if from.scheme() == Some(&Scheme::HTTPS) && to.scheme() != Some(&Scheme::HTTPS) {
        bail!("{here} leads to {}, which is not encrypted", origin(&to));
    }
    Ok(to)
}

/// Scheme, host and port: those that have the same are the same server.
pub fn origin(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    format!("{scheme}://{}:{port}", uri.host().unwrap_or_default().to_ascii_lowercase())
}

/// Whether nobody between here and there can listen.
pub fn is_private(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS) || is_loopback(uri.host().unwrap_or_default())
}

/// Whether a host is this machine, as it is written. What a name server says about it does not count.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A value for the part behind `?`.
pub fn escaped(value: &str) -> String {
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_locations_lead() {
        for (from, location, to) in [
            ("http://localhost:5000/v2/a/blobs/x", "/v2/u?s=1", "http://localhost:5000/v2/u?s=1"),
            ("https://r.example/v2/a/", "y?z", "https://r.example/v2/a/y?z"),
            ("https://r.example/v2/a", "//cdn.example/b", "https://cdn.example/b"),
            ("https://r.example/v2/a", "https://cdn.example/b?k=://", "https://cdn.example/b?k=://"),
            ("http://localhost/a", "https://cdn.example/b", "https://cdn.example/b"),
        ] {
            let led = resolve(&parse(from).unwrap(), location).unwrap();
            assert_eq!(led, to.parse::<Uri>().unwrap(), "{from} {location}");
        }
        for location in
            ["file:///etc/passwd", "http://r.example/a", "https://u:p@r.example/", "https://", "ftp://x/"]
        {
            let from = parse("https://r.example/v2/a").unwrap();
            assert!(resolve(&from, location).is_err(), "{location}");
        }
    }

    #[test]
    fn the_same_server() {
        let origin = |text| origin(&parse(text).unwrap());
        assert_eq!(origin("https://R.example/a"), origin("https://r.example:443/b?c"));
        for other in ["http://r.example/", "https://r.example:444/", "https://x.r.example/"] {
            assert_ne!(origin("https://r.example/"), origin(other));
        }
    }

    #[test]
    fn this_machine() {
        assert!(["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::1"].into_iter().all(is_loopback));
        assert!(
            !["127.0.0.1.example", "localhost.example", "10.0.0.1", "", "127.1"].into_iter().any(is_loopback)
        );
    }

    #[test]
    fn values() {
        assert_eq!(escaped("repository:a/b:pull ä&"), "repository%3Aa%2Fb%3Apull%20%C3%A4%26");
    }
}
