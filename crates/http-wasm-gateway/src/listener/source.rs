//! The client of a request if there are proxies in front: from the PROXY protocol for a connection, from header fields
//! for a request.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ppp::v2::{Addresses, Command, Header};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::forwarded::{
    X_FORWARDED_FOR, X_FORWARDED_PROTO, addresses, canonical, elements, only_address, proto,
};
use crate::body::BoxError;
use crate::config::{FieldPattern, Listen, ProxyProtocol, TrustedNet, Underscores};
use crate::exchange::{Client, Dropped};
use crate::names::{Claim, retain};

/// The fixed part of a PROXY header, including the length of the rest.
const FIXED: usize = 16;

/// The longest PROXY header that is accepted: addresses, and several kilobytes of other information, such as a
/// certificate.
const MAX_HEADER: usize = 4096;

/// Which proxies are trusted, and with which information.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    trusted: Vec<TrustedNet>,
    proxy_protocol: ProxyProtocol,
    /// The fields that are trusted from trusted proxies only, in order of precedence.
    trusted_fields: Vec<(HeaderName, Claim)>,
    /// Further fields about the client, besides the known ones.
    client_fields: Vec<FieldPattern>,
    underscores: Underscores,
}

impl Sources {
    pub(super) fn new(listen: &Listen) -> Self {
        let claim = |name: &HeaderName| Claim::of(name.as_str()).unwrap_or(Claim::Other);
        Self {
            trusted: listen.trusted_proxies.clone(),
            proxy_protocol: listen.proxy_protocol,
            trusted_fields: listen
                .trusted_fields
                .iter()
                .map(|name| (name.0.clone(), claim(&name.0)))
                .collect(),
            client_fields: listen.client_fields.clone(),
            underscores: listen.underscores,
        }
    }

    fn trusts(&self, addr: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.0.contains(&addr.to_canonical()))
    }

    /// Whether a request with these fields must be rejected.
    pub(super) fn refuses(&self, headers: &HeaderMap) -> bool {
        self.underscores == Underscores::Reject && headers.keys().any(has_underscore)
    }

    /// The source of a connection that has just started.
    pub(super) async fn of_connection(
        &self,
        io: &mut (impl AsyncRead + Unpin),
        peer: SocketAddr,
    ) -> Result<SocketAddr, BoxError> {
        match self.proxy_protocol {
            ProxyProtocol::Off => Ok(canonical(peer)),
            ProxyProtocol::V2 if self.trusts(peer.ip()) => Ok(canonical(proxied(io).await?.unwrap_or(peer))),
            ProxyProtocol::V2 => Err("it doesn't come from a trusted proxy".into()),
        }
    }

    /// The client of a request. Untrusted claims about it are dropped.
    pub(super) fn of_request(&self, connection: Client, headers: &mut HeaderMap) -> (Client, Dropped) {
        let mut dropped = Dropped::default();
        let mut unwanted = Vec::new();
        let (mut trusted, mut believed) = (None, false);
        // One pass over the names: most requests have none of these fields.
        for name in headers.keys() {
            if self.is_about_client(name) {
                let trusted = *trusted.get_or_insert_with(|| self.trusts(connection.addr.ip()));
                if trusted && self.trusted_fields.iter().any(|(field, _)| field == name) {
                    believed = true;
                } else {
                    dropped.claims += 1;
                    unwanted.push(name.clone());
                }
            } else if self.underscores == Underscores::Drop && has_underscore(name) {
                dropped.underscores += 1;
                unwanted.push(name.clone());
            }
        }
        if !unwanted.is_empty() {
            retain(headers, |name| !unwanted.contains(name));
        }
        let client = if believed { self.believe(connection, headers) } else { connection };
        (client, dropped)
    }

    /// Whether trailers of these names are dropped that others let pass.
    pub(super) fn drop_trailers(&self) -> bool {
        !self.client_fields.is_empty() || self.underscores != Underscores::Pass
    }

    /// Whether a trailer of this name is dropped: its head, which would have been checked, is long gone.
    pub(super) fn drops_trailer(&self, name: &HeaderName) -> bool {
        self.is_client_field(name) || self.underscores != Underscores::Pass && has_underscore(name)
    }

    fn is_about_client(&self, name: &HeaderName) -> bool {
        Claim::of(name.as_str()).is_some() || self.is_client_field(name)
    }

    fn is_client_field(&self, name: &HeaderName) -> bool {
        self.client_fields.iter().any(|field| field.fits(name.as_str()))
    }

    /// The client according to the remaining fields: the first that contains an address, and the first that contains a
    /// scheme. What else they contain may be made up by the client, and isn't forwarded.
    fn believe(&self, connection: Client, headers: &mut HeaderMap) -> Client {
        let (mut addr, mut tls) = (None, None);
        // How many proxies there are between the client and this one.
        let mut behind = 0;
        for (name, claim) in &self.trusted_fields {
            if !headers.contains_key(name) {
                continue;
            }
            match claim {
                Claim::ForwardedFor => {
                    let last = self.client_in(addresses(headers));
                    behind = last.map_or(0, |(index, _)| index);
                    addr = addr.or(last.map(|(_, addr)| addr));
                }
                Claim::ForwardedProto => tls = tls.or(proto(headers, behind)),
                Claim::Forwarded => {
                    let all = elements(headers).unwrap_or_default();
                    let last = self.client_in(all.iter().map(|element| element.client));
                    let element = last.and_then(|(index, _)| all.into_iter().rev().nth(index));
                    addr = addr.or(last.map(|(_, addr)| addr));
                    tls = tls.or(element.as_ref().and_then(|element| element.tls));
                    match element.and_then(|element| element.to_value()) {
                        Some(element) => headers.insert(name, element),
                        None => headers.remove(name),
                    };
                }
                Claim::Address => match only_address(headers, name) {
                    Some(only) => addr = addr.or(Some(only)),
                    None => drop(headers.remove(name)),
                },
                Claim::Other => {}
            }
        }
        let client = Client { addr: addr.unwrap_or(connection.addr), tls: tls.unwrap_or(connection.tls) };
        if headers.contains_key(X_FORWARDED_FOR)
            && let Ok(addr) = HeaderValue::try_from(client.addr.ip().to_string())
        {
            headers.insert(X_FORWARDED_FOR, addr);
        }
        if headers.contains_key(X_FORWARDED_PROTO) {
            let scheme = if client.tls { "https" } else { "http" };
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        }
        client
    }

    /// Of the addresses that proxies have appended, the last that isn't a trusted proxy's, as far as trusted proxies
    /// wrote them, and how many follow it.
    fn client_in(
        &self,
        addrs: impl DoubleEndedIterator<Item = Option<SocketAddr>>,
    ) -> Option<(usize, SocketAddr)> {
        let mut client = None;
        for (index, addr) in addrs.rev().enumerate() {
            let Some(addr) = addr else { break };
            client = Some((index, addr));
            if !self.trusts(addr.ip()) {
                break;
            }
        }
        client
    }
}

