//! A registry of the lab's own: it serves what a check has put in, takes what a runtime pushes, remembers what it was asked,
//! and misbehaves where a check says so. The distribution specification of the OCI, over HTTP/1.1 (RFC 9112).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::trial::oci::{Blob, Image, digest};

/// The user whom it knows, and the password, as HTTP has the two.
pub(crate) const USER: (&str, &str) = ("anna", "sesame");
const ENCODED: &str = "Basic YW5uYTpzZXNhbWU=";
/// What it gives to those who ask for a token.
const TOKEN: &str = "bGFiLXRva2Vu";

/// skopeo. As root it would keep in /var/lib what it has seen of blobs, and its big files in /var/tmp, where under `lab check`
/// nobody can write.
pub(crate) fn skopeo() -> Command {
    let mut command = Command::new("unshare");
    let script = r#"mount -t tmpfs tmpfs /var/lib && exec skopeo --tmpdir /tmp "$@""#;
    command.args(["--mount", "sh", "-c", script, "skopeo"]);
    command
}

/// A question, as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// An answer that a check has thought out.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status, headers, and a body of the right length.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A status of 200, and a body that ends too soon.
    Cut { promised: usize, sent: Vec<u8> },
    /// The same, but it does not end: nothing more comes.
    Stalls { promised: usize, sent: Vec<u8> },
    /// A body that never ends, and a length for it if one is said.
    Endless(Option<u64>),
    /// Not a word.
    Silence,
}

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Door {
    /// Everybody.
    #[default]
    Open,
    /// Those who say user and password each time.
    Password,
    /// Those with a token, which everybody gets.
    Token,
    /// Those with a token, which only the user gets.
    UsersToken,
}

struct Rule {
    method: &'static str,
    part: String,
    times: usize,
    answer: Answer,
}

#[derive(Default)]
struct Shelf {
    blobs: BTreeMap<String, Vec<u8>>,
    /// By the path that they have: NAME/manifests/REFERENCE.
    manifests: BTreeMap<String, Blob>,
    uploads: Vec<Vec<u8>>,
    questions: Vec<Question>,
    rules: Vec<Rule>,
    door: Door,
}

