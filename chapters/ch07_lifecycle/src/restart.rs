//! Whether a container that has ended is started again, and when.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Error, Result, bail};

/// After this long a container counts as one that works, and the next pause is a short one again.
pub const WORKS: Duration = Duration::from_secs(10);

/// `--restart`, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Never.
    #[default]
    No,
    /// If its status isn't 0; so many times at most.
    OnFailure(Option<u32>),
    /// Unless somebody stopped it.
    Always,
}

impl Policy {
    /// Whether a container that has ended with this status, after so many restarts, is to be started again.
    pub fn again(self, status: u8, restarts: u32) -> bool {
        match self {
            Policy::No => false,
            Policy::OnFailure(most) => status != 0 && most.is_none_or(|most| restarts < most),
            Policy::Always => true,
        }
    }
}

/// How long to wait before a restart: 100 ms the first time, then twice as long each time, and a minute at most. What
/// fails at once would else keep a processor busy.
pub fn pause(in_a_row: u32) -> Duration {
    let longest = Duration::from_secs(60);
    Duration::from_millis(100).checked_mul(1 << in_a_row.min(10)).unwrap_or(longest).min(longest)
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Policy> {
        Ok(match text.split_once(':') {
            None if text == "no" => Policy::No,
            None if text == "on-failure" => Policy::OnFailure(None),
            None if text == "always" || text == "unless-stopped" => Policy::Always,
            // As Docker has it, 0 is no limit.
            Some(("on-failure", most)) if most.parse::<u32>().is_ok() => {
                Policy::OnFailure(most.parse().ok().filter(|most| *most > 0))
            }
            _ => bail!("must be no, on-failure, on-failure:N, always or unless-stopped"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute() {
        let seconds = |n| pause(n).as_secs_f64();
        assert_eq!(
            [seconds(0), seconds(1), seconds(3), seconds(9), seconds(4000)],
            [0.1, 0.2, 0.8, 51.2, 60.0]
        );
    }

    #[test]
    fn policies() {
        assert!("on-failure:3".parse::<Policy>().unwrap().again(1, 2));
        assert!(!"on-failure:3".parse::<Policy>().unwrap().again(1, 3));
        assert!(!"on-failure".parse::<Policy>().unwrap().again(0, 0));
        assert!("on-failure:0".parse::<Policy>().unwrap().again(1, 99));
        for bad in ["", "maybe", "always:3", "on-failure:", "on-failure:-1", "on-failure:x"] {
            assert!(bad.parse::<Policy>().is_err(), "{bad:?}");
        }
    }
}
