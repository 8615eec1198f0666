//! Protection against DNS rebinding. Another site's page can have its own name resolved to this address, so that a
//! browser treats this listener as part of that site. The `Host` field reveals the name.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderValue, Request, StatusCode, Version, header};

use crate::config::{HostPattern, Located};

const BAD_REQUEST: (StatusCode, &str) =
    (StatusCode::BAD_REQUEST, "a request must have exactly one Host field\n");

const MISDIRECTED: (StatusCode, &str) = (
    StatusCode::MISDIRECTED_REQUEST,
    "unknown Host: use an IP address, localhost, or a name from the setting `admin.hosts`\n",
);

/// Checks whether a request is meant for this listener, whose names are `hosts`. If not, returns the response.
pub(super) fn check<B>(
    request: &Request<B>,
    hosts: &[Located<HostPattern>],
) -> Result<(), (StatusCode, &'static str)> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => Some(field),
        // Browsers always send `Host`, so this is another client.
        (None, _) if request.version() == Version::HTTP_10 => None,
        _ => return Err(BAD_REQUEST),
    };
    let from_field = field.map(authority).transpose()?;
    let mut asked = request.uri().authority().into_iter().chain(&from_field);
    if asked.all(|asked| is_own(asked.host(), hosts)) { Ok(()) } else { Err(MISDIRECTED) }
}

fn authority(field: &HeaderValue) -> Result<Authority, (StatusCode, &'static str)> {
    Authority::try_from(field.as_bytes()).map_err(|_| MISDIRECTED)
}

fn is_own(host: &str, hosts: &[Located<HostPattern>]) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.parse::<IpAddr>().is_ok() {
        return true;
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || hosts.iter().any(|own| own.fits(&host))
}

#[cfg(test)]
mod tests {
    use http::{Request, Version};

    use super::check;
    use crate::config::{HostPattern, Located};

    fn status(hosts: &[&str], uri: &str, fields: &[&str]) -> u16 {
        let hosts: Vec<Located<HostPattern>> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let request = fields.iter().fold(Request::get(uri), |request, field| request.header("host", *field));
        check(&request.body(()).unwrap(), &hosts).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn ip_addresses_and_localhost_are_always_accepted_as_host() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9901",
            "[::1]:9901",
            "[fe80::1]",
            "10.0.0.1:1",
            "localhost",
            "LocalHost.:99",
        ] {
            assert_eq!(status(&[], "/status", &[host]), 200, "{host}");
            assert_eq!(status(&[], &format!("http://{host}/status"), &[host]), 200, "{host}");
        }
    }

    #[test]
    fn other_host_names_are_accepted_only_if_configured() {
        let own = ["gateway.internal", "*.mesh"];
        for (host, known) in [
            ("gateway.internal", 200),
            ("Gateway.Internal.:9901", 200),
            ("a.mesh", 200),
            ("mesh", 421),
            ("evil.example:9901", 421),
            ("gateway.internal.evil.example", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("127.1", 421),
            ("user@evil.example", 421),
            ("", 421),
        ] {
            assert_eq!(status(&own, "/status", &[host]), known, "{host}");
            assert_eq!(status(&[], "/status", &[host]), 421, "{host}");
        }
    }

    #[test]
    fn the_hosts_of_target_and_header_are_both_checked() {
        assert_eq!(status(&[], "http://evil.example/status", &["127.0.0.1"]), 421);
        assert_eq!(status(&[], "http://127.0.0.1/status", &["evil.example"]), 421);
        assert_eq!(status(&[], "/status", &["127.0.0.1", "evil.example"]), 400);
    }

    #[test]
    fn only_http_1_0_requests_may_have_no_host() {
        assert_eq!(status(&[], "/status", &[]), 400);
        let mut old = Request::new(());
        *old.version_mut() = Version::HTTP_10;
        assert!(check(&old, &[]).is_ok());
    }
}
