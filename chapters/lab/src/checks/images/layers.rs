//! What a layer's archive says, and what the container then has.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, setrlimit};

use super::pull::pull;
use super::store::bytes;
use super::{load, text};
use crate::chapter::Chapter::Images;
use crate::checks::check::Check;
use crate::checks::lifecycle::copying::attribute;
use crate::machine::snapshot::Snapshot;
use crate::see::{self, cannot_run};
use crate::trial::oci::{Blob, Entry, Image, busybox, tar_of};
use crate::trial::registry::Registry;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "layer-replaces",
        Images,
        "What a layer has comes in the place of what a lower one has there, of whatever kind the two are.",
        replaces,
    ),
    Check::new(
        "layer-whiteout",
        Images,
        "A file .wh.NAME takes NAME away from the layers below, and from no other.",
        whiteouts,
    ),
    Check::new(
        "layer-opaque",
        Images,
        "A file .wh..wh..opq takes all away that lower layers have in its directory.",
        opaque,
    ),
    Check::new(
        "layer-hard-links",
        Images,
        "A file with two names in a layer has them in the container, too.",
        hard_links,
    ),
    Check::new(
        "layer-modes",
        Images,
        "Modes, owners and times are the archive's, set-user-ID bits and times of directories included.",
        modes,
    ),
    Check::new("layer-kinds", Images, "FIFOs and devices of a layer are made.", kinds),
    Check::new(
        "layer-xattrs",
        Images,
        "Extended attributes stay, a file's capabilities for example; overlayfs's own mean nothing in a layer.",
        xattrs,
    ),
    Check::new("layer-names", Images, "Names can be long, begin with ./, and have any letters.", names),
    Check::new(
        "layer-compressed",
        Images,
        "A layer can be compressed by gzip, in several pieces too, or by zstd.",
        compressed,
    ),
    Check::new(
        "layer-hostile",
        Images,
        "A layer cannot change anything outside, by odd names or by links of its own or of the layer below.",
        hostile,
    ),
    Check::new(
        "layer-broken",
        Images,
        "A layer that is cut off, no archive, or not what the config says is refused, and nothing of it is kept.",
        broken,
    ),
    Check::new(
        "layer-memory",
        Images,
        "A layer of any size is loaded and unpacked in 64 MB of memory.",
        memory,
    ),
    Check::new(
        "layer-bomb",
        Images,
        "An image that unpacks to more than $BYHAND_LARGEST_IMAGE is refused on the way, and little of it stays.",
        bomb,
    ),
];

const NAME: &str = "lab/layers:1";

/// Loads an image of these layers over busybox.
fn loaded(lab: &Lab, layers: &[Vec<Entry>]) -> Result<Image> {
    let mut all = vec![busybox()?];
    all.extend(layers.iter().cloned());
    let image = Image::of(&all)?;
    load(lab, &image, NAME)?;
    Ok(image)
}

fn shows(lab: &Lab, script: &str, text: &str) -> Result<()> {
    lab.sh(script).of(NAME).finish()?.succeeds()?.prints(text).map(drop)
}

fn replaces(lab: &Lab) -> Result<()> {
    let lower = vec![
        Entry::file("a", "of the first\n"),
        Entry::directory("b/"),
        Entry::file("b/in", "of the first\n"),
        Entry::file("target", "not to be written\n"),
        Entry::symlink("c", "target"),
        Entry::directory("d/"),
        Entry::directory("d/e/"),
        Entry::file("d/e/f", "of the first\n"),
        Entry::directory("both/"),
        Entry::file("both/one", "1\n"),
    ];
    let upper = vec![
        Entry::directory("a/"),
        Entry::file("a/in", "of the second\n"),
        Entry::file("b", "a file\n"),
        Entry::file("c", "a file too\n"),
        Entry::symlink("d", "a"),
        Entry::directory("both/").mode(0o711),
        Entry::file("both/two", "2\n"),
    ];
    loaded(lab, &[lower, upper])?;
    shows(
        lab,
        "cat /a/in /b /c /target /d/in; ls /a /both; stat -c %a /both",
        "of the second\na file\na file too\nnot to be written\nof the second\n/a:\nin\n\n/both:\none\ntwo\n711\n",
    )?;
    // The same within one layer: the last counts.
    let twice = vec![
        Entry::file("a", "first\n"),
        Entry::symlink("a", "target"),
        Entry::file("a", "last\n"),
        Entry::file("b", "a file\n"),
        Entry::directory("b/"),
        Entry::file("target", "not to be written\n"),
    ];
    loaded(lab, &[twice])?;
    shows(lab, "cat /a /target; [ -d /b ] && echo directory", "last\nnot to be written\ndirectory\n")
}

