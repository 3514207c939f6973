//! Moments as people type them, for `--since` and `--until`: how long ago, or a date, RFC 3339.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::time::{self, SECONDS_OF_A_DAY, is_writable, nanoseconds, whole};

/// The units that a length of time may have, in nanoseconds. A unit stands before those that begin with it.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The moment that a `--since` or `--until` means: a length of time before now, or a date, or seconds since 1970.
pub fn meant(text: &str) -> Result<Duration> {
    if let Some(length) = parse_length(text) {
        return Ok(time::moment().saturating_sub(length));
    }
    let moment = parse_rfc3339(text).or_else(|| time::parse(text).ok()).filter(is_writable);
    ensure!(
        moment.is_some(),
        "{text:?} is no time: say how long ago (10m, 1h30m), a date (2025-11-29T14:30:00Z), or seconds since 1970"
    );
    Ok(moment.unwrap_or_default())
}

/// A length of time, in numbers with a unit each: `10m`, `1h30m`, `1.5s`, `100ms`.
fn parse_length(text: &str) -> Option<Duration> {
    let (mut rest, mut length) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let (unit, nanoseconds_of_unit) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        // `m` is a minute only where it does not begin `ms`.
        rest = after.strip_prefix(unit)?;
        let (ones, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let ones = if ones.is_empty() { None } else { whole(ones) }?;
        let part = u128::from(nanoseconds(fraction)?) * u128::from(*nanoseconds_of_unit) / 1_000_000_000;
        let all = u64::try_from(u128::from(ones) * u128::from(*nanoseconds_of_unit) + part).ok()?;
        length = length.checked_add(Duration::from_nanos(all))?;
    }
    (!text.is_empty()).then_some(length)
}

/// A moment in RFC 3339, as people write it: `2025-11-29`, `2025-11-29T02:15`, `…:43.5`, and behind a time of the day `Z`
/// or `+01:00`. Without such a zone it is UTC, as in all that we print.
fn parse_rfc3339(text: &str) -> Option<Duration> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00"));
    let (year, month, day_of_month) = three(date, '-')?;
    let (time, ahead) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (&time[..at], zone(&time[at..])?),
        None => (time, 0),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let (hour, minute, second) = three(time, ':').or_else(|| three(&format!("{time}:00"), ':'))?;
    let is_date = (1970..10_000).contains(&year) && (1..=12).contains(&month) && day_of_month > 0;
    let day = is_date.then(|| time::day(year, month, day_of_month))?;
    // The 30th of February is the second of March then.
    if time::date(day) != (year, month, day_of_month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = day * SECONDS_OF_A_DAY + hour * 3600 + minute * 60 + second;
    Some(Duration::new(seconds.checked_add_signed(-ahead)?, nanoseconds(fraction)?))
}

/// How many seconds a zone's clocks are ahead of UTC.
fn zone(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let seconds = (hours * 3600 + minutes * 60) as i64;
    (hours < 24 && minutes < 60).then_some(if text.starts_with('-') { -seconds } else { seconds })
}

/// Three numbers: a year or an hour, and two more of two digits.
fn three(text: &str, between: char) -> Option<(u64, u64, u64)> {
    let mut parts = text.split(between);
    let first = parts.next().filter(|first| [2, 4].contains(&first.len())).and_then(whole)?;
    let three = (first, two_digits(parts.next()?)?, two_digits(parts.next()?)?);
    parts.next().is_none().then_some(three)
}

fn two_digits(text: &str) -> Option<u64> {
    if text.len() == 2 { whole(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{YEAR_10000, age, rfc3339};
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn dates_as_people_write_them() {
        let noon = Some(seconds(1_764_417_600));
        for text in [
            "2025-11-29T12:00:00Z",
            "2025-11-29t12:00z",
            "2025-11-29 12:00:00.0",
            "2025-11-29T12:00",
            "2025-11-29T13:30:00+01:30",
            "2025-11-29T07:00:00.000-05:00",
        ] {
            assert_eq!(parse_rfc3339(text), noon, "{text}");
        }
        assert_eq!(parse_rfc3339("2025-11-29"), Some(seconds(1_764_374_400)));
        assert_eq!(parse_rfc3339("2024-02-29"), Some(seconds(1_709_164_800)));
        for wrong in [
            "2025-02-29",
            "2025-13-01",
            "2025-00-01",
            "2025-01-00",
            "2025-1-1",
            "1969-12-31",
            "2025-01-01T24:00",
            "2025-01-01T1:00",
            "2025-01-01T12",
            "2025-01-01T12:00:00+1",
            "2025-01-01T12:00:00.Z",
            "1970-01-01T00:00+01:00",
            "2025-01-01T12:00:00+é",
            "+025-01-01",
            "",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lengths() {
        for (text, milliseconds) in [
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("100ms", 100),
            ("2m5ms", 120_005),
            ("0s", 0),
            ("1.000000001h", 3_600_000),
        ] {
            assert_eq!(parse_length(text).unwrap().as_millis(), milliseconds, "{text}");
        }
        for wrong in
            ["", "10", "m", ".5h", "1d", "-1h", "1h ", "1.2.3s", "99999999999999999999h", "9999999999h"]
        {
            assert_eq!(parse_length(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_since_means() {
        let ago = age(meant("10m").unwrap()).as_secs();
        assert!((600..610).contains(&ago), "{ago}");
        assert_eq!(meant("1764382543.5").unwrap(), Duration::new(1_764_382_543, 500_000_000));
        assert_eq!(meant("1764382543").unwrap(), seconds(1_764_382_543));
        for wrong in ["", "yesterday", "10 minutes", "99999999999999", "1.", ".5", "-5", "+5"] {
            assert!(meant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_and_the_last_moment() {
        for moment in [Duration::ZERO, seconds(951_782_399), seconds(4_107_542_400), seconds(YEAR_10000 - 1)]
        {
            assert_eq!(parse_rfc3339(&rfc3339(moment)), Some(moment));
        }
    }

    proptest! {
        #[test]
        fn nothing_that_anybody_types_panics(text in "\\PC*|[0-9TZ:.+hms -]{0,40}") {
            let _ = (meant(&text), time::parse(&text));
        }

        #[test]
        fn what_is_written_can_be_read_again(one in 0..YEAR_10000, n in 0..1_000_000_000_u32) {
            let one = Duration::new(one, n);
            prop_assert_eq!(parse_rfc3339(&rfc3339(one)), Some(one));
        }
    }
}
