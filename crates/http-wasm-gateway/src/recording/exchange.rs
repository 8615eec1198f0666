//! Recording one exchange.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;

use super::log::{End, InstanceLog, Memory};
use crate::body::{BoxBody, boxed, observed};

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

/// The data of an exchange, complete once it has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) began: SystemTime,
    pub(super) took: Duration,
    pub(super) client_addr: SocketAddr,
    pub(super) is_tls: bool,
    pub(super) request_id: Option<String>,
    /// As the client sees them.
    pub(super) client: Messages,
    /// As the next handler after the guests sees them.
    pub(super) next: Messages,
    /// The instances that served it, outermost first.
    pub(super) parts: Vec<Part>,
    pub(super) guest_failed: bool,
    pub(super) memory: Arc<Memory>,
    /// The number of body bytes held.
    pub(super) held: usize,
}

/// A request and its response.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) request: Option<RequestHead>,
    pub(super) request_body: Content,
    pub(super) response: Option<ResponseHead>,
    pub(super) response_body: Content,
}

#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

/// The beginning of a body, and its trailers.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) kept: Vec<u8>,
    /// The memory that is reserved for it.
    taken: usize,
    /// The size of the body, or of the part that was read.
    pub(super) size: u64,
    /// The trailers after it.
    pub(super) trailers: Option<HeaderMap>,
}

/// An instance's part in an exchange.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) log: Arc<InstanceLog>,
    /// The positions in its log where the exchange begins and ends.
    pub(super) from: usize,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Client,
    Next,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Request,
    Response,
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
        let exchange = Arc::new(Exchange {
            registry,
            body_bytes,
            id,
            started: Instant::now(),
            state: Mutex::new(Finished {
                began: SystemTime::now(),
                took: Duration::ZERO,
                client_addr,
                is_tls,
                request_id: request_id.and_then(|id| id.to_str().ok()).map(str::to_owned),
                client: Messages::default(),
                next: Messages::default(),
                parts: Vec::new(),
                guest_failed: false,
                memory,
                held: 0,
            }),
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

    /// Records the request that the guests pass on.
    pub(crate) fn passed(&self, request: &mut Request<BoxBody>) {
        self.request(Side::Next, request);
    }

    /// Records the next handler's response.
    pub(crate) fn came_back(&self, response: &mut Response<BoxBody>) {
        self.response(Side::Next, response);
    }

    /// Records the response for the client.
    pub(crate) fn answered(&self, response: &mut Response<BoxBody>) {
        self.response(Side::Client, response);
    }

    /// Records that a guest has failed.
    pub(crate) fn guest_failed(&self) {
        self.0.lock().guest_failed = true;
    }

    fn request(&self, side: Side, request: &mut Request<BoxBody>) {
        let head = RequestHead {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        };
        self.0.lock().side(side).request = Some(head);
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = self.kept(side, Which::Request, body);
    }

    fn response(&self, side: Side, response: &mut Response<BoxBody>) {
        let head = ResponseHead {
            status: response.status(),
            version: response.version(),
            headers: response.headers().clone(),
        };
        self.0.lock().side(side).response = Some(head);
        let body = std::mem::take(response.body_mut());
        *response.body_mut() = self.kept(side, Which::Response, body);
    }

    /// Wraps the body so that its beginning is kept as it is read.
    fn kept(&self, side: Side, which: Which, body: BoxBody) -> BoxBody {
        if body.is_end_stream() {
            return body;
        }
        let this = self.clone();
        boxed(observed(body, move |frame, _| {
            let Some(Ok(frame)) = frame else { return };
            if let Some(data) = frame.data_ref() {
                this.0.add(side, which, data);
            } else if let Some(trailers) = frame.trailers_ref() {
                this.0.lock().content(side, which).trailers = Some(trailers.clone());
            }
        }))
    }
}

impl Exchange {
    fn add(&self, side: Side, which: Which, data: &Bytes) {
        let mut state = self.lock();
        let memory = state.memory.clone();
        let content = state.content(side, which);
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
        let started = self.started;
        let mut state = self.lock();
        // If the client leaves during a call, the call doesn't return. What the instance does next isn't part of this.
        for part in &mut state.parts {
            part.end.get_or_insert_with(|| part.log.end());
        }
        let taken = Finished {
            began: state.began,
            took: started.elapsed(),
            client_addr: state.client_addr,
            is_tls: state.is_tls,
            request_id: state.request_id.take(),
            client: std::mem::take(&mut state.client),
            next: std::mem::take(&mut state.next),
            parts: std::mem::take(&mut state.parts),
            guest_failed: state.guest_failed,
            memory: state.memory.clone(),
            held: std::mem::take(&mut state.held),
        };
        drop(state);
        self.registry.ends(self.id, taken);
    }
}

impl Finished {
    /// Whether a guest has failed, or the response is a server error.
    pub(super) fn is_failure(&self) -> bool {
        let response = self.client.response.as_ref();
        self.guest_failed || response.is_some_and(|response| response.status.is_server_error())
    }

    /// An exchange in which nothing happened.
    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self {
            began: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            client_addr: SocketAddr::from(([127, 0, 0, 1], 1)),
            is_tls: false,
            request_id: None,
            client: Messages::default(),
            next: Messages::default(),
            parts: Vec::new(),
            guest_failed: false,
            memory: Memory::new(usize::MAX),
            held: 0,
        }
    }

    /// The approximate amount of memory that it uses until it is written.
    pub(super) fn size(&self) -> usize {
        let messages = [&self.client, &self.next].map(Messages::size);
        let parts = self.parts.iter().map(|part| part.end().at.saturating_sub(part.from));
        size_of::<Self>() + self.held + messages.iter().sum::<usize>() + parts.sum::<usize>()
    }

    fn content(&mut self, side: Side, which: Which) -> &mut Content {
        let messages = self.side(side);
        match which {
            Which::Request => &mut messages.request_body,
            Which::Response => &mut messages.response_body,
        }
    }

    fn side(&mut self, side: Side) -> &mut Messages {
        match side {
            Side::Client => &mut self.client,
            Side::Next => &mut self.next,
        }
    }
}

