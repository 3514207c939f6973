//! Changes to how an image runs, in the words of a Dockerfile: `CMD ["sh"]`, `ENV A=1`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ch07_lifecycle::signal_name;
use serde_json::{Value, json};

use crate::formats::Execution;

/// Changes a config as these say, one after the other.
pub fn apply(config: &mut Execution, instructions: &[String]) -> Result<()> {
    let mut has_command = false;
    for instruction in instructions {
        let (word, rest) = instruction.trim().split_once(char::is_whitespace).unwrap_or((instruction, ""));
        let word = word.trim().to_uppercase();
        one(config, &word, rest.trim()).with_context(|| format!("--change {instruction:?}"))?;
        has_command |= word == "CMD";
        // An image's command is for its entry point, and means nothing to another one.
        if word == "ENTRYPOINT" && !has_command {
            config.cmd.clear();
        }
    }
    Ok(())
}

fn one(config: &mut Execution, word: &str, rest: &str) -> Result<()> {
    ensure!(!rest.is_empty(), "{word} needs something behind it");
    match word {
        "CMD" => config.cmd = command(rest),
        "ENTRYPOINT" => config.entrypoint = command(rest),
        "USER" => config.user = rest.to_string(),
        "STOPSIGNAL" => {
            signal_name::parse(rest)?; // an error here, not when somebody stops a container
            config.stop_signal = rest.to_string();
        }
        "WORKDIR" => config.working_dir = below(&config.working_dir, rest),
        "ENV" => pairs(rest)?.into_iter().for_each(|(name, value)| set(&mut config.env, &name, &value)),
        "LABEL" => config.labels.extend(pairs(rest)?),
        "VOLUME" => keys(&mut config.volumes, list(rest).map_or_else(|| words(rest), Ok)?),
        "EXPOSE" => keys(&mut config.exposed_ports, words(rest)?.iter().map(|port| with_protocol(port))),
        _ => bail!(
            "{word:?} changes no image here: there are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR"
        ),
    }
    Ok(())
}

/// A list of arguments in JSON, or a line for the shell.
fn command(rest: &str) -> Vec<String> {
    list(rest).unwrap_or_else(|| ["/bin/sh", "-c", rest].map(str::to_string).into())
}

fn list(rest: &str) -> Option<Vec<String>> {
    serde_json::from_str(rest).ok()
}

/// Gives a variable its value, in its old place if it has one.
fn set(environment: &mut Vec<String>, name: &str, value: &str) {
    let new = format!("{name}={value}");
    match environment.iter_mut().find(|old| old.split('=').next() == Some(name)) {
        Some(old) => *old = new,
        None => environment.push(new),
    }
}

fn keys(all: &mut BTreeMap<String, Value>, new: impl IntoIterator<Item = String>) {
    all.extend(new.into_iter().map(|key| (key, json!({}))));
}

fn with_protocol(port: &str) -> String {
    if port.contains('/') { port.to_string() } else { format!("{port}/tcp") }
}

/// A directory as seen from another one, without `.` and `..`.
fn below(above: &str, path: &str) -> String {
    let mut clean = PathBuf::from("/");
    for part in Path::new("/").join(above).join(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean.to_string_lossy().into_owned()
}

/// `NAME=VALUE …`, or the old `NAME VALUE`, whose value is all the rest.
fn pairs(rest: &str) -> Result<Vec<(String, String)>> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    let pairs: Vec<_> = if first.contains('=') {
        let split = |word: &String| word.split_once('=').map(|(k, v)| (k.to_string(), v.to_string()));
        words(rest)?.iter().map(split).collect::<Option<_>>().context("each has to be NAME=VALUE")?
    } else {
        let (name, value) = rest.split_once(char::is_whitespace).context("it has to be NAME=VALUE")?;
        vec![(name.to_string(), value.trim().to_string())]
    };
    ensure!(pairs.iter().all(|(name, _)| !name.is_empty()), "a name must not be empty");
    Ok(pairs)
}

/// The words of a line, as a shell would divide it: quotes, and backslashes, keep together what is in them.
fn words(line: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quote != Some('\'') => word.get_or_insert_default().extend(letters.next()),
            _ if quote == Some(letter) => quote = None,
            '"' | '\'' if quote.is_none() => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            _ if letter.is_whitespace() && quote.is_none() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    ensure!(quote.is_none(), "a quote is not closed");
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(mut config: Execution, instructions: &[&str]) -> Result<Execution> {
        let instructions: Vec<_> = instructions.iter().map(|text| text.to_string()).collect();
        apply(&mut config, &instructions).map(|()| config)
    }

    #[test]
    fn what_a_dockerfile_says() {
        let old = Execution {
            env: vec!["PATH=/bin".to_string(), "A=0".to_string()],
            cmd: vec!["old".to_string()],
            working_dir: "/srv".to_string(),
            ..Execution::default()
        };
        let new = changed(
            old,
            &[
                r#"ENTRYPOINT ["run", "a b"]"#,
                "cmd echo  $HOME",
                r#"ENV A=1 B="two words" C=it\'s"#,
                "ENV D all the rest",
                "WORKDIR ../data/./x",
                "USER 5:6",
                "EXPOSE 80 53/udp",
                r#"VOLUME ["/a b"]"#,
                "VOLUME /c /d",
                "LABEL a=b",
                "STOPSIGNAL SIGUSR1",
            ],
        )
        .unwrap();
        assert_eq!(new.entrypoint, ["run", "a b"]);
        assert_eq!(new.cmd, ["/bin/sh", "-c", "echo  $HOME"]);
        assert_eq!(new.env, ["PATH=/bin", "A=1", "B=two words", "C=it's", "D=all the rest"]);
        assert_eq!((&*new.working_dir, &*new.user, &*new.stop_signal), ("/data/x", "5:6", "SIGUSR1"));
        assert_eq!(new.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(new.volumes.keys().collect::<Vec<_>>(), ["/a b", "/c", "/d"]);
        assert_eq!(new.labels["a"], "b");
    }

    #[test]
    fn another_entry_point_has_no_use_for_the_old_command() {
        let old = || Execution { cmd: vec!["old".to_string()], ..Execution::default() };
        assert!(changed(old(), &["ENTRYPOINT x"]).unwrap().cmd.is_empty());
        assert_eq!(changed(old(), &[r#"CMD ["y"]"#, "ENTRYPOINT x"]).unwrap().cmd, ["y"]);
    }

    #[test]
    fn what_changes_nothing_is_an_error() {
        for bad in ["", "CMD", "RUN x", "ENV A", "ENV A=1 B", "ENV =1", "LABEL a='b"] {
            assert!(changed(Execution::default(), &[bad]).is_err(), "{bad}");
        }
    }
}
