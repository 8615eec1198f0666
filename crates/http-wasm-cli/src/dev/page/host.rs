//! Protection against DNS rebinding: the page of another site can have its own name resolved to this machine, and a
//! browser then treats this server as part of that site. The `Host` field reveals the name.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderValue, Request, StatusCode, Version, header};

type Refusal = (StatusCode, &'static str);

const BAD_REQUEST: Refusal = (StatusCode::BAD_REQUEST, "a request must have exactly one Host field\n");

const MISDIRECTED: Refusal = (
    StatusCode::MISDIRECTED_REQUEST,
    "unknown Host: use localhost, or a loopback address such as 127.0.0.1\n",
);

/// Checks whether a request is meant for this machine. If not, returns the response.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => Some(authority(field)?),
        // Browsers always send one, so this is something else.
        (None, _) if request.version() == Version::HTTP_10 => None,
        _ => return Err(BAD_REQUEST),
    };
    let mut asked = request.uri().authority().into_iter().chain(&field);
    if asked.all(|asked| is_own(asked.host())) { Ok(()) } else { Err(MISDIRECTED) }
}

fn authority(field: &HeaderValue) -> Result<Authority, Refusal> {
    Authority::try_from(field.as_bytes()).map_err(|_| MISDIRECTED)
}

fn is_own(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(addr) => addr.is_loopback(),
        Err(_) => host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::check;

    fn status(uri: &str, hosts: &[&str]) -> u16 {
        let request = hosts.iter().fold(Request::get(uri), |request, host| request.header("host", *host));
        check(&request.body(()).unwrap()).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn only_names_of_this_machine_are_accepted() {
        for own in ["127.0.0.1:8081", "127.9.9.9", "[::1]:1", "localhost", "LOCALHOST.:8081"] {
            assert_eq!(status("/", &[own]), 200, "{own}");
        }
        for other in [
            "evil.example:8081",
            "localhost.evil.example",
            "10.0.0.1",
            "[fe80::1]",
            "user@evil.example",
            "",
            "a b",
        ] {
            assert_eq!(status("/", &[other]), 421, "{other}");
        }
        assert_eq!(status("http://evil.example/", &["localhost"]), 421);
        assert_eq!(status("/", &["localhost", "localhost"]), 400);
        assert_eq!(status("/", &[]), 400);
    }
}