fn whiteouts(lab: &Lab) -> Result<()> {
    let lower = vec![
        Entry::directory("d/"),
        Entry::file("d/gone", "x"),
        Entry::file("d/stays", "x"),
        Entry::directory("tree/"),
        Entry::file("tree/x", "x"),
        Entry::file("again", "lower\n"),
        Entry::file("same", "lower\n"),
        Entry::file("early", "lower\n"),
    ];
    let upper = vec![
        Entry::directory("d/"),
        Entry::file("d/.wh.gone", ""),
        Entry::file(".wh.tree", ""),
        Entry::file(".wh.never", ""),
        Entry::file("no/such/.wh.place", ""),
        Entry::file(".wh.again", ""),
        // Both in one layer: it takes away what is below, in whatever order they come.
        Entry::file("same", "of its own layer\n"),
        Entry::file(".wh.same", ""),
        Entry::file(".wh.early", ""),
        Entry::file("early", "of its own layer\n"),
    ];
    loaded(lab, &[lower.clone(), upper.clone()])?;
    let script = "ls -A /d; cat /same /early; for one in tree never again no/such/place; do [ -e /$one ] && echo $one; done; find / -xdev -name '.wh.*'";
    shows(lab, script, "stays\nof its own layer\nof its own layer\n")?;
    loaded(lab, &[lower, upper, vec![Entry::file("again", "of the third\n"), Entry::file("tree/y", "x")]])?;
    shows(lab, "cat /again; ls /tree", "of the third\ny\n")
}

fn opaque(lab: &Lab) -> Result<()> {
    let lower = ["d", "e"].map(|name| {
        let inner = |path: &str| Entry::file(&format!("{name}/{path}"), "x");
        vec![Entry::directory(&format!("{name}/")), inner("a"), inner("b/c"), inner("kept")]
    });
    let upper = vec![
        Entry::directory("d/"),
        Entry::file("d/.wh..wh..opq", ""),
        Entry::file("d/new", "x"),
        Entry::file("d/b/own", "x"),
        // The mark comes last, and its directory has no entry.
        Entry::file("e/new", "x"),
        Entry::file("e/.wh..wh..opq", ""),
    ];
    let third = vec![Entry::file("d/third", "x")];
    loaded(lab, &[lower.concat(), upper, third])?;
    shows(lab, "ls -A /d /d/b /e", "/d:\nb\nnew\nthird\n\n/d/b:\nown\n\n/e:\nnew\n")
}

fn hard_links(lab: &Lab) -> Result<()> {
    let layer = vec![
        Entry::directory("d/"),
        Entry::file("d/one", "x\n").mode(0o4755),
        Entry::hard_link("two", "d/one"),
        Entry::hard_link("./three", "./d/one"),
        Entry::symlink("link", "nowhere"),
        Entry::hard_link("link-too", "link"),
    ];
    loaded(lab, &[layer])?;
    let script = "stat -c '%h %a' /two; [ /d/one -ef /two ] && [ /d/one -ef /three ] && echo same; readlink /link-too; cat /three";
    shows(lab, script, "3 4755\nsame\nnowhere\nx\n")
}

