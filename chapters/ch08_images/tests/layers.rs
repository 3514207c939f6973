//! Layers, from a tar stream to a directory and back.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ch08_images::changes::changes;
use ch08_images::layer_pack::pack;
use ch08_images::layer_unpack::unpack;
use ch08_images::whiteout::{is_opaque, is_whiteout, make_whiteout};
use proptest::prelude::*;
use tar::{EntryType, Header};
use tempfile::TempDir;

/// An entry, as somebody might write it, however wrong.
struct Said<'a> {
    kind: EntryType,
    name: &'a str,
    link: &'a str,
    text: &'a str,
    mode: u32,
    more: Vec<(&'a str, &'a [u8])>,
}

fn said(kind: EntryType, name: &str) -> Said<'_> {
    Said { kind, name, link: "", text: "", mode: 0o644, more: Vec::new() }
}

fn file<'a>(name: &'a str, text: &'a str) -> Said<'a> {
    Said { text, ..said(EntryType::Regular, name) }
}

fn dir(name: &str) -> Said<'_> {
    Said { mode: 0o751, ..said(EntryType::Directory, name) }
}

fn link<'a>(name: &'a str, link: &'a str) -> Said<'a> {
    Said { link, ..said(EntryType::Symlink, name) }
}

fn hard<'a>(name: &'a str, link: &'a str) -> Said<'a> {
    Said { link, ..said(EntryType::Link, name) }
}

