//! Informational responses (1xx) to be sent to a client.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Response, StatusCode, header};
use http_wasm_tower::Inform;

use crate::connection_options::remove_nominated;
use crate::names::{is_hop_by_hop, remove_all};

/// The most informational responses for one request, and their size in bytes. For a client that doesn't read, as much
/// is held for each request.
const MAX_COUNT: usize = 100;
const MAX_BYTES: usize = 16 * 1024;

/// Bytes that HTTP/1.1 adds to a field, and to a head.
const FIELD_OVERHEAD: usize = ": \r\n".len();
const HEAD_OVERHEAD: usize = "HTTP/1.1 103 \r\n\r\n".len();

/// Informational responses to a request. The handler adds them and the writer takes them, both in the task of the
/// connection or the request.
#[derive(Debug, Default)]
pub(crate) struct Interims {
    state: Mutex<State>,
    /// Whether there may be responses to write.
    queued: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the request's client understands them, and the response hasn't started.
    open: bool,
    queue: VecDeque<Response<()>>,
    count: usize,
    bytes: usize,
}

impl Interims {
    /// Starts a request whose client understands informational responses.
    pub(crate) fn open(&self) {
        let mut state = self.state();
        (state.open, state.count, state.bytes) = (true, 0, 0);
    }

    /// Called when the response is available. Those that were sent before go before it.
    pub(crate) fn close(&self) {
        self.state().open = false;
    }

    /// Sends a response to the client, unless that is impossible or the client has been sent too many. Fields that
    /// concern another connection or a body are left out.
    pub(crate) fn send(&self, status: StatusCode, mut headers: HeaderMap) -> bool {
        remove_nominated(&mut headers);
        remove_all(&mut headers, |name| {
            is_hop_by_hop(name.as_str()) || [header::CONTENT_LENGTH, header::TRAILER].contains(name)
        });
        let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD);
        let bytes = HEAD_OVERHEAD + fields.sum::<usize>();
        let mut state = self.state();
        if !state.open || state.count == MAX_COUNT || state.bytes + bytes > MAX_BYTES {
            return false;
        }
        state.count += 1;
        state.bytes += bytes;
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        state.queue.push_back(response);
        self.queued.store(true, Ordering::Release);
        true
    }

    /// Whether there may be responses to write.
    pub(crate) fn has_next(&self) -> bool {
        self.queued.load(Ordering::Acquire)
    }

    /// Returns the next one to write.
    pub(crate) fn next(&self) -> Option<Response<()>> {
        let mut state = self.state();
        let next = state.queue.pop_front();
        if next.is_none() {
            self.queued.store(false, Ordering::Release);
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inform for Interims {
    fn inform(&self, status: StatusCode, headers: HeaderMap) {
        // The listener itself sends 100, and 101 is a final response.
        if !matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
            self.send(status, headers);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::{Interims, MAX_BYTES, MAX_COUNT};

    fn link(bytes: usize) -> HeaderMap {
        let value = HeaderValue::try_from("x".repeat(bytes)).unwrap();
        [(http::header::LINK, value)].into_iter().collect()
    }

    /// The status and the bytes of the fields of each response.
    fn taken(interims: &Interims) -> Vec<(u16, usize)> {
        let taken = std::iter::from_fn(|| interims.next());
        let bytes = |headers: &HeaderMap| headers.values().map(HeaderValue::len).sum();
        taken.map(|response| (response.status().as_u16(), bytes(response.headers()))).collect()
    }

    #[test]
    fn interim_responses_are_bounded_in_number_and_bytes_per_request() {
        let interims = Interims::default();
        assert!(!interims.send(StatusCode::EARLY_HINTS, link(1)), "there is no request");
        for _ in 0..2 {
            interims.open();
            let sent = (0..1000).filter(|_| interims.send(StatusCode::PROCESSING, HeaderMap::new())).count();
            assert_eq!(sent, MAX_COUNT);
            interims.open();
            assert!(!interims.send(StatusCode::EARLY_HINTS, link(MAX_BYTES)));
            assert!(interims.send(StatusCode::EARLY_HINTS, link(MAX_BYTES - 100)));
            assert!(!interims.send(StatusCode::EARLY_HINTS, link(100)));
            let taken = taken(&interims);
            assert_eq!(taken.len(), MAX_COUNT + 1);
            assert_eq!((taken[0], taken.last()), ((102, 0), Some(&(103, MAX_BYTES - 100))));
            assert!(!interims.has_next());
        }
    }

    #[test]
    fn no_interim_response_follows_the_final_one() {
        let interims = Interims::default();
        interims.open();
        assert!(interims.send(StatusCode::EARLY_HINTS, link(1)));
        interims.close();
        assert!(!interims.send(StatusCode::EARLY_HINTS, link(1)));
        assert_eq!(taken(&interims), [(103, 1)], "it goes before the response");
    }
}