fn modes(lab: &Lab) -> Result<()> {
    let layer = vec![
        Entry::file("setuid", "x").mode(0o4755).owner(1234, 5678),
        Entry::file("setgid", "x").mode(0o2711),
        Entry::file("shut", "x").mode(0).owner(1, 2),
        Entry::directory("sticky/").mode(0o3777).owner(4_000_000_000, 7),
        Entry::file("sticky/in", "x").owner(9, 9),
        Entry::symlink("link", "shut").owner(55, 66),
        Entry::file("unsaid/deep", "x"),
        Entry::directory("late/in/"),
        Entry::directory("late/").mode(0o700).owner(3, 3),
    ];
    loaded(lab, &[layer])?;
    let script = "stat -c '%n %a %u:%g %Y' /setuid /setgid /shut /sticky /sticky/in /link /late; stat -c '%n %a %u:%g' /unsaid";
    let time = 1_000_000_000;
    let text = format!(
        "/setuid 4755 1234:5678 {time}\n/setgid 2711 0:0 {time}\n/shut 0 1:2 {time}\n\
         /sticky 3777 4000000000:7 {time}\n/sticky/in 644 9:9 {time}\n/link 777 55:66 {time}\n\
         /late 700 3:3 {time}\n/unsaid 755 0:0\n"
    );
    shows(lab, script, &text)
}

fn kinds(lab: &Lab) -> Result<()> {
    let layer = vec![
        Entry::fifo("pipe").mode(0o620),
        Entry::device("null", 1, 3).owner(5, 6),
        Entry::disk("disk", 7, 300).mode(0o600),
    ];
    loaded(lab, &[layer])?;
    let script = "stat -c '%n %F %a %u:%g %t:%T' /pipe /null /disk; echo x > /null && wc -c < /null";
    shows(
        lab,
        script,
        "/pipe fifo 620 0:0 0:0\n/null character special file 666 5:6 1:3\n/disk block special file 600 0:0 7:12c\n0\n",
    )
}

fn xattrs(lab: &Lab) -> Result<()> {
    // cap_net_bind_service, permitted and effective: version 2, see capabilities(7).
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = vec![
        Entry::file("able", "x").mode(0o755).owner(5, 5).xattr("security.capability", capability),
        Entry::directory("d/").xattr("trusted.overlay.opaque", "y"),
        Entry::file("d/upper", "x"),
        Entry::directory("moved/").xattr("trusted.overlay.redirect", "/d"),
    ];
    loaded(lab, &[vec![Entry::file("d/lower", "x")], layer])?;
    let mut run = lab.run(["sh", "-c", "ls /d /moved; exec sleep 1000"]).of(NAME).start()?;
    run.wrote("/d:\nlower\nupper\n\n/moved:\n")?;
    let process = run.container()?;
    let able = process.file("root").join("able");
    run.same(
        "security.capability of /able:",
        Some(capability.to_vec()),
        attribute(&able, "security.capability")?,
    )?;
    run.kill_command().map(drop)
}

fn names(lab: &Lab) -> Result<()> {
    let long = format!("{}/{}", "directory-with-a-long-name".repeat(4), "file-with-a-long-name".repeat(9));
    let layer = vec![
        Entry::directory("./"),
        Entry::file("./begins", "1\n"),
        Entry::file("two//slashes", "2\n"),
        Entry::file(&long, "3\n"),
        Entry::symlink("long-link", &long),
        Entry::file("new\nline", "4\n"),
        Entry::file("-option", "5\n"),
        Entry::file("\u{e4}\u{1f4e6}", "6\n"),
        Entry::file("..data", "7\n"),
        Entry::file("wh.x", "8\n"),
        Entry::file("x.wh.y", "9\n"),
    ];
    loaded(lab, &[layer])?;
    let script = format!(
        "cd /; cat begins two/slashes {long} long-link 'new\nline' ./-option \u{e4}\u{1f4e6} ..data wh.x x.wh.y"
    );
    shows(lab, &script, "1\n2\n3\n3\n4\n5\n6\n7\n8\n9\n")
}

