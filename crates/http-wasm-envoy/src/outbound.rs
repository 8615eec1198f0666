//! A message's body on its way from the guests to Envoy.

use std::future::poll_fn;
use std::mem::replace;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_wasm_host::{BodyKind, BoxError, Frame, InMemoryHost, LocalHost as _, Message};

use crate::compute::{CallHandle, begin_slice, has_overrun};
use crate::process::process;

/// A body produced by guests. Guests that stream are still writing it: they run while it is polled.
pub(crate) struct Outbound {
    kind: BodyKind,
    place: Place,
}

enum Place {
    Here(Box<InMemoryHost>),
    /// The body is on a thread for long computations until there is a frame.
    Elsewhere(CallHandle<(Box<InMemoryHost>, Next)>),
    /// The body is being moved, or a call has panicked.
    Between,
}

type Next = Option<Result<Frame, BoxError>>;

impl Outbound {
    pub(crate) fn new(kind: BodyKind, body: Message) -> Self {
        let mut host = Box::new(InMemoryHost::new("", ""));
        match kind {
            BodyKind::Request => host.request = body,
            BodyKind::Response => host.response = body,
        }
        Self { kind, place: Place::Here(host) }
    }

    /// Returns the next frame. A guest that is writing it runs on this thread until it has used up a time slice.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Place::Here(host) = &mut self.place {
            begin_slice();
            let polled = host.poll_body(self.kind, cx);
            if polled.is_ready() || !has_overrun() {
                return polled;
            }
            self.leave();
        }
        let Place::Elsewhere(running) = &mut self.place else {
            return Poll::Ready(Some(Err("too many guest calls have been computing for a long time".into())));
        };
        let Some((host, next)) = ready!(Pin::new(running).poll(cx)) else {
            self.place = Place::Between;
            return Poll::Ready(Some(Err("a guest call panicked".into())));
        };
        self.place = Place::Here(host);
        Poll::Ready(next)
    }

    /// Whether the body is on this thread.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.place, Place::Here(_))
    }

    /// Moves the body to the threads for long computations, unless they already have too many calls.
    fn leave(&mut self) {
        let Place::Here(mut host) = replace(&mut self.place, Place::Between) else { return };
        let kind = self.kind;
        let running = async move {
            let next = poll_fn(|cx| host.poll_body(kind, cx)).await;
            (host, next)
        };
        if let Some(running) = process().threads.run(running) {
            self.place = Place::Elsewhere(running);
        }
    }
}
