//! Method, URI, protocol version, source address and configuration.

use http_wasm_host::{InMemoryHost, Phase};

use crate::support::{assert_refused, get, guest, number, proceeds, stops, text};

#[test]
fn the_method_is_read_as_received() {
    let probe = stops("(call $note_text (call $get_method BUF LIMIT))").load();
    for method in ["GET", "post", "M-SEARCH", "x!#$%&'*+-.^_`|~9"] {
        assert_eq!(probe.noted(InMemoryHost::new(method, "/")), [text(method)]);
    }
}

#[test]
fn the_next_handler_and_the_guest_see_the_method_that_was_set() {
    for method in ["PUT", "purge", "x!#$%&'*+-.^_`|~9"] {
        let probe = proceeds(&format!("(call $set_method \"{method}\")"))
            .on_response("(call $note_text (call $get_method BUF LIMIT))")
            .load();
        probe.run(get(), |next| assert_eq!(next.method, method.as_bytes()));
        assert_eq!(probe.notes(), [text(method)]);
    }
}

#[test]
fn an_invalid_method_traps() {
    for method in ["A B", "GET\\0d\\0a", "\\00", "G\\c3\\89T", "GET /", "(", "\\7f"] {
        let error = stops(&format!("(call $set_method \"{method}\")")).load().error(get());
        assert_refused(&error, "set_method", Some(Phase::Request), "method is not a valid method");
    }
}

#[test]
fn the_uri_is_path_and_query_as_on_the_wire() {
    let probe = stops("(call $note_text (call $get_uri BUF LIMIT))").load();
    for uri in ["/", "/a%2Fb%20c?q=%41", "//a//b/../c", "/a?", "/?a?b", "/ü?b"] {
        assert_eq!(probe.noted(InMemoryHost::new("GET", uri)), [text(uri)]);
    }
    assert_eq!(probe.noted(InMemoryHost::new("OPTIONS", "*")), [text("*")]);
}

/// The URI that a guest sets, and the result.
const URIS: [(&[u8], &str); 22] = [
    (b"", "/"),
    (b"/", "/"),
    (b"/a/b?c=d&e", "/a/b?c=d&e"),
    (b"/only/path", "/only/path"),
    (b"?only=query", "/?only=query"),
    (b"/a?", "/a?"),
    (b"//foo", "//foo"),
    (b"//foo/bar?", "//foo/bar?"),
    (b"/a%20b%2fc?%41", "/a%20b%2fc?%41"),
    (b"/a b", "/a%20b"),
    (b"/a?b c", "/a?b%20c"),
    (b"/a#b", "/a%23b"),
    (b"/\xff\xc3\xa4", "/%FF%C3%A4"),
    (b"/100%", "/100%25"),
    (b"/%zz", "/%25zz"),
    (b"/\"<>\\^`{|}", "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
    (b"/-._~!$&'()*+,;=:@/?-._~!$&'()*+,;=:@/?", "/-._~!$&'()*+,;=:@/?-._~!$&'()*+,;=:@/?"),
    (b"http://other.example/a?b", "/a?b"),
    (b"https://other.example", "/"),
    (b"https://other.example?", "/?"),
    (b"http://user@[::1]:80//x y", "//x%20y"),
    (b"HTTP://other.example/a b#c", "/a%20b%23c"),
];

#[test]
fn setting_a_uri_replaces_path_and_query_with_percent_encoding() {
    for (given, expected) in URIS {
        let given: String = given.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let probe =
            proceeds(&format!("(call $set_uri \"{given}\") (call $note_text (call $get_uri BUF LIMIT))"))
                .load();
        let mut pinned = probe.next(InMemoryHost::new("GET", "/old?query"));
        assert_eq!(String::from_utf8_lossy(&pinned.host_mut().uri), expected);
        drop(pinned);
        crate::support::eventually("the clean-up", || probe.stats().idle == 1);
        assert_eq!(probe.notes(), [text(expected)]);
    }
}

#[test]
fn setting_a_uri_does_not_change_the_host() {
    let probe = proceeds("(call $set_uri \"http://other.example/a\")").load();
    let mut host = get();
    host.request.headers.add(b"host", b"example.com");
    probe.run(host, |next| {
        assert_eq!(next.request.headers.values(b"host").collect::<Vec<_>>(), [b"example.com"]);
    });
}

#[test]
fn setting_the_current_uri_changes_nothing() {
    let probe = proceeds("(call $set_uri BUF (call $get_uri BUF LIMIT))").load();
    for (method, uri) in [("GET", "/[x]|y?{z}"), ("GET", "/a?"), ("OPTIONS", "*")] {
        probe.run(InMemoryHost::new(method, uri), |next| assert_eq!(next.uri, uri.as_bytes()));
    }
}

#[test]
fn control_characters_in_a_uri_trap() {
    for uri in ["/a\\0d\\0ax: y", "/\\00", "/a\\0ab", "/\\7f", "/\\09", "http://a/\\0d", "\\0a"] {
        let error = stops(&format!("(call $set_uri \"{uri}\")")).load().error(get());
        assert_refused(&error, "set_uri", Some(Phase::Request), "uri is not a valid URI");
    }
}

#[test]
fn an_invalid_uri_traps() {
    for uri in ["foo", "foo/bar", "a:b", "http:/a", "1http://a/", "://a", ":", "*", "#a"] {
        let error = stops(&format!("(call $set_uri \"{uri}\")")).load().error(get());
        assert_refused(&error, "set_uri", Some(Phase::Request), "uri is not a valid URI");
    }
}

#[test]
fn an_asterisk_is_a_uri_for_options() {
    let probe = proceeds("(call $set_uri \"*\")").load();
    probe.run(InMemoryHost::new("OPTIONS", "/"), |next| assert_eq!(next.uri, b"*"));
    let probe = proceeds("(call $set_method \"OPTIONS\") (call $set_uri \"*\")").load();
    probe.run(get(), |next| assert_eq!(next.uri, b"*"));
}

#[test]
fn the_protocol_version_is_named_for_each_http_version() {
    let probe = guest().on_response("(call $note_text (call $get_protocol_version BUF LIMIT))").load();
    for version in ["HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/3.0"] {
        let mut host = get();
        host.protocol_version = version;
        assert_eq!(probe.noted(host), [text(version)]);
    }
}

#[test]
fn the_source_address_is_ip_and_port_with_brackets_around_ipv6() {
    let probe = guest().on_response("(call $note_text (call $get_source_addr BUF LIMIT))").load();
    let longest = "[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535";
    for addr in ["192.0.2.1:80", "0.0.0.0:0", "[::1]:65535", "[2001:db8::1]:443", longest] {
        let mut host = get();
        host.source_addr = Some(addr.parse().unwrap());
        assert_eq!(probe.noted(host), [text(addr)]);
    }
}

#[test]
fn the_source_address_is_empty_when_the_server_does_not_know_it() {
    let probe = guest().on_response("(call $note (call $get_source_addr BUF LIMIT))").load();
    assert_eq!(probe.noted(get()), [number(0)]);
}

#[test]
fn the_configuration_is_passed_to_the_guest_byte_for_byte() {
    let config: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let probe = stops("(call $note_text (call $get_config BUF LIMIT))").config(&config).load();
    assert_eq!(probe.noted(get()), [text(config)]);
}
