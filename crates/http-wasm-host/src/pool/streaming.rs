//! The result of `handle_response`, and responses that are sent while their guest writes them.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tracing::Span;

use super::abandoned::AbandonedCall;
use super::progress::Progress;
use crate::abi::BodyKind;
use crate::error::{BoxError, Error};
use crate::exchange::Committed;
use crate::host::Host;
use crate::message::{Fields, Frame, Source};
use crate::run::shared::Shared;
use crate::stats::StreamCount;

/// The result of `handle_response`.
#[derive(Debug)]
pub struct Handled<H> {
    /// The host, with the response for the client.
    pub host: H,
    /// The error, for the log, if the guest failed and [fails open](crate::OnFailure::Open). The response is then the
    /// next handler's, unchanged.
    pub error: Option<Error>,
    /// The rest of the guest's call, if the guest [streams](crate::Stream) the response: it runs while the body is
    /// sent.
    pub stream: Option<ResponseStream>,
}

/// A response that its guest is still writing while it is sent; see [`Stream`](crate::Stream).
///
/// Polling the body runs the guest. [`on_end`](Self::on_end) reports how its call ends.
pub struct ResponseStream(Arc<Mutex<Option<OnEnd>>>);

type OnEnd = Box<dyn FnOnce(StreamEnd<'_>) + Send>;

/// How the call of a guest has ended that was writing a response while it was sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamEnd<'a> {
    /// The guest has returned.
    Finished,
    /// The guest has failed, and the response was aborted.
    Failed(&'a Error),
    /// The body was dropped. The call continues in the background until the guest returns: reads return the end of the
    /// body, and writes are discarded.
    Abandoned(AbandonedCall),
}

impl ResponseStream {
    /// Calls `ended` when the guest's call has ended or was abandoned. `ended` isn't called if the body is dropped and
    /// the call can't continue in the background, for example because there is no async runtime.
    pub fn on_end(self, ended: impl FnOnce(StreamEnd<'_>) + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(ended));
    }
}

impl fmt::Debug for ResponseStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStream").finish_non_exhaustive()
    }
}

/// Runs `call`, a guest's `handle_response`, until it has ended or its response can be sent. Then the rest of it runs
/// while the response's body is polled.
pub(super) async fn until_committed<H: Host>(
    call: Progress<Result<Handled<H>, Error>>,
    committed: Arc<Committed<H>>,
    shared: Arc<Shared>,
) -> Result<Handled<H>, Error> {
    let mut call = Some(call);
    poll_fn(|cx| {
        let running = call.as_mut().expect("taken only with the result");
        if let ended @ Poll::Ready(_) = Pin::new(running).poll(cx) {
            return ended;
        }
        let Some((host, writer)) = committed.take() else { return Poll::Pending };
        let stream = ResponseStream(Arc::default());
        let driver = Driver {
            call: call.take(),
            rest: None,
            on_end: stream.0.clone(),
            count: Some(StreamCount::new(&shared.counters)),
            span: Span::current(),
        };
        writer.drive_with(Box::new(driver));
        Poll::Ready(Ok(Handled { host, error: None, stream: Some(stream) }))
    })
    .await
}

/// Runs a guest while the response that it writes is sent.
struct Driver<H: Host> {
    /// Until the guest has returned.
    call: Option<Progress<Result<Handled<H>, Error>>>,
    /// Then there may be trailers.
    rest: Option<H>,
    on_end: Arc<Mutex<Option<OnEnd>>>,
    count: Option<StreamCount>,
    /// The request's.
    span: Span,
}

impl<H: Host> Driver<H> {
    fn end(&self, end: StreamEnd<'_>) {
        let on_end = self.on_end.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(on_end) = on_end {
            on_end(end);
        }
    }

    fn poll_guest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(call) = &mut self.call else { return Poll::Ready(Ok(())) };
        let handled = ready!(Pin::new(call).poll(cx));
        (self.call, self.count) = (None, None);
        Poll::Ready(match handled {
            Ok(Handled { error: Some(error), .. }) | Err(error) => {
                error.log("; the response that it was writing is aborted");
                self.end(StreamEnd::Failed(&error));
                Err(error)
            }
            Ok(Handled { host, .. }) => {
                self.end(StreamEnd::Finished);
                self.rest = Some(host);
                Ok(())
            }
        })
    }
}

impl<H: Host> Source for Driver<H> {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Fields>, BoxError>> {
        let span = self.span.clone();
        let _entered = span.enter();
        ready!(self.poll_guest(cx))?;
        match &mut self.rest {
            Some(host) => poll_trailers(host, BodyKind::Response, cx),
            None => Poll::Ready(Ok(None)),
        }
    }
}

/// The trailers after a body that a guest has written.
pub(crate) fn poll_trailers<H: Host>(
    host: &mut H,
    kind: BodyKind,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Fields>, BoxError>> {
    loop {
        match ready!(host.poll_body(kind, cx)).transpose()? {
            None => return Poll::Ready(Ok(None)),
            Some(Frame::Trailers(fields)) => return Poll::Ready(Ok(Some(fields))),
            // Of a body that a guest has replaced, nothing else follows.
            Some(Frame::Data(_)) => {}
        }
    }
}

impl<H: Host> Drop for Driver<H> {
    fn drop(&mut self) {
        // The stream is closed by now, so that the guest waits for nothing more.
        if let Some(mut call) = self.call.take()
            && let Some(abandoned) = call.abandon_stream()
        {
            self.end(StreamEnd::Abandoned(abandoned));
        }
    }
}
