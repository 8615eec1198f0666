//! A request's way from the connection to what answers it, and back.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::activity::{Activity, InFlight};
use super::body::{Received, Watch};
use super::flush::Flushes;
use super::framing::Upgrade;
use super::outgoing::{self, Outgoing};
use super::source::Sources;
use super::tunnel::ClientSide;
use super::{Answer, Client, check};
use crate::backend::plain_text;
use crate::body::{BoxBody, BoxError, boxed, empty};
use crate::config::ClientLimits;
use crate::framing::Asked;
use crate::inbound::Inbound;

/// What the requests of one connection have in common.
#[derive(Debug)]
pub(super) struct Requests<A> {
    pub(super) answer: Arc<A>,
    pub(super) client: Client,
    pub(super) limits: Arc<ClientLimits>,
    pub(super) sources: Arc<Sources>,
    pub(super) activity: Arc<Activity>,
    /// Where it is told what became of requests for another protocol.
    pub(super) upgrade: Option<Arc<Upgrade>>,
    pub(super) flushes: Arc<Flushes>,
    /// Whether the server is about to stop.
    pub(super) closing: watch::Receiver<bool>,
    /// Whether requests are answered with 503, whatever they ask for.
    pub(super) refuse: bool,
}

impl<A: Answer> Requests<A> {
    /// The response to a request.
    pub(super) async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Sending>, Infallible> {
        let in_flight = self.activity.request();
        let asked = Asked::by(&request);
        let version = asked.version;
        let may_switch = asked.method == Method::CONNECT || request.headers().contains_key(header::UPGRADE);
        let checked =
            if self.refuse { Err(check::OVERLOADED) } else { check::request(&request, &self.limits) };
        let mut response = match checked {
            Ok(()) => {
                let (mut inbound, watch) = self.inbound(request);
                if may_switch {
                    inbound.tunnel = Some(ClientSide::new(&self.limits, self.closing.clone()));
                }
                let response = self.answer.answer(&mut inbound).await;
                // Whoever read the body knows only that it broke off.
                match watch.and_then(|watch| watch.answered()) {
                    Some(status) => refused(status, version),
                    None => response,
                }
            }
            Err(refusal) => {
                tracing::debug!(peer = %self.client.addr, reason = refusal.reason, "request refused");
                refused(refusal.status, version)
            }
        };
        let status = response.status();
        if let Some(upgrade) = self.upgrade.as_ref().filter(|_| may_switch) {
            upgrade.answered(&asked.method, status);
        }
        // In HTTP/1.1 a client can't be told in any other way, and a request that it sends just then would be lost.
        if *self.closing.borrow() && version < Version::HTTP_2 && status != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let response = outgoing::frame(response, &asked, &self.flushes);
        // In HTTP/2 the connection asks for the body only once the client takes some.
        in_flight.client_takes(true);
        Ok(response.map(|body| Sending { body, in_flight }))
    }

    /// The request as handlers get it, and who watches its body if it has one.
    fn inbound(&self, mut request: Request<Incoming>) -> (Inbound, Option<Arc<Watch>>) {
        let client = self.sources.of_request(self.client, request.headers_mut());
        if request.body().is_end_stream() {
            return (Inbound::new(request.map(|_| empty()), client), None);
        }
        let watch = Arc::new(Watch::default());
        let request = request.map(|body| boxed(Received::new(body, watch.clone(), &self.limits)));
        (Inbound::new(request, client), Some(watch))
    }
}

/// The answer to a request that is not handled any further. The rest of its body is of no use, and so in HTTP/1.1 neither is the
/// connection.
fn refused(status: StatusCode, version: Version) -> Response<BoxBody> {
    let text = match status {
        StatusCode::REQUEST_TIMEOUT => "the request took too long\n",
        StatusCode::PAYLOAD_TOO_LARGE => "the request body is too large\n",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "there are too many header fields\n",
        StatusCode::SERVICE_UNAVAILABLE => "there are too many connections\n",
        _ => "bad request\n",
    };
    let mut response = plain_text(status, text);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A response's body on its way to the client. The request lasts until all of it is taken.
#[derive(Debug)]
pub(super) struct Sending {
    body: Outgoing,
    in_flight: InFlight,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // Until it asks for more, the connection is waiting for the client to take this.
        self.in_flight.client_takes(matches!(frame, Poll::Ready(Some(Ok(_)))));
        Poll::Ready(ready!(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
