//! Variables for a command: `-e` and `--env-file`. environ(7).

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// One `-e`: `K=V`, or `K` for the value that the caller has.
pub fn parse(text: OsString) -> Result<OsString> {
    ensure!(!name(&text).is_empty(), "a variable has a name before its =");
    Ok(text)
}

/// The variables in a file of Docker's form: a line each, as in `-e`; nothing in empty lines, and those that begin with #.
pub fn read_file(path: &Path) -> Result<Vec<OsString>> {
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text); // some editors begin a file with that mark
    let mut variables = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_start();
        if !line.is_empty() && line[0] != b'#' {
            let variable =
                of_line(line).with_context(|| format!("{}, line {}", path.display(), number + 1))?;
            variables.push(variable);
        }
    }
    Ok(variables)
}

/// Behind the = all counts, spaces and quotes too: this is no shell.
fn of_line(line: &[u8]) -> Result<OsString> {
    let line = if line.contains(&b'=') { line } else { line.trim_ascii_end() };
    ensure!(!line.contains(&0), "a variable has no NUL byte");
    let variable = parse(OsString::from_vec(line.to_vec()))?;
    ensure!(!name(&variable).iter().any(u8::is_ascii_whitespace), "a variable's name has no spaces");
    Ok(variable)
}

/// Puts a variable in, in the place of the one of that name. `K` alone becomes what the caller has; if that is nothing,
/// there is none of that name.
pub fn set(variables: &mut Vec<OsString>, variable: &OsStr) {
    variables.retain(|other| name(other) != name(variable));
    if variable.as_bytes().contains(&b'=') {
        variables.push(variable.to_os_string());
    } else if let Some(value) = env::var_os(variable) {
        variables.push([variable, &value].join(OsStr::new("=")));
    }
}

/// Whether there is a variable of this name.
pub fn has(variables: &[OsString], wanted: &str) -> bool {
    variables.iter().any(|variable| name(variable) == wanted.as_bytes())
}

fn name(variable: &OsStr) -> &[u8] {
    variable.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_file_of_variables() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("variables");
        fs::write(&path, "\u{feff}A=1\r\n\n  # no\n  B= two \"words\" \nC \n=x").unwrap();
        let told = format!("{:#}", read_file(&path).unwrap_err());
        assert!(told.contains("line 6"), "{told}");
        fs::write(&path, "\u{feff}A=1\r\n\n  # no\n  B= two \"words\" \nC \nD==\n").unwrap();
        assert_eq!(read_file(&path).unwrap(), all(&["A=1", "B= two \"words\" ", "C", "D=="]));
        fs::write(&path, "A B=1").unwrap();
        assert!(read_file(&path).is_err());
    }

    #[test]
    fn the_last_one_counts() {
        let mut variables = all(&["A=1", "B=2"]);
        set(&mut variables, OsStr::new("A=3=4"));
        set(&mut variables, OsStr::new("NOBODY_HAS_THIS"));
        assert_eq!(variables, all(&["B=2", "A=3=4"]));
        set(&mut variables, OsStr::new("PATH"));
        assert_eq!(variables[2].as_bytes(), [b"PATH=", env::var_os("PATH").unwrap().as_bytes()].concat());
        assert!(has(&variables, "A") && !has(&variables, "A=3"));
        assert!(parse("=x".into()).is_err() && parse("".into()).is_err());
    }
}
