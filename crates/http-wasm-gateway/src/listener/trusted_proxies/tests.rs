use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{TrustedProxies, canonical};
use crate::config::{FieldName, Listen, ProxyProtocol, TrustedNet, Underscores};
use crate::exchange::Client;

fn listen() -> Listen {
    let trusted_proxies =
        ["10.0.0.0/8", "fd00::/8"].map(|net| TrustedNet(net.parse().unwrap()).into()).to_vec();
    Listen { trusted_proxies, proxy_protocol: ProxyProtocol::V2.into(), ..Listen::default() }
}

fn trusted() -> TrustedProxies {
    TrustedProxies::new(&listen())
}

/// A listener that trusts these fields.
fn trusting(fields: &[&str]) -> TrustedProxies {
    let trusted_fields = fields.iter().map(|field| field.parse::<FieldName>().unwrap().into()).collect();
    TrustedProxies::new(&Listen { trusted_fields, ..listen() })
}

const PROXY: &str = "10.0.0.1:1";

/// The result for these fields of a request from this peer: the client's address and scheme, and the remaining fields.
fn seen(trusted: &TrustedProxies, peer: &str, fields: &[(&str, &str)]) -> (String, bool, Vec<String>) {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let connection = Client { addr: canonical(peer.parse().unwrap()), tls: false };
    let (client, _) = trusted.of_request(connection, &mut headers);
    let mut left: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    left.sort();
    (client.addr.to_string(), client.tls, left)
}

fn source(peer: &str, lists: &[&'static str]) -> String {
    let fields: Vec<_> = lists.iter().map(|list| ("x-forwarded-for", *list)).collect();
    let (addr, _, left) = seen(&trusted(), peer, &fields);
    let believed = trusted().trusts(peer.parse::<SocketAddr>().unwrap().ip()) && !lists.is_empty();
    let ip = addr.parse::<SocketAddr>().unwrap().ip();
    assert_eq!(left, if believed { vec![format!("x-forwarded-for: {ip}")] } else { vec![] });
    addr
}

#[test]
fn a_trusted_proxy_matches_in_any_notation_of_its_address() {
    for written in ["10.1.2.3", "::ffff:10.1.2.3", "10.0.0.0/8", "::ffff:10.0.0.0/104"] {
        let trusted_proxies = vec![written.parse::<TrustedNet>().unwrap().into()];
        let trusted = TrustedProxies::new(&Listen { trusted_proxies, ..Listen::default() });
        for (peer, expected) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("11.1.2.3", false), ("::1", false)]
        {
            assert_eq!(trusted.trusts(peer.parse().unwrap()), expected, "{peer} by {written}");
        }
    }
}

