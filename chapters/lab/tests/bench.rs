//! The benchmark works. What it measures is no matter here: times belong in a benchmark, not in a test.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use lab::Chapter;
use serde_json::Value;

#[test]
fn three_runs_of_everything_that_is_here() {
    let lab = Path::new(env!("CARGO_BIN_EXE_lab"));
    let programs = lab.parent().unwrap();
    let last = Chapter::LAST_TYPED.package();
    if !programs.join(last).is_file() {
        // `cargo test` for the whole repository builds it first; `cargo test -p lab` alone does not.
        println!("skipped: {last} is not built: cargo build --bins");
        return;
    }
    // Chapter 9's containers make a bridge, which stays: not on the machine's own network.
    let bridge = Path::new("/sys/class/net/byhand0");
    let was_there = bridge.exists();
    let output = tempfile::tempdir().unwrap();
    let mut bench = Command::new(lab);
    bench
        .args(["bench", "--images", "--network", "--runs", "3", "--programs"])
        .arg(programs)
        .arg("--output")
        .arg(output.path());
    // Whoever called gets the results.
    bench.env("SUDO_UID", "61234").env("SUDO_GID", "61234");
    chown(output.path(), Some(61234), Some(61234)).unwrap();
    let running = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = running.id();
    let done = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{bench:?}: {said}");

    let text = String::from_utf8_lossy(&done.stdout);
    assert!(text.lines().any(|line| line.starts_with("floor  ") && line.contains(" 1.00")), "{text}");
    assert!(text.lines().any(|line| line.starts_with(last)), "{text}");
    let json = fs::read_to_string(output.path().join("bench.json")).unwrap();
    let results: Value = serde_json::from_str(&json).unwrap();
    let first = &results["start"][0]["times_ms"][0];
    assert_eq!((first["name"].as_str(), first["runs"].as_u64()), (Some("floor"), Some(3)), "{json}");
    if programs.join(Chapter::Lifecycle.package()).is_file() {
        let kept = results["kept"].as_array().unwrap();
        let is_row = |ours, other| kept.iter().any(|row| row["ours"] == ours && row["other"] == other);
        assert!(is_row("ch07_lifecycle run -d", "ch06_init run"), "{json}");
        for (other, program) in [("nsenter", "nsenter"), ("runc exec", "runc")] {
            let told = text.contains(&format!("not measured: {program}"));
            assert_ne!(is_row("ch07_lifecycle exec", other), told, "{other}: {text}");
        }
        assert!(text.contains("ch07_lifecycle run -d: ") && text.contains("; aim 1.30: "), "{text}");
    }
    if programs.join(Chapter::Images.package()).is_file() {
        let images = results["images"].as_array().unwrap();
        assert_eq!((images.len(), &images[2]["reached"]), (4, &Value::Bool(true)), "fetched again: {json}");
        for other in ["podman pull", "skopeo copy and umoci unpack"] {
            let is_there = images[0]["beside"].as_str().unwrap().contains(other);
            assert_ne!(is_there, text.contains(&format!("not measured: {other}")), "{other}: {text}");
        }
    }
    if programs.join(Chapter::Network.package()).is_file() {
        let network = results["network"].as_array().unwrap();
        let has_iperf = !text.contains("not measured: iperf3: not found in PATH");
        assert_eq!(network.len(), if has_iperf { 4 } else { 1 }, "{json}");
        let is_there = network[0]["beside"].as_str().unwrap().starts_with("podman ");
        assert_ne!(is_there, text.contains("not measured: podman's bridge: "), "{text}");
    }
    let plot = fs::read_to_string(output.path().join("start.svg")).unwrap();
    assert!(plot.contains(last) && plot.trim_end().ends_with("</svg>"), "{plot}");
    for file in ["bench.json", "start.svg"] {
        assert_eq!(fs::metadata(output.path().join(file)).unwrap().uid(), 61234, "{file}");
    }
    let ours = format!("byhand-bench-{pid}-");
    let files = fs::read_dir("/var/tmp").unwrap().flatten();
    let left: Vec<_> = files.filter(|file| file.file_name().to_string_lossy().starts_with(&ours)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(bridge.exists(), was_there, "byhand0");
}
