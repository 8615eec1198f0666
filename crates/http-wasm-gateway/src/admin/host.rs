//! The hosts that the admin listener responds to.

use http::{Request, StatusCode};

use crate::config::{HostPattern, Located};
use crate::requested_host::{RequestedHost, check_host};

/// Checks whether a request is meant for this listener, whose names are `hosts`. If not, returns the response.
pub(super) fn check<B>(
    request: &Request<B>,
    hosts: &[Located<HostPattern>],
) -> Result<(), (StatusCode, &'static str)> {
    let is_own = |requested: RequestedHost<'_>| match requested {
        RequestedHost::Address(_) | RequestedHost::Localhost => true,
        RequestedHost::Name(name) => hosts.iter().any(|own| own.fits(name)),
    };
    check_host(
        request,
        is_own,
        "unknown Host: use an IP address, localhost, or a name from the setting `admin.hosts`\n",
    )
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
