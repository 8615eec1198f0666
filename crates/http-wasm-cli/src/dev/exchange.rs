//! One exchange, as far as it is known.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, Version, header, request, response};
use http_wasm_gateway::{BodyPart, Message, Side};
use http_wasm_tower::Error;

use crate::exchange::{
    Content, Entry, EntryKind, ExchangeResult, Recorder, SeenRequest, SeenResponse, add_notes,
};

/// How much of each body is kept.
pub(super) const BODY_BYTES: usize = 64 * 1024;

/// How much memory the record of host calls may take, roughly.
const TRACE_BYTES: usize = 512 * 1024;

/// Memory of an exchange besides messages and trace, roughly.
const OWN_BYTES: usize = 1024;

/// An exchange, in progress or finished.
pub(super) struct Exchange {
    pub(super) id: u64,
    pub(super) began: SystemTime,
    pub(super) client: SocketAddr,
    /// The exchange whose request this one repeats.
    pub(super) replay_of: Option<u64>,
    started: Instant,
    pub(super) recorder: Recorder,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    client: Messages,
    next: Messages,
    error: Option<Arc<Error>>,
    /// How long it took, once it has finished.
    took: Option<Duration>,
    /// Memory of the messages, roughly.
    bytes: usize,
    /// Memory that has already been reported.
    reported: usize,
    /// Whether its data has been dropped.
    is_forgotten: bool,
}

/// The messages on one side of the guest.
#[derive(Debug, Clone, Default)]
pub(super) struct Messages {
    pub(super) request: Option<RequestHead>,
    pub(super) request_body: Body,
    pub(super) response: Option<ResponseHead>,
    pub(super) response_body: Body,
}

#[derive(Debug, Clone)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

#[derive(Debug, Clone)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// A body. Only its beginning is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Body {
    pub(super) kept: Vec<u8>,
    /// Bytes of the body that were read, whether kept or not.
    pub(super) size: u64,
    pub(super) trailers: HeaderMap,
    pub(super) is_complete: bool,
    /// Why it ended early, if it did.
    pub(super) broken: Option<String>,
}

/// A copy of the data of an exchange.
pub(super) struct View {
    pub(super) client: Messages,
    pub(super) next: Messages,
    pub(super) entries: Vec<Entry>,
    pub(super) error: Option<Arc<Error>>,
    pub(super) took: Option<Duration>,
}

/// The key facts of an exchange.
pub(super) struct Summary {
    pub(super) method: Option<Method>,
    pub(super) target: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) next_status: Option<u16>,
    pub(super) was_passed_on: bool,
    pub(super) has_failed: bool,
    pub(super) took: Option<Duration>,
}

impl Exchange {
    pub(super) fn new(id: u64, client: SocketAddr, replay_of: Option<u64>) -> Self {
        Self {
            id,
            began: SystemTime::now(),
            client,
            replay_of,
            started: Instant::now(),
            recorder: Recorder::with_room(TRACE_BYTES),
            state: Mutex::new(State { bytes: OWN_BYTES, ..State::default() }),
        }
    }

    pub(super) fn request(&self, side: Side, head: &request::Parts) {
        let mut headers = head.headers.clone();
        // HTTP/2 has the host in the URI.
        if !headers.contains_key(header::HOST)
            && let Some(host) = head.uri.authority().and_then(|host| host.as_str().parse().ok())
        {
            headers.insert(header::HOST, host);
        }
        let mut state = self.state();
        state.bytes += weight(&headers) + head.uri.path_and_query().map_or(0, |target| target.as_str().len());
        let head = RequestHead {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            headers,
        };
        state.side(side).request = Some(head);
        drop(state);
        if side == Side::Next {
            self.recorder.add(EntryKind::Next, None);
        }
    }

    pub(super) fn response(&self, side: Side, head: &response::Parts) {
        let mut state = self.state();
        state.bytes += weight(&head.headers);
        state.side(side).response = Some(ResponseHead { status: head.status, headers: head.headers.clone() });
        if let (Side::Client, Some(error)) = (side, head.extensions.get::<Arc<Error>>()) {
            state.error = Some(error.clone());
        }
        drop(state);
        if side == Side::Next {
            self.recorder.add(EntryKind::Answered { status: Some(head.status.as_u16()) }, None);
        }
    }

