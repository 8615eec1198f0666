//! Outgoing responses, with the framing of their actual body, and with an end that the client can detect.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Response, Version};
use http_body::SizeHint;
use tokio::time::{Sleep, sleep};

use super::flush::{Flushes, Waiting};
use crate::body::{BoxBody, BoxError, Hook, Hooked, PolledFrame, empty};
use crate::framing::{Framing, Length, RequestInfo};
use crate::known_fields::KnownFields;
use crate::trailers;

/// How long a failed body waits for the client to read what precedes the failure.
const BREAK_TIMEOUT: Duration = Duration::from_secs(10);

/// Sets the framing of a response's body, and removes the body if there must be none. The response has these known
/// fields.
pub(super) fn frame(
    response: Response<BoxBody>,
    known: KnownFields,
    info: &RequestInfo,
    flushes: &Arc<Flushes>,
) -> Response<Outgoing> {
    let (mut head, mut body) = response.into_parts();
    let framing = Framing::of_response(info, head.status, (&head.headers, known), &body);
    framing.write(&mut head.headers, known);
    if !framing.has_body() {
        body = empty();
    }
    let streamed = framing.length() == Length::Streamed;
    let http2 = info.version >= Version::HTTP_2;
    let flushes = flushes.clone();
    Response::from_parts(
        head,
        Outgoing { body, hook: OutgoingHook { streamed, http2, flushes, broken: None } },
    )
}

/// The body of a response that is sent to the client.
pub(super) type Outgoing = Hooked<BoxBody, OutgoingHook>;

/// Gives a body the size that its framing declares, and delays its failure until the client has had time to read what
/// precedes it.
#[derive(Debug)]
pub(super) struct OutgoingHook {
    /// Whether the length is left undeclared even if it is known.
    streamed: bool,
    http2: bool,
    flushes: Arc<Flushes>,
    broken: Option<Box<Broken>>,
}

impl Hook<BoxBody> for OutgoingHook {
    fn polled(&mut self, body: &mut BoxBody, polled: PolledFrame, cx: &mut Context<'_>) -> PolledFrame {
        match ready!(polled) {
            Some(Ok(frame)) => Poll::Ready(trailers::filter(frame).map(Ok)),
            Some(Err(error)) => {
                // Resources of the body, such as a connection to an upstream, are no longer needed.
                *body = empty();
                let broken = self.broken.insert(Box::new(Broken::new(error, self.http2, &self.flushes)));
                broken.poll(cx).map(|error| Some(Err(error)))
            }
            None => Poll::Ready(None),
        }
    }

    fn instead(&mut self, cx: &mut Context<'_>) -> Option<PolledFrame> {
        Some(self.broken.as_mut()?.poll(cx).map(|error| Some(Err(error))))
    }

    fn is_end_stream(&self, ended: bool) -> bool {
        self.broken.is_none() && ended
    }

    fn size_hint(&self, body: SizeHint) -> SizeHint {
        if self.streamed { SizeHint::default() } else { body }
    }
}

/// A body that has ended prematurely. The error waits until everything before it has been sent to the client,
/// especially the head: on an error, an HTTP/1.1 connection ends, and h2 discards what is queued for the stream.
struct Broken {
    error: Option<BoxError>,
    flushed: Waiting,
    timeout: Pin<Box<Sleep>>,
}

impl Broken {
    fn new(error: BoxError, http2: bool, flushes: &Arc<Flushes>) -> Self {
        // In HTTP/2 another task writes, and may be about to complete a flush that started before this stream's frames
        // were queued.
        let flushed = flushes.wait(if http2 { 2 } else { 1 });
        Self { error: Some(error), flushed, timeout: Box::pin(sleep(BREAK_TIMEOUT)) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        if self.flushed.poll(cx).is_pending() && self.timeout.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(self.error.take().unwrap_or_else(|| "the body ended prematurely".into()))
    }
}

impl std::fmt::Debug for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broken").field("error", &self.error).finish_non_exhaustive()
    }
}
