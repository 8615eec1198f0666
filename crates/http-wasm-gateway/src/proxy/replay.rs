//! Request bodies that can be sent again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_wasm_tower::{BodyBudget, HeldBytes};

use crate::body::{BoxBody, BoxError};
use crate::trailers;

/// How much of a body is kept for another attempt, if there is room for it. The bytes are shared and not copied, but
/// stay in memory for longer.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// The body of a request that may be sent several times, one after the other.
#[derive(Debug)]
pub(super) struct Replay(Option<Arc<Mutex<State>>>);

#[derive(Debug)]
struct State {
    rest: BoxBody,
    /// What has been received of the body. Empty once that was too much.
    kept: Vec<StoredFrame>,
    bytes: usize,
    is_whole: bool,
    /// The memory reserved for `kept`.
    room: Reservation,
    /// Whether any attempt has polled the body.
    begun: bool,
    /// The attempt that may read the body. An earlier one that still reads it is stopped.
    attempt: usize,
}

#[derive(Debug, Clone)]
enum StoredFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Replay {
    /// `keep` says whether to keep what is read for another attempt, if there is room in `budget`.
    pub(super) fn new(body: BoxBody, keep: bool, budget: &BodyBudget) -> Self {
        // Most requests have no body.
        if body.is_end_stream() {
            return Self(None);
        }
        let room = if keep { Reservation::Of(budget.clone()) } else { Reservation::None };
        let state =
            State { rest: body, kept: Vec::new(), bytes: 0, is_whole: keep, room, begun: false, attempt: 0 };
        Self(Some(Arc::new(Mutex::new(state))))
    }

    /// Returns the body from its start. Only call this while [`is_whole`](Self::is_whole).
    pub(super) fn attempt(&self) -> Replayed {
        let number = self.0.as_deref().map_or(0, |state| {
            let mut state = lock(state);
            state.attempt += 1;
            state.attempt
        });
        Replayed { number, next: 0, state: self.0.clone() }
    }

    /// Whether the body can be sent from its start.
    pub(super) fn is_whole(&self) -> bool {
        self.0.as_deref().is_none_or(|state| {
            let state = lock(state);
            state.is_whole || !state.begun
        })
    }
}

/// The body of one attempt.
#[derive(Debug)]
pub(super) struct Replayed {
    number: usize,
    /// The number of kept frames that it has returned.
    next: usize,
    /// `None` for an empty body.
    state: Option<Arc<Mutex<State>>>,
}

impl Replayed {
    /// An empty body.
    pub(super) fn empty() -> Self {
        Self { number: 0, next: 0, state: None }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let kept = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => StoredFrame::Data(data.clone()),
            (None, Some(trailers)) => StoredFrame::Trailers(trailers.clone()),
            (None, None) => return,
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.bytes += bytes;
        self.is_whole = self.is_whole && self.bytes <= MAX_KEPT_BYTES && self.room.take(bytes);
        match self.is_whole {
            true => self.kept.push(kept),
            false => (self.kept, self.room) = (Vec::new(), Reservation::None),
        }
    }
}

/// The memory reserved for bytes that are kept.
#[derive(Debug)]
enum Reservation {
    None,
    Of(BodyBudget),
    Held(HeldBytes),
}

impl Reservation {
    /// Reserves room for this many more bytes. Returns `false` if there is none.
    fn take(&mut self, bytes: usize) -> bool {
        match self {
            _ if bytes == 0 => true,
            Self::None => false,
            Self::Held(held) => held.grow(bytes),
            Self::Of(budget) => match budget.try_hold(bytes) {
                Some(held) => {
                    *self = Self::Held(held);
                    true
                }
                None => false,
            },
        }
    }
}

