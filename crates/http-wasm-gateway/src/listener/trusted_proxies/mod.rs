//! Determines the client of a request behind proxies: for a connection from the PROXY protocol, for a request from
//! header fields.

mod proxy_protocol;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::AsyncRead;

use self::proxy_protocol::source_address;
use super::forwarded::{
    X_FORWARDED_FOR, X_FORWARDED_PROTO, addresses, canonical, elements, only_address, proto,
};
use crate::body::BoxError;
use crate::config::{FieldPattern, Listen, ProxyProtocol, TrustedNet, Underscores};
use crate::exchange::{Client, Dropped, ListenerId};
use crate::names::{Claim, retain};

/// Which proxies are trusted, and for which information.
#[derive(Debug, Clone)]
pub(super) struct TrustedProxies {
    trusted: Vec<TrustedNet>,
    proxy_protocol: ProxyProtocol,
    /// The fields that are trusted from trusted proxies only, in order of precedence.
    trusted_fields: Vec<(HeaderName, Claim)>,
    /// Further fields about the client, besides the known ones.
    client_fields: Vec<FieldPattern>,
    underscores: Underscores,
    listener: ListenerId,
}

impl TrustedProxies {
    pub(super) fn new(listen: &Listen) -> Self {
        let claim = |name: &HeaderName| Claim::of(name.as_str()).unwrap_or(Claim::Other);
        Self {
            trusted: listen.trusted_proxies.iter().map(|net| net.value).collect(),
            proxy_protocol: *listen.proxy_protocol,
            trusted_fields: listen
                .trusted_fields
                .iter()
                .map(|name| (name.0.clone(), claim(&name.0)))
                .collect(),
            client_fields: listen.client_fields.iter().map(|field| field.value.clone()).collect(),
            underscores: listen.underscores,
            listener: ListenerId::of(listen.address.as_str()),
        }
    }

    /// The listener that has these settings.
    pub(super) fn listener(&self) -> ListenerId {
        self.listener
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
            ProxyProtocol::V2 if self.trusts(peer.ip()) => {
                Ok(canonical(source_address(io).await?.unwrap_or(peer)))
            }
            ProxyProtocol::V2 => Err("it doesn't come from a trusted proxy".into()),
        }
    }

    /// The client of a request. Untrusted claims about it are dropped.
    pub(super) fn of_request(&self, connection: Client, headers: &mut HeaderMap) -> (Client, Dropped) {
        let mut dropped = Dropped::default();
        let mut unwanted = Vec::new();
        let (mut trusted, mut forwarded_by_trusted) = (None, false);
        // This iterates over the names once, since most requests have none of these fields.
        for name in headers.keys() {
            if self.is_about_client(name) {
                let trusted = *trusted.get_or_insert_with(|| self.trusts(connection.addr.ip()));
                if trusted && self.trusted_fields.iter().any(|(field, _)| field == name) {
                    forwarded_by_trusted = true;
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
        let client =
            if forwarded_by_trusted { self.forwarded_client(connection, headers) } else { connection };
        (client, dropped)
    }

    /// Whether any trailers are dropped in addition to those that are always forbidden.
    pub(super) fn drop_trailers(&self) -> bool {
        !self.client_fields.is_empty() || self.underscores != Underscores::Pass
    }

    /// Whether a trailer with this name is dropped. It can't be checked like a field in the head.
    pub(super) fn drops_trailer(&self, name: &HeaderName) -> bool {
        self.is_client_field(name) || self.underscores != Underscores::Pass && has_underscore(name)
    }

    fn is_about_client(&self, name: &HeaderName) -> bool {
        Claim::of(name.as_str()).is_some() || self.is_client_field(name)
    }

    fn is_client_field(&self, name: &HeaderName) -> bool {
        self.client_fields.iter().any(|field| field.fits(name.as_str()))
    }

    /// The client according to the remaining fields: the first with an address, and the first with a scheme. Other
    /// information in them may be made up by the client, and isn't forwarded.
    fn forwarded_client(&self, connection: Client, headers: &mut HeaderMap) -> Client {
        let (mut addr, mut tls) = (None, None);
        // The number of proxies between the client and this one.
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
            && let Some(addr) = client.address_value()
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
