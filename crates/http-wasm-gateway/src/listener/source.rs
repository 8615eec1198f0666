//! Where requests come from, when proxies stand in front: by the PROXY protocol for a connection, by `X-Forwarded-For` for a request.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ppp::v2::{Addresses, Command, Header};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Client;
use crate::body::BoxError;
use crate::config::{ProxyProtocol, TrustedNet};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The part of a PROXY header that all have, the length of the rest included.
const FIXED: usize = 16;

/// The longest PROXY header that is taken: addresses, and some kilobytes of what else a proxy may tell, as of a certificate.
const MAX_HEADER: usize = 4096;

/// Which proxies are believed.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) trusted: Vec<TrustedNet>,
    pub(super) proxy_protocol: ProxyProtocol,
}

impl Sources {
    fn trusts(&self, addr: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.0.contains(&addr.to_canonical()))
    }

    /// The source of a connection that has just begun.
    pub(super) async fn of_connection(
        &self,
        io: &mut (impl AsyncRead + Unpin),
        peer: SocketAddr,
    ) -> Result<SocketAddr, BoxError> {
        match self.proxy_protocol {
            ProxyProtocol::Off => Ok(peer),
            ProxyProtocol::V2 if self.trusts(peer.ip()) => Ok(proxied(io).await?.unwrap_or(peer)),
            ProxyProtocol::V2 => Err("it does not come from a trusted proxy".into()),
        }
    }

    /// The client of a request: the last address in `X-Forwarded-For` that is no trusted proxy's, as far as trusted proxies say. What stands before
    /// it is the client's own claim, so it alone is left of the list.
    pub(super) fn of_request(&self, connection: Client, headers: &mut HeaderMap) -> Client {
        let mut client = connection;
        if self.trusts(connection.addr.ip()) {
            for addr in addresses(headers).rev() {
                let Some(addr) = addr else { break };
                client.addr = addr;
                if !self.trusts(addr.ip()) {
                    break;
                }
            }
            let scheme = headers.get_all(X_FORWARDED_PROTO).iter().next_back();
            match scheme.map(|scheme| scheme.as_bytes().to_ascii_lowercase()).as_deref() {
                Some(b"https") => client.tls = true,
                Some(b"http") => client.tls = false,
                _ => {}
            }
        }
        if headers.contains_key(X_FORWARDED_FOR)
            && let Ok(addr) = HeaderValue::try_from(client.addr.ip().to_canonical().to_string())
        {
            headers.insert(X_FORWARDED_FOR, addr);
        }
        if headers.contains_key(X_FORWARDED_PROTO) {
            let scheme = if client.tls { "https" } else { "http" };
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        }
        client
    }
}

/// The source in a PROXY header; none, the proxy itself is the source, as when it checks health.
async fn proxied(io: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, BoxError> {
    let mut bytes = vec![0; FIXED];
    io.read_exact(&mut bytes).await?;
    if !bytes.starts_with(ppp::v2::PROTOCOL_PREFIX) {
        return Err("it does not begin with a PROXY header of version 2".into());
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

/// The addresses in `X-Forwarded-For`, none for what is no address. A port that isn't said is 0.
fn addresses(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = Option<SocketAddr>> {
    headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(|entry| {
            let text = str::from_utf8(entry).ok()?.trim();
            let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
            bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)).or_else(|_| text.parse()).ok()
        })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::HeaderMap;

    use super::{ProxyProtocol, Sources};
    use crate::config::TrustedNet;
    use crate::listener::Client;

    fn sources() -> Sources {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| TrustedNet(net.parse().unwrap())).to_vec();
        Sources { trusted, proxy_protocol: ProxyProtocol::V2 }
    }

    fn source(peer: &str, lists: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append("x-forwarded-for", list.parse().unwrap());
        }
        let client = Client { addr: peer.parse().unwrap(), tls: false };
        let client = sources().of_request(client, &mut headers);
        let left: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        let own = client.addr.ip().to_canonical().to_string();
        assert_eq!(left, if lists.is_empty() { vec![] } else { vec![own.as_str()] });
        client.addr.to_string()
    }

    #[test]
    fn a_proxy_is_trusted_in_whichever_form_its_address_is_written() {
        for written in ["10.1.2.3", "::ffff:10.1.2.3", "10.0.0.0/8", "::ffff:10.0.0.0/104"] {
            let trusted = vec![written.parse::<TrustedNet>().unwrap()];
            let sources = Sources { trusted, proxy_protocol: ProxyProtocol::V2 };
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
            assert_eq!(sources().of_request(client, &mut headers).tls, expected);
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
        let with_more = [&v4[..], &[4, 0, 2, 0, 0]].concat();
        let proxy = "10.0.0.1:1";
        let addr = |text: &str| Some(text.parse().unwrap());
        assert_eq!(connection(proxy, &header(1, 0x11, &v4)).await, addr("2.2.2.2:5"));
        assert_eq!(connection(proxy, &header(1, 0x11, &with_more)).await, addr("2.2.2.2:5"));
        assert_eq!(connection(proxy, &header(1, 0x21, &v6)).await, addr("[2001:db8::1]:5"));
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
