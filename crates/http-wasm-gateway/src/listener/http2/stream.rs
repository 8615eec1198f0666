//! A request and its response.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body::Body as _;

use super::body::{Continue, RequestBody};
use super::send::{Ended, Held, Piece, send};
use super::unread::UnreadStream;
use crate::exchange::{Answer, Interims};
use crate::field_values::{is_padded, joined_cookies};
use crate::listener::date;
use crate::listener::request::{Requests, expects_continue};

/// Connection-level fields, which HTTP/2 doesn't have (RFC 9113 section 8.2.2).
static CONNECTION_FIELDS: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];

/// Responds to a request.
pub(super) async fn serve<A: Answer>(
    request: Request<RecvStream>,
    respond: SendResponse<Piece>,
    requests: Arc<Requests<A>>,
    held: Arc<Held>,
    unread: Option<UnreadStream>,
) {
    let mut respond = Respond { stream: respond, is_finished: false };
    let (mut head, stream) = request.into_parts();
    join_cookies(&mut head.headers);
    let expects = head.headers.get(header::EXPECT).is_some_and(expects_continue);
    let proceed = (expects && !stream.is_end_stream()).then(|| Arc::new(Continue::default()));
    let body = RequestBody::new(stream, content_length(&head.headers), proceed.clone(), unread);
    let request = Request::from_parts(head, body);
    let limits = requests.limits.clone();
    let response = {
        let interims = Arc::new(Interims::default());
        let mut answer = pin!(requests.respond(request, interims.clone(), None));
        let mut proceed = proceed;
        poll_fn(|cx| {
            let answered = answer.as_mut().poll(cx);
            while interims.has_next()
                && let Some(interim) = interims.next()
            {
                // An error is reported when the response is sent.
                let _ = respond.stream.send_informational(interim);
            }
            if let Poll::Ready(response) = answered {
                return Poll::Ready(Some(response));
            }
            if let Some(wanted) = &proceed
                && wanted.poll_wanted(cx).is_ready()
            {
                proceed = None;
                let _ = respond.stream.send_informational(interim(StatusCode::CONTINUE));
            }
            // The client has reset the stream or disconnected.
            respond.stream.poll_reset(cx).map(|_| None)
        })
        .await
    };
    let Some(response) = response else { return };
    let (mut head, mut sending) = response.into_parts();
    for name in &CONNECTION_FIELDS {
        head.headers.remove(name);
    }
    date::add(&mut head.headers);
    let ends = sending.is_end_stream();
    // The rest of the request's body, which the response may depend on.
    let upload = sending.hook.take_upload();
    let sent = respond.stream.send_response(Response::from_parts(head, ()), ends);
    let stream = match sent {
        Ok(stream) if ends => Ended::Complete(stream),
        Ok(stream) => send(sending, stream, &held, &limits).await,
        Err(error) => return tracing::debug!(%error, "cannot send the response"),
    };
    let mut stream = match stream {
        Ended::Complete(stream) => stream,
        Ended::Reset => return,
        Ended::Broken(error) => return tracing::debug!(error, "the response ended prematurely"),
        Ended::Slow => return tracing::debug!("the client doesn't read its response"),
    };
    respond.is_finished = true;
    let Some(upload) = upload else { return };
    // A handler may still read the request's body. Once the body is dropped unread, the stream is dropped too, and `h2`
    // resets it with NO_ERROR.
    let stalled = tokio::select! {
        stalled = upload.stalls(limits.body_timeout.0) => stalled,
        _ = poll_fn(|cx| stream.poll_reset(cx)) => false,
    };
    if stalled {
        stream.send_reset(Reason::NO_ERROR);
    }
}

/// A response. If this is dropped before it is finished, its stream is reset with INTERNAL_ERROR: `h2` would use
/// CANCEL, which some clients take for the end of a complete response.
struct Respond {
    stream: SendResponse<Piece>,
    is_finished: bool,
}

impl Drop for Respond {
    fn drop(&mut self) {
        if !self.is_finished {
            self.stream.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

fn interim(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}

/// Clients may split cookies into several fields, which nothing else supports (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(header::COOKIE);
    // A padded cookie is rejected, and would no longer be visible after joining.
    if crumbs.iter().nth(1).is_some() && !crumbs.iter().any(is_padded) {
        let joined = joined_cookies(crumbs.iter());
        headers.insert(header::COOKIE, joined);
    }
}

/// The length declared in the head. `h2` resets streams that contradict it.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
