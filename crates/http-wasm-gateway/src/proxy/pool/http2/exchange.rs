//! A request and its response.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_wasm_tower::is_bodyless;

use super::slot::Slot;
use super::upload::{Detached, Upload, UploadError};
use crate::body::BoxError;
use crate::exchange::Interims;
use crate::field_values::any_padded;
use crate::proxy::pool::shared::Shared;
use crate::proxy::pool::{Outbound, SendError, SendErrorKind, Sending, limits};
use crate::proxy::replay::Replayed;
use crate::proxy::timeout::{ResponseTimer, TimedBody};

/// The most interim responses before the final one. A server that sends more is considered broken.
const MAX_INTERIM: usize = 100;

/// Sends a request and waits for the head of its response.
pub(in crate::proxy::pool) async fn send(
    slot: Slot,
    request: Outbound<'_>,
    sending: &Sending<'_>,
) -> Result<Response<ResponseBody>, SendError> {
    let (head, body) = head(request, &slot.shared().uri);
    if !limits::allow_request(&head, &slot.shared().settings) {
        return Err(SendErrorKind::RequestHead.into());
    }
    let bodiless = body.is_end_stream();
    let is_head = head.method == Method::HEAD;
    let unprocessed = SendErrorKind::Unprocessed { connection: slot.status.id };
    let mut sender = slot.sender.clone();
    let response_timer = ResponseTimer::start(&body);
    let sent = sender.send_request(Request::from_parts(head, ()), bodiless);
    // Nothing was sent, because the connection is ending.
    let (response, stream) = sent.map_err(|error| {
        slot.status.drain();
        SendError::new(unprocessed, error)
    })?;
    let received = slot.status.traffic.received_bytes();
    let upload = (!bodiless).then(|| Upload::new(TimedBody::new(body, response_timer.clone()), stream));
    let outlasts = sending.outlasts_response.then(|| response_timer.clone());
    let mut exchange = Exchange { response, upload, outlasts, is_head, interim: 0 };
    tokio::select! {
        biased;
        result = poll_fn(|cx| exchange.poll(slot.shared(), sending.interims, cx)) => match result {
            Ok(response) => exchange.respond(response, slot),
            Err(Failure::Body(error)) => Err(SendError::new(SendErrorKind::RequestBody, error)),
            Err(Failure::Interim) => {
                Err(SendError::new(SendErrorKind::Broken, format!("more than {MAX_INTERIM} interim responses")))
            }
            Err(Failure::Malformed(reason)) => Err(SendError::new(SendErrorKind::ResponseInvalid, reason)),
            Err(Failure::Stream(error)) => {
                let too_large = slot.status.traffic.take_oversized(exchange.response.stream_id().as_u32());
                Err(match (error.is_remote(), error.reason()) {
                    // On GOAWAY, h2 only fails the streams above the number in it.
                    (true, _) if error.is_go_away() => SendError::new(unprocessed, error),
                    (true, Some(Reason::REFUSED_STREAM)) => SendError::new(unprocessed, error),
                    (false, _) if too_large => limits::too_large(),
                    // h2 rejects a malformed response, but only its stream.
                    (false, Some(Reason::PROTOCOL_ERROR)) if error.is_reset() => {
                        SendError::new(SendErrorKind::ResponseInvalid, error)
                    }
                    _ => SendError::new(SendErrorKind::Broken, error),
                })
            }
        },
        () = pin!(response_timer.expired(sending.response_timeout)) => {
            if slot.status.traffic.received_bytes() == received {
                slot.status.suspect();
            }
            // An upload may only have waited for the window that it shares with others.
            let upload = exchange.upload.as_ref();
            let shares = upload.is_some_and(|upload| !upload.has_begun() || slot.status.streams() > 1);
            let congested = shares && slot.status.traffic.is_congested();
            let kind = if congested { SendErrorKind::Congested } else { SendErrorKind::Timeout };
            Err(kind.into())
        }
    }
}

