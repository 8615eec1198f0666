//! `Upgrade` passed through: once both sides agreed, bytes go to and fro unseen.

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::{empty, fields, respond_with};
use crate::body::BoxBody;

/// A client's wish for another protocol.
pub(super) struct Asked {
    protocols: Vec<HeaderValue>,
    client: OnUpgrade,
}

/// The client's wish, if it has one that may be granted.
///
/// `h2c` may not: over a tunnel that speaks HTTP, further requests would reach the upstream past all guests.
pub(super) fn asked(request: &mut Request<BoxBody>) -> Option<Asked> {
    let headers = request.headers();
    if request.version() != Version::HTTP_11 || !fields::has_connection_option(headers, "upgrade") {
        return None;
    }
    let protocols: Vec<HeaderValue> = headers.get_all(header::UPGRADE).iter().cloned().collect();
    if protocols.is_empty() || protocols.iter().any(is_http) {
        return None;
    }
    let client = request.extensions_mut().remove::<OnUpgrade>()?;
    Some(Asked { protocols, client })
}

fn is_http(protocols: &HeaderValue) -> bool {
    protocols.as_bytes().split(|&byte| byte == b',').any(|protocol| {
        let protocol = protocol.trim_ascii().to_ascii_lowercase();
        protocol.starts_with(b"h2c") || protocol.starts_with(b"http/")
    })
}

impl Asked {
    /// Writes the wish into a request from which hop-by-hop fields are gone.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        write(headers, self.protocols.iter().cloned());
    }

    /// Passes the upstream's consent on, and joins the two connections as soon as both are upgraded.
    pub(super) fn accept(self, mut response: Response<Incoming>) -> Response<BoxBody> {
        let upstream = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let Err(error) = join(self.client, upstream).await {
                tracing::debug!(error, "upgraded connection ended");
            }
        });
        let mut headers = std::mem::take(response.headers_mut());
        let agreed: Vec<HeaderValue> = headers.get_all(header::UPGRADE).iter().cloned().collect();
        fields::remove_hop_by_hop(&mut headers);
        write(&mut headers, agreed.into_iter());
        respond_with(StatusCode::SWITCHING_PROTOCOLS, headers, empty())
    }
}

fn write(headers: &mut HeaderMap, protocols: impl Iterator<Item = HeaderValue>) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    for protocol in protocols {
        headers.append(header::UPGRADE, protocol);
    }
}

async fn join(client: OnUpgrade, upstream: OnUpgrade) -> Result<(), crate::body::BoxError> {
    let (client, upstream) = tokio::try_join!(client, upstream)?;
    tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await?;
    Ok(())
}
