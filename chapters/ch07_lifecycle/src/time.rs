//! Moments, and how they are written: clock_gettime(2), RFC 3339.
//!
//! A moment is the time since the beginning of 1970 in UTC, which every Unix counts from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

pub(crate) const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

/// The last year that has four digits is the last one that RFC 3339 can write: this is the first moment after it.
pub(crate) const YEAR_10000: u64 = 253_402_300_800;

/// Now, as the facts of a record have it: `1764382543.012345678`.
pub fn now() -> String {
    let now = moment();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

/// Now.
pub fn moment() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How long ago a moment is. Nothing, if the clock has been set back since.
pub fn age(moment: Duration) -> Duration {
    self::moment().saturating_sub(moment)
}

/// A moment, from seconds since 1970, with or without a fraction: what [`now`] writes.
pub fn parse(text: &str) -> Result<Duration> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let moment = whole(seconds).zip(nanoseconds(fraction)).map(|(s, n)| Duration::new(s, n));
    moment.filter(is_writable).with_context(|| format!("{text:?} is no moment in seconds since 1970"))
}

/// A moment in UTC, always with nine digits after the second, so that in the order of the alphabet the earlier comes first:
/// `2025-11-29T02:15:43.012345678Z`.
pub fn rfc3339(moment: Duration) -> String {
    let (year, month, day) = date(moment.as_secs() / SECONDS_OF_A_DAY);
    let second = moment.as_secs() % SECONDS_OF_A_DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let nanoseconds = moment.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// The date of a day, counted from 1970, as year, month and day.
///
/// A year begins in March here, as it did in Rome: then the day that some years have more is their last, and each month
/// begins so many days after the first as `(153 * month + 2) / 5` says. 400 years are always 146,097 days.
pub(crate) fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468; // from the first of March of the year 0
    let (era, day) = (day / 146_097, day % 146_097);
    // Without the leap days before it, each year has 365: one in four years, but not in a hundred, but in 400.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = 400 * era + year;
    // 0 is March, and 10 is the January of the next year, as we count them.
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// The day of a date, counted from 1970: [`date`], the other way.
pub(crate) fn day(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day = day - 1 + (153 * month + 2) / 5;
    365 * year + year / 4 - year / 100 + year / 400 + day - 719_468
}

/// A number of digits only: `parse` alone would take a sign, too.
pub(crate) fn whole(digits: &str) -> Option<u64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The digits behind a point, as nanoseconds. What is smaller is left out.
pub(crate) fn nanoseconds(fraction: &str) -> Option<u32> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<9}")[..9].parse().ok()
}

pub(crate) fn is_writable(moment: &Duration) -> bool {
    moment.as_secs() < YEAR_10000
}

/// A length of time in words, as Docker has them, for `… ago` and `Up …`: `Less than a second`, `5 minutes`, `About an
/// hour`, `2 weeks`.
pub fn in_words(length: Duration) -> String {
    let seconds = length.as_secs();
    let hours = (seconds + 1800) / 3600; // the nearest
    match seconds {
        0 => "Less than a second".to_string(),
        1 => "1 second".to_string(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_string(),
        120..3600 => format!("{} minutes", seconds / 60),
        _ => match hours {
            0 | 1 => "About an hour".to_string(),
            2..48 => format!("{hours} hours"),
            48..336 => format!("{} days", hours / 24),
            336..1440 => format!("{} weeks", hours / 24 / 7),
            1440..17_520 => format!("{} months", hours / 24 / 30),
            _ => format!("{} years", seconds / 3600 / 24 / 365),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_moment_is_written_as_date_writes_it() {
        for (moment, text) in [
            (Duration::ZERO, "1970-01-01T00:00:00.000000000Z"),
            (Duration::new(951_782_399, 1), "2000-02-28T23:59:59.000000001Z"),
            (seconds(951_782_400), "2000-02-29T00:00:00.000000000Z"),
            (seconds(4_107_542_400), "2100-03-01T00:00:00.000000000Z"),
            (seconds(YEAR_10000 - 1), "9999-12-31T23:59:59.000000000Z"),
        ] {
            assert_eq!(rfc3339(moment), text);
        }
    }

    #[test]
    fn every_day_is_the_one_after_the_day_before() {
        let mut before = (1969, 12, 31);
        for number in 0..YEAR_10000 / SECONDS_OF_A_DAY {
            let now = date(number);
            let (year, month, day_of_month) = before;
            let next = [(year, month, day_of_month + 1), (year, month + 1, 1), (year + 1, 1, 1)];
            assert!(next.contains(&now), "{now:?} after {before:?}");
            assert_eq!(day(now.0, now.1, now.2), number);
            before = now;
        }
        assert_eq!(before, (9999, 12, 31));
    }

    #[test]
    fn what_date_of_coreutils_says() {
        for number in [1, 1_000_000_000, 1_764_382_543, 5_000_000_000, 68_169_600_000_u64] {
            let told = Command::new("date").args(["-u", "-d", &format!("@{number}"), "+%FT%T.%NZ"]).output();
            assert_eq!(String::from_utf8(told.unwrap().stdout).unwrap().trim_end(), rfc3339(seconds(number)));
        }
    }

    #[test]
    fn now_can_be_read_again() {
        let (before, now, after) = (moment(), parse(&now()).unwrap(), moment());
        assert!(before <= now && now <= after);
    }

    #[test]
    fn the_words_are_dockers() {
        for (length, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400 - 3600, "13 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400 - 3600, "8 weeks"),
            (60 * 86400, "2 months"),
            (730 * 86400 - 3600, "24 months"),
            (730 * 86400, "2 years"),
        ] {
            assert_eq!(in_words(seconds(length)), words);
        }
    }

    proptest! {
        #[test]
        fn the_order_of_moments_is_that_of_their_texts(one in 0..YEAR_10000, other in 0..YEAR_10000, n in 0..1_000_000_000_u32) {
            let (one, other) = (Duration::new(one, n), seconds(other));
            prop_assert_eq!(one.cmp(&other), rfc3339(one).cmp(&rfc3339(other)));
        }
    }
}
