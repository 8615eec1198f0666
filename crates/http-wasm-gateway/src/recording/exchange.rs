//! Recording one exchange.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;

use super::finished::{Finished, Part, RequestHead, ResponseHead};
use super::log::{InstanceLog, Memory};
use crate::body::{BoxBody, boxed, observed};
use crate::inspect::{Message, Side};

/// Records one exchange, from the request that reaches the guests to the last byte of the response. The recording ends
/// when the last clone and the last body are dropped.
#[derive(Debug, Clone)]
pub(crate) struct ExchangeRecorder(Arc<Exchange>);

pub(super) struct Exchange {
    registry: Arc<dyn Registry>,
    body_bytes: usize,
    id: u64,
    started: Instant,
    state: Mutex<Finished>,
}

/// A registry of exchanges in progress, by their numbers.
pub(super) trait Registry: Send + Sync {
    /// Called when an exchange begins.
    fn begins(&self, id: u64, exchange: Weak<Exchange>);

    /// Called when an exchange has ended.
    fn ends(&self, id: u64, finished: Finished);
}

/// Settings for recording exchanges.
pub(super) struct Settings {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) id: u64,
    /// The maximum number of bytes to keep of each body.
    pub(super) body_bytes: usize,
    pub(super) memory: Arc<Memory>,
}

impl ExchangeRecorder {
    /// Begins to record an exchange with the client's request.
    pub(super) fn begin(
        settings: Settings,
        request: &mut Request<BoxBody>,
        client_addr: SocketAddr,
        is_tls: bool,
    ) -> Self {
        let Settings { registry, id, body_bytes, memory } = settings;
        let request_id = request.headers().get("x-request-id");
        let request_id = request_id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let exchange = Arc::new(Exchange {
            registry,
            body_bytes,
            id,
            started: Instant::now(),
            state: Mutex::new(Finished::new(client_addr, is_tls, request_id, memory)),
        });
        exchange.registry.begins(id, Arc::downgrade(&exchange));
        let this = Self(exchange);
        this.request(Side::Client, request);
        this
    }

    /// The ID by which the tracer finds the exchange.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// Records that a guest has failed.
    pub(crate) fn guest_failed(&self) {
        self.0.lock().guest_failed = true;
    }

    /// Records a request: the client's, or the one that the guests pass on.
    pub(crate) fn request(&self, side: Side, request: &mut Request<BoxBody>) {
        let head = RequestHead {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        };
        self.0.lock().side(side).request = Some(head);
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = self.kept(side, Message::Request, body);
    }

    /// Records a response: the next handler's, or the one for the client.
    pub(crate) fn response(&self, side: Side, response: &mut Response<BoxBody>) {
        let head = ResponseHead {
            status: response.status(),
            version: response.version(),
            headers: response.headers().clone(),
        };
        self.0.lock().side(side).response = Some(head);
        let body = std::mem::take(response.body_mut());
        *response.body_mut() = self.kept(side, Message::Response, body);
    }

    /// Wraps the body so that its beginning is kept as it is read.
    fn kept(&self, side: Side, message: Message, body: BoxBody) -> BoxBody {
        if body.is_end_stream() {
            return body;
        }
        let this = self.clone();
        boxed(observed(body, move |frame, _| {
            let Some(Ok(frame)) = frame else { return };
            if let Some(data) = frame.data_ref() {
                this.0.add(side, message, data);
            } else if let Some(trailers) = frame.trailers_ref() {
                this.0.lock().content(side, message).trailers = Some(trailers.clone());
            }
        }))
    }
}

impl Exchange {
    fn add(&self, side: Side, message: Message, data: &Bytes) {
        let mut state = self.lock();
        let memory = state.memory.clone();
        let content = state.content(side, message);
        let is_whole = content.size == content.kept.len() as u64;
        content.size += data.len() as u64;
        let room = self.body_bytes.saturating_sub(content.kept.len()).min(data.len());
        if room > 0 && is_whole {
            let taken = content.keep(&data[..room], self.body_bytes, &memory);
            state.held += taken;
        }
    }

    /// An instance is called for this exchange, at this position of its log.
    pub(super) fn entered(&self, log: &Arc<InstanceLog>, at: usize) {
        let mut state = self.lock();
        match state.parts.iter_mut().find(|part| Arc::ptr_eq(&part.log, log)) {
            Some(part) => part.end = None,
            None => state.parts.push(Part::new(log.clone(), at)),
        }
    }

