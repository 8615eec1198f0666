//! HTTP/1.1 connections, on the strict parser.
//!
//! One task runs a connection. It reads a request, polls the handler while it passes on the request's body, writes the
//! response, and goes on with the next request.

mod body;
mod connection;
#[cfg(test)]
mod differential;
mod half_close;
mod head;
mod output;
mod signals;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use self::connection::{Begun, Connection, Next, first_line};
use self::head::Head;
pub(super) use self::signals::Signals;
use super::check::Refusal;
use super::refused::unparsed;
use super::request::Requests;
use crate::body::BoxError;
use crate::exchange::{Answer, Inbound, Interims, Upgraded};

/// Serves `io`, starting with what has already been read from it, until the connection ends.
pub(super) async fn serve<S, A>(
    io: S,
    early: BytesMut,
    permit: OwnedSemaphorePermit,
    requests: Requests<A>,
    signals: &Signals,
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Answer,
{
    let mut connection = Connection::new(io, early, &requests, signals);
    let mut interims = Arc::<Interims>::default();
    loop {
        // What continues for an earlier request must not respond to this one.
        if Arc::strong_count(&interims) > 1 {
            interims = Arc::default();
        }
        let next = match poll_fn(|cx| connection.poll_head(cx)).await? {
            Next::Head(head) => Head::parse(&head).map_err(|refusal| (first_line(&head), refusal)),
            Next::Refused(line, refusal) => Err((line, refusal)),
            Next::End => break,
        };
        let Begun { request, upgrade, upgraded } = match next {
            Ok(head) => connection.begin(head),
            Err((line, Refusal { status, reason })) => {
                tracing::debug!(reason, "request refused");
                let request = unparsed(&line);
                connection.refuse(request.method(), status);
                requests.answer.refused(Inbound::new(request, requests.client), status);
                break;
            }
        };
        let response = {
            let mut answer = pin!(requests.respond(request, interims.clone(), upgraded));
            poll_fn(|cx| connection.poll_answer(answer.as_mut(), &interims, cx)).await?
        };
        let upgrade = upgrade.filter(|_| connection.switches(response.status()));
        connection.respond(response);
        poll_fn(|cx| connection.poll_respond(cx)).await?;
        poll_fn(|cx| connection.poll_rest(cx)).await?;
        if !connection.continues() {
            break;
        }
        if let Some(upgrade) = upgrade {
            // If no handler waits for it, the connection is closed.
            let _ = upgrade.send(Upgraded { io: Box::new(connection.into_switched()), permit });
            return Ok(());
        }
    }
    poll_fn(|cx| connection.poll_shutdown(cx)).await.map_err(Into::into)
}
