//! Signals as people write them: signal(7).

use anyhow::{Result, bail};
use nix::libc;
use nix::sys::signal::Signal;

/// The number of a signal: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.
pub fn parse(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        if (1..=libc::SIGRTMAX()).contains(&number) {
            return Ok(number);
        }
        bail!("there is no signal {text}");
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Ok(signal) = format!("SIG{name}").parse::<Signal>() {
        return Ok(signal as i32);
    }
    let (base, offset) = match name.split_at_checked(5) {
        Some(("RTMIN", offset)) => (libc::SIGRTMIN(), offset),
        Some(("RTMAX", offset)) => (libc::SIGRTMAX(), offset),
        _ => bail!("there is no signal {text:?}"),
    };
    let offset = if offset.is_empty() { Ok(0) } else { offset.parse::<i32>() };
    match offset.ok().and_then(|offset| base.checked_add(offset)) {
        Some(number) if (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) => Ok(number),
        _ => bail!("there is no signal {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for term in ["TERM", "term", "SIGTERM", "15"] {
            assert_eq!(parse(term).unwrap(), 15);
        }
        assert_eq!(parse("RTMIN+3").unwrap(), libc::SIGRTMIN() + 3);
        assert_eq!(parse("SIGRTMAX").unwrap(), 64);
        for bad in ["", "0", "-1", "65", "NOPE", "RTMIN+99", "RTMIN-1", "RTMINX", "SIG"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
