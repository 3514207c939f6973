//! Numbers as the user writes them, and lists of them as the kernel does too: cpuset(7).

use std::collections::BTreeSet;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

/// A number without sign; unlike the standard parser, with one kind of message.
pub(crate) fn digits(text: &str) -> Result<u64> {
    ensure!(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?} is not a number");
    text.parse().with_context(|| format!("{text} is too large"))
}

/// Refuses a number that is out of range.
pub(crate) fn in_range(number: u64, least: u64, most: u64) -> Result<u64> {
    ensure!((least..=most).contains(&number), "must be from {least} to {most}");
    Ok(number)
}

/// The most CPUs or memory nodes that a kernel can be built for.
const MOST_NUMBERS: u32 = 8192;

/// Numbers and ranges as the kernel writes them: `0-1,3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberList {
    /// As given, which is how the kernel wants it too.
    pub text: String,
    /// The same, counted out.
    pub numbers: BTreeSet<u32>,
}

impl FromStr for NumberList {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<NumberList> {
        let number = |text: &str| -> Result<u32> {
            let number = digits(text)?;
            ensure!(number < MOST_NUMBERS.into(), "{number} is more than any kernel has");
            Ok(number as u32)
        };
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            ensure!(first <= last, "the range {part} runs backwards");
            numbers.extend(first..=last);
        }
        Ok(NumberList { text: text.to_string(), numbers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let list: NumberList = "0-2,5".parse().unwrap();
        assert_eq!(Vec::from_iter(list.numbers), [0, 1, 2, 5]);
        for bad in ["", "abc", "1-0", "0-", "-1", "0,,1", "0-4294967295", "99999999999", "0-1-2", "+1", "0 "]
        {
            assert!(bad.parse::<NumberList>().is_err(), "{bad:?}");
        }
    }
}
