//! Encodes what guests have written.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use zrip::FrameEncoder;

use super::Coding;

/// Encodes a body as one gzip member, zlib stream, brotli stream or zstd frame, since many clients only read the first.
pub(crate) struct Encoder {
    kind: Kind,
    encoded: Sink,
}

enum Kind {
    Gzip(GzEncoder<Sink>),
    Deflate(ZlibEncoder<Sink>),
    Brotli(Box<CompressorWriter<Sink>>),
    Zstd(Box<FrameEncoder<Sink>>),
    Finished,
}

impl Encoder {
    /// More memory than an encoder for any coding needs, in bytes.
    pub(crate) const MEMORY: usize = 4 * 1024 * 1024;

    /// An encoder with a fast compression level.
    pub(crate) fn new(coding: Coding) -> Self {
        const DEFLATE_LEVEL: u32 = 5;
        const BROTLI_LEVEL: u32 = 4;
        /// 256 KiB.
        const BROTLI_WINDOW_BITS: u32 = 18;
        const ZSTD_LEVEL: i32 = 1;
        let encoded = Sink::default();
        let sink = encoded.clone();
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(GzEncoder::new(sink, Compression::new(DEFLATE_LEVEL))),
            Coding::Deflate => Kind::Deflate(ZlibEncoder::new(sink, Compression::new(DEFLATE_LEVEL))),
            Coding::Brotli => {
                let writer = CompressorWriter::new(sink, 4096, BROTLI_LEVEL, BROTLI_WINDOW_BITS);
                Kind::Brotli(Box::new(writer))
            }
            Coding::Zstd => match FrameEncoder::new(sink, ZSTD_LEVEL) {
                Ok(encoder) => Kind::Zstd(Box::new(encoder)),
                Err(_) => unreachable!("the level exists"),
            },
        };
        Self { kind, encoded }
    }

    /// Encodes the next bytes. Returns the output so far.
    pub(crate) fn encode(&mut self, bytes: &[u8]) -> Result<Bytes, io::Error> {
        self.writer().write_all(bytes)?;
        Ok(self.encoded.take())
    }

    /// Takes the next bytes, and gives all that is needed to decode them.
    pub(crate) fn encode_and_flush(&mut self, bytes: &[u8]) -> Result<Bytes, io::Error> {
        self.writer().write_all(bytes)?;
        self.flush()
    }

    /// Returns all output that is needed to decode what has been encoded so far.
    pub(crate) fn flush(&mut self) -> Result<Bytes, io::Error> {
        self.writer().flush()?;
        Ok(self.encoded.take())
    }

    /// Returns the remaining output. Nothing can be encoded afterwards.
    pub(crate) fn finish(&mut self) -> Result<Bytes, io::Error> {
        match std::mem::replace(&mut self.kind, Kind::Finished) {
            Kind::Gzip(encoder) => drop(encoder.finish()?),
            Kind::Deflate(encoder) => drop(encoder.finish()?),
            Kind::Brotli(encoder) => drop(encoder.into_inner()),
            Kind::Zstd(encoder) => drop(encoder.finish()?),
            Kind::Finished => {}
        }
        Ok(self.encoded.take())
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.kind {
            Kind::Gzip(encoder) => encoder,
            Kind::Deflate(encoder) => encoder,
            Kind::Brotli(encoder) => &mut **encoder,
            Kind::Zstd(encoder) => &mut **encoder,
            Kind::Finished => &mut self.encoded,
        }
    }
}

/// The output of encoders. Shared, because some of them only release it at the end.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
