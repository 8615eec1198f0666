//! Lets tools such as `http-wasm dev` follow exchanges, message by message and call by call.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request, response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_wasm_tower::{BoxError, Phase, TraceEvent, Tracer};

use crate::body::{BoxBody, boxed};

/// Receives all exchanges of routes with guests. See [`Gateway::build_inspected`](crate::Gateway::build_inspected).
///
/// All methods are called on the request path, so they must not block.
pub trait Inspector: Send + Sync + 'static {
    /// Called before a client's request is passed to the guests of its route.
    fn begin(&self, client: SocketAddr) -> Arc<dyn InspectedExchange>;

    /// Called for an event in an instance that isn't handling a request, such as its start-up.
    fn outside(&self, instance: u64, event: &TraceEvent<'_>);
}

/// Receives the events of one exchange.
pub trait InspectedExchange: Send + Sync + 'static {
    /// Called with the head of the request, as the client sent it or as the next handler receives it.
    fn request(&self, side: Side, head: &request::Parts);

    /// Called with the head of the response, as the next handler returned it or as the client receives it. If a guest
    /// failed, its error is in the extensions, as an `Arc<Error>`.
    fn response(&self, side: Side, head: &response::Parts);

    /// Called with a part of the body of the request or the response.
    fn body(&self, side: Side, message: Message, part: BodyPart<'_>);

    /// Called for an event in an instance that is handling the exchange. The instance's number is unique in the
    /// process.
    fn event(&self, instance: u64, event: &TraceEvent<'_>);

    /// Called when a guest has written a line to its log, or to `stream`.
    fn line(&self, stream: Option<&str>, text: &str);

    /// Called when the client has received the entire response or has disconnected. Guests may still be cleaning up.
    fn finished(&self);
}

/// Which side of the guests a message is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's side.
    Client,
    /// The next handler's side.
    Next,
}

/// A message of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The request.
    Request,
    /// The response.
    Response,
}

/// A part of a body.
#[derive(Debug, Clone, Copy)]
pub enum BodyPart<'a> {
    /// Bytes.
    Data(&'a Bytes),
    /// The trailers.
    Trailers(&'a HeaderMap),
    /// The body is complete.
    End,
    /// The body ended prematurely.
    Failed(&'a BoxError),
}

tokio::task_local! {
    /// The exchange whose guests are running.
    static CURRENT: Arc<dyn InspectedExchange>;
}

/// Calls `with` with the exchange whose guests are running, if it is inspected.
pub(crate) fn with_current(with: impl FnOnce(&dyn InspectedExchange)) {
    let _ = CURRENT.try_with(|exchange| with(&**exchange));
}

/// An exchange in progress. It is finished when all clones, which the bodies hold, are dropped.
#[derive(Clone)]
pub(crate) struct Inspection(Arc<Finishing>);

struct Finishing(Arc<dyn InspectedExchange>);

impl Drop for Finishing {
    fn drop(&mut self) {
        self.0.finished();
    }
}

impl Inspection {
    pub(crate) fn begin(inspector: &dyn Inspector, client: SocketAddr) -> Self {
        Self(Arc::new(Finishing(inspector.begin(client))))
    }

    /// Runs the guests of this exchange.
    pub(crate) fn scope<F: Future>(&self, guests: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.0.0.clone(), guests)
    }

    /// Reports the request on this side, and follows its body.
    pub(crate) fn request(&self, side: Side, request: &mut Request<BoxBody>) {
        let (head, body) = std::mem::take(request).into_parts();
        self.0.0.request(side, &head);
        *request = Request::from_parts(head, self.follow(side, Message::Request, body));
    }

    /// Reports the response on this side, and follows its body.
    pub(crate) fn response(&self, side: Side, response: &mut Response<BoxBody>) {
        let (head, body) = std::mem::take(response).into_parts();
        self.0.0.response(side, &head);
        *response = Response::from_parts(head, self.follow(side, Message::Response, body));
    }

    fn follow(&self, side: Side, message: Message, body: BoxBody) -> BoxBody {
        let followed = Followed { body, inspection: self.clone(), side, message, read: 0, has_ended: false };
        if followed.body.is_end_stream() {
            return followed.into_ended();
        }
        boxed(followed)
    }
}

/// How much of a client's request body is read for the inspector if nothing else reads it, and for how long.
const READ_UNREAD: u64 = 64 * 1024;
const READ_UNREAD_FOR: Duration = Duration::from_secs(2);

/// A body that is followed while it is read. The unread rest of a short request body is read at the end, since a
/// request can only be sent again if its whole body is known.
struct Followed {
    body: BoxBody,
    inspection: Inspection,
    side: Side,
    message: Message,
    read: u64,
    has_ended: bool,
}

impl Followed {
    /// The body, which is empty.
    fn into_ended(mut self) -> BoxBody {
        self.report(BodyPart::End);
        self.has_ended = true;
        std::mem::take(&mut self.body)
    }

    fn report(&self, part: BodyPart<'_>) {
        self.inspection.0.0.body(self.side, self.message, part);
    }

    fn polled(&mut self, frame: Option<&Result<Frame<Bytes>, BoxError>>) {
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.read += data.len() as u64;
                    self.report(BodyPart::Data(data));
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.report(BodyPart::Trailers(trailers));
                }
                if self.body.is_end_stream() {
                    self.end(BodyPart::End);
                }
            }
            Some(Err(error)) => self.end(BodyPart::Failed(error)),
            None => self.end(BodyPart::End),
        }
    }

    /// Called when the rest will no longer be read.
    fn abandon(&mut self) {
        self.has_ended = true;
    }

    fn end(&mut self, part: BodyPart<'_>) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.report(part);
        }
    }
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.polled(polled.as_ref());
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let is_of_client = (self.side, self.message) == (Side::Client, Message::Request);
        if !is_of_client || self.has_ended || self.read >= READ_UNREAD {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut rest = Self {
            body: std::mem::take(&mut self.body),
            inspection: self.inspection.clone(),
            side: self.side,
            message: self.message,
            read: self.read,
            has_ended: false,
        };
        runtime.spawn(async move {
            let read = async {
                while rest.read < READ_UNREAD
                    && let Some(Ok(_)) = rest.frame().await
                {}
            };
            let _ = tokio::time::timeout(READ_UNREAD_FOR, read).await;
            rest.abandon();
        });
    }
}

