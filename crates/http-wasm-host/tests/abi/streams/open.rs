//! Messages that a guest has begun to write.

use std::future::poll_fn;
use std::task::Poll;

use http_wasm_host::{
    BodyKind, BoxError, Error, Feed, Fields, Frame, Handled, InMemoryHost, LocalHost as _, Outcome, Pinned,
    RequestStream, Stream,
};

use crate::support::{BUFFER_RESPONSE, ByHand, Probe, Wat, get, guest, proceeds};

macro_rules! marks {
    ($kind:literal) => {
        concat!(
            "(local $r i64)
            (loop $next
              (local.set $r (call $read_body ",
            $kind,
            " BUF LIMIT))
              (if (i32.wrap_i64 (local.get $r)) (then
                (call $write_body ",
            $kind,
            " BUF (i32.wrap_i64 (local.get $r)))
                (call $write_body ",
            $kind,
            r#" "!")))
              (br_if $next (i64.eqz (i64.shr_u (local.get $r) (i64.const 32)))))"#
        )
    };
}

/// Writes what it reads of the request, with an exclamation mark after each read.
pub(super) const MARKS_REQUEST: &str = marks!(0);

/// The same for the response.
pub(super) const MARKS_RESPONSE: &str = marks!(1);

pub(super) fn streams_request(on_request: &str) -> Wat {
    proceeds(on_request).streams_as(Stream::Request)
}

pub(super) fn streams_response(on_response: &str) -> Wat {
    guest().on_response(on_response).features(BUFFER_RESPONSE).streams()
}

/// A message that a guest has begun to write.
pub(super) trait OpenMessage {
    /// Polls the receiver's body, and lets the guest react.
    fn poll(&mut self) -> Poll<Option<Result<Frame, BoxError>>>;

    /// Where the original comes from.
    fn original(&self) -> &Feed;

    /// The next piece.
    #[track_caller]
    fn piece(&mut self) -> String {
        match self.poll() {
            Poll::Ready(frame) => text_of(frame),
            Poll::Pending => panic!("there should be a piece"),
        }
    }

    /// Everything that the receiver gets now.
    #[track_caller]
    fn read(&mut self) -> String {
        let mut all = String::new();
        while let Poll::Ready(frame) = self.poll() {
            all += &text_of(frame);
        }
        all
    }

    /// The rest of the body, and its trailers.
    #[track_caller]
    fn rest(&mut self) -> Result<(Vec<u8>, Fields), BoxError> {
        let (mut all, mut trailers) = (Vec::new(), Fields::default());
        loop {
            match self.poll() {
                Poll::Ready(None) => return Ok((all, trailers)),
                Poll::Ready(Some(Ok(Frame::Data(data)))) => all.extend_from_slice(&data),
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => trailers = fields,
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Pending => panic!("the body should have ended"),
            }
        }
    }
}

#[track_caller]
fn text_of(frame: Option<Result<Frame, BoxError>>) -> String {
    match frame {
        Some(Ok(Frame::Data(data))) => String::from_utf8(data.to_vec()).unwrap(),
        other => panic!("the body should go on: {other:?}"),
    }
}

/// A request that a guest has begun to write.
pub(super) struct OpenRequest {
    /// `None` once the guest has returned.
    pub(super) guest: Option<RequestStream<InMemoryHost>>,
    pub(super) ended: Option<Result<Outcome<InMemoryHost>, Error>>,
    /// What the next handler receives.
    pub(super) next: InMemoryHost,
    pub(super) client: Feed,
}

/// Sends a request that begins with `first` to the guest, which begins to write.
pub(super) fn begin_request(probe: &Probe<InMemoryHost>, mut host: InMemoryHost, first: &str) -> OpenRequest {
    let client = host.request.feed_body();
    client.push(first.to_owned());
    open_request(probe, host, client)
}

/// Sends a request to the guest, which begins to write.
pub(super) fn open_request(probe: &Probe<InMemoryHost>, host: InMemoryHost, client: Feed) -> OpenRequest {
    let outcome = ByHand::new(probe.0.handle_request(host)).ends().unwrap();
    let Outcome::Streams(mut guest) = outcome else { panic!("it should have begun to write: {outcome:?}") };
    let next = std::mem::replace(guest.host_mut(), get());
    OpenRequest { guest: Some(guest), ended: None, next, client }
}

impl OpenRequest {
    pub(super) fn run_guest(&mut self) {
        if let Some(guest) = &mut self.guest
            && let Poll::Ready(ended) = ByHand::new(guest).poll()
        {
            (self.ended, self.guest) = (Some(ended), None);
        }
    }

    fn poll_body(&mut self) -> Poll<Option<Result<Frame, BoxError>>> {
        ByHand::new(poll_fn(|cx| self.next.poll_body(BodyKind::Request, cx))).poll()
    }

    /// The guest's final decision.
    pub(super) fn end(mut self) -> Result<Outcome<InMemoryHost>, Error> {
        self.run_guest();
        self.ended.expect("the guest should have returned")
    }

    pub(super) fn passed(self) -> Pinned<InMemoryHost> {
        match self.end() {
            Ok(Outcome::Next(pinned)) => pinned,
            other => panic!("the guest should have proceeded: {other:?}"),
        }
    }
}

impl OpenMessage for OpenRequest {
    fn poll(&mut self) -> Poll<Option<Result<Frame, BoxError>>> {
        if let ready @ Poll::Ready(_) = self.poll_body() {
            return ready;
        }
        self.run_guest();
        self.poll_body()
    }

    fn original(&self) -> &Feed {
        &self.client
    }
}

/// The response of a guest that has begun to write it.
pub(super) struct OpenResponse {
    pub(super) host: InMemoryHost,
    pub(super) upstream: Feed,
}

/// Lets the guest handle a response that begins with `first`.
pub(super) fn begin_response(
    probe: &Probe<InMemoryHost>,
    host: InMemoryHost,
    first: &str,
    set: impl FnOnce(&mut InMemoryHost),
) -> OpenResponse {
    let mut pinned = probe.next(host);
    let upstream = pinned.host_mut().response.feed_body();
    set(pinned.host_mut());
    upstream.push(first.to_owned());
    let Handled { host, error, stream } = ByHand::new(pinned.handle_response()).ends().unwrap();
    assert!(error.is_none() && stream.is_some());
    OpenResponse { host, upstream }
}

impl OpenMessage for OpenResponse {
    fn poll(&mut self) -> Poll<Option<Result<Frame, BoxError>>> {
        ByHand::new(poll_fn(|cx| self.host.poll_body(BodyKind::Response, cx))).poll()
    }

    fn original(&self) -> &Feed {
        &self.upstream
    }
}