/// Has a program compress bytes.
fn compressed_by(program: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let child = Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| cannot_run(format!("there is no {program}: {error}")))?;
    let mut stdin = child.stdin.take().context("its stdin is a pipe")?;
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().with_context(|| format!("running {program}"))?;
    writer.join().ok().context("writing")??;
    Ok(output.stdout)
}

fn compressed(lab: &Lab) -> Result<()> {
    let tar = tar_of(&[Entry::file("from", "the layer\n"), Entry::file("big", vec![b'x'; 300_000])])?;
    let (first, second) = tar.split_at(100_000);
    let in_pieces = [compressed_by("gzip", first)?, compressed_by("gzip", second)?].concat();
    let oci = "application/vnd.oci.image.layer.v1.tar";
    let mut kinds = vec![
        (format!("{oci}+gzip"), compressed_by("gzip", &tar)?),
        (format!("{oci}+gzip"), in_pieces),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip".to_string(), compressed_by("gzip", &tar)?),
    ];
    let zstd = compressed_by("zstd", &tar);
    kinds.extend(zstd.as_ref().ok().map(|bytes| (format!("{oci}+zstd"), bytes.clone())));
    for (kind, bytes) in kinds {
        let mut image = Image::of_tars(vec![tar_of(&busybox()?)?, tar.clone()]);
        image.layers[1] = Blob::new(&kind, bytes);
        load(lab, &image, NAME)?;
        let state = lab.path("state");
        shows(lab, "cat /from; wc -c < /big", "the layer\n300000\n").with_context(|| kind.clone())?;
        fs::remove_dir_all(&state).with_context(|| format!("removing {}", state.display()))?;
    }
    zstd.map(drop)
}

/// Loads and runs an image that is not as it should be. It may be refused at either of the two.
fn tried(lab: &Lab, image: &Image) -> Result<(String, bool)> {
    let file = lab.path("hostile.tar");
    image.write_archive(&file, NAME)?;
    let outcome = lab.call("load", ["-i".as_ref(), file.as_os_str()]).finish()?;
    if !outcome.status.success() {
        outcome.refuses(&[1])?;
        return Ok((outcome.line, false));
    }
    let outcome = lab.sh("echo ran").of(NAME).finish()?;
    if !outcome.status.success() {
        outcome.refuses(&[125])?;
        return Ok((outcome.line, false));
    }
    outcome.succeeds()?.prints("ran\n")?;
    Ok((outcome.line, true))
}