/// A registry that runs until it is dropped.
pub(crate) struct Registry {
    port: u16,
    shelf: Arc<Mutex<Shelf>>,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Registry {
    /// Opens one at 127.0.0.1:5000, which is the check's own.
    pub(crate) fn open() -> Result<Registry> {
        Registry::beside(5000)
    }

    /// One more, at another port.
    pub(crate) fn beside(port: u16) -> Result<Registry> {
        let listener = TcpListener::bind(("127.0.0.1", port)).context("opening the lab's registry")?;
        let port = listener.local_addr()?.port();
        let (shelf, closed) = (Arc::new(Mutex::new(Shelf::default())), Arc::new(AtomicBool::new(false)));
        let (of_thread, is_closed) = (Arc::clone(&shelf), Arc::clone(&closed));
        let accept = move || {
            for stream in listener.incoming().flatten().take_while(|_| !is_closed.load(Ordering::SeqCst)) {
                let (shelf, closed) = (Arc::clone(&of_thread), Arc::clone(&is_closed));
                // A client that hangs up is no failure of the registry.
                thread::spawn(move || serve(&stream, port, &shelf, &closed).ok());
            }
        };
        Ok(Registry { port, shelf, closed, thread: Some(thread::spawn(accept)) })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an image in it is called: `name` is the repository and a tag.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    pub(crate) fn has_door(&self, door: Door) {
        self.shelf().door = door;
    }

    /// Puts an image in, under a name `REPOSITORY:TAG`, and returns its whole name.
    pub(crate) fn put(&self, image: &Image, name: &str) -> String {
        self.put_blobs(&image.blobs());
        self.put_manifest(&image.manifest(), name);
        self.name(name)
    }

    pub(crate) fn put_blobs(&self, blobs: &[Blob]) {
        self.shelf().blobs.extend(blobs.iter().map(|blob| (blob.digest(), blob.bytes.clone())));
    }

    /// Puts a document in under its digest, and under a name `REPOSITORY:TAG`.
    pub(crate) fn put_manifest(&self, manifest: &Blob, name: &str) {
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        for reference in [tag, &manifest.digest()] {
            self.shelf().manifests.insert(format!("{repository}/manifests/{reference}"), manifest.clone());
        }
    }

    /// The document that it has under a name `REPOSITORY:TAG`.
    pub(crate) fn manifest(&self, name: &str) -> Option<Blob> {
        let (repository, tag) = name.rsplit_once(':')?;
        self.shelf().manifests.get(&format!("{repository}/manifests/{tag}")).cloned()
    }

    /// What it has under a digest.
    pub(crate) fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        self.shelf().blobs.get(digest).cloned()
    }

    /// Answers so, the next `times` that it is asked for something with `part` in its path.
    pub(crate) fn answers(&self, method: &'static str, part: &str, times: usize, answer: Answer) {
        self.shelf().rules.push(Rule { method, part: part.to_string(), times, answer });
    }

    /// It behaves again, and has forgotten what it was asked.
    pub(crate) fn forget(&self) {
        let mut shelf = self.shelf();
        shelf.rules.clear();
        shelf.questions.clear();
    }

    /// What it was asked by this method, with `part` in the path.
    pub(crate) fn asked(&self, method: &str, part: &str) -> Vec<Question> {
        let is_it = |one: &&Question| one.method == method && one.target.contains(part);
        self.shelf().questions.iter().filter(is_it).cloned().collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // so that it looks
        self.thread.take().map(JoinHandle::join);
    }
}

/// Reads a question, and answers it.
fn serve(stream: &TcpStream, port: u16, shelf: &Mutex<Shelf>, closed: &AtomicBool) -> Result<()> {
    let question = read(stream)?;
    let answer = {
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.questions.push(Question { body: Vec::new(), ..question.clone() });
        match shelf.ruled(&question) {
            Some(answer) => answer,
            None => shelf.answer(&question, port),
        }
    };
    write(stream, &question, answer, closed)
}

fn read(stream: &TcpStream) -> Result<Question> {
    let mut reader = BufReader::new(stream);
    let mut line = || -> Result<String> {
        let mut line = String::new();
        (&mut reader).take(100_000).read_line(&mut line)?;
        Ok(line.trim_end().to_string())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_string);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    if headers.contains_key("expect") {
        (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        reader.take(length.parse()?).read_to_end(&mut body)?;
    } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16)?;
            (&mut reader).take(length).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if length == 0 {
                break;
            }
        }
    }
    Ok(Question { method, target, headers, body })
}

fn write(mut stream: &TcpStream, question: &Question, answer: Answer, closed: &AtomicBool) -> Result<()> {
    let mut head = |status: u16, headers: &[(&str, String)], length: Option<u64>| {
        let mut text = format!("HTTP/1.1 {status} It is so\r\nConnection: close\r\n");
        text += &length.map_or(String::new(), |length| format!("Content-Length: {length}\r\n"));
        text.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        stream.write_all(format!("{text}\r\n").as_bytes())
    };
    let wait = || {
        while !closed.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
    };
    match answer {
        Answer::Whole(status, headers, body) => {
            head(status, &headers, Some(body.len() as u64))?;
            if question.method != "HEAD" {
                stream.write_all(&body)?;
            }
        }
        Answer::Cut { promised, sent } => {
            head(200, &[], Some(promised as u64))?;
            stream.write_all(&sent)?;
        }
        Answer::Stalls { promised, sent } => {
            head(200, &[], Some(promised as u64))?;
            stream.write_all(&sent)?;
            wait();
        }
        Answer::Endless(length) => {
            head(200, &[], length)?;
            while !closed.load(Ordering::SeqCst) {
                stream.write_all(&[b' '; 65536])?;
            }
        }
        Answer::Silence => wait(),
    }
    Ok(())
}

