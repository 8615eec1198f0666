//! Size limits of response heads and trailers, in either HTTP version.

use http::{HeaderMap, header};

use super::error::{SendError, SendErrorKind};
use super::settings::Settings;

/// The overhead that HTTP/2 adds to the length of each field's name and value (RFC 9113 section 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Whether the fields are within the settings' limits.
pub(super) fn allow(fields: &HeaderMap, settings: &Settings) -> bool {
    fields.len() <= settings.max_response_fields && size(fields) <= settings.max_response_head
}

fn size(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum()
}

/// Whether a request with this head may be sent to an HTTP/2 upstream.
pub(super) fn allow_request(head: &http::request::Parts, settings: &Settings) -> bool {
    let path = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = head.uri.authority().map_or(0, |authority| authority.as_str().len());
    let pseudo =
        [(":path", path), (":authority", authority), (":method", head.method.as_str().len()), (":scheme", 5)];
    let fields = head.headers.iter().map(|(name, value)| (name.as_str(), value.len()));
    let (mut sum, mut largest) = (0, 0);
    for size in pseudo.into_iter().chain(fields).map(|(name, value)| name.len() + value) {
        sum += size + FIELD_OVERHEAD;
        largest = largest.max(size);
    }
    sum <= settings.max_request_head && largest <= settings.max_request_field
}

pub(super) fn too_large() -> SendError {
    SendErrorKind::ResponseHead.into()
}

/// The length declared in the head, which h2 has checked.
pub(super) fn content_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