fn tar(entries: &[Said<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        builder.append_pax_extensions(entry.more.iter().copied()).unwrap();
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        header.as_old_mut().linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(12);
        header.set_gid(34);
        header.set_mtime(1_000_000_000);
        header.set_size(entry.text.len() as u64);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        builder.append(&header, entry.text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A layer above one that has `below/{a,b}`, `kept/file` and `link`, which leads to `kept`.
struct Layers(TempDir);

impl Layers {
    fn new() -> Layers {
        let top = tempfile::tempdir().unwrap();
        let lower = top.path().join("lower");
        for (name, text) in [("below/a", "a"), ("below/b", "b"), ("kept/file", "old")] {
            let path = lower.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        symlink("kept", lower.join("link")).unwrap();
        fs::set_permissions(lower.join("below"), fs::Permissions::from_mode(0o2711)).unwrap();
        fs::set_permissions(&lower, fs::Permissions::from_mode(0o2715)).unwrap();
        std::os::unix::fs::chown(lower.join("below"), Some(5), Some(6)).unwrap();
        fs::set_permissions(lower.join("below"), fs::Permissions::from_mode(0o2711)).unwrap();
        xattr::set(lower.join("below"), "user.color", b"red").unwrap();
        fs::create_dir(top.path().join("layer")).unwrap();
        fs::write(top.path().join("outside"), "untouched").unwrap();
        Layers(top)
    }

    fn lower(&self) -> PathBuf {
        self.0.path().join("lower")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join("layer").join(name)
    }

    fn unpack(&self, entries: &[Said<'_>]) -> anyhow::Result<()> {
        unpack(Cursor::new(tar(entries)), &[self.lower()], &self.at(""))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    fn is_gone(&self, name: &str) -> bool {
        is_whiteout(&self.at(name).symlink_metadata().unwrap())
    }

    fn has(&self, name: &str) -> bool {
        self.at(name).symlink_metadata().is_ok()
    }
}

fn unpacked(entries: &[Said<'_>]) -> Layers {
    let layers = Layers::new();
    layers.unpack(entries).unwrap();
    layers
}

/// The message, with all that led to it.
fn refused(entries: &[Said<'_>]) -> String {
    format!("{:#}", Layers::new().unpack(entries).unwrap_err())
}

#[test]
fn all_that_a_tar_file_says_of_a_file_is_kept() {
    let capability = b"\x01\x00\x00\x02\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let layers = unpacked(&[
        dir("./"),
        dir("d/"),
        Said {
            mode: 0o4755,
            more: vec![("SCHILY.xattr.security.capability", capability)],
            ..file("d/f", "text")
        },
        link("d/l", "/somewhere"),
        hard("d/h", "./d/f"),
        said(EntryType::Fifo, "d/fifo"),
        said(EntryType::Char, "d/null"),
        said(EntryType::Block, "d/block"),
        Said {
            more: vec![("mtime", b"-1.25"), ("uid", b"3000000"), ("gid", b"3000001")],
            ..file("early", "")
        },
        Said { more: vec![("path", "å/very long\nname".as_bytes())], ..file("short", "x") },
    ]);
    let data = |name: &str| layers.at(name).symlink_metadata().unwrap();
    for name in ["", "d", "d/f", "d/l", "d/fifo", "d/null", "d/block"] {
        assert_eq!(
            (data(name).uid(), data(name).gid(), data(name).mtime()),
            (12, 34, 1_000_000_000),
            "{name}"
        );
    }
    assert_eq!(data("").mode() & 0o7777, 0o751);
    assert_eq!(data("d/f").mode() & 0o7777, 0o4755);
    assert_eq!(xattr::get(layers.at("d/f"), "security.capability").unwrap().unwrap(), capability);
    assert_eq!(data("d/f").ino(), data("d/h").ino());
    assert_eq!(fs::read_link(layers.at("d/l")).unwrap(), Path::new("/somewhere"));
    assert!(data("d/fifo").file_type().is_fifo());
    assert_eq!(data("d/null").rdev(), 0x103);
    assert!(data("d/null").file_type().is_char_device() && data("d/block").file_type().is_block_device());
    let early = data("early");
    assert_eq!(
        (early.mtime(), early.mtime_nsec(), early.uid(), early.gid()),
        (-2, 750_000_000, 3_000_000, 3_000_001)
    );
    assert_eq!(layers.read("å/very long\nname"), "x");
    assert!(!layers.has("short"));
}

#[test]
fn a_whiteout_hides_what_is_below_and_nothing_of_its_own_layer() {
    for turned in [false, true] {
        let mut entries = vec![file("below/b", "new"), file(".wh.kept", ""), file("kept/new", "new")];
        entries.extend([file("below/.wh.a", ""), file("below/.wh.b", ""), file(".wh.nothing", "")]);
        if turned {
            entries.reverse();
        }
        let layers = unpacked(&entries);
        assert!(layers.is_gone("below/a") && !layers.has("below/.wh.a"), "{turned}");
        assert_eq!(layers.read("below/b"), "new", "{turned}");
        assert_eq!(layers.read("kept/new"), "new", "{turned}");
        assert!(is_opaque(&layers.at("kept")).unwrap(), "{turned}");
        assert!(!layers.has("nothing"), "overlayfs would list what hides nothing");
    }
}

#[test]
fn an_opaque_directory_shows_nothing_from_below() {
    for turned in [false, true] {
        let mut entries = vec![
            file("below/.wh..wh..opq", ""),
            dir("below/"),
            file("below/.wh.a", ""),
            file("below/n", "n"),
        ];
        if turned {
            entries.reverse();
        }
        let layers = unpacked(&entries);
        assert!(is_opaque(&layers.at("below")).unwrap());
        assert_eq!(layers.read("below/n"), "n");
        assert!(!layers.has("below/a"));
        assert_eq!(layers.at("below").metadata().unwrap().mtime(), 1_000_000_000);
    }
}

#[test]
fn an_opaque_root_hides_all_layers_below() {
    let layers = unpacked(&[file(".wh..wh..opq", ""), dir("kept"), file("new", "")]);
    assert!(layers.is_gone("below") && layers.is_gone("link"));
    assert!(is_opaque(&layers.at("kept")).unwrap());
    assert!(layers.at("new").is_file());
}

#[test]
fn what_is_aufss_own_is_left_out() {
    let layers = unpacked(&[dir(".wh..wh.plnk/"), file(".wh..wh.plnk/1.2", "x"), file(".wh..wh.aufs", "")]);
    assert_eq!(fs::read_dir(layers.at("")).unwrap().count(), 0);
}

#[test]
fn directories_without_an_entry_look_as_they_do_below() {
    let layers = unpacked(&[file("below/new", ""), file("nowhere/new/file", ""), file("link/in", "")]);
    let data = layers.at("below").metadata().unwrap();
    assert_eq!((data.uid(), data.gid(), data.mode() & 0o7777), (5, 6, 0o2711));
    assert_eq!(data.mtime(), layers.lower().join("below").metadata().unwrap().mtime());
    assert_eq!(xattr::get(layers.at("below"), "user.color").unwrap().unwrap(), b"red");
    assert_eq!(layers.at("").metadata().unwrap().mode() & 0o7777, 0o2715, "the layer itself");
    for made in ["nowhere", "nowhere/new", "link"] {
        let data = layers.at(made).symlink_metadata().unwrap();
        assert_eq!((data.uid(), data.gid(), data.mode()), (0, 0, 0o40755), "{made}");
    }
}

#[test]
fn of_two_with_the_same_name_the_last_counts() {
    let layers = unpacked(&[
        file("a", "old"),
        file("a", "new"),
        file("f", "x"),
        dir("f"),
        file("f/in", "in"),
        dir("d"),
        file("d/in", "x"),
        file("d", "file now"),
        link("l", "/"),
        file("l", "no link"),
        dir("kept"),
        Said { mode: 0o700, ..dir("kept") },
    ]);
    assert_eq!(layers.read("a"), "new");
    assert_eq!(layers.read("f/in"), "in");
    assert_eq!(layers.read("d"), "file now");
    assert_eq!(layers.read("l"), "no link");
    assert_eq!(layers.at("kept").metadata().unwrap().mode() & 0o777, 0o700);
}

#[test]
fn links_are_followed_inside_the_layer_only() {
    let layers = unpacked(&[
        dir("usr/lib"),
        link("lib", "usr/lib"),
        link("root", "/"),
        link("up", "../../../.."),
        file("lib/a", "a"),
        file("/root/b", "b"),
        file("up/c", "c"),
    ]);
    assert_eq!(layers.read("usr/lib/a") + &layers.read("b") + &layers.read("c"), "abc");
    assert!(layers.at("lib").symlink_metadata().unwrap().is_symlink());
}

#[test]
fn a_strangers_tar_file_is_refused() {
    let outside = "../outside";
    for (entries, why) in [
        (vec![file("../outside", "x")], "leads out of the layer"),
        (vec![file("a/../../outside", "x")], "leads out of the layer"),
        (vec![hard("a", outside)], "leads out of the layer"),
        (vec![link("a", ".."), hard("b", "a/outside")], "which the layer doesn't have"),
        (vec![hard("a", "link")], "which the layer doesn't have"),
        (vec![file("a", ""), hard("a", "a")], "which the layer doesn't have"),
        (vec![file("below/.wh.a", ""), hard("b", "below/a")], "which the layer doesn't have"),
        (vec![hard("a", "")], "which the layer doesn't have"),
        (vec![link("a", "/nowhere"), file("a/b", "")], "what is there is no directory"),
        (vec![file("a", ""), file("a/b", "")], "what is there is no directory"),
        (vec![link("a", "a"), file("a/b", "")], "ELOOP"),
        (vec![file(".wh.", "")], "a whiteout of no file"),
        (vec![file("a/.wh...", "")], "a whiteout of no file"),
        (vec![file(".wh.below/a", "")], "it is in a whiteout"),
        (vec![said(EntryType::new(b'Z'), "a")], "there is no file of the kind"),
        (vec![Said { more: vec![("GNU.sparse.major", b"1")], ..file("a", "") }], "holes are only known"),
        (vec![Said { more: vec![("size", b"many")], ..file("a", "") }], "invalid digit"),
    ] {
        let error = refused(&entries);
        assert!(error.contains(why), "{error}");
    }
    let mut null = tar(&[said(EntryType::Char, "null")]);
    let (device, sum) = (329..345, 148..156);
    null[device].fill(b'0');
    let total: u32 =
        null[..512].iter().enumerate().map(|(i, b)| if sum.contains(&i) { 32 } else { u32::from(*b) }).sum();
    null[sum].copy_from_slice(format!("{total:06o}\0 ").as_bytes());
    let layers = Layers::new();
    let error = unpack(Cursor::new(null), &[], &layers.at("")).unwrap_err();
    assert!(format!("{error:#}").contains("whiteout"), "{error:#}");
}

#[test]
fn overlayfss_own_attributes_are_not_a_strangers_to_set() {
    let more = vec![
        ("SCHILY.xattr.trusted.overlay.redirect", &b"/kept"[..]),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.mine", b"a\nb"),
    ];
    let layers = unpacked(&[Said { more, ..dir("below") }]);
    let names: Vec<_> = xattr::list(layers.at("below")).unwrap().collect();
    assert_eq!(names, ["user.mine"]);
    assert_eq!(xattr::get(layers.at("below"), "user.mine").unwrap().unwrap(), b"a\nb");
}

#[test]
fn damaged_streams_are_refused() {
    let whole = tar(&[file("a", "text")]);
    for (damaged, why) in [
        (whole[..100].to_vec(), "in the middle of a block"),
        (whole[..514].to_vec(), "in the middle of it"),
        (whole[1..].to_vec(), "checksum"),
        (b"something else, long enough to be a header".repeat(20), "checksum"),
    ] {
        let error = unpack(Cursor::new(damaged), &[], &Layers::new().at("")).unwrap_err();
        assert!(format!("{error:#}").contains(why), "{error:#}");
    }
}

#[test]
fn long_extensions_are_not_read_into_memory() {
    let long = vec![b'x'; 2 << 20];
    let error = refused(&[Said { more: vec![("comment", &long)], ..file("a", "") }]);
    assert!(error.contains("too long"), "{error}");
}

fn any_entry() -> impl Strategy<Value = (u8, String, String)> {
    let part = prop_oneof!["a", "b", "below", "\\.wh\\.a", "\\.wh\\.\\.wh\\.\\.opq", "\\.\\.", "\\.", "link"];
    let path = || prop::collection::vec(part.clone(), 1..4).prop_map(|parts| parts.join("/"));
    let target =
        prop_oneof![path(), path().prop_map(|path| format!("/{path}")), Just("../../..".to_string())];
    (prop_oneof![Just(b'0'), Just(b'1'), Just(b'2'), Just(b'5'), Just(b'6')], path(), target)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_outside_is_ever_touched(entries in prop::collection::vec(any_entry(), 1..12)) {
        let layers = Layers::new();
        let list = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let around: Vec<PathBuf> = vec!["/".into(), "/tmp".into(), layers.0.path().into(), layers.lower()];
        let before: Vec<_> = [0, 2, 3].map(|i| list(&around[i])).to_vec();
        let said: Vec<_> = entries.iter().map(|(kind, name, link)| Said {
            link, text: if *kind == b'0' { "text" } else { "" }, ..said(EntryType::new(*kind), name)
        }).collect();
        let _ = layers.unpack(&said);
        prop_assert_eq!(before, [0, 2, 3].map(|i| list(&around[i])).to_vec());
        prop_assert_eq!(fs::read_to_string(layers.0.path().join("outside")).unwrap(), "untouched");
        prop_assert_eq!(fs::metadata(layers.0.path().join("outside")).unwrap().nlink(), 1);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = unpack(Cursor::new(bytes), &[], &Layers::new().at(""));
    }
}

#[test]
fn a_whiteout_of_the_lower_layer_is_nothing_to_hide() {
    let layers = Layers::new();
    make_whiteout(&layers.lower().join("kept/gone")).unwrap();
    layers.unpack(&[file("kept/.wh.gone", "")]).unwrap();
    assert!(!layers.has("kept/gone"));
}

/// All that there is to know of the files in a directory, a line each. Those with the same inode have the same number.
fn described(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inodes = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(path) = directories.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let data = path.symlink_metadata().unwrap();
            if data.is_dir() {
                directories.push(path.clone());
            }
            let content = match data.file_type() {
                kind if kind.is_file() => format!("{:?}", fs::read(&path).unwrap()),
                kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                _ => data.rdev().to_string(),
            };
            let mut attributes: Vec<_> = xattr::list(&path)
                .unwrap()
                .map(|name| (name.clone(), xattr::get(&path, name).unwrap()))
                .collect();
            attributes.sort();
            // A whiteout has no time of its own: nothing in a stream says one.
            let time = if is_whiteout(&data) { 0 } else { data.mtime() };
            let first = inodes.iter().position(|inode| *inode == data.ino() && data.is_file());
            inodes.push(data.ino());
            lines.push(format!(
                "{:?} {:o} {}:{} {} {:?} {content} {}",
                path.strip_prefix(directory).unwrap(),
                data.mode(),
                data.uid(),
                data.gid(),
                time,
                attributes,
                first.map_or("", |_| "again"),
            ));
        }
    }
    lines.sort();
    lines
}

fn packed(directory: &Path) -> Vec<u8> {
    let mut tar = Vec::new();
    pack(directory, &mut tar).unwrap();
    tar
}

/// A layer with one of each kind, above the usual one.
fn one_of_each() -> Layers {
    let long = "long/".repeat(30) + "name";
    let layers = Layers::new();
    let attributes = vec![("SCHILY.xattr.user.a", &b"\n1\n"[..]), ("SCHILY.xattr.trusted.b", b"")];
    layers
        .unpack(&[
            dir("d"),
            Said { mode: 0o6711, more: attributes.clone(), ..file("d/f", "text") },
            hard("d/again", "d/f"),
            Said { more: vec![("SCHILY.xattr.trusted.c", b"c")], ..link("d/link", "../..") },
            Said { more: vec![("path", long.as_bytes())], ..file("x", "") },
            Said { more: vec![("linkpath", long.as_bytes())], ..link("long-link", "x") },
            said(EntryType::Fifo, "fifo"),
            said(EntryType::Char, "null"),
            said(EntryType::Block, "block"),
            file("below/.wh..wh..opq", ""),
            file("kept/.wh.file", ""),
            file(".wh.link", ""),
            Said { mode: 0o1777, more: attributes, ..dir("tmp") },
        ])
        .unwrap();
    layers
}

#[test]
fn what_is_packed_unpacks_to_the_same() {
    let layers = one_of_each();
    let other = layers.0.path().join("other");
    fs::create_dir(&other).unwrap();
    let tar = packed(&layers.at(""));
    unpack(Cursor::new(&tar), &[layers.lower()], &other).unwrap();
    assert_eq!(described(&other), described(&layers.at("")));
    assert_eq!(packed(&other), tar, "the same directory makes the same stream");
}

#[test]
fn gnu_tar_reads_what_is_packed_and_its_own_is_unpacked() {
    let layers = one_of_each();
    let path = layers.0.path();
    fs::write(path.join("tar"), packed(&layers.at(""))).unwrap();
    let tar = |arguments: &[&str]| {
        let done = std::process::Command::new("tar").current_dir(path).args(arguments).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let names = tar(&["tf", "tar"]);
    for name in ["d/again", "below/.wh..wh..opq", "kept/.wh.file", ".wh.link", "tmp/"] {
        assert!(names.lines().any(|line| line == name), "{names}");
    }
    // Whiteouts are not for tar, and it lets a FIFO's attributes be.
    fs::create_dir(path.join("by-tar")).unwrap();
    tar(&["xpf", "tar", "-C", "by-tar", "--numeric-owner", "--xattrs", "--xattrs-include=*"]);
    let ours = described(&layers.at(""))
        .into_iter()
        .filter(|line| !line.contains("overlay") && !line.contains(" 20000 "));
    let theirs = described(&path.join("by-tar")).into_iter().filter(|line| !line.contains(".wh."));
    assert_eq!(
        ours.filter(|line| !line.starts_with("\"below\"")).collect::<Vec<_>>(),
        theirs.filter(|line| !line.starts_with("\"below\"")).collect::<Vec<_>>()
    );
    // A file with holes, in GNU tar's two formats.
    let holes = fs::File::create(layers.at("holes")).unwrap();
    for part in 0..30u64 {
        std::os::unix::fs::FileExt::write_all_at(&holes, b"data", part * 100_000).unwrap();
    }
    holes.set_len(5 << 20).unwrap();
    let theirs = |format: &str, what: &[&str]| {
        tar(&[&["cf", "theirs", "-C", "layer", format], what].concat());
        let other = path.join(format);
        fs::create_dir(&other).unwrap();
        unpack(fs::File::open(path.join("theirs")).unwrap(), &[], &other).map(|()| other)
    };
    let other = theirs("--format=gnu", &["--sparse", "holes", "long", "long-link"]).unwrap();
    assert_eq!(fs::read(other.join("holes")).unwrap(), fs::read(layers.at("holes")).unwrap());
    assert!(other.join("holes").metadata().unwrap().blocks() * 512 < 1 << 20, "holes are holes");
    let error = theirs("--format=posix", &["--sparse", "holes"]).unwrap_err();
    assert!(format!("{error:#}").contains("holes are only known"), "{error:#}");
    fs::remove_file(layers.at("holes")).unwrap();
    let other = theirs("--xattrs-include=*", &["d", "tmp", "fifo", "null", "block"]).unwrap();
    let ours = described(&layers.at(""));
    for line in described(&other) {
        assert!(ours.contains(&line), "{line}");
    }
}

#[test]
fn what_is_not_itself_is_not_packed() {
    for name in ["redirect", "metacopy", "whiteout"] {
        let layers = unpacked(&[dir("d")]);
        xattr::set(layers.at("d"), format!("trusted.overlay.{name}"), b"x").unwrap();
        let error = format!("{:#}", pack(&layers.at(""), Vec::new()).unwrap_err());
        assert!(error.contains("part of it is elsewhere") && error.contains("\"d\""), "{error}");
    }
}

#[test]
fn no_link_is_followed_by_who_packs() {
    let layers = unpacked(&[link("l", "/etc"), link("f", "/etc/passwd")]);
    let listed: Vec<_> = tar::Archive::new(Cursor::new(packed(&layers.at(""))))
        .entries()
        .unwrap()
        .map(|entry| {
            (entry.as_ref().unwrap().path().unwrap().into_owned(), entry.unwrap().header().entry_type())
        })
        .collect();
    assert_eq!(listed, [("f".into(), EntryType::Symlink), ("l".into(), EntryType::Symlink)]);
}

#[test]
fn changes_are_what_is_seen_from_outside() {
    let changes = |entries: &[Said<'_>]| -> Vec<String> {
        let layers = unpacked(entries);
        changes(&layers.at(""), &[layers.lower()]).unwrap().iter().map(|change| change.to_string()).collect()
    };
    assert_eq!(changes(&[]), [""; 0]);
    assert_eq!(changes(&[file("new/in", ""), dir("a-b")]), ["A /a-b", "A /new", "A /new/in"]);
    assert_eq!(changes(&[file(".wh.link", "")]), ["D /link"]);
    assert_eq!(
        changes(&[file("below/.wh.a", ""), file("below/c", ""), file("kept/file", "new")]),
        ["C /below", "D /below/a", "A /below/c", "C /kept", "C /kept/file"]
    );
    // A directory that was copied without need, and one that was removed and made again.
    assert_eq!(changes(&[file("below/.wh.nothing", "")]), [""; 0]);
    assert_eq!(
        changes(&[file("below/.wh..wh..opq", ""), file("below/b", ""), file("below/c", "")]),
        ["C /below", "D /below/a", "C /below/b", "A /below/c"]
    );
    // What is of another kind now.
    assert_eq!(changes(&[file("link/in", ""), file("kept", "")]), ["C /kept", "C /link", "A /link/in"]);
    let other_mode = Said { mode: 0o711, ..dir("below") };
    assert_eq!(changes(&[other_mode]), ["C /below"]);
}

#[test]
fn what_lies_too_deep_is_refused() {
    let layers = Layers::new();
    let top = layers.0.path().join("deep");
    let deep = (0..600).fold(top.clone(), |path, _| path.join("d"));
    fs::create_dir_all(&deep).unwrap();
    let refuse = move || {
        for error in [pack(&top, &mut Vec::new()).unwrap_err(), changes(&top, &[]).map(drop).unwrap_err()] {
            assert!(format!("{error:#}").contains("lies too deep"), "{error:#}");
        }
    };
    // A command's own thread has such a stack; those of tests have less.
    std::thread::Builder::new().stack_size(8 << 20).spawn(refuse).unwrap().join().unwrap();
}
