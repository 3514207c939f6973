//! What a registry is asked, and how: the OCI distribution specification, over HTTP. RFC 9110.
//!
//! A registry is a web server. Each blob has an address that ends with its digest, and each manifest one that ends with a
//! tag or its digest. What a registry says is not believed: it can be anybody's, and what it sends has to be what its name
//! says.

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use log::{LevelFilter, debug};
use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, USER_AGENT, WWW_AUTHENTICATE};
use ureq::http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, ResponseExt as _};

use crate::address;
use crate::answer::{self, PATIENCE};
use crate::challenge::Challenge;
use crate::credentials::Credentials;
use crate::name::HOME;

/// The host that answers for docker.io.
const HOME_HOST: &str = "registry-1.docker.io";

/// How long it may say nothing once it has a whole blob, and writes it to its disks.
const PATIENCE_AFTER_UPLOAD: Duration = Duration::from_secs(600);

/// How often a question may be sent on to another place.
const MOST_REDIRECTS: usize = 5;

/// A registry, and who we are to it.
pub struct Registry {
    agent: Agent,
    /// What its addresses begin with.
    base: Uri,
    credentials: Option<Credentials>,
    /// The header that it accepts at the moment.
    authorization: Mutex<Option<HeaderValue>>,
}

/// One question.
pub struct Question<'a> {
    /// GET, for one.
    pub method: Method,
    /// Where.
    pub uri: Uri,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent along.
    pub payload: Payload<'a>,
}

