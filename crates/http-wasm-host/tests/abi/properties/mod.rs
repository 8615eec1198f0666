//! Properties of body replay: the forwarded body follows the ABI, regardless of how the body is split, of the sizes of
//! reads, and of where the guest fails or its call is cancelled.

mod guest;
mod model;

use std::task::Poll;

use http_wasm_host::{BodyKind, Error, ErrorKind, Feed, Fields, Handled, InMemoryHost, Outcome};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use self::guest::{CAP, Step, encode, guest};
use self::model::{Message, Trailing};
use crate::support::{ByHand, eventually, fields, get, pattern};

/// A body that arrives, and what the guest does to it.
#[derive(Clone, Debug)]
struct Side {
    pieces: Vec<usize>,
    /// How many pieces have arrived before the guest is called. The others, and the end, arrive when it waits.
    ahead: usize,
    trailers: bool,
    script: Vec<Step>,
    /// The call is cancelled when the guest waits for the n-th time.
    cancel: Option<usize>,
}

#[derive(Clone, Debug)]
struct Case {
    features: u32,
    open: bool,
    request: Side,
    response: Side,
    /// The client disconnects between the phases.
    hangs_up: bool,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1..90_u8).prop_map(Step::Read),
        2 => Just(Step::Write),
        2 => Just(Step::WriteResponse),
        1 => Just(Step::Empty),
        1 => Just(Step::Head),
        2 => Just(Step::Trailers),
        1 => Just(Step::Enable),
        2 => Just(Step::Trap),
        1 => Just(Step::Misuse),
    ]
}