/// The number of loaded guests, so that their instances get different numbers.
static LOADED: AtomicU64 = AtomicU64::new(0);

/// How many instances of a guest may be tracked at a time before those of abandoned exchanges are removed.
const CLEANUP_THRESHOLD: usize = 256;

/// Passes the events of a guest's instances to the inspector.
pub(crate) struct InstanceTracer {
    inspector: Arc<dyn Inspector>,
    base: u64,
    /// The instances with the exchanges that they are handling.
    busy: Mutex<HashMap<u64, Weak<dyn InspectedExchange>>>,
}

impl InstanceTracer {
    pub(crate) fn new(inspector: Arc<dyn Inspector>) -> Self {
        let base = LOADED.fetch_add(1, Ordering::Relaxed) << 40;
        Self { inspector, base, busy: Mutex::default() }
    }
}

impl Tracer for InstanceTracer {
    fn event(&self, instance: u64, event: &TraceEvent<'_>) {
        let number = self.base | instance;
        let exchange = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            if let TraceEvent::Entered { phase: Phase::Request, .. } = event {
                if busy.len() >= CLEANUP_THRESHOLD {
                    busy.retain(|_, exchange| exchange.strong_count() > 0);
                }
                match CURRENT.try_with(Arc::downgrade) {
                    Ok(exchange) => drop(busy.insert(instance, exchange)),
                    Err(_) => drop(busy.remove(&instance)),
                }
            }
            match event {
                TraceEvent::Returned { phase: Phase::Request, proceeds: true, error: None, .. } => {
                    busy.get(&instance).cloned()
                }
                TraceEvent::Returned { .. } => busy.remove(&instance),
                _ => busy.get(&instance).cloned(),
            }
        };
        match exchange.map(|exchange| exchange.upgrade()) {
            Some(Some(exchange)) => exchange.event(number, event),
            // The exchange is no longer inspected.
            Some(None) => {}
            None => self.inspector.outside(number, event),
        }
    }
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inspection")
    }
}