fn json_answer(status: u16, document: &Value) -> Answer {
    Answer::Whole(
        status,
        vec![("Content-Type", "application/json".to_string())],
        document.to_string().into_bytes(),
    )
}

/// An error in the words of the specification.
fn error(status: u16, code: &str) -> Answer {
    json_answer(
        status,
        &json!({"errors": [{"code": code, "message": format!("the lab's registry says {code}")}]}),
    )
}

impl Shelf {
    /// The answer that a check has thought out for this.
    fn ruled(&mut self, question: &Question) -> Option<Answer> {
        let is_it = |rule: &&mut Rule| {
            rule.times > 0 && rule.method == question.method && question.target.contains(&rule.part)
        };
        let rule = self.rules.iter_mut().find(is_it)?;
        rule.times -= 1;
        Some(rule.answer.clone())
    }

    fn answer(&mut self, question: &Question, port: u16) -> Answer {
        let (path, query) = question.target.split_once('?').unwrap_or((&question.target, ""));
        let said = question.headers.get("authorization").map_or("", String::as_str);
        if path == "/token" {
            let may = self.door == Door::Token || said == ENCODED;
            return if may { json_answer(200, &json!({"token": TOKEN})) } else { error(401, "UNAUTHORIZED") };
        }
        let demand = match self.door {
            Door::Open => None,
            Door::Password => (said != ENCODED).then(|| "Basic realm=\"lab\"".to_string()),
            Door::Token | Door::UsersToken => (said != format!("Bearer {TOKEN}")).then(|| {
                let name = path.trim_start_matches("/v2/").split("/manifests/").next().unwrap_or_default();
                let name = name.split("/blobs/").next().unwrap_or_default();
                format!("Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"lab, ltd\",scope=\"repository:{name}:pull,push\"")
            }),
        };
        if let Some(demand) = demand {
            let mut answer = error(401, "UNAUTHORIZED");
            if let Answer::Whole(_, headers, _) = &mut answer {
                headers.push(("WWW-Authenticate", demand));
            }
            return answer;
        }
        let Some(path) = path.strip_prefix("/v2/") else { return error(404, "NAME_UNKNOWN") };
        match (question.method.as_str(), path.rsplit_once('/')) {
            ("GET" | "HEAD", None) => json_answer(200, &json!({})),
            ("GET" | "HEAD", Some((place, _))) if place.ends_with("/manifests") => self.read_manifest(path),
            ("GET" | "HEAD", Some((place, of))) if place.ends_with("/blobs") => self.read_blob(of, question),
            ("PUT", Some((place, reference))) if place.ends_with("/manifests") => {
                self.take_manifest(place, reference, question)
            }
            (_, Some((place, _))) if place.ends_with("/blobs/uploads") => {
                self.upload(place, path, query, question)
            }
            _ => error(405, "UNSUPPORTED"),
        }
    }

    fn read_manifest(&self, path: &str) -> Answer {
        let Some(manifest) = self.manifests.get(path) else { return error(404, "MANIFEST_UNKNOWN") };
        let headers =
            vec![("Content-Type", manifest.kind.clone()), ("Docker-Content-Digest", manifest.digest())];
        Answer::Whole(200, headers, manifest.bytes.clone())
    }