fn side() -> impl Strategy<Value = Side> {
    // Depending on their size, pieces are kept separately or merged.
    let piece = prop_oneof![4 => 1..60_usize, 4 => 1000..3000_usize, 1 => CAP + 1..CAP + 1000];
    let pieces = prop::collection::vec(piece, 0..6);
    let cancel = prop::option::weighted(0.1, 0..4_usize);
    (pieces, 0..7_usize, any::<bool>(), prop::collection::vec(step(), 0..6), cancel).prop_map(
        |(pieces, ahead, trailers, mut script, cancel)| {
            // How much is read while waiting for trailers, before the limit is reached, depends on what has arrived.
            if pieces.iter().sum::<usize>() + 100 > CAP {
                script.retain(|step| *step != Step::Trailers);
            }
            Side { pieces, ahead, trailers, script, cancel }
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    (0..4_u32, any::<bool>(), side(), side(), prop::bool::weighted(0.05)).prop_map(
        |(features, open, request, response, hangs_up)| Case { features, open, request, response, hangs_up },
    )
}

impl Side {
    fn body(&self) -> Vec<u8> {
        pattern(self.pieces.iter().sum())
    }

    fn trailers(&self) -> Option<Fields> {
        self.trailers.then(|| fields(&[("t", "1"), ("u", "2")]))
    }

    /// Delivers the pieces that are there from the start. Returns their number.
    fn begin(&self, feed: &Feed) -> usize {
        (0..self.pieces.len().min(self.ahead)).for_each(|at| self.deliver(feed, at));
        if self.ahead > self.pieces.len() {
            feed.finish(self.trailers());
        }
        self.ahead
    }

    /// Delivers one piece, or the end after the last one.
    fn deliver(&self, feed: &Feed, at: usize) {
        let start: usize = self.pieces.iter().take(at).sum();
        match self.pieces.get(at) {
            Some(len) => feed.push(self.body()[start..start + len].to_vec()),
            None if at == self.pieces.len() => feed.finish(self.trailers()),
            None => {}
        }
    }

    /// Drives a call, delivering one piece each time it waits, and the rest once it has ended. `None` if it was
    /// cancelled.
    fn drive<T>(&self, feed: &Feed, mut delivered: usize, call: impl Future<Output = T>) -> Option<T> {
        let mut call = ByHand::new(call);
        let mut waits = 0;
        let ended = loop {
            match call.poll() {
                Poll::Ready(output) => break Some(output),
                Poll::Pending if self.cancel == Some(waits) => break None,
                Poll::Pending => {
                    assert!(delivered <= self.pieces.len(), "the guest waits for more than there is");
                    self.deliver(feed, delivered);
                    (delivered, waits) = (delivered + 1, waits + 1);
                }
            }
        };
        drop(call);
        (delivered..=self.pieces.len()).for_each(|at| self.deliver(feed, at));
        ended
    }
}

fn headers(case: &Case) -> Fields {
    let mut headers = fields(&[("a", "1"), ("b", "2"), ("a", "3")]);
    headers.add(b"q", &encode(&case.request.script));
    headers.add(b"p", &encode(&case.response.script));
    headers
}

fn check_body(got: (Vec<u8>, Fields), expected: (Vec<u8>, Trailing)) -> TestCaseResult {
    prop_assert!(got.0 == expected.0, "body of {} bytes instead of {}", got.0.len(), expected.0.len());
    match expected.1 {
        Trailing::Exactly(trailers) => prop_assert_eq!(got.1, trailers),
        Trailing::AtMost(trailers) => prop_assert!(got.1 == trailers || got.1.is_empty()),
    }
    Ok(())
}

/// Whether the guest is bypassed after a failure: it fails open, the failure is its own, and the message is still
/// complete.
fn is_excused(case: &Case, message: &Message, kind: ErrorKind) -> bool {
    case.open && !matches!(kind, ErrorKind::BodyTooLarge(_)) && message.original().is_some()
}

fn check_error(error: &Error, kind: ErrorKind) -> TestCaseResult {
    prop_assert_eq!(error.kind(), kind, "{}", error);
    Ok(())
}

fn check(case: &Case) -> TestCaseResult {
    let probe = guest(case.features, case.open);
    let before = probe.stats();
    let (mut features, mut early) = (case.features, Vec::new());

    let mut host = InMemoryHost::new("POST", "/");
    host.request.headers = headers(case);
    let feed = host.request.feed_body();
    let delivered = case.request.begin(&feed);
    let Some(outcome) = case.request.drive(&feed, delivered, probe.0.handle_request(host)) else {
        prop_assert_eq!(probe.stats().dropped_cancelled, before.dropped_cancelled + 1);
        return Ok(());
    };
    let mut request = Message::new(BodyKind::Request, b"", &case.request.body(), case.request.trailers());
    let expected = request.run(&case.request.script, &mut features, &mut early);
    let mut pinned = match (expected, outcome) {
        (Ok(()), Ok(Outcome::Next(pinned))) => pinned,
        (Err(kind), Ok(Outcome::Bypassed { mut host, error })) => {
            prop_assert!(is_excused(case, &request, kind), "{} was passed over", error);
            check_error(&error, kind)?;
            prop_assert_eq!(&host.request.headers, &headers(case));
            prop_assert!(host.response.headers.is_empty() && host.response.take_body().0.is_empty());
            let original = request.original().expect("it is whole");
            return check_body(host.request.take_body(), original);
        }
        (Err(kind), Err(error)) => {
            prop_assert!(!is_excused(case, &request, kind), "{} was not passed over", error);
            return check_error(&error, kind);
        }
        (expected, outcome) => panic!("{outcome:?}, but the script says {expected:?}"),
    };
    check_body(pinned.host_mut().request.take_body(), request.outgoing())?;
    if case.hangs_up {
        return Ok(());
    }

    let feed = pinned.host_mut().response.feed_body();
    pinned.host_mut().response.headers = fields(&[("a", "1"), ("b", "2"), ("a", "3")]);
    let sent = pinned.host_mut().response.headers.clone();
    let delivered = case.response.begin(&feed);
    let Some(handled) = case.response.drive(&feed, delivered, pinned.handle_response()) else {
        prop_assert_eq!(probe.stats().dropped_cancelled, before.dropped_cancelled + 1);
        return Ok(());
    };
    let mut response =
        Message::new(BodyKind::Response, &early, &case.response.body(), case.response.trailers());
    match (response.run(&case.response.script, &mut features, &mut Vec::new()), handled) {
        (Ok(()), Ok(Handled { mut host, error: None, .. })) => {
            check_body(host.response.take_body(), response.outgoing())
        }
        (Err(kind), Ok(Handled { mut host, error: Some(error), .. })) => {
            prop_assert!(is_excused(case, &response, kind), "{} was passed over", error);
            check_error(&error, kind)?;
            prop_assert_eq!(&host.response.headers, &sent);
            check_body(host.response.take_body(), response.original().expect("it is whole"))
        }
        (Err(kind), Err(error)) => {
            prop_assert!(!is_excused(case, &response, kind), "{} was not passed over", error);
            check_error(&error, kind)
        }
        (expected, handled) => panic!("{handled:?}, but the script says {expected:?}"),
    }
}

#[test]
fn messages_follow_the_abi_however_bodies_arrive_are_read_and_break_off() {
    // Don't write failures to a file: add a test for each one that matters.
    let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(case in case())| check(&case)?);
    for (features, open) in (0..4).flat_map(|features| [(features, false), (features, true)]) {
        let probe = guest(features, open);
        eventually("all instances are idle or gone", || probe.stats().live == probe.stats().idle);
        probe.run(get(), |_| {});
    }
}
