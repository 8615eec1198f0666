//! The hosts that the page responds to.

use http::{Request, StatusCode};
use http_wasm_gateway::{RequestedHost, check_host};

/// Checks whether a request is meant for this machine. If not, returns the error response.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), (StatusCode, &'static str)> {
    let is_own = |requested: RequestedHost<'_>| match requested {
        RequestedHost::Address(addr) => addr.is_loopback(),
        RequestedHost::Localhost => true,
        RequestedHost::Name(_) => false,
    };
    check_host(request, is_own, "unknown Host: use localhost, or a loopback address such as 127.0.0.1\n")
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
