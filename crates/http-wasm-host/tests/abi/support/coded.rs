//! Messages with a content coding.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use http_wasm_host::{InMemoryHost, Message};

use super::pattern;

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(content: &[u8]) -> Vec<u8> {
    zrip::compress(content, 1).unwrap()
}

pub(crate) fn brotli(content: &[u8]) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 4, 20);
    encoder.write_all(content).unwrap();
    encoder.into_inner()
}

pub(crate) fn gunzip(coded: &[u8]) -> Vec<u8> {
    let mut decoder = GzDecoder::new(Vec::new());
    decoder.write_all(coded).unwrap();
    decoder.finish().unwrap()
}

/// Compressible text, long enough for several pieces.
pub(crate) fn content() -> Vec<u8> {
    pattern(50_000).iter().flat_map(|byte| format!("{byte} secret ").into_bytes()).collect()
}

/// Sets an encoded body with framing headers.
pub(crate) fn code(message: &mut Message, coding: &str, body: Vec<u8>) {
    message.headers.set(b"content-length", body.len().to_string().as_bytes());
    message.headers.set(b"content-encoding", coding.as_bytes());
    message.set_body(body);
}

pub(crate) fn coded_post(coding: &str, body: Vec<u8>) -> InMemoryHost {
    let mut host = InMemoryHost::new("POST", "/");
    code(&mut host.request, coding, body);
    host
}

/// The values of a field, joined by "|".
pub(crate) fn field(message: &Message, name: &str) -> Option<String> {
    let values: Vec<_> = message.headers.values(name.as_bytes()).map(String::from_utf8_lossy).collect();
    (!values.is_empty()).then(|| values.join("|"))
}