#[test]
fn the_source_of_a_request_is_the_last_address_that_is_not_a_trusted_proxy() {
    for (peer, lists, expected) in [
        ("1.1.1.1:1", &["2.2.2.2"][..], "1.1.1.1:1"),
        ("10.0.0.1:1", &[], "10.0.0.1:1"),
        ("10.0.0.1:1", &["2.2.2.2"], "2.2.2.2:0"),
        ("[::ffff:10.0.0.1]:1", &["2.2.2.2:5"], "2.2.2.2:5"),
        ("10.0.0.1:1", &["::ffff:2.2.2.2"], "2.2.2.2:0"),
        ("10.0.0.1:1", &["2.2.2.2, ::ffff:10.0.0.2"], "2.2.2.2:0"),
        ("[::ffff:1.1.1.1]:1", &["2.2.2.2"], "1.1.1.1:1"),
        ("[fd00::1]:1", &["[2001:db8::1]:5"], "[2001:db8::1]:5"),
        ("10.0.0.1:1", &["[2001:db8::1]"], "[2001:db8::1]:0"),
        ("10.0.0.1:1", &["9.9.9.9, 2.2.2.2,10.0.0.2"], "2.2.2.2:0"),
        ("10.0.0.1:1", &["9.9.9.9", "2.2.2.2", "10.0.0.2"], "2.2.2.2:0"),
        ("10.0.0.1:1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
        ("10.0.0.1:1", &["2.2.2.2, unknown, 10.0.0.2"], "10.0.0.2:0"),
        ("10.0.0.1:1", &["2.2.2.2, "], "10.0.0.1:1"),
    ] {
        assert_eq!(source(peer, lists), expected, "{peer} {lists:?}");
    }
}

#[test]
fn the_forwarded_scheme_is_accepted_only_from_a_trusted_proxy() {
    for (peer, tls, said, expected) in [
        ("10.0.0.1:1", false, Some("https"), true),
        ("10.0.0.1:1", true, Some("http"), false),
        ("10.0.0.1:1", true, None, true),
        ("1.1.1.1:1", false, Some("https"), false),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(said) = said {
            headers.insert("x-forwarded-proto", said.parse().unwrap());
        }
        let client = Client { addr: peer.parse().unwrap(), tls };
        assert_eq!(trusted().of_request(client, &mut headers).0.tls, expected);
    }
}

#[test]
fn the_scheme_is_that_between_the_client_and_the_first_trusted_proxy() {
    for (addrs, schemes, expected) in [
        ("2.2.2.2", "http, https", true),
        ("2.2.2.2, 10.0.0.2", "https, http", true),
        ("https, 2.2.2.2, 10.0.0.2", "https, http, https", false),
        ("2.2.2.2, 10.0.0.2", "https", true),
        ("2.2.2.2, 10.0.0.2", "ftp", false),
    ] {
        let (_, tls, left) =
            seen(&trusted(), PROXY, &[("x-forwarded-for", addrs), ("x-forwarded-proto", schemes)]);
        assert_eq!(tls, expected, "{addrs} {schemes}");
        assert_eq!(left[1], if expected { "x-forwarded-proto: https" } else { "x-forwarded-proto: http" });
    }
}

const CLAIMS: [(&str, &str); 12] = [
    ("forwarded", "for=2.2.2.2;host=h;proto=https"),
    ("x-real-ip", "3.3.3.3"),
    ("x-forwarded-host", "h"),
    ("x-forwarded-port", "1"),
    ("x_forwarded_for", "4.4.4.4"),
    ("x-forwarded_proto", "https"),
    ("cf-connecting-ip", "5.5.5.5"),
    ("true_client_ip", "6.6.6.6"),
    ("x-original-url", "/x"),
    ("client-cert", ":MII:"),
    ("x-user", "u"),
    ("x_user", "u"),
];

#[test]
fn client_identity_fields_are_dropped_unless_configured_and_sent_by_a_trusted_proxy() {
    let others = ["x-user: u", "x_user: u"];
    for peer in ["1.1.1.1:1", PROXY] {
        assert_eq!(
            seen(&trusted(), peer, &CLAIMS),
            (peer.to_owned(), false, others.map(str::to_owned).to_vec())
        );
    }
    let believing = trusting(&["cf-connecting-ip", "x-forwarded-host", "forwarded"]);
    let (addr, tls, left) = seen(&believing, PROXY, &CLAIMS);
    assert_eq!((&*addr, tls), ("5.5.5.5:0", true));
    let fields =
        ["cf-connecting-ip: 5.5.5.5", "forwarded: for=2.2.2.2;host=h;proto=https", "x-forwarded-host: h"];
    assert_eq!(left, [&fields[..], &others].concat());
    assert_eq!(seen(&believing, "1.1.1.1:1", &CLAIMS).2, others);
}

#[test]
fn the_first_trusted_field_with_an_address_determines_the_client() {
    let fields = [("x-forwarded-for", "2.2.2.2"), ("x-real-ip", "3.3.3.3"), ("true-client-ip", "nobody")];
    for (trusted, expected, left) in [
        (&["x-forwarded-for", "x-real-ip"][..], "2.2.2.2:0", 2),
        (&["x-real-ip", "x-forwarded-for"], "3.3.3.3:0", 2),
        (&["true-client-ip", "x-real-ip"], "3.3.3.3:0", 1),
        (&["true-client-ip"], PROXY, 0),
        (&[], PROXY, 0),
    ] {
        let (addr, _, all) = seen(&trusting(trusted), PROXY, &fields);
        assert_eq!((&*addr, all.len()), (expected, left), "{trusted:?}");
    }
    let twice = [("x-real-ip", "2.2.2.2"), ("x-real-ip", "3.3.3.3")];
    assert_eq!(seen(&trusting(&["x-real-ip"]), PROXY, &twice), (PROXY.to_owned(), false, vec![]));
}

#[test]
fn only_the_client_element_of_a_trusted_proxy_in_forwarded_is_kept() {
    for (value, addr, left) in [
        (
            "for=9.9.9.9;host=evil, for=2.2.2.2;proto=https, for=10.0.0.2",
            "2.2.2.2:0",
            Some("for=2.2.2.2;proto=https"),
        ),
        ("for=\"[::ffff:2.2.2.2]:5\"", "2.2.2.2:5", Some("for=\"[::ffff:2.2.2.2]:5\"")),
        ("for=2.2.2.2, for=unknown", PROXY, None),
        ("for=\"2.2.2.2", PROXY, None),
    ] {
        let (seen_addr, _, all) = seen(&trusting(&["forwarded"]), PROXY, &[("forwarded", value)]);
        let expected: Vec<_> = left.iter().map(|left| format!("forwarded: {left}")).collect();
        assert_eq!((&*seen_addr, all), (addr, expected), "{value}");
    }
}

#[test]
fn further_client_identity_fields_can_be_configured() {
    let more = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    let trusted = TrustedProxies::new(&Listen { client_fields: more(&["x-user", "x-auth-*"]), ..listen() });
    let fields = [("x-user", "u"), ("x_user", "u"), ("x-auth-name", "u"), ("x_auth_", "u"), ("x-users", "u")];
    assert_eq!(seen(&trusted, "1.1.1.1:1", &fields).2, ["x-users: u"]);
}

#[test]
fn fields_with_underscores_are_passed_dropped_or_refused_as_configured() {
    let headers = |names: &[&'static str]| -> HeaderMap {
        names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect()
    };
    let trusted = |underscores| TrustedProxies::new(&Listen { underscores, ..listen() });
    let client = Client { addr: "1.1.1.1:1".parse().unwrap(), tls: false };
    for (underscores, dropped) in [(Underscores::Pass, 0), (Underscores::Drop, 2), (Underscores::Reject, 0)] {
        let mut all = headers(&["grpc_metadata", "x-a_b", "host", "x_real_ip"]);
        let trusted = trusted(underscores);
        assert_eq!(trusted.refuses(&all), underscores == Underscores::Reject);
        assert!(!trusted.refuses(&headers(&["x-a-b"])));
        let (_, counted) = trusted.of_request(client, &mut all);
        assert_eq!((counted.underscores, counted.claims), (dropped, 1));
        assert_eq!(all.len(), 3 - dropped as usize);
    }
}

async fn connection(peer: &str, bytes: &[u8]) -> Option<SocketAddr> {
    let mut rest = bytes;
    let source = trusted().of_connection(&mut rest, peer.parse().unwrap()).await.ok()?;
    assert_eq!(rest, b"GET", "what follows the header is left");
    Some(source)
}

#[tokio::test]
async fn a_connection_from_a_trusted_proxy_starts_with_a_proxy_protocol_header() {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let header = |command: u8, family: u8, rest: &[u8]| {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[0x20 | command, family], &length, rest, b"GET"].concat()
    };
    let v4 = [2, 2, 2, 2, 10, 0, 0, 1, 0, 5, 0, 80];
    let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0, 5, 0, 80]].concat();
    let mapped = [&[0; 10][..], &[255, 255, 2, 2, 2, 2], &[0; 16], &[0, 5, 0, 80]].concat();
    let with_more = [&v4[..], &[4, 0, 2, 0, 0]].concat();
    let proxy = "10.0.0.1:1";
    let addr = |text: &str| Some(text.parse().unwrap());
    assert_eq!(connection(proxy, &header(1, 0x11, &v4)).await, addr("2.2.2.2:5"));
    assert_eq!(connection(proxy, &header(1, 0x11, &with_more)).await, addr("2.2.2.2:5"));
    assert_eq!(connection(proxy, &header(1, 0x21, &v6)).await, addr("[2001:db8::1]:5"));
    assert_eq!(connection(proxy, &header(1, 0x21, &mapped)).await, addr("2.2.2.2:5"));
    assert_eq!(connection("[::ffff:10.0.0.1]:1", &header(0, 0, &[])).await, addr(proxy));
    assert_eq!(connection(proxy, &header(0, 0, &[])).await, addr(proxy));
    assert_eq!(connection(proxy, &header(0, 0x11, &v4)).await, addr(proxy));
    assert_eq!(connection(proxy, &header(1, 0, &[])).await, addr(proxy));

    assert_eq!(connection("1.1.1.1:1", &header(1, 0x11, &v4)).await, None, "not trusted");
    assert_eq!(connection(proxy, &header(1, 0x11, &v4[..11])).await, None, "too short for its family");
    assert_eq!(connection(proxy, &header(2, 0x11, &v4)).await, None, "no such command");
    assert_eq!(connection(proxy, &header(1, 0x11, &[0; 5000])).await, None, "too long");
    assert_eq!(connection(proxy, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await, None, "no header");
    assert_eq!(connection(proxy, &header(1, 0x11, &v4)[..20]).await, None, "not whole");
}