    fn read_blob(&self, of: &str, question: &Question) -> Answer {
        let Some(bytes) = self.blobs.get(of) else { return error(404, "BLOB_UNKNOWN") };
        let from =
            question.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        match from.and_then(|from| from.parse::<usize>().ok()) {
            None => Answer::Whole(200, Vec::new(), bytes.clone()),
            Some(from) if from < bytes.len() => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Answer::Whole(206, vec![("Content-Range", range)], bytes[from..].to_vec())
            }
            Some(_) => error(416, "RANGE"),
        }
    }

    /// Takes a manifest, if all is there that it names.
    fn take_manifest(&mut self, place: &str, reference: &str, question: &Question) -> Answer {
        let document: Value = serde_json::from_slice(&question.body).unwrap_or_default();
        let layers = document["layers"].as_array().cloned().unwrap_or_default();
        let mut named =
            layers.iter().chain([&document["config"]]).map(|one| one["digest"].as_str().unwrap_or_default());
        if !named.all(|digest| self.blobs.contains_key(digest)) {
            return error(400, "MANIFEST_BLOB_UNKNOWN");
        }
        let kind = question.headers.get("content-type").cloned().unwrap_or_default();
        let manifest = Blob::new(&kind, question.body.clone());
        let digest = manifest.digest();
        if reference.contains(':') && reference != digest {
            return error(400, "DIGEST_INVALID");
        }
        for reference in [reference, &digest] {
            self.manifests.insert(format!("{place}/{reference}"), manifest.clone());
        }
        Answer::Whole(
            201,
            vec![("Location", format!("/v2/{place}/{digest}")), ("Docker-Content-Digest", digest)],
            Vec::new(),
        )
    }

    /// A blob comes: announced by POST, in pieces by PATCH, ended by PUT.
    fn upload(&mut self, place: &str, path: &str, query: &str, question: &Question) -> Answer {
        let value = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.map(|value| value.replace("%3A", ":").replace("%3a", ":"))
        };
        let accepted = |number: usize, length: usize| {
            let location = format!("/v2/{place}/{number}?state=a%2Fb");
            let range = format!("0-{}", length.saturating_sub(1));
            Answer::Whole(202, vec![("Location", location), ("Range", range)], Vec::new())
        };
        if question.method == "POST" {
            if value("mount").is_some_and(|digest| self.blobs.contains_key(&digest)) {
                return Answer::Whole(201, Vec::new(), Vec::new());
            }
            self.uploads.push(Vec::new());
            if value("digest").is_none() {
                return accepted(self.uploads.len() - 1, 0);
            }
        }
        let number = match question.method.as_str() {
            "POST" => Some(self.uploads.len() - 1),
            _ => path.rsplit('/').next().and_then(|number| number.parse().ok()),
        };
        let Some(upload) = number.and_then(|number: usize| self.uploads.get_mut(number)) else {
            return error(404, "BLOB_UPLOAD_UNKNOWN");
        };
        upload.extend(&question.body);
        if question.method == "PATCH" {
            return accepted(number.unwrap_or_default(), upload.len());
        }
        let whole = std::mem::take(upload);
        if value("digest") != Some(digest(&whole)) {
            return error(400, "DIGEST_INVALID");
        }
        let headers = vec![("Location", format!("/v2/{place}/blobs/{}", digest(&whole)))];
        self.blobs.insert(digest(&whole), whole);
        Answer::Whole(201, headers, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::oci::Entry;

    /// What others take for a registry is one.
    #[test]
    fn skopeo_reads_from_it_and_writes_to_it() {
        if !skopeo().arg("--version").output().unwrap().status.success() {
            println!("skipped: there is no skopeo");
            return;
        }
        let registry = Registry::beside(0).unwrap(); // any port that is free
        let image = Image::of(&[vec![Entry::file("a", "x")], vec![Entry::file("b", "y")]]).unwrap();
        let image = image.zipped().unwrap();
        let from = registry.put(&image, "lab/a:1");
        for door in [Door::Open, Door::Password, Door::UsersToken] {
            registry.has_door(door);
            let to = registry.name(&format!("lab/b/{}:2", format!("{door:?}").to_lowercase()));
            let mut copy = skopeo();
            copy.args([
                "copy",
                "-q",
                "--insecure-policy",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
            ]);
            copy.args(["--src-creds", "anna:sesame", "--dest-creds", "anna:sesame"]);
            let done = copy.arg(format!("docker://{from}")).arg(format!("docker://{to}")).output().unwrap();
            assert!(done.status.success(), "{door:?}: {done:?}");
            let copied = registry.manifest(to.split_once('/').unwrap().1).unwrap();
            assert_eq!(copied.digest(), image.manifest().digest());
        }
        assert!(!registry.asked("PUT", "/manifests/2").is_empty());
    }
}
