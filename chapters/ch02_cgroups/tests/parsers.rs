//! The parsers, given whatever there is: none may panic, and each gives back what was written.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ch02_cgroups::numbers::NumberList;
use ch02_cgroups::{limits, mountinfo};
use proptest::prelude::*;

/// As the kernel writes a path in mountinfo.
fn escaped(path: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        _ => vec![*byte],
    };
    path.iter().flat_map(escape).collect()
}

/// A path of any bytes but zero, with many of those that are escaped.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b' '), Just(b'\\'), Just(b'\n'), Just(b'-'), b'0'..=b'9', 1..=255u8];
    prop::collection::vec(byte, 0..40).prop_map(|name| [b"/", name.as_slice()].concat())
}

/// The number of a CPU; sometimes one that is too large, for 32 bits too.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![18 => 0..8192u64, 1 => 8100..8300u64, 1 => (0..99u64, 0..9u64).prop_map(|(high, low)| (high << 32) + low)]
}

fn optional_fields() -> impl Strategy<Value = Vec<String>> {
    let field = prop_oneof![
        (1..100u32).prop_map(|peer| format!("shared:{peer}")),
        (1..100u32).prop_map(|peer| format!("master:{peer}")),
        (1..100u32).prop_map(|peer| format!("propagate_from:{peer}")),
        Just("unbindable".to_string()),
    ];
    prop::collection::vec(field, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sizes_never_panic(text in ".{0,30}") {
        if let Ok(bytes) = limits::parse_memory(&text) {
            prop_assert!(i64::try_from(bytes).is_ok() && bytes >= 6 << 20);
        }
    }

    #[test]
    fn a_size_is_its_number_of_units(number in 0..u64::MAX, unit in "[bkmgBKMG]?") {
        let shift = "bkmg".find(&unit.to_lowercase()).filter(|_| !unit.is_empty()).unwrap_or(0) * 10;
        let bytes = u128::from(number) << shift;
        let allowed = (6 << 20..=i64::MAX as u128).contains(&bytes);
        let parsed = limits::parse_memory(&format!("{number}{unit}")).ok().map(u128::from);
        prop_assert_eq!(parsed, allowed.then_some(bytes));
    }

    #[test]
    fn small_sizes_too(number in 0..9000u64, unit in "[kmg]") {
        let bytes = number << ("kmg".find(&unit).unwrap_or(0) * 10 + 10);
        let parsed = limits::parse_memory(&format!("{number}{unit}")).ok();
        prop_assert_eq!(parsed, (bytes >= 6 << 20).then_some(bytes));
    }

    #[test]
    fn numbers_never_panic(text in ".{0,30}") {
        let _ = limits::parse_cpu_shares(&text);
        let _ = limits::parse_pids(&text);
        let _ = limits::parse_cpus(&text);
        let _ = text.parse::<NumberList>();
    }

    #[test]
    fn a_list_has_just_what_is_in_its_ranges(ranges in prop::collection::vec((number(), 0..50u64), 1..6)) {
        let part = |(first, more): &(u64, u64)| match more {
            0 => format!("{first}"),
            _ => format!("{first}-{}", first + more),
        };
        let text = ranges.iter().map(part).collect::<Vec<_>>().join(",");
        let numbers: BTreeSet<u64> = ranges.iter().flat_map(|(first, more)| *first..=first + more).collect();
        let within = numbers.iter().all(|number| *number < 8192);
        match text.parse::<NumberList>() {
            Ok(list) => prop_assert!(within && list.numbers.iter().copied().map(u64::from).eq(numbers) && list.text == text),
            Err(_) => prop_assert!(!within),
        }
    }

    #[test]
    fn lists_of_these_characters_never_panic(text in "[0-9,-]{0,20}") {
        if let Ok(list) = text.parse::<NumberList>() {
            prop_assert!(!list.numbers.is_empty());
        }
    }

    #[test]
    fn any_path_comes_back_from_mountinfo(path in path(), root in path(), fields in optional_fields()) {
        let mut line = b"36 35 98:0 ".to_vec();
        line.extend(escaped(&root));
        line.push(b' ');
        line.extend(escaped(&path));
        line.extend(b" rw,noatime");
        for field in &fields {
            line.extend(format!(" {field}").bytes());
        }
        line.extend(b" - cgroup /dev/root rw,memory\n");
        let mounts = mountinfo::parse(&line).unwrap();
        prop_assert_eq!(mounts.len(), 1);
        prop_assert_eq!(&mounts[0].target, Path::new(OsStr::from_bytes(&path)));
        prop_assert_eq!(mounts[0].filesystem.as_str(), "cgroup");
        prop_assert_eq!(mounts[0].super_options.as_str(), "rw,memory");
    }

    #[test]
    fn mountinfo_never_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = mountinfo::parse(&text);
    }

    #[test]
    fn nor_with_what_looks_like_it(text in "([0-9:/a-z\\\\-]{0,8} ){0,12}- [a-z]{0,5} ?[a-z]{0,5} ?[a-z,]{0,5}\n?") {
        let _ = mountinfo::parse(text.as_bytes());
    }
}
