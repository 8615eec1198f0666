//! Rules that depend on the host, with the `http` crate's types.

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_wasm_host::{Body, ErrorKind, HttpHost, Phase, Pinned};

use crate::support::{Probe, Wat, assert_refused, block_on, guest, proceeds, stops};

/// A guest that copies what it reads of the request to headers of its response.
const ECHO: &str = "
  (call $set_header_value 1 \"x-method\" BUF (call $get_method BUF LIMIT))
  (call $set_header_value 1 \"x-uri\" BUF (call $get_uri BUF LIMIT))
  (call $set_header_value 1 \"x-version\" BUF (call $get_protocol_version BUF LIMIT))
  (call $set_header_value 1 \"x-source\" BUF (call $get_source_addr BUF LIMIT))
  (call $copy_list \"x-host\" (call $get_header_values 0 \"host\" BUF LIMIT))
  (call $copy_list \"x-names\" (call $get_header_names 0 BUF LIMIT))";

/// Writes a list to a header of the response, with commas instead of NULs.
const COPY_LIST: &str = "
  (func $copy_list (param $name i32) (param $name_len i32) (param $list i64) (local $at i32)
    (if (i64.eqz (local.get $list)) (then (return)))
    (loop $next
      (if (i32.eqz (i32.load8_u offset=16384 (local.get $at)))
        (then (i32.store8 offset=16384 (local.get $at) (i32.const 44))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (i32.wrap_i64 (local.get $list)))))
    (call $set_header_value (i32.const 1) (local.get $name) (local.get $name_len)
      (i32.const 16384) (i32.sub (local.get $at) (i32.const 1))))";

fn load(wat: Wat) -> Probe<HttpHost> {
    wat.item(COPY_LIST).load_for()
}

fn request(method: &str, uri: &str) -> Request<Body> {
    Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()
}

fn echo(request: Request<Body>) -> HeaderMap {
    let source = "[2001:db8::1]:443".parse().ok();
    load(stops(ECHO)).respond(HttpHost::new(request, source)).into_response().into_parts().0.headers
}

#[test]
fn method_version_source_address_and_header_names_are_read() {
    let mut request = request("PATCH", "/a");
    for (name, value) in [("Zeta", "1"), ("alpha", "2"), ("zeta", "3")] {
        request.headers_mut().append(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    let echo = echo(request);
    assert_eq!(echo["x-method"], "PATCH");
    assert_eq!(echo["x-version"], "HTTP/1.1");
    assert_eq!(echo["x-source"], "[2001:db8::1]:443");
    assert_eq!(echo["x-names"], "zeta,alpha");
}

#[test]
fn each_http_version_has_its_name() {
    for (version, name) in [
        (Version::HTTP_10, "HTTP/1.0"),
        (Version::HTTP_11, "HTTP/1.1"),
        (Version::HTTP_2, "HTTP/2.0"),
        (Version::HTTP_3, "HTTP/3.0"),
    ] {
        let mut request = request("GET", "/");
        *request.version_mut() = version;
        assert_eq!(echo(request)["x-version"], name);
    }
}

#[test]
fn the_uri_is_path_and_query_in_every_form_of_target() {
    for (method, uri, read) in [
        ("GET", "/a%20b?c", "/a%20b?c"),
        ("GET", "/a?", "/a?"),
        ("GET", "//foo", "//foo"),
        ("GET", "http://example.com", "/"),
        ("GET", "http://example.com/a?b", "/a?b"),
        ("GET", "http://example.com?b", "/?b"),
        ("OPTIONS", "*", "*"),
        ("CONNECT", "example.com:443", "/"),
    ] {
        assert_eq!(echo(request(method, uri))["x-uri"], read, "{method} {uri}");
    }
}

#[test]
fn host_is_taken_from_the_authority_if_there_is_no_header() {
    // As an HTTP/2 server provides it.
    let headers = echo(request("GET", "https://example.com:8443/a"));
    assert_eq!(headers["x-host"], "example.com:8443");
    assert_eq!(headers["x-names"], "host");
}

#[test]
fn host_appears_once_if_header_and_authority_are_present() {
    let mut request = request("GET", "https://example.com/a");
    request.headers_mut().append("host", "example.com".parse().unwrap());
    let headers = echo(request);
    assert_eq!(headers["x-host"], "example.com");
    assert_eq!(headers["x-names"], "host");
}

/// The request that the next handler gets.
fn handed_on(calls: &str, request: Request<Body>) -> Request<Body> {
    let probe = load(proceeds(calls));
    let mut pinned = probe.next(HttpHost::new(request, None));
    let keep = pinned.reads_request();
    pinned.host_mut().take_request(keep)
}

#[test]
fn setting_the_host_writes_header_and_authority() {
    for function in ["set_header_value", "add_header_value"] {
        let calls = format!("(call ${function} 0 \"Host\" \"other.example:8080\")");
        let sent = handed_on(&calls, request("GET", "https://example.com/a?b"));
        assert_eq!(*sent.uri(), "https://other.example:8080/a?b");
        assert_eq!(sent.headers().get_all("host").iter().collect::<Vec<_>>(), ["other.example:8080"]);

        let mut origin_form = request("GET", "/a?b");
        origin_form.headers_mut().append("host", "example.com".parse().unwrap());
        let sent = handed_on(&calls, origin_form);
        assert_eq!(*sent.uri(), "/a?b");
        assert_eq!(sent.headers().get_all("host").iter().collect::<Vec<_>>(), ["other.example:8080"]);
    }
}

#[test]
fn the_guest_reads_the_host_it_has_set() {
    let calls = format!("(call $set_header_value 0 \"host\" \"other.example\") {ECHO}");
    let host = HttpHost::new(request("GET", "https://example.com/"), None);
    let headers = load(stops(&calls)).respond(host).into_response().into_parts().0.headers;
    assert_eq!(headers["x-host"], "other.example");
    assert_eq!(headers["x-names"], "host");
}

#[test]
fn removing_the_host_traps_even_if_it_comes_from_the_authority() {
    let probe = load(stops("(call $remove_header 0 \"host\")"));
    let error = probe.outcome(HttpHost::new(request("GET", "https://example.com/"), None)).unwrap_err();
    assert_refused(&error, "remove_header", Some(Phase::Request), "host");
}

#[test]
fn setting_a_uri_keeps_scheme_and_authority() {
    for (given, uri) in [
        ("/new?q", "https://example.com/new?q"),
        ("", "https://example.com/"),
        ("http://other.example/new?", "https://example.com/new?"),
        ("//foo", "https://example.com//foo"),
        ("?q", "https://example.com/?q"),
        ("/a b#c", "https://example.com/a%20b%23c"),
    ] {
        let sent =
            handed_on(&format!("(call $set_uri \"{given}\")"), request("GET", "https://example.com/a?b"));
        assert_eq!(sent.uri().to_string(), uri, "{given}");
        let sent = handed_on(&format!("(call $set_uri \"{given}\")"), request("GET", "/a?b"));
        assert_eq!(sent.uri().to_string(), uri.strip_prefix("https://example.com").unwrap(), "{given}");
    }
}

#[test]
fn setting_the_uri_of_a_connect_request_traps() {
    let probe = load(stops("(call $set_uri \"/a\")"));
    let error = probe.outcome(HttpHost::new(request("CONNECT", "example.com:443"), None)).unwrap_err();
    assert_refused(&error, "set_uri", Some(Phase::Request), "CONNECT");
}

#[test]
fn every_token_byte_is_allowed_in_methods_and_header_names() {
    let token = "!#$%&'*+-.^_`|~019azAZ";
    let sent = handed_on(
        &format!("(call $set_method \"{token}\") (call $set_header_value 0 \"{token}\" \"v\")"),
        request("GET", "/"),
    );
    assert_eq!(sent.method().as_str(), token);
    assert_eq!(sent.headers()[token.to_lowercase()], "v");
}

#[test]
fn eight_bit_values_are_sent_unchanged() {
    let sent = handed_on("(call $set_header_value 0 \"a\" \"\\ff\\09 \\c3\\a4\")", request("GET", "/"));
    assert_eq!(sent.headers()["a"].as_bytes(), b"\xff\t \xc3\xa4");
}

#[test]
fn a_header_name_longer_than_the_http_crate_allows_traps() {
    let probe =
        load(stops("(memory.fill LARGE 97 65536) (call $set_header_value 0 LARGE 65536 \"v\")").pages(2));
    let error = probe.outcome(HttpHost::new(request("GET", "/"), None)).unwrap_err();
    assert_eq!((error.kind(), error.function()), (ErrorKind::HostCall, Some("set_header_value")), "{error}");
    assert!(error.to_string().contains("name that is too long"), "{error}");
}

#[test]
fn a_uri_of_the_longest_length_can_be_set() {
    let calls = "(memory.fill LARGE 97 65534) (i32.store8 LARGE 47) (call $set_uri LARGE 65534)";
    let probe = load(proceeds(calls).pages(3));
    let mut pinned = probe.next(HttpHost::new(request("GET", "https://example.com/"), None));
    assert_eq!(pinned.host_mut().take_request(false).uri().path().len(), 65_534);
}

/// Runs `handle_response` with a next handler's response.
fn answered(pinned: Pinned<HttpHost>, response: Response<Body>) -> Response<Body> {
    let mut pinned = pinned;
    pinned.host_mut().set_response(response);
    block_on(pinned.handle_response()).unwrap().host.into_response()
}

#[test]
fn handle_response_reads_the_forwarded_request_not_changes_by_the_next_handler() {
    let probe = load(
        proceeds("(call $set_method \"PUT\") (call $set_uri \"/handed?on\")").features(2).on_response(ECHO),
    );
    let mut pinned = probe.next(HttpHost::new(request("GET", "https://example.com/"), None));
    assert!(pinned.reads_request());
    let mut sent = pinned.host_mut().take_request(true);
    *sent.uri_mut() = Uri::from_static("/changed");
    *sent.method_mut() = Method::DELETE;
    sent.headers_mut().insert("x-next", "1".parse().unwrap());
    let response = answered(pinned, Response::new(Body::empty()));
    assert_eq!(response.headers()["x-method"], "PUT");
    assert_eq!(response.headers()["x-uri"], "/handed?on");
    assert_eq!(response.headers()["x-names"], "host");
    assert_eq!(response.headers()["x-version"], "HTTP/1.1");
}

#[test]
fn the_host_does_not_keep_a_request_that_the_guest_never_reads() {
    let wat = "(module (memory (export \"memory\") 1)
        (func (export \"handle_request\") (result i64) (i64.const 1))
        (func (export \"handle_response\") (param i32 i32)))";
    let guest = http_wasm_host::Guest::<HttpHost>::load(crate::support::engine(), wat.as_bytes()).unwrap();
    let pinned = Probe::new(guest).next(HttpHost::new(request("GET", "/"), None));
    assert!(!pinned.reads_request());
}

#[test]
fn status_and_headers_of_the_response_are_read_and_changed() {
    let probe = load(guest().features(2).on_response(
        "(if (i32.ne (call $get_status_code) 201) (then unreachable))
             (call $set_status_code 999)
             (call $copy_list \"x-vary\" (call $get_header_values 1 \"Vary\" BUF LIMIT))
             (call $set_header_value 1 \"server\" \"guest\") (call $remove_header 1 \"vary\")",
    ));
    let pinned = probe.next(HttpHost::new(request("GET", "/"), None));
    let response = Response::builder()
        .status(StatusCode::CREATED)
        .header("vary", "a")
        .header("server", "origin")
        .header("vary", "b");
    let response = answered(pinned, response.body(Body::empty()).unwrap());
    assert_eq!(response.status().as_u16(), 999);
    assert_eq!(response.headers()["x-vary"], "a,b");
    assert_eq!(response.headers()["server"], "guest");
    assert!(!response.headers().contains_key("vary"));
}

#[test]
fn informational_statuses_that_the_server_cannot_send_are_dropped() {
    let probe =
        load(stops("(call $set_status_code 103) (call $set_status_code 404) (call $set_status_code 102)"));
    let response = probe.respond(HttpHost::new(request("GET", "/"), None)).into_response();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[test]
fn a_request_can_be_taken_from_its_place() {
    let mut place = request("DELETE", "http://example.com?b");
    place.headers_mut().insert("x-a", "1".parse().unwrap());
    place.extensions_mut().insert("mine");
    let mut host = HttpHost::take_from(&mut place, None);
    assert_eq!((place.method(), place.uri()), (&Method::GET, &Uri::from_static("/")));
    assert!(place.headers().is_empty() && place.extensions().is_empty());

    let taken = host.take_request(false);
    let uri = Uri::from_static("http://example.com/?b");
    assert_eq!((taken.method(), taken.uri()), (&Method::DELETE, &uri));
    assert_eq!(taken.headers()["x-a"], "1");
    assert_eq!(taken.extensions().get(), Some(&"mine"));
}

/// A thread reuses the allocations of hosts.
#[test]
fn a_host_contains_nothing_of_an_earlier_one_on_the_same_thread() {
    let mut earlier = request("DELETE", "/secret?q");
    earlier.headers_mut().insert("authorization", "secret".parse().unwrap());
    earlier.extensions_mut().insert("secret");
    let mut host = HttpHost::new(earlier, "[2001:db8::1]:443".parse().ok());
    // The head stays in the host, as for a guest that reads it again.
    let _ = host.take_request(true);
    host.set_response(Response::builder().status(403).header("x-secret", "1").body(Body::empty()).unwrap());
    assert_eq!(host.into_response().status(), 403);

    let mut host = HttpHost::new(request("GET", "/"), None);
    assert!(format!("{host:?}").contains("source_addr: None"));
    let later = host.take_request(false);
    assert_eq!((later.method(), later.uri()), (&Method::GET, &Uri::from_static("/")));
    assert!(later.headers().is_empty() && later.extensions().is_empty());
    let response = host.into_response();
    assert!(response.status() == 200 && response.headers().is_empty());
}

#[test]
fn underscores_and_hyphens_in_names_are_equal_only_if_the_host_folds_them() {
    let changes = "
      (call $set_header_value 0 \"x-user\" \"a\")
      (call $add_header_value 0 \"X_Role\" \"a\")
      (call $remove_header 0 \"x-debug\")";
    let names = ["x_user", "x-user", "x-role", "x_role", "x_debug", "x-debug", "x_other"];
    let sent = |folds: bool| {
        let mut request = request("GET", "/");
        for name in names {
            request.headers_mut().append(name, "1".parse().unwrap());
        }
        let host = HttpHost::new(request, None);
        let host = if folds { host.fold_underscores() } else { host };
        let mut pinned = load(proceeds(changes)).next(host);
        let request = pinned.host_mut().take_request(false);
        let mut names: Vec<_> = request.headers().keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(sent(false), ["x-role", "x-user", "x_debug", "x_other", "x_role", "x_user"]);
    assert_eq!(sent(true), ["x-user", "x_other", "x_role"]);
}

#[test]
fn an_ipv4_mapped_ipv6_address_is_shown_as_ipv4() {
    let source = "[::ffff:192.0.2.1]:443".parse().ok();
    let response = load(stops(ECHO)).respond(HttpHost::new(request("GET", "/"), source)).into_response();
    assert_eq!(response.headers()["x-source"], "192.0.2.1:443");
}
