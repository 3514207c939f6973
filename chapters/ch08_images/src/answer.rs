//! What a registry answers, of which nothing is believed before it has been looked at: neither its length, nor its words, nor
//! that it will ever end. RFC 9110; the OCI distribution specification.

use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use nix::libc::ETIMEDOUT;
use serde_json::Value;
use ureq::http::header::LOCATION;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Body, ResponseExt as _};

use crate::address;
use crate::formats::BIGGEST;

/// How long a server may say nothing.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// What comes slower than this many bytes in [`PATIENCE`] will never come.
const SLOWEST: u64 = 25 << 10;

/// Where an answer says to go on.
pub fn location(answer: &Response<Body>) -> Result<Uri> {
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    address::resolve(answer.get_uri(), location.context("the registry does not say where to go on")?)
}

/// The answer, if it is one of those that were hoped for. Else what the registry says is wrong.
pub fn accepted(answer: Response<Body>, hoped_for: &[StatusCode]) -> Result<Response<Body>> {
    if hoped_for.contains(&answer.status()) { Ok(answer) } else { Err(refusal(answer)) }
}

/// What the registry says is wrong.
pub fn refusal(answer: Response<Body>) -> Error {
    let host = address::origin(answer.get_uri());
    let status = answer.status();
    let unknown = status == StatusCode::UNAUTHORIZED;
    let said: Value =
        document(answer).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let said = &said["errors"][0];
    let mut words = format!("{host} answers {status}");
    for key in ["code", "message"] {
        if let Some(text) = said[key].as_str().filter(|text| !text.is_empty()) {
            words += &format!(": {}", text.chars().take(200).collect::<String>());
        }
    }
    anyhow!(words + if unknown { " (without credentials, or with wrong ones: see login)" } else { "" })
}

/// All bytes of an answer, if they are no more than a document has.
pub fn document(answer: Response<Body>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    body(answer).take(BIGGEST + 1).read_to_end(&mut bytes).context("reading what the registry answers")?;
    ensure!(bytes.len() as u64 <= BIGGEST, "the registry sends a document that's longer than 4 MiB");
    Ok(bytes)
}

/// The bytes of an answer as they come.
pub fn body(answer: Response<Body>) -> impl Read {
    Steady { body: answer.into_body().into_reader(), since: Instant::now(), bytes: 0 }
}

/// A body that comes. [`PATIENCE`] is for servers that say nothing; this is for those that say a word now and then.
struct Steady<R> {
    body: R,
    since: Instant,
    bytes: u64,
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer).map_err(in_kernels_words)?;
        self.bytes += read as u64;
        if self.since.elapsed() > PATIENCE {
            if self.bytes < SLOWEST && read > 0 {
                return Err(io::Error::new(ErrorKind::TimedOut, "it comes too slowly"));
            }
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        Ok(read)
    }
}

/// That nothing comes is called by many names, of which one is enough.
pub fn in_kernels_words(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(ureq::Error::Timeout(_)) => io::Error::from_raw_os_error(ETIMEDOUT),
        _ => error,
    }
}
