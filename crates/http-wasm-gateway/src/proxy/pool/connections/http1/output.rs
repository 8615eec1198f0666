//! Writes requests.

use http::{HeaderValue, header};
use http_body::Body as _;

use crate::http1::{Coding, MessageWriter, SentTrailers, content_length, write_field};
use crate::proxy::pool::{Outbound, RequestBody};
use crate::proxy::timeout::{ResponseTimer, TimedBody};

/// Starts a request. The previous one must be complete.
pub(super) fn begin(
    writer: &mut MessageWriter<RequestBody>,
    request: Outbound<'_>,
    response_timer: &ResponseTimer,
    host: &HeaderValue,
) {
    let Outbound { method, target, headers, body } = request;
    let bytes = writer.buffer.begin();
    for part in [method.as_str(), " ", target.as_str(), " HTTP/1.1\r\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    if !headers.contains_key(header::HOST) {
        write_field(bytes, &header::HOST, host);
    }
    headers.iter().for_each(|(name, value)| write_field(bytes, name, value));
    if body.is_end_stream() {
        return bytes.extend_from_slice(b"\r\n");
    }
    let coding = match content_length(headers) {
        Some(length) => Coding::Length(length),
        None => {
            // The head already declares the coding, unless nothing was known about the body.
            if !headers.contains_key(header::TRANSFER_ENCODING) {
                bytes.extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
            Coding::Chunked
        }
    };
    bytes.extend_from_slice(b"\r\n");
    writer.set_body(TimedBody::new(body, response_timer.clone()), coding, SentTrailers::All);
}
