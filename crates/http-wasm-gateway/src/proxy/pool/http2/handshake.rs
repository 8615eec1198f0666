//! Opens connections.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::driver::drive;
use crate::body::BoxError;
use crate::proxy::connect::Io;
use crate::proxy::pool::connections::http2::{Connection, MAX_STREAMS, Status};
use crate::proxy::pool::settings::Settings;
use crate::proxy::pool::shared::Shared;
use crate::proxy::pool::wire::Wire;

/// The largest flow-control window of HTTP/2.
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// How many bytes of an upload h2 buffers per stream until the server's window allows sending them.
const SEND_BUFFER: usize = 256 * 1024;

/// h2 decodes up to this many times the settings' limit of a head or of trailers. Up to that size, exceeding the limit
/// only fails the request itself.
const DECODED_SHARE: usize = 4;

/// Opens a connection and starts its task. Completes once the server's settings have arrived, so that its stream limit
/// is known.
pub(super) async fn handshake(io: Io, shared: &Arc<Shared>) -> Result<Connection, BoxError> {
    let settings = &shared.settings;
    let (wire, traffic) = Wire::new(io, settings.max_response_head);
    let (sender, mut connection) = builder(settings).handshake::<_, Bytes>(wire).await?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err("the server closed the connection".into())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(BoxError::from(error))),
        Poll::Pending if traffic.settings() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    if connection.max_concurrent_send_streams() == 0 {
        return Err("the server allows no streams".into());
    }
    let status = Arc::new(Status::new(traffic));
    status.set_limit(connection.max_concurrent_send_streams());
    tokio::spawn(drive(connection, status.clone(), Arc::downgrade(shared)));
    Ok(Connection { sender, status })
}

fn builder(settings: &Settings) -> h2::client::Builder {
    let window = settings.stream_window.min(MAX_WINDOW);
    // All streams together may hold as much as each may, so that a stream that isn't read never stalls others.
    let connection_window = window.saturating_mul(MAX_STREAMS as u32).min(MAX_WINDOW);
    let decoded = settings.max_response_head.saturating_mul(DECODED_SHARE);
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(window)
        .initial_connection_window_size(connection_window)
        .initial_max_send_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(decoded).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER);
    builder
}