impl Content {
    /// Keeps further bytes if there is memory for them. Returns how much more memory was reserved.
    fn keep(&mut self, bytes: &[u8], most: usize, memory: &Memory) -> usize {
        let len = self.kept.len() + bytes.len();
        if len > self.taken {
            let sizes = [len.max((self.taken * 2).min(most)), len];
            let Some(size) = sizes.into_iter().find(|size| memory.take(size - self.taken)) else { return 0 };
            self.kept.reserve_exact(size - self.kept.len());
            self.kept.extend_from_slice(bytes);
            return size - std::mem::replace(&mut self.taken, size);
        }
        self.kept.extend_from_slice(bytes);
        0
    }
}

impl Messages {
    fn size(&self) -> usize {
        let request = self.request.as_ref().map_or(0, |head| {
            let uri = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
            uri + size(&head.headers)
        });
        let trailers = [&self.request_body, &self.response_body].into_iter().flat_map(|body| &body.trailers);
        let response = self.response.iter().map(|head| &head.headers);
        request + response.chain(trailers).map(size).sum::<usize>()
    }
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + size_of::<HeaderValue>()).sum()
}

impl Part {
    /// An instance's part in an exchange that begins at this position.
    pub(super) fn new(log: Arc<InstanceLog>, from: usize) -> Self {
        Self { log, from, end: None }
    }

    /// The position where it ends: the end of the log if the instance hasn't returned.
    pub(super) fn end(&self) -> End {
        self.end.unwrap_or_else(|| self.log.end())
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        self.memory.give_back(self.held);
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
        let guest = Arc::new(GuestOrigin {
            name: "g".to_owned(),
            path: None,
            sha256: String::new(),
            deadline: Duration::from_secs(1),
            secrets: GuestSecrets::default(),
        });
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
                exchange.0.add(Side::Client, Which::Request, &Bytes::from_static(b"x"));
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
            exchange.0.add(Side::Next, Which::Response, &Bytes::from_static(frame.as_bytes()));
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
            exchange.answered(&mut Response::new(BoxBody::default()));
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
