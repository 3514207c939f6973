//! What a compressed stream says: gzip(1), zstd(1). Which of them it is, its first bytes tell.

use std::env;
use std::io::{self, BufRead, BufReader, Cursor, Read, sink};

use anyhow::{Context, Result, bail};
use ch02_cgroups::limits::parse_size;
use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How far back what's compressed with zstd may refer, in bytes: that much has to be kept in memory. Up to its level 19
/// it needs 8 MiB, and would take 2 GiB if we let it.
const LARGEST_WINDOW: u64 = 32 << 20;

/// What an image may unpack to, in bytes, where $BYHAND_LARGEST_IMAGE says nothing else.
const LARGEST_IMAGE: u64 = 32 << 30;

/// What an image may unpack to, in bytes. gzip makes a thousand zeros one byte, and zstd many more: without a limit, what
/// was fetched in a second could fill the disk.
pub fn largest_image() -> Result<u64> {
    match env::var_os("BYHAND_LARGEST_IMAGE").filter(|size| !size.is_empty()) {
        Some(size) => parse_size(&size.to_string_lossy()).context("BYHAND_LARGEST_IMAGE"),
        None => Ok(LARGEST_IMAGE),
    }
}

/// The stream without its compression, whichever it has: gzip, zstd or none. An error where there are more bytes than
/// `most`. Reads the first bytes.
pub fn decompressed(stream: impl Read + 'static, most: u64) -> Result<impl Read> {
    Ok(Bounded { stream: by_kind(stream)?, left: most })
}

/// A stream that must not be longer than it may be.
struct Bounded<R> {
    stream: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| {
            io::Error::other("it unpacks to more than BYHAND_LARGEST_IMAGE allows, which is 32g if not set")
        })?;
        Ok(read)
    }
}

fn by_kind(mut stream: impl Read + 'static) -> Result<Box<dyn Read>> {
    let mut start = Vec::new();
    stream.by_ref().take(4).read_to_end(&mut start).context("reading the beginning of a layer")?;
    let whole = Cursor::new(start.clone()).chain(stream);
    Ok(match start[..] {
        // Both may be several compressed streams, one after the other, which are one stream decompressed.
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Box::new(Zstd::new(whole)),
        [b'B', b'Z', b'h', _] => bail!("it is compressed with bzip2, and only gzip and zstd are known here"),
        [0xfd, b'7', b'z', b'X'] => bail!("it is compressed with xz, and only gzip and zstd are known here"),
        _ => Box::new(whole),
    })
}

/// zstd's frames, of which a stream may have many, and others between them that mean nothing here.
struct Zstd<R> {
    stream: BufReader<R>,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: Read> Zstd<R> {
    fn new(stream: R) -> Zstd<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(LARGEST_WINDOW);
        Zstd { stream: BufReader::new(stream), decoder, in_frame: false }
    }

    fn begin_frame(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.stream) {
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let skipped = io::copy(&mut self.stream.by_ref().take(length.into()), &mut sink())?;
                if skipped == u64::from(length) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            }
            begun => {
                begun.map_err(io::Error::other)?;
                self.in_frame = true;
                Ok(())
            }
        }
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.in_frame && self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            } else if self.in_frame && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.stream, one).map_err(io::Error::other)?;
            } else if self.stream.fill_buf()?.is_empty() {
                return Ok(0);
            } else {
                self.begin_frame()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(stream: Vec<u8>) -> Result<Vec<u8>> {
        let mut said = Vec::new();
        decompressed(Cursor::new(stream), u64::MAX)?.read_to_end(&mut said)?;
        Ok(said)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    #[test]
    fn each_compression_is_known_by_its_first_bytes() {
        let long: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        for text in [b"".to_vec(), b"abc".to_vec(), b"some text".to_vec(), long] {
            assert_eq!(read(text.clone()).unwrap(), text);
            assert_eq!(read(gzip(&text)).unwrap(), text);
            assert_eq!(read(zstd(&text)).unwrap(), text);
        }
    }

    #[test]
    fn several_streams_are_one() {
        let skipped = [&[0x52, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        assert_eq!(read([gzip(b"one, "), gzip(b"two")].concat()).unwrap(), b"one, two");
        let zstd = [&skipped[..], &zstd(b"one, "), &skipped, &zstd(b"two"), &skipped].concat();
        assert_eq!(read(zstd).unwrap(), b"one, two");
    }

    #[test]
    fn an_end_in_the_middle_is_an_error() {
        let text: Vec<u8> = (0..9999u32).flat_map(u32::to_le_bytes).collect();
        for whole in [gzip(&text), zstd(&text), vec![0x52, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, b'x']] {
            assert!(read(whole[..whole.len() - 1].to_vec()).is_err());
            assert!(read(whole[..5].to_vec()).is_err());
        }
    }

    #[test]
    fn it_ends_where_it_gets_too_long() {
        let text = vec![0; 1_000_000];
        for stream in [text.clone(), gzip(&text), zstd(&text)] {
            let read = |most, said: &mut Vec<u8>| {
                decompressed(Cursor::new(stream.clone()), most).unwrap().read_to_end(said)
            };
            assert_eq!(read(1_000_000, &mut Vec::new()).unwrap(), 1_000_000);
            assert!(read(999_999, &mut Vec::new()).is_err());
            let mut said = Vec::new();
            read(10_000, &mut said).unwrap_err();
            assert!(said.len() <= 10_000);
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert!(read(b"BZh9....".to_vec()).unwrap_err().to_string().contains("bzip2"));
        assert!(read(b"\xfd7zXZ\0..".to_vec()).unwrap_err().to_string().contains("xz"));
        let window_of_4_gib = b"\x28\xb5\x2f\xfd\x00\xb0\x01\x00\x00";
        assert!(read(window_of_4_gib.to_vec()).is_err());
    }
}
