//! `cp`: files and directories into a container and out of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, IsTerminal, Write, stdin, stdout};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ch05_volumes::paths;
use nix::unistd::{getgid, getuid};

use crate::common::Common;
use crate::confined::{self, Ends, Root};
use crate::find;
use crate::pack::{Reader, pack};
use crate::unpack::{Owner, Target, unpack_copy, unpack_stream};

/// What `cp` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Owners stay the same; else they are who copies, and root in a container
    #[arg(short, long)]
    archive: bool,
    /// If SRC is a link, copy what it leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Nothing: Docker tells of its progress without it, and we never do
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
    /// CONTAINER:PATH, a path on the host, or - for a tar stream
    #[arg(value_name = "SRC")]
    from: OsString,
    /// CONTAINER:PATH, a path on the host, or - for a tar stream
    #[arg(value_name = "DST")]
    to: OsString,
}

/// One of the two.
#[derive(Debug)]
enum Side<'a> {
    Stream,
    Host(&'a Path),
    Container { name: &'a OsStr, path: PathBuf },
}

/// All that `cp` does, in order.
pub fn cp(args: &Args) -> Result<u8> {
    let state = args.common.begin()?;
    let (from, to) = (Side::of(&args.from), Side::of(&args.to));
    match (&from, &to) {
        (Side::Container { .. }, Side::Container { .. }) => {
            bail!("copying between containers: copy out first")
        }
        (Side::Stream, Side::Container { .. }) => {
            ensure!(!stdin().is_terminal(), "a tar stream is to be read from stdin, which is a terminal");
            let (root, directory) = to.open(&state, false)?;
            let mut child =
                confined::spawn(&root, Ends::default(), || unpack_stream(stdin().lock(), &directory))?;
            Ok(confined::wait(&mut child)?.min(1))
        }
        (Side::Container { .. }, Side::Stream) => {
            ensure!(!stdout().is_terminal(), "a tar stream is to be written to stdout, which is a terminal");
            let (root, path) = from.open(&state, false)?;
            let (name, follow) = (name_of(&path), args.follow_link || ends_with_slash(&args.from));
            let work = || packed(&path, &name, follow, Reader::Any, stdout().lock());
            let mut child = confined::spawn(&root, Ends::default(), work)?;
            Ok(confined::wait(&mut child)?.min(1))
        }
        (Side::Container { .. }, Side::Host(_)) | (Side::Host(_), Side::Container { .. }) => {
            copy(args, &state, &from, &to)
        }
        _ => bail!("one of the two must be in a container: write CONTAINER:PATH"),
    }
}

/// One process packs, another unpacks, each with nothing in sight but its own side; a pipe is all that joins them.
fn copy(args: &Args, state: &Path, from: &Side<'_>, to: &Side<'_>) -> Result<u8> {
    let (from_root, source) = from.open(state, !args.follow_link && !ends_with_slash(&args.from))?;
    let (to_root, path) = to.open(state, false)?;
    let contents = args.from.as_bytes().ends_with(b"/.");
    let must_be_directory = ends_with_slash(&args.to);
    let target = Target { path, must_be_directory, contents };
    let owner = match (args.archive, to) {
        (true, _) => Owner::Same,
        (false, Side::Host(_)) => Owner::New(getuid().as_raw(), getgid().as_raw()),
        (false, _) => Owner::New(0, 0),
    };
    let name = match from {
        Side::Host(path) => host_name(path)?,
        _ => name_of(&source),
    };
    let follow = args.follow_link || ends_with_slash(&args.from);
    let (reader, writer) = io::pipe().context("making a pipe")?;
    let ends = Ends { stdout: Some(writer), ..Ends::default() };
    let work = || packed(&source, &name, follow, Reader::Ours, stdout().lock());
    let mut packer = confined::spawn(&from_root, ends, work)?;
    let ends = Ends { stdin: Some(reader), ..Ends::default() };
    let work = || unpack_copy(BufReader::new(stdin().lock()), &target, owner);
    let mut unpacker = confined::spawn(&to_root, ends, work)?;
    let (unpacked, packed) = (confined::wait(&mut unpacker)?, confined::wait(&mut packer)?);
    Ok(unpacked.max(packed).min(1))
}

fn packed(path: &Path, name: &Path, follow: bool, reader: Reader, out: impl Write) -> Result<()> {
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    let packed = pack(path, name, follow, reader, &mut out)
        .and_then(|()| out.flush().context("writing the tar stream"));
    let cause = packed.as_ref().err().and_then(|error| error.root_cause().downcast_ref::<io::Error>());
    if cause.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        std::process::exit(1); // who should have read it on has said why not
    }
    packed.with_context(|| format!("copying {}", path.display()))
}

impl Side<'_> {
    /// `-`, `CONTAINER:PATH`, or a path. One that begins with `/` or `.` is a path of the host, whatever is in it.
    fn of(text: &OsStr) -> Side<'_> {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':');
        match colon {
            _ if bytes == b"-" => Side::Stream,
            Some(at) if !bytes.starts_with(b"/") && !bytes.starts_with(b".") && at > 0 => Side::Container {
                name: OsStr::from_bytes(&bytes[..at]),
                path: Path::new("/").join(OsStr::from_bytes(&bytes[at + 1..])),
            },
            _ => Side::Host(Path::new(text)),
        }
    }

    /// What is to be the root, and the path in there. On the host the root is the directory itself, if it is one, else the
    /// one that it is in; with `as_link`, a link to a directory is no directory.
    fn open(&self, state: &Path, as_link: bool) -> Result<(Root, PathBuf)> {
        match self {
            Side::Stream => bail!("a stream has no path"),
            Side::Container { name, path } => Ok((Root::of(&find::one(state, name)?, state)?, path.clone())),
            Side::Host(path) => {
                let is_link = as_link && path.is_symlink();
                if path.is_dir() && !is_link {
                    return Ok((Root::Host(open(path)?, state.to_path_buf()), "/".into()));
                }
                // A file that is there: where it really is. What is not there yet: where it will be.
                let real = if is_link { None } else { path.canonicalize().ok() };
                let path = real.as_deref().unwrap_or(path);
                let name = path.file_name().with_context(|| format!("{} has no name", path.display()))?;
                let above = path.parent().filter(|above| *above != Path::new("")).unwrap_or(Path::new("."));
                Ok((Root::Host(open(above)?, state.to_path_buf()), Path::new("/").join(name)))
            }
        }
    }
}

fn open(directory: &Path) -> Result<File> {
    let open = paths::open(directory).with_context(|| format!("opening {}", directory.display()))?;
    ensure!(open.metadata()?.is_dir(), "{} is no directory", directory.display());
    Ok(open)
}

/// The name of a directory on the host, which `.` and `..` have, too.
fn host_name(path: &Path) -> Result<PathBuf> {
    if let Some(name) = path.file_name() {
        return Ok(name.into());
    }
    Ok(name_of(&path.canonicalize().with_context(|| format!("looking for {}", path.display()))?))
}

/// The last part of a path, or `.` where it has none.
fn name_of(path: &Path) -> PathBuf {
    path.file_name().unwrap_or(OsStr::new(".")).into()
}

fn ends_with_slash(text: &OsStr) -> bool {
    [&b"/"[..], b"/."].iter().any(|end| text.as_bytes().ends_with(end))
}
