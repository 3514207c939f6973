//! `push`: an image goes to a registry, ours or a real one.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use serde_json::Value;

use super::pull::{call, image, pull, runs};
use super::{load, other, text};
use crate::chapter::Chapter::Images;
use crate::checks::check::Check;
use crate::machine::mounts::bind;
use crate::see::{self, SOON, cannot_run, wait_for};
use crate::trial::registry::{Answer, Door, Registry, USER};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "push",
        Images,
        "push brings an image to a registry: what it has not got yet, and the manifest last, byte for byte.",
        pushes,
    ),
    Check::new(
        "push-pull",
        Images,
        "What is pushed and pulled elsewhere is the same: one from the host, and a commit.",
        round,
    ),
    Check::new(
        "push-login",
        Images,
        "push says who it is for where the registry asks, and the token is for writing.",
        door,
    ),
    Check::new(
        "push-refused",
        Images,
        "push of what is not there, or what the registry refuses, ends with 1; a manifest is never sent before its blobs.",
        refused,
    ),
    Check::new(
        "registry",
        Images,
        "With a real registry, pull takes what skopeo has put there, and skopeo what push has.",
        real,
    ),
    Check::new(
        "registry-encrypted",
        Images,
        "A registry that is not on this machine is asked by TLS, and only if its certificate is trusted.",
        encrypted,
    ),
];

fn push<'a>(lab: &'a Lab, name: &str) -> Result<crate::trial::runtime::Run<'a>> {
    call(lab, "push", &["-q", name])
}

fn pushes(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let image = image("pushed")?;
    let name = registry.name("lab/deep/app:1");
    load(lab, &image, &name)?;
    registry.put_blobs(&image.layers[..1]); // it has one of them
    push(lab, &name)?.finish()?.succeeds()?.prints(format!("{name}\n"))?;
    let there = registry.manifest("lab/deep/app:1").map(|manifest| manifest.digest());
    see::same("push", "the manifest's digest in the registry:", Some(image.manifest().digest()), there)?;
    let kinds: Vec<_> =
        registry.manifest("lab/deep/app:1").map(|manifest| manifest.kind).into_iter().collect();
    see::same("push", "its kind:", vec![image.manifest().kind], kinds)?;
    for blob in image.layers.iter().chain([&image.config()]) {
        see::same(
            "push",
            "a blob in the registry:",
            Some(blob.bytes.clone()),
            registry.blob(&blob.digest()),
        )?;
    }
    let sent = registry.asked("PUT", "/blobs/uploads/").len();
    see::same("push", "blobs that were sent, of three of which one was there:", 2, sent)?;
    registry.forget();
    push(lab, &name)?.finish()?.succeeds()?;
    see::same("push, again", "uploads begun:", 0, registry.asked("POST", "/blobs/uploads/").len())
}

fn round(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let one = lab.kept(["sh", "-c", "echo committed > /from; rm /etc/group"]).detach()?;
    one.exits(0)?;
    let committed = registry.name("lab/committed:1");
    lab.call("commit", [one.id(), &committed]).finish()?.succeeds()?;
    let copied = registry.name("lab/busybox:1");
    lab.says("tag", ["busybox", &copied], "")?;
    let other = lab.path("other-state");
    for name in [&committed, &copied] {
        push(lab, name)?.finish()?.succeeds()?;
        pull(lab, name)?.state(&other).finish()?.succeeds()?;
        let id = |state: &Path| -> Result<String> {
            let outcome = lab.call("images", ["-q", "--no-trunc", name]).state(state).finish()?;
            outcome.succeeds()?;
            Ok(outcome.output())
        };
        see::same("push and pull", "the image's id", id(&lab.state())?, id(&other)?)?;
    }
    let script = "cat /from; [ -e /etc/group ] || echo gone";
    lab.sh(script).state(&other).of(&committed).finish()?.succeeds()?.prints("committed\ngone\n").map(drop)
}

fn door(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    for door in [Door::Password, Door::UsersToken] {
        registry.has_door(door);
        let name = registry.name(&format!("lab/app:{}", door as u8));
        load(lab, &image(&format!("{door:?}"))?, &name)?;
        push(lab, &name)?.finish()?.refuses(&[1])?.mentions("401")?;
        let words = ["-u", USER.0, "--password-stdin", "127.0.0.1:5000"];
        call(lab, "login", &words)?.input(USER.1).finish()?.exits(0)?;
        push(lab, &name)?.finish()?.succeeds()?;
        call(lab, "logout", &["127.0.0.1:5000"])?.finish()?.exits(0)?;
    }
    Ok(())
}

fn refused(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let name = registry.name("lab/app:1");
    push(lab, &name)?.finish()?.refuses(&[1])?.mentions("lab/app:1")?;
    see::same("push of what is not there", "questions", 0, registry.asked("HEAD", "").len())?;
    let image = image("pushed")?;
    load(lab, &image, &name)?;
    let no = |status| Answer::Whole(status, Vec::new(), b"\x1b[2Jno\n".to_vec());
    for (method, part) in [("POST", "/blobs/uploads/"), ("PUT", "/blobs/uploads/"), ("PUT", "/manifests/")] {
        for status in [403, 413, 500] {
            registry.forget();
            registry.answers(method, part, 9, no(status));
            let outcome = push(lab, &name)?.finish()?;
            outcome.refuses(&[1])?.mentions(&status.to_string())?;
            if outcome.error().contains('\u{1b}') {
                return Err(outcome.differs("no control characters on stderr"));
            }
            let early = part != "/manifests/" && !registry.asked("PUT", "/manifests/").is_empty();
            see::same(&outcome.line, "a manifest sent without its blobs:", false, early)?;
        }
    }
    registry.forget();
    push(lab, &name)?.finish()?.succeeds()?;
    let there = registry.manifest("lab/app:1").map(|manifest| manifest.digest());
    see::same("push", "the manifest's digest in the registry:", Some(image.manifest().digest()), there)
}

