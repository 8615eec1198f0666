//! The requested host.

use http::uri::Authority;
use http::{Request, header};

/// The requested host, in lower case and without the port. The target's host takes precedence over the header, as RFC
/// 9112 section 3.2.2 requires.
pub(super) fn requested_host<B>(request: &Request<B>) -> Option<String> {
    let from_target = || request.uri().authority().cloned();
    let from_header = || Authority::try_from(request.headers().get(header::HOST)?.as_bytes()).ok();
    let mut host = from_target().or_else(from_header)?.host().to_ascii_lowercase();
    // The trailing dot of the root doesn't change the meaning of a name.
    if host.ends_with('.') {
        host.pop();
    }
    Some(host)
}