/// Removes what HTTP/2 expresses differently, and adds the length of a body.
fn head(request: Outbound<'_>, server: &Uri) -> (Parts, Replayed) {
    let Outbound { method, target, headers, body } = request;
    let mut uri = server.clone().into_parts();
    uri.path_and_query = Some(target);
    let (mut head, ()) = Request::new(()).into_parts();
    head.version = Version::HTTP_2;
    head.method.clone_from(method);
    head.uri = Uri::from_parts(uri).unwrap_or_default();
    head.headers.clone_from(headers);
    let headers = &mut head.headers;
    for name in [header::HOST, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE] {
        headers.remove(name);
    }
    if let Some(length) = body.size_hint().exact()
        && (length > 0 || matches!(head.method, Method::POST | Method::PUT | Method::PATCH))
    {
        headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    (head, body)
}

/// A request, until the head of its response is available.
struct Exchange {
    response: ResponseFuture,
    upload: Option<Upload>,
    /// If the upload continues after a complete response, its timer.
    outlasts: Option<ResponseTimer>,
    is_head: bool,
    interim: usize,
}

enum Failure {
    Body(BoxError),
    Stream(h2::Error),
    Interim,
    /// The response is invalid in HTTP/2.
    Malformed(&'static str),
}

impl Exchange {
    fn poll(
        &mut self,
        shared: &Shared,
        interims: Option<&Interims>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<RecvStream>, Failure>> {
        if let Some(upload) = &mut self.upload
            && let Poll::Ready(sent) = upload.poll(cx)
        {
            self.upload = None;
            if let Err(UploadError::Body(error)) = sent {
                return Poll::Ready(Err(Failure::Body(error)));
            }
        }
        while let Poll::Ready(Some(Ok(response))) = self.response.poll_informational(cx) {
            let (head, ()) = response.into_parts();
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Err(Failure::Malformed("status 101, which HTTP/2 doesn't have")));
            }
            if any_padded(&head.headers) {
                return Poll::Ready(Err(Failure::Malformed("a field value has white space around it")));
            }
            shared.inform(interims, head.status, head.headers);
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Poll::Ready(Err(Failure::Interim));
            }
        }
        Pin::new(&mut self.response).poll(cx).map_err(Failure::Stream)
    }

    fn respond(
        self,
        response: Response<RecvStream>,
        slot: Slot,
    ) -> Result<Response<ResponseBody>, SendError> {
        if !limits::allow(response.headers(), &slot.shared().settings) {
            return Err(limits::too_large());
        }
        if any_padded(response.headers()) {
            return Err(SendError::new(
                SendErrorKind::ResponseInvalid,
                "a field value has white space around it",
            ));
        }
        let has_content = !self.is_head && !is_bodyless(response.status().as_u16());
        let length = if has_content { limits::content_length(response.headers()) } else { Some(0) };
        let upload = self.upload.map(|upload| (upload.detach(), self.outlasts));
        Ok(response.map(|stream| {
            let mut body = ResponseBody { stream, length, open: Some(Open { slot, upload }), ended: false };
            if body.stream.is_end_stream() {
                body.length = Some(0);
                body.end();
            }
            body
        }))
    }
}

/// A response body.
#[derive(Debug)]
pub(in crate::proxy) struct ResponseBody {
    stream: RecvStream,
    /// The length declared in the response's head, minus what has been received.
    length: Option<u64>,
    open: Option<Open>,
    ended: bool,
}

/// State that a stream holds until its end.
#[derive(Debug)]
struct Open {
    slot: Slot,
    /// The rest of the request, and its timer if it continues after the response.
    upload: Option<(Detached, Option<ResponseTimer>)>,
}

impl ResponseBody {
    fn end(&mut self) {
        self.ended = true;
        let Some(Open { slot, upload: Some((upload, outlasts)) }) = self.open.take() else { return };
        match outlasts {
            Some(timer) => {
                let limit = slot.shared().settings.idle_timeout;
                upload.finish(timer, limit, slot);
            }
            None => upload.stop(),
        }
    }

    fn fail(&mut self, error: impl Into<BoxError>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.ended = true;
        self.open = None;
        Poll::Ready(Some(Err(error.into())))
    }

    fn seen_oversized(&self) -> bool {
        let stream = self.stream.stream_id().as_u32();
        self.open.as_ref().is_some_and(|open| open.slot.status.traffic.take_oversized(stream))
    }

    fn trailers(&mut self, trailers: HeaderMap) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let allowed =
            self.open.as_ref().is_none_or(|open| limits::allow(&trailers, &open.slot.shared().settings));
        if !allowed || self.seen_oversized() {
            let address = self.open.as_ref().map(|open| open.slot.shared().uri.to_string());
            tracing::warn!(address, "upstream failed: the trailers of a response exceed the limits");
            return self.fail("the trailers are too large");
        }
        if any_padded(&trailers) {
            return self.fail("a trailer has white space around its value");
        }
        self.end();
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn error(&mut self, error: h2::Error) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let stream = self.stream.stream_id().as_u32();
        // The server has sent the whole response, and only rejects the rest of the request.
        let complete = error.is_remote()
            && error.reason() == Some(Reason::NO_ERROR)
            && self.open.as_ref().is_some_and(|open| open.slot.status.traffic.ended_before_reset(stream));
        if complete {
            self.end();
            return Poll::Ready(None);
        }
        // Of the reasons for a reset, only this one concerns the client too.
        match error.reason() {
            Some(Reason::CANCEL) => self.fail(error),
            _ => self.fail(format!("the response ended prematurely: {error}")),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    if data.is_empty() {
                        continue;
                    }
                    this.length = this.length.map(|length| length.saturating_sub(data.len() as u64));
                    if this.stream.is_end_stream() {
                        this.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return this.error(error),
                None => {
                    return match ready!(this.stream.poll_trailers(cx)) {
                        Ok(Some(trailers)) => this.trailers(trailers),
                        Ok(None) => {
                            this.end();
                            Poll::Ready(None)
                        }
                        Err(error) => this.error(error),
                    };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