/// docker-registry(1), while this lives.
struct Real(Child);

impl Real {
    /// Starts it with this configuration, and waits until it listens.
    fn start(lab: &Lab, http: &str) -> Result<Real> {
        let files = lab.folder("registry")?;
        let config = lab.path("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:5000\n{http}",
            files.display()
        );
        fs::write(&config, text)?;
        let mut serve = Command::new("docker-registry");
        serve.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child =
            serve.spawn().map_err(|_| cannot_run("there is no docker-registry (package docker-registry)"))?;
        let mut real = Real(child);
        let listens = || match TcpStream::connect("127.0.0.1:5000") {
            Ok(_) => Ok(Some(true)),
            Err(_) => Ok(real.0.try_wait()?.map(|_| false)),
        };
        match wait_for(SOON, listens)? {
            Some(true) => Ok(real),
            _ => Err(cannot_run("docker-registry does not listen here")),
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn real(lab: &Lab) -> Result<()> {
    other("skopeo", &["--version"])?;
    let _registry = Real::start(lab, "")?;
    let image = image("a real registry")?;
    let file = lab.path("image.tar");
    image.write_archive(&file, "lab/app:1")?;
    let from = format!("oci-archive:{}", text(&file)?);
    let options = ["copy", "-q", "--insecure-policy", "--dest-tls-verify=false"];
    other("skopeo", &[&options[..], &[&from, "docker://127.0.0.1:5000/lab/app:1"]].concat())?;
    pull(lab, "127.0.0.1:5000/lab/app:1")?.finish()?.succeeds()?;
    runs(lab, "127.0.0.1:5000/lab/app:1", "a real registry\n")?;
    lab.run(["true"]).finish()?.succeeds()?;
    for (source, name) in [("127.0.0.1:5000/lab/app:1", "lab/copy:2"), ("busybox", "lab/own:3")] {
        let name = format!("127.0.0.1:5000/{name}");
        lab.says("tag", [source, &name], "")?;
        push(lab, &name)?.finish()?.succeeds()?;
        let place = format!("docker://{name}");
        let told = other("skopeo", &["inspect", "--tls-verify=false", &place])?;
        let told: Value = serde_json::from_slice(&told)?;
        let inspected = lab.call("inspect", [&name]).finish()?;
        let inspected: Value = serde_json::from_slice(&inspected.stdout)?;
        let count = |value: &Value| value.as_array().map(Vec::len);
        see::same(
            "skopeo inspect",
            "layers",
            count(&inspected[0]["RootFS"]["Layers"]),
            count(&told["Layers"]),
        )?;
        let copied = lab.path("copied");
        let to = format!("dir:{}", text(&copied)?);
        other("skopeo", &["copy", "-q", "--insecure-policy", "--src-tls-verify=false", &place, &to])?;
        fs::remove_dir_all(&copied)?;
    }
    Ok(())
}

/// A certificate for `registry.test`, signed by an authority that nobody knows yet: (the authority's, its own, its key).
fn certificates(lab: &Lab) -> Result<[PathBuf; 3]> {
    let folder = lab.folder("certificates")?;
    let [authority, authority_key, own, own_key, request, names] =
        ["ca.pem", "ca.key", "own.pem", "own.key", "own.csr", "names"].map(|name| folder.join(name));
    fs::write(&names, "subjectAltName=DNS:registry.test\n")?;
    let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let of_authority = [
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=the lab",
        "-keyout",
        text(&authority_key)?,
        "-out",
        text(&authority)?,
    ];
    other("openssl", &[&new[..], &of_authority].concat())?;
    let of_own = ["-subj", "/CN=registry.test", "-keyout", text(&own_key)?, "-out", text(&request)?];
    other("openssl", &[&new[..], &of_own].concat())?;
    let sign = [
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        text(&request)?,
        "-CA",
        text(&authority)?,
        "-CAkey",
        text(&authority_key)?,
    ];
    let signed = ["-CAcreateserial", "-extfile", text(&names)?, "-out", text(&own)?];
    other("openssl", &[&sign[..], &signed].concat())?;
    Ok([authority, own, own_key])
}

fn encrypted(lab: &Lab) -> Result<()> {
    let [authority, own, key] = certificates(lab)?;
    let hosts = lab.path("hosts");
    fs::write(&hosts, "127.0.0.1 localhost registry.test other.test\n")?;
    bind(&hosts, Path::new("/etc/hosts"))?;
    lab.arranged()?;
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n", own.display(), key.display());
    let _registry = Real::start(lab, &tls)?;
    let name = "registry.test:5000/lab/app:1";
    load(lab, &image("encrypted")?, name)?;
    let trusting = |run: crate::trial::runtime::Run<'_>| -> Result<_> {
        run.variable("SSL_CERT_FILE", text(&authority)?).finish()
    };
    push(lab, name)?.finish()?.refuses(&[1])?.mentions("certificate")?;
    trusting(push(lab, name)?)?.succeeds()?;
    let other_state = lab.path("other-state");
    pull(lab, name)?.state(&other_state).finish()?.refuses(&[1])?.mentions("certificate")?;
    trusting(pull(lab, name)?.state(&other_state))?.succeeds()?;
    lab.run([""; 0]).state(&other_state).of(name).finish()?.succeeds()?.prints("encrypted\n")?;
    // It is somebody else's certificate.
    trusting(pull(lab, "other.test:5000/lab/app:1")?)?.refuses(&[1])?.mentions("certificate").map(drop)
}
