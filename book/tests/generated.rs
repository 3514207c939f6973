//! The book's generated files are what their sources give.

use book::{generated, repo};

#[test]
fn generated_files_are_up_to_date() {
    for (path, text) in generated::all().unwrap() {
        let text = text.unwrap();
        let path_shown = path.strip_prefix(repo::root()).unwrap().display();
        let now = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(now == text, "{path_shown} is not what its source gives: run `cargo run -p book -- make`");
    }
    assert_eq!(generated::strays().unwrap(), Vec::<std::path::PathBuf>::new(), "files without a source");
}
