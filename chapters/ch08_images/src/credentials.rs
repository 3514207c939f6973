//! Who you are to a registry: `~/.docker/config.json`, the file that Docker, Podman and skopeo read as well.
//!
//! Passwords stand in it readable for whoever can read the file, in base64, which hides them from passing eyes and from
//! nobody else.

use std::env;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ch01_run::id;
use serde_json::{Map, Value, json};

use crate::formats::BIGGEST;
use crate::name::HOME;

/// What Docker calls docker.io in that file.
const HOME_KEY: &str = "https://index.docker.io/v1/";

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password, or a token that is as good.
    pub password: String,
}

/// Not the password: what is printed here ends in logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.user)
    }
}

impl Credentials {
    /// As HTTP and the file have them.
    pub fn encoded(&self) -> String {
        STANDARD.encode(format!("{}:{}", self.user, self.password))
    }

    fn decoded(text: &str) -> Option<Credentials> {
        let bytes = STANDARD.decode(text.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        // An old Docker filled them up with zeros.
        let password = password.trim_end_matches('\0').to_string();
        Some(Credentials { user: user.to_string(), password })
    }
}

/// The file, which need not be there.
pub struct ConfigFile {
    path: PathBuf,
    content: Map<String, Value>,
}

impl ConfigFile {
    /// That of the caller: in `$DOCKER_CONFIG`, or in `.docker` below `$HOME`.
    pub fn of_caller() -> Result<ConfigFile> {
        let not_empty = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = not_empty("DOCKER_CONFIG").or_else(|| Some(not_empty("HOME")?.join(".docker")));
        ConfigFile::read(directory.context("HOME is not set")?.join("config.json"))
    }

    fn read(path: PathBuf) -> Result<ConfigFile> {
        let reading = || format!("reading {}", path.display());
        let mut bytes = Vec::new();
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => bytes.extend(b"{}"),
            file => {
                file.with_context(reading)?.take(BIGGEST).read_to_end(&mut bytes).with_context(reading)?;
            }
        }
        let content = serde_json::from_slice(&bytes).with_context(reading)?;
        Ok(ConfigFile { path, content })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it has for a registry.
    pub fn find(&self, registry: &str) -> Option<Credentials> {
        let entries = self.content.get("auths")?.as_object()?;
        let entry = entries.iter().find(|(key, _)| host_of(key) == registry)?.1;
        Credentials::decoded(entry.get("auth")?.as_str()?)
    }

    /// Puts credentials for a registry into it, or takes them out. All else in it stays. Returns whether any were there.
    pub fn set(&mut self, registry: &str, credentials: Option<&Credentials>) -> Result<bool> {
        let entries = self.content.entry("auths").or_insert_with(|| json!({})).as_object_mut();
        let entries = entries.with_context(|| format!("{}: its auths are no object", self.path.display()))?;
        let before = entries.len();
        entries.retain(|key, _| host_of(key) != registry);
        let were_there = entries.len() < before;
        if let Some(credentials) = credentials {
            let key = if registry == HOME { HOME_KEY } else { registry };
            entries.insert(key.to_string(), json!({ "auth": credentials.encoded() }));
        }
        if were_there || credentials.is_some() {
            self.write().with_context(|| format!("writing {}", self.path.display()))?;
        }
        Ok(were_there)
    }

    /// Whole or not at all, and readable for its owner only, who stays the same. A link to it stays one.
    fn write(&self) -> Result<()> {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = path.parent().context("it has no directory")?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let unfinished = directory.join(format!(".config.json.{}", id::random()?));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let mut fill = || {
            if let Ok(old) = path.metadata() {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            file.write_all(serde_json::to_string_pretty(&self.content)?.as_bytes())?;
            file.write_all(b"\n")?;
            fs::rename(&unfinished, &path)
        };
        Ok(fill().inspect_err(|_| {
            let _ = fs::remove_file(&unfinished); // nobody has it but us
        })?)
    }
}

/// The registry that a key of the file means: newer ones are hosts, older ones addresses of a programming interface.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => HOME,
        host => host,
    }
}

/// The registry that somebody means who types it: without a scheme, and docker.io if nothing is typed.
pub fn registry_of(typed: Option<&str>) -> Result<String> {
    let registry = host_of(typed.unwrap_or(HOME));
    ensure!(crate::name::is_host(registry), "{registry:?} is no registry's name");
    Ok(registry.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somebody() -> Credentials {
        Credentials { user: "anna".to_string(), password: "a:b".to_string() }
    }

    #[test]
    fn written_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/config.json");
        let mut file = ConfigFile::read(path.clone()).unwrap();
        assert_eq!(file.find("localhost:5000"), None);
        assert!(!file.set("localhost:5000", None).unwrap() && !path.exists());
        assert!(!file.set("localhost:5000", Some(&somebody())).unwrap());
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let mut again = ConfigFile::read(path.clone()).unwrap();
        assert_eq!(again.find("localhost:5000"), Some(somebody()));
        assert_eq!(again.find("localhost:5001"), None);
        assert!(again.set("localhost:5000", None).unwrap());
        assert_eq!(ConfigFile::read(path).unwrap().find("localhost:5000"), None);
        assert_eq!(fs::read_dir(directory.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn what_docker_wrote_is_found_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let text = r#"{"psFormat":"x","auths":{"https://index.docker.io/v1/":{"auth":"YW5uYTphOmI="},
            "https://old.example/v2/":{"auth":"YW5uYTphOmI="},"empty.example":{},"bad.example":{"auth":"?"}}}"#;
        fs::write(&path, text).unwrap();
        let mut file = ConfigFile::read(path.clone()).unwrap();
        assert_eq!(file.find("docker.io"), Some(somebody()));
        assert_eq!(file.find("old.example"), Some(somebody()));
        assert_eq!((file.find("empty.example"), file.find("bad.example")), (None, None));
        file.set("docker.io", Some(&somebody())).unwrap();
        let kept: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((&kept["psFormat"], kept["auths"].as_object().unwrap().len()), (&"x".into(), 4));
    }

    #[test]
    fn what_is_no_json_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, "x").unwrap();
        assert!(ConfigFile::read(path).is_err());
    }

    #[test]
    fn a_debug_line_has_no_password() {
        assert_eq!(format!("{:?}", somebody()), r#"Credentials("anna")"#);
    }
}
