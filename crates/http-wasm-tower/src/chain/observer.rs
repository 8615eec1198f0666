//! What happens in one exchange, guest by guest.

use std::sync::Arc;

use http_wasm_host::{AbandonedCall, Error, Inform, ResponseStream};

/// Observes the exchange of one [`Chain::call_observed`](crate::Chain::call_observed).
///
/// It is implemented for closures that return a [`GuestObserver`] for a guest's index in the chain, and for `()`, which
/// observes nothing at no cost.
pub trait ChainObserver {
    /// The observer of one guest's part.
    type Guest: GuestObserver;

    /// The guest at `index` is about to get the request.
    fn guest(&mut self, index: usize) -> Self::Guest;

    /// Returns where informational responses (1xx) of guests are sent. By default they are dropped.
    fn informational(&self) -> Option<Arc<dyn Inform>> {
        None
    }

    /// Returns the number by which a [`Tracer`](http_wasm_host::Tracer) recognises the exchange; see
    /// [`HttpHost::traced_as`](http_wasm_host::HttpHost::traced_as). Defaults to 0.
    fn trace_id(&self) -> u64 {
        0
    }

    /// Returns whether the request is refused before others when memory for instances runs short; see
    /// [`HttpHost::sheddable`](http_wasm_host::HttpHost::sheddable). Defaults to `false`.
    fn is_sheddable(&self) -> bool {
        false
    }
}

/// Observes one guest's part in one exchange: how long it takes, and how it ends.
///
/// It is created when the guest gets the request. `passed` is called when the guest lets the request proceed, `resumed`
/// when the response comes back to the guest, and `finished` at the end. If the guest
/// [streams](http_wasm_host::Stream), `passed` is called once it has written the whole request, and `streams` is called
/// instead of `finished` when it has begun to write the response.
///
/// The guest's part can end earlier: the exchange is dropped, or a guest in front of it that is still writing the
/// request fails or responds itself. Then the observer is dropped, or, if a call of the guest continues in the
/// background, `abandoned` is called. All of this happens on the request path, so it must not block.
///
/// ```
/// use std::time::{Duration, Instant};
/// use http_wasm_tower::{Error, GuestObserver};
///
/// /// The guest's own time, without that of the guests and the handler behind it.
/// struct Stopwatch { since: Instant, so_far: Duration }
///
/// impl GuestObserver for Stopwatch {
///     fn passed(&mut self) {
///         self.so_far += self.since.elapsed();
///     }
///
///     fn resumed(&mut self) {
///         self.since = Instant::now();
///     }
///
///     fn finished(self, error: Option<&Error>) {
///         println!("{:?}, {}", self.so_far + self.since.elapsed(), error.is_some());
///     }
/// }
///
/// // The second argument of `call_observed` after the address:
/// let observer = |_index: usize| Stopwatch { since: Instant::now(), so_far: Duration::ZERO };
/// # fn is_observer(_: impl http_wasm_tower::ChainObserver) {}
/// # is_observer(observer);
/// ```
pub trait GuestObserver: Sized {
    /// The guest has let the request proceed to the next guest or handler.
    fn passed(&mut self) {}

    /// The response has come back to the guest.
    fn resumed(&mut self) {}

    /// The guest's part is over: it has responded to the request, handled the response, or failed with this error.
    fn finished(self, error: Option<&Error>) {
        let _ = error;
    }

    /// The guest has begun to write the response, and continues while it is sent. How this ends can be observed with
    /// [`ResponseStream::on_end`]. By default, the guest's part counts as finished.
    fn streams(self, stream: ResponseStream) {
        drop(stream);
        self.finished(None);
    }

    /// The result of the guest's call is no longer wanted, and the call continues in the background: the guest was
    /// computing, or was writing the request. The exchange was dropped, or continues with the response of a guest in
    /// front of this one. If you limit how many requests a client may have in progress, let the call
    /// [hold](AbandonedCall::hold) the client's permit.
    fn abandoned(self, call: AbandonedCall) {
        let _ = call;
    }
}

impl<G: GuestObserver, F: FnMut(usize) -> G> ChainObserver for F {
    type Guest = G;

    #[inline]
    fn guest(&mut self, index: usize) -> G {
        self(index)
    }
}

impl ChainObserver for () {
    type Guest = ();

    #[inline]
    fn guest(&mut self, _: usize) {}
}

impl GuestObserver for () {}

impl<G: GuestObserver> GuestObserver for Box<G> {
    fn passed(&mut self) {
        G::passed(self);
    }

    fn resumed(&mut self) {
        G::resumed(self);
    }

    fn finished(self, error: Option<&Error>) {
        G::finished(*self, error);
    }

    fn streams(self, stream: ResponseStream) {
        G::streams(*self, stream);
    }

    fn abandoned(self, call: AbandonedCall) {
        G::abandoned(*self, call);
    }
}

/// Observes if there is one.
impl<G: GuestObserver> GuestObserver for Option<G> {
    #[inline]
    fn passed(&mut self) {
        if let Some(observer) = self {
            observer.passed();
        }
    }

    #[inline]
    fn resumed(&mut self) {
        if let Some(observer) = self {
            observer.resumed();
        }
    }

    #[inline]
    fn finished(self, error: Option<&Error>) {
        if let Some(observer) = self {
            observer.finished(error);
        }
    }

    fn streams(self, stream: ResponseStream) {
        if let Some(observer) = self {
            observer.streams(stream);
        }
    }

    fn abandoned(self, call: AbandonedCall) {
        if let Some(observer) = self {
            observer.abandoned(call);
        }
    }
}
