//! What `-v` says, in all its forms and in none: the parser never panics, and lets no target out of the root.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Component;

use ch05_volumes::spec::parse_all;
use proptest::prelude::*;

/// A volume as somebody may write it, well or not; of few names, so that some meet and some nest.
fn volume() -> impl Strategy<Value = OsString> {
    let part = prop_oneof![12 => "[ab]", 1 => Just("..".to_string()), 1 => Just(".".to_string()), 1 => Just(String::new())];
    let target = prop::collection::vec(part, 1..4).prop_map(|parts| format!("/{}", parts.join("/")));
    let mode = prop_oneof![6 => Just(""), 2 => Just(":ro"), 2 => Just(":rw"), 1 => Just(":x")];
    ("/?[a.]{1,2}", target, mode).prop_map(|(source, target, mode)| format!("{source}:{target}{mode}").into())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4)) {
        let texts: Vec<OsString> = texts.iter().map(|text| OsStr::from_bytes(text).to_owned()).collect();
        let _ = parse_all(&texts);
    }

    #[test]
    fn what_is_taken_is_inside(texts in prop::collection::vec(volume(), 1..4)) {
        let Ok(volumes) = parse_all(&texts) else { return Ok(()) };
        prop_assert_eq!(volumes.len(), texts.len());
        for (number, volume) in volumes.iter().enumerate() {
            prop_assert!(volume.source.is_absolute() && volume.target.is_absolute());
            prop_assert!(volume.target.components().count() > 1);
            prop_assert!(!volume.target.components().any(|part| part == Component::ParentDir));
            for other in &volumes[..number] {
                // No two on one target, and none below one that is mounted later.
                prop_assert!(!other.target.starts_with(&volume.target));
            }
        }
    }

    #[test]
    fn the_parts_come_back(source in "/[^:\0]{0,10}", target in "/[^:\0./][^:\0.]{0,10}", mode in "(:ro|:rw)?") {
        let volumes = parse_all(&[OsString::from(format!("{source}:{target}{mode}"))]).unwrap();
        prop_assert_eq!(volumes[0].target.as_os_str(), OsStr::new(&target));
        prop_assert_eq!(&volumes[0].source, &std::path::absolute(&source).unwrap());
        prop_assert_eq!(volumes[0].read_only, mode == ":ro");
    }
}