impl Body for Replayed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(state) = this.state.as_deref() else { return Poll::Ready(None) };
        let mut state = lock(state);
        if state.attempt != this.number {
            return Poll::Ready(Some(Err("the request is being sent again".into())));
        }
        if let Some(kept) = state.kept.get(this.next).cloned() {
            this.next += 1;
            return Poll::Ready(Some(Ok(match kept {
                StoredFrame::Data(data) => Frame::data(data),
                StoredFrame::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        state.begun = true;
        let frame = match ready!(Pin::new(&mut state.rest).poll_frame(cx)) {
            // Guests may have added fields that a trailer section must not have.
            Some(Ok(frame)) => trailers::filter(frame).map(Ok),
            frame => frame,
        };
        match &frame {
            Some(Ok(frame)) => state.keep(frame),
            // A body that has failed can't be read again.
            Some(Err(_)) => state.is_whole = false,
            None => {}
        }
        this.next = state.kept.len();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.state.as_deref().is_none_or(|state| {
            let state = lock(state);
            self.next >= state.kept.len() && state.rest.is_end_stream()
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(state) = self.state.as_deref() else { return SizeHint::with_exact(0) };
        let state = lock(state);
        let data = |kept: &StoredFrame| match kept {
            StoredFrame::Data(data) => data.len() as u64,
            StoredFrame::Trailers(_) => 0,
        };
        let ahead: u64 = state.kept.iter().skip(self.next).map(data).sum();
        let mut hint = state.rest.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + ahead);
        }
        hint.set_lower(hint.lower() + ahead);
        hint
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use http_body::Body as _;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use http_wasm_tower::BodyBudget;

    use super::{MAX_KEPT_BYTES, Replay};
    use crate::body::{BoxBody, boxed};

    fn chunks(chunks: Vec<Bytes>) -> BoxBody {
        let frames = chunks.into_iter().map(|chunk| Ok::<_, std::io::Error>(http_body::Frame::data(chunk)));
        boxed(StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>())))
    }

    #[tokio::test]
    async fn a_second_attempt_gets_the_bytes_of_the_first_and_then_the_rest() {
        let replay =
            Replay::new(chunks(vec!["a".into(), "b".into(), "c".into()]), true, &BodyBudget::default());
        let mut first = replay.attempt();
        for expected in ["a", "b"] {
            assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), expected);
        }
        assert!(replay.is_whole());
        let second = replay.attempt();
        assert!(first.frame().await.unwrap().is_err(), "the first attempt must take nothing from the second");
        assert_eq!(second.collect().await.unwrap().to_bytes(), "abc");
    }

    #[tokio::test]
    async fn length_and_trailers_are_the_same_in_each_attempt() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("1"))]);
        let sent = trailers.clone();
        let body = Full::<Bytes>::from("abc").with_trailers(async { Some(Ok(sent)) });
        let replay = Replay::new(boxed(body), true, &BodyBudget::default());
        for _ in 0..2 {
            let attempt = replay.attempt();
            assert_eq!(attempt.size_hint().exact(), Some(3));
            let all = attempt.collect().await.unwrap();
            assert_eq!(all.trailers(), Some(&trailers));
            assert_eq!(all.to_bytes(), "abc");
        }
        let whole = Replay::new(boxed(Full::from("abc")), true, &BodyBudget::default());
        assert_eq!(whole.attempt().size_hint().exact(), Some(3));
        whole.attempt().collect().await.unwrap();
        assert_eq!(whole.attempt().size_hint().exact(), Some(3));
    }

    #[tokio::test]
    async fn a_body_over_the_replay_limit_is_sent_once() {
        let large = vec![Bytes::from(vec![b'x'; MAX_KEPT_BYTES]), Bytes::from_static(b"y")];
        let replay = Replay::new(chunks(large), true, &BodyBudget::default());
        let sent = replay.attempt().collect().await.unwrap().to_bytes();
        assert_eq!(sent.len(), MAX_KEPT_BYTES + 1);
        assert!(!replay.is_whole());
    }

    #[tokio::test]
    async fn an_unread_body_is_whole_even_if_nothing_is_kept() {
        let replay = Replay::new(chunks(vec!["a".into()]), false, &BodyBudget::default());
        drop(replay.attempt());
        assert!(replay.is_whole());
        replay.attempt().collect().await.unwrap();
        assert!(!replay.is_whole());
    }

    #[tokio::test]
    async fn replay_buffers_count_against_the_budget_and_without_room_a_body_is_sent_once() {
        let engine = http_wasm_tower::Engine::builder().body_memory_budget(40).build().unwrap();
        let budget = engine.body_budget();
        // A quarter of the budget.
        for (pieces, kept) in [(2, 10), (3, 0)] {
            let replay = Replay::new(chunks(vec!["12345".into(); pieces]), true, budget);
            let sent = replay.attempt().collect().await.unwrap().to_bytes();
            assert_eq!(sent.len(), 5 * pieces);
            assert_eq!((replay.is_whole(), budget.memory().held), (kept > 0, kept));
            drop(replay);
            assert_eq!(budget.memory().held, 0);
        }
    }
}