/// What is sent along with a question.
pub enum Payload<'a> {
    /// Nothing.
    None,
    /// Bytes.
    Bytes(&'a [u8]),
    /// What is in a file.
    File(&'a Path),
}

impl Registry {
    /// Asks nothing yet. Without encryption only if it is on this machine, or the user wants it so.
    pub fn new(name: &str, plain_http: bool, credentials: Option<Credentials>) -> Result<Registry> {
        let host = if name == HOME { HOME_HOST } else { name };
        let here = address::is_loopback(host.split(':').next().unwrap_or_default());
        let scheme = if here || plain_http { "http" } else { "https" };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .timeout_per_write(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE_AFTER_UPLOAD));
        if here {
            config = config.proxy(None); // whatever the environment says: it would look for the registry on *its* machine
        }
        if let Some(path) = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
            config = config.tls_config(trusting(Path::new(&path))?);
        }
        Ok(Registry {
            agent: config.build().new_agent(),
            base: address::parse(&format!("{scheme}://{host}/v2/"))?,
            credentials,
            authorization: Mutex::new(None),
        })
    }

    /// The address of a thing, for example `library/busybox/manifests/latest`.
    pub fn at(&self, path: &str) -> Result<Uri> {
        address::resolve(&self.base, path)
    }

    /// Asks, says who we are if the registry wants to know, and goes where it sends us. Returns whatever it answers then.
    pub fn ask(&self, question: &Question<'_>) -> Result<Response<Body>> {
        let answer = self.follow(question)?;
        // Nobody but the registry itself gets to know who we are.
        let is_registry = address::origin(answer.get_uri()) == address::origin(&self.base);
        if answer.status() != StatusCode::UNAUTHORIZED || !is_registry {
            return Ok(answer);
        }
        let headers = answer.headers().get_all(WWW_AUTHENTICATE).into_iter();
        let challenge = headers.filter_map(|header| Challenge::parse(header.to_str().ok()?)).next();
        match self.meet(challenge)? {
            None => return Ok(answer),
            new => *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = new,
        }
        self.follow(question)
    }

    /// The header that meets a challenge. `None` if there is no way.
    fn meet(&self, challenge: Option<Challenge>) -> Result<Option<HeaderValue>> {
        let value = match (challenge, &self.credentials) {
            (Some(Challenge::Bearer { realm, query }), _) => {
                format!("Bearer {}", self.token(&realm, &query)?)
            }
            (Some(Challenge::Basic), Some(credentials)) => format!("Basic {}", credentials.encoded()),
            (Some(Challenge::Basic), None) | (None, _) => return Ok(None),
        };
        let mut value = HeaderValue::from_str(&value).context("what the registry calls a token is none")?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Has a token made.
    fn token(&self, realm: &str, query: &[(&'static str, String)]) -> Result<String> {
        let mut text = realm.to_string();
        for (key, value) in query {
            text += if text.contains('?') { "&" } else { "?" };
            text += &format!("{key}={}", address::escaped(value));
        }
        let uri = address::parse(&text).context("the registry says where to get a token")?;
        let same_host = uri.host() == self.base.host();
        // The registry is not private only if the user wanted it so.
        let private = address::is_private(&uri) || !address::is_private(&self.base);
        ensure!(private, "the registry wants to have a token made at {}, unencrypted", address::origin(&uri));
        let mut headers = Vec::new();
        if let Some(credentials) = &self.credentials
            && (address::is_private(&uri) || same_host)
        {
            headers.push((AUTHORIZATION.as_str(), format!("Basic {}", credentials.encoded())));
        }
        // Without the old one, which may be why a new one is needed; and two such headers are an error.
        let question = Question { method: Method::GET, uri, headers, payload: Payload::None };
        let answer = self.send(&question, None, None)?;
        let answer = answer::accepted(answer, &[StatusCode::OK]).context("having a token made")?;
        let token: Value = serde_json::from_slice(&answer::document(answer)?).context("reading a token")?;
        let token = token.get("token").or_else(|| token.get("access_token")).and_then(Value::as_str);
        Ok(token.context("where tokens are made, none was given")?.to_string())
    }

    /// Asks, and goes where the registry sends us, without the header that is only for it.
    fn follow(&self, question: &Question<'_>) -> Result<Response<Body>> {
        let known = || self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut answer = self.send(question, None, known())?;
        for _ in 0..MOST_REDIRECTS {
            let may_follow = matches!(question.method, Method::GET | Method::HEAD);
            if !answer.status().is_redirection() || !may_follow {
                return Ok(answer);
            }
            let uri = answer::location(&answer)?;
            answer = self.send(question, Some(uri), known())?;
        }
        ensure!(!answer.status().is_redirection(), "the registry sends us from one place to another");
        Ok(answer)
    }

    /// Sends a question once, to its own place or to another. `known` goes along if that is the registry itself.
    fn send(
        &self,
        question: &Question<'_>,
        elsewhere: Option<Uri>,
        known: Option<HeaderValue>,
    ) -> Result<Response<Body>> {
        let uri = elsewhere.as_ref().unwrap_or(&question.uri);
        // What stands behind `?` can be as good as a password.
        debug!("{} {}{}", question.method, address::origin(uri), uri.path());
        let mut request = Request::builder().method(&question.method).uri(uri);
        request = request.header(USER_AGENT, concat!("byhand/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &question.headers {
            request = request.header(*name, value);
        }
        if let Some(value) = known
            && address::origin(uri) == address::origin(&self.base)
        {
            request = request.header(AUTHORIZATION, value);
        }
        let asking = || format!("asking {}", address::origin(uri));
        match question.payload {
            Payload::None => self.agent.run(request.body(()).with_context(asking)?),
            Payload::Bytes(bytes) => self.agent.run(request.body(bytes).with_context(asking)?),
            Payload::File(path) => {
                let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
                let request = request.body(file).with_context(asking)?;
                let request = self.agent.configure_request(request);
                self.agent.run(request.timeout_per_read(Some(PATIENCE_AFTER_UPLOAD)).build())
            }
        }
        .map_err(|error| answer::in_kernels_words(error.into_io()))
        .with_context(asking)
    }
}

/// Lets the log tell at most `debug`: below that, ureq tells each byte, those of passwords too.
pub fn keep_secrets() {
    log::set_max_level(log::max_level().min(LevelFilter::Debug));
}

/// Trusts those whose certificates are in a file, and nobody else.
fn trusting(path: &Path) -> Result<TlsConfig> {
    let reading = || format!("reading certificates from {}", path.display());
    let bytes = fs::read(path).with_context(reading)?;
    let mut trusted = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.with_context(reading)? {
            trusted.push(certificate);
        }
    }
    ensure!(!trusted.is_empty(), "there are no certificates in {}", path.display());
    Ok(TlsConfig::builder().root_certs(RootCerts::from(trusted)).build())
}
