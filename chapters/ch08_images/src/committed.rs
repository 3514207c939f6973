//! A container's changes, as a layer of the store, while the container stands still: sigprocmask(2), cgroups(7).

use std::fs::File;
use std::io::{self, BufWriter, IntoInnerError, Write};

use anyhow::{Context, Result, ensure};
use ch01_run::signals::{self, HeldSignals};
use ch07_lifecycle::groups::Groups;
use ch07_lifecycle::record::Record;
use ch07_lifecycle::state::State;
use flate2::Compression;
use flate2::write::GzEncoder;
use log::error;

use crate::digest::{Digest, Hashing};
use crate::formats::{Descriptor, LAYER_GZIP};
use crate::layer_pack::pack;
use crate::store::Store;

/// How many bytes go to gzip at once.
const PIECE: usize = 64 << 10;

/// Keeps what the container has changed as a layer. Returns where it is, and what it unpacks to. With `pause` no process of
/// the container runs meanwhile, so that what it has half done isn't in there.
///
/// A signal that would end us has to wait: the container must not be left as it is then. It's looked for at each piece, and
/// if there's one, the container goes on first.
pub fn layer(store: &Store, record: &Record, pause: bool) -> Result<(Descriptor, Digest)> {
    // Of one that has ended: nobody starts or removes it now.
    let directory = File::open(record.directory()).context("opening its record")?;
    let _ended = directory.try_lock_shared();
    let signals = HeldSignals::hold()?;
    let still = if pause { Still::make(record)? } else { None };
    let packed = packed(store, record, &signals);
    drop(still);
    if signals.must_end()? {
        signals::reset()?; // and the signal ends us
    }
    packed.with_context(|| format!("packing the changes of container {}", record.id()))
}

fn packed(store: &Store, record: &Record, signals: &HeldSignals) -> Result<(Descriptor, Digest)> {
    let zipped = GzEncoder::new(store.incoming()?, Compression::default());
    let mut tar = BufWriter::with_capacity(PIECE, Stoppable { to: Hashing::new(zipped), signals });
    pack(&record.path("upper"), &mut tar)?;
    // What is removed meanwhile is passed over, and the record of a removed container goes first of all.
    ensure!(record.path("upper").try_exists()?, "it was removed meanwhile");
    let tar = tar.into_inner().map_err(IntoInnerError::into_error).context("writing the end of a layer")?;
    let (diff_id, zipped) = tar.to.finish();
    let (digest, length) = zipped.finish().context("writing the end of a layer")?.keep(None)?;
    Ok((Descriptor::of(LAYER_GZIP, digest, length), diff_id))
}

/// A container that stands still until this is dropped.
struct Still(Groups);

impl Still {
    /// None if it does not run, or stands still already.
    fn make(record: &Record) -> Result<Option<Still>> {
        if State::of(record)? != State::Running {
            return Ok(None);
        }
        let still = Still(Groups::open(record.id())?);
        still.0.freeze()?;
        Ok(Some(still))
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        if let Err(error) = self.0.thaw() {
            error!("{error:#}");
        }
    }
}

/// What is written to until a signal comes.
struct Stoppable<'a, W> {
    to: W,
    signals: &'a HeldSignals,
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.signals.must_end().map_err(io::Error::other)? {
            return Err(io::Error::other("a signal has come"));
        }
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