fn hostile(lab: &Lab) -> Result<()> {
    let outside = lab.folder("outside")?;
    fs::create_dir(outside.join("folder"))?;
    fs::write(outside.join("secret"), "the host's\n")?;
    fs::write(outside.join("folder/file"), "the host's\n")?;
    let before = Snapshot::of(&outside)?;
    let place = outside.to_str().context("the temporary directory's path is no text")?;
    let (secret, escaped) = (format!("{place}/secret"), format!("{place}/escaped"));
    let up = format!("{}{}", "../".repeat(20), place.trim_start_matches('/'));
    let file = |name: &str| Entry::file(name, "escaped\n");
    let out = || Entry::symlink("out", place);
    let far = || Entry::symlink("out", &up);
    let cases: Vec<Vec<Vec<Entry>>> = vec![
        vec![vec![out()], vec![file("out/escaped")]],
        vec![vec![far()], vec![file("out/escaped")]],
        vec![vec![out(), file("out/escaped")]],
        vec![vec![far(), file("out/escaped")]],
        vec![vec![out()], vec![file("out/.wh.secret"), file("out/folder/.wh.file")]],
        vec![vec![out(), file("out/.wh.secret")]],
        vec![vec![out()], vec![file("out/.wh..wh..opq")]],
        vec![vec![out(), file("out/.wh..wh..opq")]],
        vec![vec![out()], vec![Entry::directory("out/").mode(0), Entry::directory("out/made/")]],
        vec![vec![out(), Entry::directory("out/").mode(0), Entry::directory("out/made/")]],
        vec![vec![out(), Entry::directory("out/folder/").mode(0).owner(7, 7)]],
        vec![vec![Entry::symlink("link", &secret), file("link")]],
        vec![vec![Entry::symlink("link", &secret)], vec![file("link")]],
        vec![vec![file(&format!("{up}/escaped"))]],
        vec![vec![file(&escaped)]],
        vec![vec![file("bin/../../../../../../../../../../../escaped")]],
        vec![vec![file("..")]],
        vec![vec![Entry::directory("../").mode(0)]],
        vec![vec![Entry::symlink("../x", place)]],
        vec![vec![Entry::hard_link("stolen", &secret), file("stolen")]],
        vec![vec![Entry::hard_link("stolen", &format!("{up}/secret")), file("stolen")]],
        vec![vec![out(), Entry::hard_link("stolen", "out/secret"), file("stolen")]],
        vec![vec![out()], vec![Entry::hard_link("stolen", "out/secret")]],
        vec![vec![Entry::symlink("link", &secret), Entry::hard_link("too", "link"), file("too")]],
        vec![vec![file(".wh..")]],
        vec![vec![file(".wh...")]],
        vec![vec![out()], vec![file("out/.wh..")]],
        vec![vec![out()], vec![file("out/.wh...")]],
        vec![vec![file(".wh.")]],
        vec![vec![Entry::symlink("link", &secret).mode(0).owner(7, 7).xattr("security.lab", "x")]],
        vec![vec![out(), Entry::fifo("out/pipe"), Entry::device("out/null", 1, 3)]],
        vec![vec![Entry::symlink("self", "/proc/self/root"), file(&format!("self{escaped}"))]],
        vec![vec![Entry::symlink("loop", "loop"), file("loop/in")]],
        vec![vec![Entry::file("plain", ""), file("plain/in")]],
        vec![vec![file(&"deep/".repeat(1000))]],
        vec![vec![file(&"x".repeat(5000))]],
        vec![vec![file("")]],
        vec![vec![file("/")]],
        vec![vec![file(".")]],
    ];
    let count = cases.len();
    for (number, layers) in cases.into_iter().enumerate() {
        let mut all = vec![busybox()?];
        all.extend(layers);
        let (did, _) = tried(lab, &Image::of(&all)?).with_context(|| format!("case {number} of {count}"))?;
        let did = format!("{did} (hostile layers, number {number})");
        before.still(&did)?;
        lab.host_unchanged(&did)?;
    }
    Ok(())
}

fn broken(lab: &Lab) -> Result<()> {
    let good = || Image::of(&[busybox()?, vec![Entry::file("a", vec![b'x'; 5000]), Entry::file("b", "x")]]);
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let tar = good()?.layers[1].bytes.clone();
    let zipped = compressed_by("gzip", &tar)?;
    let mut flipped = zipped.clone();
    flipped[zipped.len() / 2] ^= 0x55;
    let mut endless = tar.clone();
    endless[124..136].copy_from_slice(b"77777777777\0");
    let cases: Vec<(&str, String, Vec<u8>)> = vec![
        ("cut off in a file", kind.to_string(), tar[..3000].to_vec()),
        ("cut off in a header", kind.to_string(), tar[..100].to_vec()),
        ("no archive", kind.to_string(), b"no archive at all, but long enough. ".repeat(100)),
        ("another archive", kind.to_string(), tar_of(&[Entry::file("a", "another")])?),
        ("of 8 GB, says its header", kind.to_string(), endless),
        ("gzip, cut off", format!("{kind}+gzip"), zipped[..zipped.len() / 2].to_vec()),
        ("gzip, damaged", format!("{kind}+gzip"), flipped),
    ];
    for (what, kind, bytes) in cases {
        let mut image = good()?;
        image.layers[1] = Blob::new(&kind, bytes);
        let (did, ran) = tried(lab, &image).with_context(|| format!("with a layer that is {what}"))?;
        see::same(&did, &format!("an image with a layer that is {what} to run:"), false, ran)?;
    }
    load(lab, &good()?, NAME)?;
    shows(lab, "wc -c < /a; cat /b", "5000\nx")
}