fn has_underscore(name: &HeaderName) -> bool {
    name.as_str().contains('_')
}

/// The source in a PROXY header; none if it is the proxy itself, as for its health checks.
async fn proxied(io: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, BoxError> {
    let mut bytes = vec![0; FIXED];
    io.read_exact(&mut bytes).await?;
    if !bytes.starts_with(ppp::v2::PROTOCOL_PREFIX) {
        return Err("it doesn't start with a PROXY protocol header of version 2".into());
    }
    let length = FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > MAX_HEADER {
        return Err("its PROXY header is too long".into());
    }
    bytes.resize(length, 0);
    io.read_exact(&mut bytes[FIXED..]).await?;
    let header = Header::try_from(&bytes[..])?;
    Ok(match (header.command, header.addresses) {
        (Command::Proxy, Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
        (Command::Proxy, Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Sources, canonical};
    use crate::config::{FieldName, Listen, ProxyProtocol, TrustedNet, Underscores};
    use crate::exchange::Client;

    fn listen() -> Listen {
        let trusted_proxies = ["10.0.0.0/8", "fd00::/8"].map(|net| TrustedNet(net.parse().unwrap())).to_vec();
        Listen { trusted_proxies, proxy_protocol: ProxyProtocol::V2, ..Listen::default() }
    }

    fn sources() -> Sources {
        Sources::new(&listen())
    }

    /// The listener trusts these fields.
    fn trusting(fields: &[&str]) -> Sources {
        let trusted_fields = fields.iter().map(|field| field.parse::<FieldName>().unwrap().into()).collect();
        Sources::new(&Listen { trusted_fields, ..listen() })
    }

    const PROXY: &str = "10.0.0.1:1";

    /// What happens to these fields of a request from this peer: address and scheme of the client, and the remaining
    /// fields.
    fn seen(sources: &Sources, peer: &str, fields: &[(&str, &str)]) -> (String, bool, Vec<String>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let connection = Client { addr: canonical(peer.parse().unwrap()), tls: false };
        let (client, _) = sources.of_request(connection, &mut headers);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        (client.addr.to_string(), client.tls, left)
    }

    fn source(peer: &str, lists: &[&'static str]) -> String {
        let fields: Vec<_> = lists.iter().map(|list| ("x-forwarded-for", *list)).collect();
        let (addr, _, left) = seen(&sources(), peer, &fields);
        let believed = sources().trusts(peer.parse::<SocketAddr>().unwrap().ip()) && !lists.is_empty();
        let ip = addr.parse::<SocketAddr>().unwrap().ip();
        assert_eq!(left, if believed { vec![format!("x-forwarded-for: {ip}")] } else { vec![] });
        addr
    }

    #[test]
    fn a_proxy_is_trusted_in_whichever_form_its_address_is_written() {
        for written in ["10.1.2.3", "::ffff:10.1.2.3", "10.0.0.0/8", "::ffff:10.0.0.0/104"] {
            let trusted_proxies = vec![written.parse::<TrustedNet>().unwrap()];
            let sources = Sources::new(&Listen { trusted_proxies, ..Listen::default() });
            for (peer, expected) in
                [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("11.1.2.3", false), ("::1", false)]
            {
                assert_eq!(sources.trusts(peer.parse().unwrap()), expected, "{peer} by {written}");
            }
        }
    }

    #[test]
    fn the_source_of_a_request_is_the_last_address_that_is_no_trusted_proxys() {
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
    fn only_a_trusted_proxy_says_whether_a_request_came_over_tls() {
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
            assert_eq!(sources().of_request(client, &mut headers).0.tls, expected);
        }
    }

    #[test]
    fn the_scheme_is_the_one_by_which_the_client_came_to_the_first_trusted_proxy() {
        for (addrs, schemes, expected) in [
            ("2.2.2.2", "http, https", true),
            ("2.2.2.2, 10.0.0.2", "https, http", true),
            ("https, 2.2.2.2, 10.0.0.2", "https, http, https", false),
            ("2.2.2.2, 10.0.0.2", "https", true),
            ("2.2.2.2, 10.0.0.2", "ftp", false),
        ] {
            let (_, tls, left) =
                seen(&sources(), PROXY, &[("x-forwarded-for", addrs), ("x-forwarded-proto", schemes)]);
            assert_eq!(tls, expected, "{addrs} {schemes}");
            assert_eq!(
                left[1],
                if expected { "x-forwarded-proto: https" } else { "x-forwarded-proto: http" }
            );
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
    fn what_a_client_says_about_itself_is_dropped_unless_it_is_asked_for_and_a_trusted_proxy_says_it() {
        let others = ["x-user: u", "x_user: u"];
        for peer in ["1.1.1.1:1", PROXY] {
            assert_eq!(
                seen(&sources(), peer, &CLAIMS),
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
    fn the_first_trusted_field_that_names_an_address_says_who_the_client_is() {
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
    fn of_forwarded_goes_on_what_a_trusted_proxy_says_of_the_client() {
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
    fn more_fields_about_clients_can_be_named() {
        let more = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        let sources = Sources::new(&Listen { client_fields: more(&["x-user", "x-auth-*"]), ..listen() });
        let fields =
            [("x-user", "u"), ("x_user", "u"), ("x-auth-name", "u"), ("x_auth_", "u"), ("x-users", "u")];
        assert_eq!(seen(&sources, "1.1.1.1:1", &fields).2, ["x-users: u"]);
    }

    #[test]
    fn fields_with_underscores_pass_are_dropped_or_refused() {
        let headers = |names: &[&'static str]| -> HeaderMap {
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect()
        };
        let sources = |underscores| Sources::new(&Listen { underscores, ..listen() });
        let client = Client { addr: "1.1.1.1:1".parse().unwrap(), tls: false };
        for (underscores, dropped) in
            [(Underscores::Pass, 0), (Underscores::Drop, 2), (Underscores::Reject, 0)]
        {
            let mut all = headers(&["grpc_metadata", "x-a_b", "host", "x_real_ip"]);
            let sources = sources(underscores);
            assert_eq!(sources.refuses(&all), underscores == Underscores::Reject);
            assert!(!sources.refuses(&headers(&["x-a-b"])));
            let (_, counted) = sources.of_request(client, &mut all);
            assert_eq!((counted.underscores, counted.claims), (dropped, 1));
            assert_eq!(all.len(), 3 - dropped as usize);
        }
    }

    async fn connection(peer: &str, bytes: &[u8]) -> Option<SocketAddr> {
        let mut rest = bytes;
        let source = sources().of_connection(&mut rest, peer.parse().unwrap()).await.ok()?;
        assert_eq!(rest, b"GET", "what follows the header is left");
        Some(source)
    }

    #[tokio::test]
    async fn a_connection_from_a_trusted_proxy_begins_with_its_source() {
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
}
