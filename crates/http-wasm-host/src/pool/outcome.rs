//! The outcome of `handle_request`, and requests that are sent while their guest writes them.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::abandoned::AbandonedCall;
use super::pinned::Pinned;
use super::progress::Progress;
use crate::error::Error;
use crate::exchange::Committed;
use crate::host::Host;
use crate::message::StreamWriter;
use crate::run::call::CallStatus;
use crate::run::shared::Shared;
use crate::runtime::Task;
use crate::stats::StreamCount;

/// What a guest decided in `handle_request`.
#[derive(Debug)]
pub enum Outcome<H: Host> {
    /// The guest has responded itself. The response is in the host.
    Respond(H),
    /// The guest passes the request on. The host has the request for the next handler.
    Next(Pinned<H>),
    /// The guest [streams](crate::Stream) the request, and has begun to write it. Only a guest that was loaded for that
    /// does this.
    Streams(RequestStream<H>),
    /// The guest failed, and [fails open](crate::OnFailure::Open). Pass the original request, which is in the host, to
    /// the next handler, and its response to the client. The guest isn't called again for this exchange.
    Bypassed {
        /// The host, with the original request.
        host: H,
        /// Why the guest failed, for the log.
        error: Error,
    },
}

/// A request that its guest is still writing while it is sent; see [`Stream`](crate::Stream).
///
/// Take the request out of [`host_mut`](Self::host_mut), and poll the next handler and this at the same time: the guest
/// runs while this is polled, and waits in each write until the next handler polls the body for more. If the next
/// handler responds first, call [`on_response`](Self::on_response) and keep the response until this completes.
///
/// It completes with the guest's decision. After [`Outcome::Next`], put the next handler's response into the host as
/// usual. [`Outcome::Respond`] or an error replaces that response, which you should drop: the next handler never gets
/// the complete body. The guest can't be bypassed any more.
///
/// If this is dropped before it completes, the body is aborted, and the guest's call continues in the background until
/// it returns: reads return the end of the body, and writes are discarded.
///
/// ```
/// use std::task::Poll;
///
/// use http_wasm_host::{BodyKind, BoxError, Engine, Frame, Guest, InMemoryHost, LocalHost, Outcome, Stream};
///
/// let text = br#"(module
///   (@custom "http-wasm-stream" "")
///   (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
///   (memory (export "memory") 1)
///   (data (i32.const 0) "Hello, world!")
///   (func (export "handle_request") (result i64)
///     (call $write_body (i32.const 0) (i32.const 0) (i32.const 13))
///     (i64.const 1))
///   (func (export "handle_response") (param i32 i32)))"#;
/// let engine = Engine::new()?;
/// let guest: Guest<InMemoryHost> =
///     Guest::<InMemoryHost>::builder(&engine).stream(Stream::Request).load(text)?;
///
/// # futures_executor::block_on(async {
/// let outcome = guest.handle_request(InMemoryHost::new("POST", "/")).await?;
/// let Outcome::Streams(mut stream) = outcome else { panic!("it has begun to write") };
/// let mut request = std::mem::replace(stream.host_mut(), InMemoryHost::new("GET", "/"));
///
/// // Here the next handler only reads the request.
/// let read = async {
///     let mut body = Vec::new();
///     while let Some(frame) = std::future::poll_fn(|cx| request.poll_body(BodyKind::Request, cx)).await {
///         if let Frame::Data(data) = frame? {
///             body.extend_from_slice(&data);
///         }
///     }
///     Ok::<_, BoxError>(body)
/// };
/// let (outcome, body) = futures_util::future::join(stream, read).await;
/// assert!(matches!(outcome?, Outcome::Next(_)));
/// assert_eq!(body?, b"Hello, world!");
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[must_use = "the guest goes on only when it is polled"]
pub struct RequestStream<H: Host>(Box<Writing<H>>);

/// A guest that writes a request.
struct Writing<H: Host> {
    /// With the request for the next handler, until that is taken.
    host: H,
    /// `None` once the guest has returned.
    call: Option<Progress<Result<Outcome<H>, Error>>>,
    body: StreamWriter,
    has_answer: bool,
    stall: Option<Stall>,
    shared: Arc<Shared>,
    _count: StreamCount,
}

/// A write that waits for a next handler that has responded.
struct Stall {
    /// Which one.
    piece: u64,
    timeout: Task,
}

impl<H: Host> RequestStream<H> {
    /// Returns the host with the request for the next handler.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.0.host
    }

    /// To be called when the next handler has responded. From then on, the next handler must take each write within
    /// [`stream_stall`](crate::Limits::stream_stall). Otherwise the body is aborted, reads return the end of the body,
    /// and writes are discarded.
    pub fn on_response(&mut self) {
        self.0.has_answer = true;
    }

    /// Drops the stream. If the guest's call continues in the background, the returned value represents that call.
    pub fn abandon(&mut self) -> Option<AbandonedCall> {
        let call = self.0.call.as_mut()?;
        self.0.body.abort("the exchange of the request was dropped");
        let abandoned = call.abandon_stream();
        self.0.call = None;
        abandoned
    }
}

impl<H: Host> Writing<H> {
    /// Whether the next handler has stopped reading.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(piece) = self.body.waits_since_piece().filter(|_| self.has_answer) else {
            self.stall = None;
            return Poll::Pending;
        };
        if self.stall.as_ref().is_none_or(|stall| stall.piece != piece) {
            let limit = self.shared.limits.stream_stall;
            self.stall = Some(Stall { piece, timeout: self.shared.engine.background().sleep(limit) });
        }
        match &mut self.stall {
            Some(stall) => stall.timeout.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<H: Host> Future for RequestStream<H> {
    type Output = Result<Outcome<H>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let writing = &mut *self.0;
        loop {
            writing.body.wake_guest(cx.waker());
            let call = writing.call.as_mut().expect("polled after it was done or abandoned");
            if let Poll::Ready(outcome) = Pin::new(call).poll(cx) {
                writing.call = None;
                return Poll::Ready(outcome);
            }
            if writing.poll_stalled(cx).is_pending() {
                return Poll::Pending;
            }
            writing.stall = None;
            writing
                .body
                .abort("the next handler has responded, but didn't read the rest of the request in time");
        }
    }
}

impl<H: Host> Drop for RequestStream<H> {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl<H: Host> fmt::Debug for RequestStream<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestStream").field("has_answer", &self.0.has_answer).finish_non_exhaustive()
    }
}

/// Runs `running`, a guest's `handle_request`, until it has ended or its request can be sent. Then the rest of it is
/// [`Outcome::Streams`].
pub(crate) async fn until_committed<H: Host>(
    running: Progress<Result<Outcome<H>, Error>>,
    committed: Arc<Committed<H>>,
    call: CallStatus,
    shared: Arc<Shared>,
) -> Result<Outcome<H>, Error> {
    let mut running = Some(running);
    poll_fn(|cx| {
        loop {
            let ongoing = running.as_mut().expect("taken only with the result");
            if let ended @ Poll::Ready(_) = Pin::new(ongoing).poll(cx) {
                return ended;
            }
            let Some((host, body)) = committed.take() else { return Poll::Pending };
            // The guest goes on without a receiver.
            if call.is_abandoned() {
                continue;
            }
            return Poll::Ready(Ok(Outcome::Streams(RequestStream(Box::new(Writing {
                host,
                call: running.take(),
                body,
                has_answer: false,
                stall: None,
                _count: StreamCount::new(&shared.counters),
                shared: shared.clone(),
            })))));
        }
    })
    .await
}
