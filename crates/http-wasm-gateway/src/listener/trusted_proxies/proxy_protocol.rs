//! The PROXY protocol, version 2.

use std::net::SocketAddr;

use ppp::v2::{Addresses, Command, Header};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::body::BoxError;

/// The fixed part of a PROXY header, including the length of the rest.
const FIXED: usize = 16;

/// The longest PROXY header that is accepted: addresses, and several kilobytes of other information such as a
/// certificate.
const MAX_HEADER: usize = 4096;

/// The source address in a PROXY header. `None` if the proxy itself is the source, as for its health checks.
pub(super) async fn source_address(
    io: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, BoxError> {
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
