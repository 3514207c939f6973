//! How a blob gets into the store: from a registry, which may break off in the middle, and may send anything. flock(2),
//! rename(2); RFC 9110, 14 (ranges).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use ch02_cgroups::lock;
use log::debug;
use ureq::Body;
use ureq::http::header::{CONTENT_RANGE, RANGE};
use ureq::http::{Method, Response, StatusCode};

use crate::answer;
use crate::digest::Hashing;
use crate::formats::Descriptor;
use crate::progress::Layer;
use crate::registry::{Payload, Question, Registry};
use crate::store::Store;

/// How long to wait before each new try, in seconds.
const PAUSES: [u64; 4] = [1, 2, 4, 8];

/// How long to wait for another command that fetches the same.
const OTHERS: Duration = Duration::from_secs(3600);

/// A blob of a repository that is wanted in the store.
pub struct Wanted<'a> {
    /// Where it is.
    pub registry: &'a Registry,
    /// And there, in which repository.
    pub repository: &'a str,
    /// What it is.
    pub blob: &'a Descriptor,
    /// Where it goes.
    pub store: &'a Store,
}

/// How a try ended.
enum Try {
    /// All bytes are there.
    Whole,
    /// Not all, and it may be worth another try.
    Broken(Error),
    /// They can't be the right ones.
    TooMuch,
}

impl Wanted<'_> {
    /// Fetches it, unless it is there. If another command is fetching it at the moment, waits until that has it. What comes
    /// before it breaks off is kept, and the next try goes on from there, even if that is another day. Ends early if `stop`
    /// says so. Returns whether anything was to be fetched.
    pub fn fetch(&self, bar: Option<&Layer<'_>>, stop: impl Fn() -> bool) -> Result<bool> {
        let digest = &self.blob.digest;
        if self.store.has(digest)? {
            return Ok(false);
        }
        let path = self.store.path("incoming").join(digest.hex());
        let _lock = lock::hold(&path, OTHERS, || {
            File::options().write(true).create_new(true).mode(0o600).open(&path).map(drop)
        })?;
        if self.store.has(digest)? {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            return Ok(false); // fetched by another command while we waited for the lock
        }
        let done = self.fetch_to(&path, bar, stop);
        if done.is_err() && path.metadata().is_ok_and(|data| data.len() == 0) {
            let _ = fs::remove_file(&path); // it's of no use to the next try, and does no harm either
        }
        done.map(|()| true)
    }

    /// Tries until it is whole, in a file that nobody else writes to. Renames that then.
    fn fetch_to(&self, path: &Path, bar: Option<&Layer<'_>>, stop: impl Fn() -> bool) -> Result<()> {
        let digest = &self.blob.digest;
        let empty = || fs::write(path, "").with_context(|| format!("emptying {}", path.display()));
        let mut older = self.open(path)?.length() > 0;
        let (mut pauses, mut silences) = (PAUSES.iter(), 0);
        loop {
            let mut part = self.open(path)?;
            let broken = match self.go_on(&mut part, bar, &stop)? {
                Try::Broken(error) => error,
                Try::Whole if part.finish().0 == *digest => break,
                Try::Whole if older => {
                    empty()?; // the wrong bytes may be those from before
                    older = false;
                    continue;
                }
                Try::Whole => {
                    empty()?;
                    bail!("the registry sends other bytes than {digest}");
                }
                Try::TooMuch => {
                    empty()?;
                    bail!("the registry sends more than the {} bytes that it promised", self.blob.size);
                }
            };
            let is_silence =
                broken.downcast_ref().is_some_and(|one: &io::Error| one.kind() == ErrorKind::TimedOut);
            silences += usize::from(is_silence);
            let Some(pause) = pauses.next().filter(|_| silences < 2) else { return Err(broken) };
            debug!("again in {pause} s: {broken:#}");
            bar.inspect(|bar| bar.note(&format!("Retrying in {pause} s")));
            sleep(Duration::from_secs(*pause));
        }
        let blob = self.store.blob(digest);
        debug!("rename({path:?}, {blob:?})");
        fs::rename(path, &blob).with_context(|| format!("keeping {}", blob.display()))
    }

    /// What is there of it already, added up, and ready to be written on.
    fn open(&self, path: &Path) -> Result<Hashing<File>> {
        let opening = || format!("reading {}", path.display());
        let file = File::options().read(true).append(true).open(path).with_context(opening)?;
        if file.metadata().with_context(opening)?.len() > self.blob.size {
            file.set_len(0).with_context(opening)?;
        }
        let mut part = Hashing::new(file);
        io::copy(&mut part, &mut io::sink()).with_context(opening)?;
        Ok(part)
    }

    /// Asks for what is missing, and writes it down as it comes, but never more than was promised.
    fn go_on(
        &self,
        part: &mut Hashing<File>,
        bar: Option<&Layer<'_>>,
        stop: impl Fn() -> bool,
    ) -> Result<Try> {
        let (size, begin) = (self.blob.size, part.length());
        if begin == size {
            return Ok(Try::Whole);
        }
        let answer = match self.ask(begin)? {
            Err(broken) => return Ok(Try::Broken(broken)),
            Ok(answer) => answer,
        };
        let passed_over = if answer.status() == StatusCode::OK { begin } else { 0 };
        let said = answer.body().content_length().is_some();
        let mut body = answer::body(answer);
        // A registry without ranges sends all of it.
        if let Err(error) = io::copy(&mut body.by_ref().take(passed_over), &mut io::sink()) {
            return Ok(Try::Broken(Error::new(error).context("reading what the registry sends")));
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            ensure!(!stop(), "ended, because something else went wrong");
            let read = match body.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Ok(Try::Broken(Error::new(error).context("reading what the registry sends")));
                }
                Ok(read) => read,
            };
            let length = part.length() + read as u64;
            match read {
                0 if length == size => return Ok(Try::Whole),
                // Only where it did not say how much would come, this may not be the end.
                0 if said => bail!("the registry sends {length} bytes, and promised {size}"),
                0 => return Ok(Try::Broken(anyhow!("the registry has sent {length} of {size} bytes"))),
                _ if length > size => return Ok(Try::TooMuch),
                _ => part.write_all(&buffer[..read]).context("writing a blob")?,
            }
            bar.inspect(|bar| bar.at(length));
        }
    }

    /// Asks for the blob from a byte on. What fails only this time is the inner error.
    fn ask(&self, begin: u64) -> Result<Result<Response<Body>>> {
        let headers = if begin > 0 { vec![(RANGE.as_str(), format!("bytes={begin}-"))] } else { Vec::new() };
        let uri = self.registry.at(&format!("{}/blobs/{}", self.repository, self.blob.digest))?;
        let question = Question { method: Method::GET, uri, headers, payload: Payload::None };
        let answer = match self.registry.ask(&question) {
            Err(error) if error.is::<io::Error>() => return Ok(Err(error)), // the connection, not what was said
            answer => answer?,
        };
        let status = answer.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Ok(Err(answer::refusal(answer)));
        }
        let answer = answer::accepted(answer, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT])?;
        if status == StatusCode::PARTIAL_CONTENT {
            let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            let fits = range.is_some_and(|range| range.starts_with(&format!("bytes {begin}-")));
            ensure!(fits, "the registry was asked for what begins at byte {begin}, and sends something else");
        }
        Ok(Ok(answer))
    }
}
