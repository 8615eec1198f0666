//! Sends answers to Envoy.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use http_wasm_tower::is_bodyless;
use tonic::Status;

use super::body::{BodyError, BodyTransfer, End};
use super::head;
use super::wire::{
    Answer, BodyMutation, CommonResponse, HeaderMutation, HttpStatus, ImmediateResponse, Mutation,
    PartResponse, ProcessingResponse, ResponseStatus, StreamedBodyResponse, TrailersResponse,
};
use crate::body::{BoxBody, BoxError};

/// Which message passes through the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// What is left to send of a message after its head: its body, and the end of the body from Envoy.
pub(super) type Rest = Option<(BoxBody, End)>;

/// Sends answers to Envoy. It holds one answer; the exchange continues once that has been taken.
#[derive(Clone)]
pub(super) struct Output(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    answer: Option<ProcessingResponse>,
    /// Why the exchange has failed. Sent after the answer.
    failure: Option<Status>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Whether an answer is waiting.
    pub(super) fn is_full(&self) -> bool {
        self.waiting().answer.is_some()
    }

    /// Takes the waiting answer, or the failure if there is none.
    pub(super) fn take(&self, failure: Option<Status>) -> Option<Result<ProcessingResponse, Status>> {
        let mut waiting = self.waiting();
        waiting.failure = failure.or(waiting.failure.take());
        match waiting.answer.take() {
            Some(answer) => Some(Ok(answer)),
            None => waiting.failure.take().map(Err),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, answer: Answer) {
        let mut answer = Some(answer);
        poll_fn(|_| {
            let mut waiting = self.waiting();
            if waiting.answer.is_some() {
                // The exchange is polled again once the waiting answer has been taken.
                return Poll::Pending;
            }
            waiting.answer = Some(ProcessingResponse { answer: answer.take() });
            Poll::Ready(())
        })
        .await;
    }

    /// Answers a head.
    pub(super) async fn head(
        &self,
        direction: Direction,
        changes: HeaderMutation,
        reroutes: bool,
        body: BoxBody,
        transfer: BodyTransfer,
    ) -> Result<Rest, Status> {
        let mut common = CommonResponse {
            header_mutation: Some(changes),
            clear_route_cache: reroutes,
            ..CommonResponse::default()
        };
        let rest = match transfer {
            BodyTransfer::Streamed(end) => Some((body, end)),
            BodyTransfer::Tunnel(pieces, end) => Some((BoxBody::new(pieces), end)),
            // Envoy sends its own body; see `replacement_of_kept`.
            BodyTransfer::Kept(_) | BodyTransfer::KeptTunnel => None,
            BodyTransfer::WithHead => {
                if let Some(body) = replacement(body).await? {
                    common.status = ResponseStatus::ContinueAndReplace.into();
                    common.body_mutation = Some(BodyMutation { mutation: Some(Mutation::Body(body)) });
                }
                None
            }
        };
        let response = PartResponse { response: Some(common) };
        self.send(match direction {
            Direction::Request => Answer::RequestHeaders(response),
            Direction::Response => Answer::ResponseHeaders(response),
        })
        .await;
        Ok(rest)
    }

    /// Sends the rest of a message after its head.
    pub(super) async fn rest(&self, direction: Direction, body: BoxBody, end: End) -> Result<(), Status> {
        let (mut body, mut trailers) = (body, HeaderMap::new());
        // One piece is held back, so that the last one can be marked as such if the end is known by then.
        let mut held = None;
        loop {
            let next = match (body.frame().now_or_never(), held.take()) {
                (Some(next), last) => {
                    held = last;
                    next
                }
                (None, Some(data)) => {
                    self.piece(direction, data, false).await;
                    body.frame().await
                }
                (None, None) => body.frame().await,
            };
            let Some(frame) = next else { break };
            match frame.map_err(broken)?.into_data() {
                Ok(data) => {
                    if let Some(earlier) = held.replace(data) {
                        self.piece(direction, earlier, false).await;
                    }
                }
                Err(frame) => trailers = Frame::into_trailers(frame).unwrap_or_default(),
            }
        }
        // Dropping the body discards the pieces that the guests haven't read.
        drop(body);
        match end.await.map_err(|_| cut())? {
            None => self.piece(direction, held.unwrap_or_default(), true).await,
            Some(old) => {
                if let Some(data) = held {
                    self.piece(direction, data, false).await;
                }
                let response = TrailersResponse { header_mutation: Some(head::changes(&old, &trailers)) };
                self.send(match direction {
                    Direction::Request => Answer::RequestTrailers(response),
                    Direction::Response => Answer::ResponseTrailers(response),
                })
                .await;
            }
        }
        Ok(())
    }

    async fn piece(&self, direction: Direction, body: Bytes, end_of_stream: bool) {
        let piece = Mutation::StreamedResponse(StreamedBodyResponse { body, end_of_stream });
        let response = CommonResponse {
            body_mutation: Some(BodyMutation { mutation: Some(piece) }),
            ..CommonResponse::default()
        };
        let response = PartResponse { response: Some(response) };
        self.send(match direction {
            Direction::Request => Answer::RequestBody(response),
            Direction::Response => Answer::ResponseBody(response),
        })
        .await;
    }

    /// Sends a response to the client in place of the upstream's.
    pub(super) async fn immediate(&self, response: Response<BoxBody>) -> Result<(), Status> {
        let (head, body) = response.into_parts();
        // Envoy would send a body even with a status that allows none.
        let body = match is_bodyless(head.status.as_u16()) {
            true => Bytes::new(),
            false => body.collect().await.map_err(broken)?.to_bytes(),
        };
        self.send(Answer::ImmediateResponse(ImmediateResponse {
            status: Some(HttpStatus { code: head.status.as_u16().into() }),
            headers: Some(head::all(&head.headers)),
            body,
            details: "http_wasm".to_owned(),
        }))
        .await;
        Ok(())
    }
}

/// The body that guests have written in place of one that Envoy keeps, if any. Envoy doesn't always accept it with the
/// head, since it isn't known whether trailers follow.
pub(super) async fn replacement_of_kept(
    is_passed: &AtomicBool,
    body: BoxBody,
) -> Result<Option<Bytes>, Status> {
    is_passed.store(true, Ordering::Relaxed);
    match body.collect().await {
        Ok(body) => Ok(Some(body.to_bytes())),
        Err(error) if is_kept(&*error) => Ok(None),
        Err(error) => Err(broken(error)),
    }
}

/// The body to send with a head, if guests have written one.
async fn replacement(body: BoxBody) -> Result<Option<Bytes>, Status> {
    let was_empty = http_body::Body::is_end_stream(&body);
    match body.collect().await {
        Ok(_) if was_empty => Ok(None),
        Ok(body) => Ok(Some(body.to_bytes())),
        Err(error) => Err(broken(error)),
    }
}

/// Whether the error comes from reading a body that Envoy keeps.
fn is_kept(error: &(dyn StdError + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error: &&'_ (dyn StdError + 'static)| (*error).source());
    causes.filter_map(|error| error.downcast_ref()).any(|error| matches!(error, BodyError::Kept))
}

/// The status when Envoy has closed the stream.
pub(super) fn cut() -> Status {
    Status::cancelled(BodyError::Cut.to_string())
}

fn broken(error: BoxError) -> Status {
    tracing::debug!(error, "a body has ended prematurely");
    Status::internal("a body has ended prematurely")
}
