//! Protection against DNS rebinding. Another site's page can have its own name resolved to this machine, so that a
//! browser treats this server as part of that site. The `Host` field reveals the name.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderValue, Request, StatusCode, Version, header};

const BAD_REQUEST: (StatusCode, &str) =
    (StatusCode::BAD_REQUEST, "a request must have exactly one Host field\n");

/// The requested host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedHost<'a> {
    /// An IP address. It can't be rebound.
    Address(IpAddr),
    /// `localhost`.
    Localhost,
    /// Another name, in lower case, without a trailing dot.
    Name(&'a str),
}

/// Checks whether a request is meant for this server, which browsers can reach but other sites must not: `is_own` must
/// accept the hosts of its target and of its `Host` field.
///
/// # Errors
/// Returns the status and the text of the response: 421 with `unknown` for another host, 400 for a request without
/// exactly one `Host`. Only a request in HTTP/1.0 may have none, since browsers always send it.
pub fn check_host<B>(
    request: &Request<B>,
    is_own: impl Fn(RequestedHost<'_>) -> bool,
    unknown: &'static str,
) -> Result<(), (StatusCode, &'static str)> {
    let misdirected = (StatusCode::MISDIRECTED_REQUEST, unknown);
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => Some(authority(field).ok_or(misdirected)?),
        (None, _) if request.version() == Version::HTTP_10 => None,
        _ => return Err(BAD_REQUEST),
    };
    let mut requested = request.uri().authority().into_iter().chain(&field);
    let fits = |requested: &Authority| with_host(requested.host(), &is_own);
    if requested.all(fits) { Ok(()) } else { Err(misdirected) }
}

fn authority(field: &HeaderValue) -> Option<Authority> {
    Authority::try_from(field.as_bytes()).ok()
}

fn with_host(host: &str, is_own: impl Fn(RequestedHost<'_>) -> bool) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(addr) = bare.parse() {
        return is_own(RequestedHost::Address(addr));
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    is_own(if host == "localhost" { RequestedHost::Localhost } else { RequestedHost::Name(&host) })
}
