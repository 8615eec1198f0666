//! A message's body on its way from the guests to Envoy.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_wasm_host::{BodyKind, BoxError, Frame, InMemoryHost, LocalHost as _, Message};

use crate::compute::{begin_slice, has_overrun, until_it_waits};
use crate::placement::Placement;

/// A body produced by guests. A guest that streams a response is still writing it: it runs while the body is polled.
pub(crate) struct Outbound {
    kind: BodyKind,
    /// On a thread, it runs until there is a frame, or it waits: then `None` comes back with it.
    placement: Placement<Box<InMemoryHost>, (Box<InMemoryHost>, Option<Next>)>,
}

/// The next frame of a body, if it hasn't ended.
pub(crate) type Next = Option<Result<Frame, BoxError>>;

impl Outbound {
    /// A body for Envoy, or for a host that holds it.
    pub(crate) fn new(kind: BodyKind, body: Message) -> Self {
        let mut host = Box::new(InMemoryHost::new("", ""));
        match kind {
            BodyKind::Request => host.request = body,
            BodyKind::Response => host.response = body,
        }
        Self { kind, placement: Placement::OnWorker(host) }
    }

    /// Returns the next frame. A guest that is writing a response runs on this thread until it has used up a time
    /// slice.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match &mut self.placement {
                Placement::OnWorker(host) => {
                    begin_slice();
                    let polled = host.poll_body(self.kind, cx);
                    if polled.is_ready() || !has_overrun() {
                        return polled;
                    }
                    let kind = self.kind;
                    self.placement.move_to_thread(|mut host| async move {
                        let next = until_it_waits(|cx| host.poll_body(kind, cx)).await;
                        (host, next)
                    });
                }
                Placement::OnThread(running) => {
                    let Some((host, next)) = ready!(Pin::new(running).poll(cx)) else {
                        self.placement = Placement::Taken;
                        return Poll::Ready(Some(Err("a guest call panicked".into())));
                    };
                    self.placement = Placement::OnWorker(host);
                    if let Some(next) = next {
                        return Poll::Ready(next);
                    }
                }
                Placement::Taken => {
                    let error = "too many guest calls have been computing for a long time";
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    /// Whether a guest that writes the body runs on the worker's thread.
    pub(crate) fn is_on_worker(&self) -> bool {
        self.placement.is_on_worker()
    }
}