fn memory(lab: &Lab) -> Result<()> {
    let layer = vec![Entry::file("big", vec![0; 60_000_000]), Entry::file("after", "x\n")];
    let image = Image::of(&[busybox()?, layer])?.zipped()?;
    let file = lab.path("big.tar");
    image.write_archive(&file, NAME)?;
    let little = || Ok(setrlimit(Resource::RLIMIT_DATA, 64_000_000, 64_000_000)?);
    lab.call("load", ["-i".as_ref(), file.as_os_str()]).prepared(little).finish()?.succeeds()?;
    let run = lab.sh("wc -c < /big; cat /after").of(NAME).prepared(little);
    run.finish()?.succeeds()?.prints("60000000\nx\n").map(drop)
}

fn bomb(lab: &Lab) -> Result<()> {
    const LIMIT: (&str, &str) = ("BYHAND_LARGEST_IMAGE", "20m");
    let registry = Registry::open()?;
    let zeros = |name: &str, count| vec![Entry::file(name, vec![0; count])];
    let bomb = Image::of(&[busybox()?, zeros("zeros", 60_000_000)])?.zipped()?;
    // None of these layers is too large, and together they are.
    let slow = Image::of(&[busybox()?, zeros("some", 12_000_000), zeros("more", 12_000_000)])?.zipped()?;
    for (image, name) in [(bomb, "lab/bomb:1"), (slow, "lab/slow:1")] {
        let name = registry.put(&image, name);
        let (layer, archive) = (lab.path("layer.tar.gz"), lab.path("bomb.tar"));
        let outcome = pull(lab, &name)?.variable(LIMIT.0, LIMIT.1).prepared(no_long_file).finish()?;
        outcome.refuses(&[1])?.mentions(LIMIT.0)?;
        // It may be loaded, as long as it is not unpacked.
        image.write_archive(&archive, &name)?;
        lab.call("load", ["-i", text(&archive)?]).variable(LIMIT.0, LIMIT.1).finish()?;
        let run = lab.run(["true"]).with(["--pull", "never"]).of(&name).variable(LIMIT.0, LIMIT.1);
        run.prepared(no_long_file).finish()?.refuses(&[125])?;
        let left = bytes(&lab.state());
        if left > 20 << 20 {
            return Err(see::differs(&outcome.line, "less than 20 MiB in the state directory", left));
        }
        fs::write(&layer, &image.layers[1].bytes)?;
        let import = lab.call("import", [text(&layer)?, "lab/imported"]).variable(LIMIT.0, "10m");
        import.prepared(no_long_file).finish()?.refuses(&[1])?.mentions(LIMIT.0)?;
        // Whoever wants it can have it.
        pull(lab, &name)?.variable(LIMIT.0, "200m").finish()?.succeeds()?;
        lab.call("rmi", ["-f", &name]).finish()?.succeeds()?;
        lab.call("prune", ["-f"]).finish()?.succeeds()?;
    }
    let nonsense = pull(lab, &registry.name("lab/slow:1"))?.variable(LIMIT.0, "much").finish()?;
    nonsense.refuses(&[1])?.mentions(LIMIT.0).map(drop)
}

/// For the runtime: it must not write far beyond the limit before it notices.
fn no_long_file() -> std::io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_FSIZE, 25_000_000, 25_000_000)?)
}