    pub(super) fn body(&self, side: Side, message: Message, part: BodyPart<'_>) {
        let mut state = self.state();
        if state.is_forgotten {
            return;
        }
        let messages = state.side(side);
        let body = match message {
            Message::Request => &mut messages.request_body,
            Message::Response => &mut messages.response_body,
        };
        let added = match part {
            BodyPart::Data(data) => {
                body.size += data.len() as u64;
                let room = BODY_BYTES.saturating_sub(body.kept.len()).min(data.len());
                body.kept.extend_from_slice(&data[..room]);
                room
            }
            BodyPart::Trailers(trailers) => {
                body.trailers.clone_from(trailers);
                weight(trailers)
            }
            BodyPart::End => {
                body.is_complete = true;
                0
            }
            BodyPart::Failed(error) => {
                body.broken = Some(error.to_string());
                0
            }
        };
        state.bytes += added;
    }

    /// Marks the exchange as finished. Returns whether it wasn't before.
    pub(super) fn finish(&self) -> bool {
        let took = self.started.elapsed();
        let mut state = self.state();
        !state.is_forgotten && state.took.replace(took).is_none()
    }

    /// Memory that it takes and that hasn't been reported yet, in bytes.
    pub(super) fn unreported(&self) -> usize {
        let trace = self.recorder.bytes();
        let mut state = self.state();
        if state.is_forgotten {
            return 0;
        }
        let unreported = (state.bytes + trace).saturating_sub(state.reported);
        state.reported += unreported;
        unreported
    }

    /// Drops its data. Returns the memory that has been reported, in bytes.
    pub(super) fn forget(&self) -> usize {
        let forgotten = State { is_forgotten: true, ..State::default() };
        let known = std::mem::replace(&mut *self.state(), forgotten);
        self.recorder.take();
        known.reported
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.state().is_forgotten
    }

    pub(super) fn summary(&self) -> Summary {
        let state = self.state();
        let request = state.client.request.as_ref();
        Summary {
            method: request.map(|request| request.method.clone()),
            target: request.map(RequestHead::target),
            status: state.client.response.as_ref().map(|response| response.status.as_u16()),
            next_status: state.next.response.as_ref().map(|response| response.status.as_u16()),
            was_passed_on: state.next.request.is_some(),
            has_failed: state.error.is_some(),
            took: state.took,
        }
    }

    /// The request as the client sent it, and its body.
    pub(super) fn client_request(&self) -> Option<(RequestHead, Body)> {
        let state = self.state();
        Some((state.client.request.clone()?, state.client.request_body.clone()))
    }

    /// A copy. If the exchange has finished, it has notes on calls that had no effect.
    pub(super) fn view(&self) -> View {
        let entries = self.recorder.copy();
        let (client, next, error, took) = {
            let state = self.state();
            (state.client.clone(), state.next.clone(), state.error.clone(), state.took)
        };
        let entries = match took {
            Some(_) => {
                let mut result = ExchangeResult {
                    entries,
                    request: next.request.as_ref().map(|head| head.seen(&next.request_body)),
                    response: client.response.as_ref().map(|head| head.seen(&client.response_body)),
                    next_error: None,
                    error: None,
                };
                add_notes(&mut result);
                result.entries
            }
            None => entries,
        };
        View { client, next, entries, error, took }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn side(&mut self, side: Side) -> &mut Messages {
        match side {
            Side::Client => &mut self.client,
            Side::Next => &mut self.next,
        }
    }
}

impl RequestHead {
    /// Path and query.
    pub(super) fn target(&self) -> String {
        self.uri.path_and_query().map_or_else(|| self.uri.to_string(), ToString::to_string)
    }

    fn seen(&self, body: &Body) -> SeenRequest {
        SeenRequest {
            method: self.method.to_string(),
            uri: self.target(),
            version: format!("{:?}", self.version),
            content: content(&self.headers, body),
        }
    }
}

impl ResponseHead {
    fn seen(&self, body: &Body) -> SeenResponse {
        SeenResponse { status: self.status.as_u16(), content: content(&self.headers, body) }
    }
}

fn content(headers: &HeaderMap, body: &Body) -> Content {
    Content {
        headers: headers.clone(),
        body: Bytes::copy_from_slice(&body.kept),
        trailers: body.trailers.clone(),
        broken: body.broken.clone(),
    }
}

/// Memory of header fields, roughly.
fn weight(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum()
}
