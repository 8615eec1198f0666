//! `Upgrade`: once both sides agree, bytes are relayed both ways unchanged.

mod relay;

use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use tokio::sync::oneshot;

use self::relay::{Relayed, relay};
use super::fields;
use super::pool::{ResponseBody, Tunnel};
use super::response::respond_with;
use super::server::Lease;
use crate::body::{BoxBody, BoxError, empty};
use crate::connection_options::has_connection_option;
use crate::exchange::{ClientSide, Finish, Inbound, Upgraded};
use crate::known_fields::KnownFields;

/// A client's request to switch to another protocol.
pub(super) struct UpgradeRequest {
    protocols: Vec<HeaderValue>,
    side: Box<ClientSide>,
    granted: oneshot::Receiver<Finish>,
}

/// Returns the client's request to switch to another protocol, if there is one and it may be granted.
///
/// `h2c` may not be granted: in a tunnel that carries HTTP, further requests would reach the upstream without passing
/// through the guests.
pub(super) fn upgrade_request(inbound: &mut Inbound) -> Option<UpgradeRequest> {
    // Only a request with `Upgrade` has what a tunnel needs.
    inbound.tunnel.as_ref()?;
    let headers = inbound.request.headers();
    if inbound.request.version() != Version::HTTP_11 || !has_connection_option(headers, "upgrade") {
        return None;
    }
    let protocols: Vec<HeaderValue> = headers.get_all(header::UPGRADE).iter().cloned().collect();
    if protocols.is_empty() || protocols.iter().any(is_http) {
        return None;
    }
    let side = inbound.tunnel.take()?;
    let (grant, granted) = oneshot::channel();
    inbound.granted = Some(grant);
    Some(UpgradeRequest { protocols, side, granted })
}

fn is_http(protocols: &HeaderValue) -> bool {
    protocols.as_bytes().split(|&byte| byte == b',').any(|protocol| {
        let protocol = protocol.trim_ascii().to_ascii_lowercase();
        protocol.starts_with(b"h2c") || protocol.starts_with(b"http/")
    })
}

impl UpgradeRequest {
    /// Adds the upgrade request to a request from which hop-by-hop fields have been removed.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        write(headers, self.protocols.iter().cloned());
    }

    /// Forwards the upstream's response, and joins the two connections as soon as both are upgraded. The request counts
    /// as in flight to the address for as long as the tunnel lasts.
    pub(super) fn accept(self, response: Response<ResponseBody>, lease: Lease) -> Response<BoxBody> {
        let (head, body) = response.into_parts();
        if let Some(upstream) = body.into_tunnel() {
            tokio::spawn(async move {
                match self.join(upstream, lease).await {
                    Ok(end) => tracing::debug!(?end, "tunnel ended"),
                    Err(error) => tracing::debug!(error, "there is no tunnel"),
                }
            });
        }
        let mut headers = head.headers;
        let agreed: Vec<HeaderValue> = headers.get_all(header::UPGRADE).iter().cloned().collect();
        let known = KnownFields::of(&headers);
        fields::remove_hop_by_hop(&mut headers, known);
        write(&mut headers, agreed.into_iter());
        respond_with(StatusCode::SWITCHING_PROTOCOLS, headers, empty())
    }

    async fn join(self, upstream: Tunnel, lease: Lease) -> Result<relay::End, BoxError> {
        let ClientSide { limits, upgraded, closing, abort } = *self.side;
        let Upgraded { io, permit } = upgraded.await?;
        // If the request is observed, this is available before the client's connection is handed over.
        let finish = self.granted.await.ok();
        let open = lease.tunnel();
        let Relayed { from_client, to_client, end } = relay(io, upstream, limits, abort).await;
        drop(open);
        if let Some(mut finish) = finish {
            finish.carried(from_client, to_client);
        }
        drop((lease, permit, closing));
        Ok(end)
    }
}

fn write(headers: &mut HeaderMap, protocols: impl Iterator<Item = HeaderValue>) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    for protocol in protocols {
        headers.append(header::UPGRADE, protocol);
    }
}