    /// The call has returned or failed. A guest that streams may fail after the response has begun.
    pub(super) fn returned(&self, log: &Arc<InstanceLog>, failed: bool) {
        let mut state = self.lock();
        state.guest_failed |= failed;
        if let Some(part) = state.parts.iter_mut().find(|part| Arc::ptr_eq(&part.log, log)) {
            part.end = Some(log.end());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Finished> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // If the client leaves during a call, the call doesn't return. What the instance does next isn't part of this.
        for part in &mut state.parts {
            part.end.get_or_insert_with(|| part.log.end());
        }
        state.took = self.started.elapsed();
        let rest = Finished::new(state.client_addr, state.is_tls, None, state.memory.clone());
        let finished = std::mem::replace(state, rest);
        self.registry.ends(self.id, finished);
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::Entry;
    use super::super::log::{GuestOrigin, GuestSecrets};
    use super::*;

    #[derive(Default)]
    struct Ended(Mutex<Option<Finished>>);

    impl Registry for Ended {
        fn begins(&self, _: u64, _: Weak<Exchange>) {}

        fn ends(&self, _: u64, finished: Finished) {
            *self.0.lock().unwrap() = Some(finished);
        }
    }

    fn begin(ended: &Arc<Ended>, body_bytes: usize, memory: &Arc<Memory>) -> ExchangeRecorder {
        let settings = Settings { registry: ended.clone(), id: 1, body_bytes, memory: memory.clone() };
        let client_addr = SocketAddr::from(([127, 0, 0, 1], 1));
        ExchangeRecorder::begin(settings, &mut Request::new(BoxBody::default()), client_addr, false)
    }

    fn log(memory: &Arc<Memory>) -> Arc<InstanceLog> {
        let guest = GuestOrigin::with_secrets(GuestSecrets::default());
        Arc::new(InstanceLog::new(guest, 0, memory.clone(), usize::MAX))
    }

    #[test]
    fn all_memory_for_a_body_is_accounted_even_if_it_comes_in_small_frames() {
        for (limit, body_bytes, kept) in
            [(usize::MAX, 1000, 1000), (700, 1000, 700), (usize::MAX, 9999, 2000)]
        {
            let (ended, memory) = (Arc::<Ended>::default(), Memory::new(limit));
            let exchange = begin(&ended, body_bytes, &memory);
            for _ in 0..2000 {
                exchange.0.add(Side::Client, Message::Request, &Bytes::from_static(b"x"));
            }
            drop(exchange);
            let finished = ended.0.lock().unwrap().take().unwrap();
            let body = &finished.client.request_body;
            assert_eq!((&*body.kept, body.size), (&*vec![b'x'; kept], 2000));
            assert!(body.kept.capacity() <= memory.used() && memory.used() <= body_bytes);
            drop(finished);
            assert_eq!(memory.used(), 0);
        }
    }

    #[test]
    fn of_a_body_that_does_not_fit_only_the_beginning_is_kept() {
        let (ended, memory) = (Arc::<Ended>::default(), Memory::new(3));
        let exchange = begin(&ended, 100, &memory);
        for frame in ["ab", "cdef", "g"] {
            exchange.0.add(Side::Next, Message::Response, &Bytes::from_static(frame.as_bytes()));
        }
        drop(exchange);
        let finished = ended.0.lock().unwrap().take().unwrap();
        assert_eq!(finished.next.response_body.kept, b"ab");
    }

    #[test]
    fn an_exchange_that_is_left_during_a_call_has_no_part_in_what_comes_later() {
        let (ended, memory) = (Arc::<Ended>::default(), Memory::new(usize::MAX));
        let (exchange, log) = (begin(&ended, 0, &memory), log(&memory));
        let growth = Entry::Growth { table: false, from: 0, to: 1, granted: true };
        exchange.0.entered(&log, log.end().at);
        log.push(&growth);
        let end = log.end();
        drop(exchange);
        log.push(&growth);
        let finished = ended.0.lock().unwrap().take().unwrap();
        assert_eq!(finished.parts[0].end(), end);
    }

    #[test]
    fn a_guest_that_fails_after_the_response_has_begun_has_failed() {
        for failed in [false, true] {
            let (ended, memory) = (Arc::<Ended>::default(), Memory::new(usize::MAX));
            let (exchange, log) = (begin(&ended, 0, &memory), log(&memory));
            exchange.response(Side::Client, &mut Response::new(BoxBody::default()));
            for failed in [failed, false] {
                exchange.0.entered(&log, 0);
                exchange.0.returned(&log, failed);
            }
            drop(exchange);
            let finished = ended.0.lock().unwrap().take().unwrap();
            assert_eq!(finished.is_failure(), failed);
        }
    }
}
