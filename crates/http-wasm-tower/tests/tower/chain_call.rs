//! A chain that is called without tower, and the calls of its observer.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_wasm_tower::{Body, Chain, Error, Guest, GuestObserver, OnFailure};

use crate::guests::*;
use crate::support::*;

/// What happened, in order.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn push(&self, event: impl Into<String>) {
        self.0.lock().unwrap().push(event.into());
    }

    fn observer(&self) -> impl FnMut(usize) -> Watch + use<> {
        let events = self.clone();
        move |index| {
            events.push(format!("{index} begins"));
            Watch { index, events: events.clone(), finished: false }
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Watch {
    index: usize,
    events: Events,
    finished: bool,
}

impl GuestObserver for Watch {
    fn passed(&mut self) {
        self.events.push(format!("{} passes", self.index));
    }

    fn resumed(&mut self) {
        self.events.push(format!("{} resumes", self.index));
    }

    fn finished(mut self, error: Option<&Error>) {
        self.finished = true;
        self.events.push(format!("{} ends{}", self.index, error.map_or("", |_| " in an error")));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.finished {
            self.events.push(format!("{} is dropped", self.index));
        }
    }
}

fn plain() -> Guest {
    around(NO_FEATURES, "", "")
}

/// Reads the request body and the response body.
fn reader() -> Guest {
    around(BUFFER_REQUEST | BUFFER_RESPONSE, &read_all(0), &read_all(1))
}

fn open(before: &str, after: &str) -> Guest {
    guest_with(|builder| builder.on_failure(OnFailure::Open), NO_FEATURES, &phases(before, after))
}

async fn run(events: &Events, guests: Vec<Guest>) -> Response<Body> {
    let chain = Chain::new(guests);
    let response = chain.call_observed(get("/"), None, events.observer(), async |_| {
        events.push("the handler answers");
        Ok::<_, Infallible>(Response::new(Body::from(Bytes::from("hello"))))
    });
    soon(response).await.unwrap()
}

#[tokio::test]
async fn the_observer_receives_each_step_of_each_guest_in_order() {
    let events = Events::default();
    let response = run(&events, vec![plain(), plain(), plain()]).await;
    assert_eq!(text(response.into_body()).await, "hello");
    let expected = "0 begins, 0 passes, 1 begins, 1 passes, 2 begins, 2 passes, the handler answers, \
                    2 resumes, 2 ends, 1 resumes, 1 ends, 0 resumes, 0 ends";
    assert_eq!(events.take().join(", "), expected);
}

#[tokio::test]
async fn a_guest_that_answers_or_fails_ends_the_request_phase_of_the_chain() {
    let stops = guest(NO_FEATURES, r#"(func (export "handle_request") (result i64) (i64.const 0))"#);
    for (middle, end) in [(stops, "1 ends"), (around(NO_FEATURES, "unreachable", ""), "1 ends in an error")] {
        let events = Events::default();
        run(&events, vec![plain(), middle, plain()]).await;
        let expected = format!("0 begins, 0 passes, 1 begins, {end}, 0 resumes, 0 ends");
        assert_eq!(events.take().join(", "), expected);
    }
}

#[tokio::test]
async fn each_guest_of_a_chain_fails_open_independently() {
    let failing = [open("unreachable", ""), open("", "unreachable")];
    for failing in failing {
        for position in 0..3 {
            let events = Events::default();
            let mut guests = vec![plain(), plain()];
            guests.insert(position, failing.clone());
            let response = run(&events, guests).await;
            assert_eq!((response.status().as_u16(), &text(response.into_body()).await[..]), (200, "hello"));
            let errors: Vec<_> = events.take().into_iter().filter(|event| event.ends_with("error")).collect();
            assert_eq!(errors, [format!("{position} ends in an error")]);
        }
    }
}

#[tokio::test]
async fn a_chain_without_guests_passes_requests_to_the_handler() {
    let chain = Chain::new(Vec::<Guest>::new());
    let response = chain.call(post("/a", "body"), async |request: Request<Body>| {
        assert_eq!(request.uri(), "/a");
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    assert_eq!(text(response.await.unwrap().into_body()).await, "body");
}

#[tokio::test]
async fn a_kept_request_is_back_in_its_place_when_the_handler_gets_it() {
    let setter = |name: &str| {
        let set =
            format!("(call $set_header_value (i32.const 0) {{{name}}} (global.get $buf) (i32.const 0))");
        around(NO_FEATURES, &set, "")
    };
    let stops = guest(NO_FEATURES, r#"(func (export "handle_request") (result i64) (i64.const 0))"#);
    for (guests, expected) in [
        (vec![], Some("")),
        (vec![setter("x-one")], Some("x-one")),
        (vec![open("unreachable", "")], Some("")),
        (vec![setter("x-one"), reader(), setter("x-two")], Some("x-one, x-two")),
        (vec![setter("x-one"), stops], None),
    ] {
        let (feed, body) = fed();
        let mut place = Box::new(Request::post("/a").body(body).unwrap());
        let mut got = None;
        let chain = Chain::new(guests);
        let call = chain.call_kept(&mut place, None, (), async |place: &mut Box<Request<Body>>| {
            assert_eq!(place.uri(), "/a");
            got = Some(place.headers().keys().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            Ok::<_, Infallible>(Response::new(std::mem::take(place.body_mut())))
        });
        // One of the guests waits for this.
        let feeding = async {
            let _ = feed.send(Ok(Bytes::from("body")));
            drop(feed);
        };
        let (response, ()) = soon(async { tokio::join!(call, feeding) }).await;
        let body = if expected.is_some() { "body" } else { "" };
        assert_eq!(text(response.unwrap().into_body()).await, body);
        assert_eq!(got.as_deref(), expected);
    }
}

#[tokio::test]
async fn every_guest_may_wait_in_both_phases() {
    let chain = Chain::new([reader(), reader(), reader()]);
    let ((request_feed, request), (response_feed, response)) = (fed(), fed());
    let request = Request::post("/").body(request).unwrap();
    let mut call = pin!(chain.call(request, async |request: Request<Body>| {
        assert_eq!(text(request.into_body()).await, "abcdef");
        Ok::<_, Infallible>(Response::new(response))
    }));
    for feed in [request_feed, response_feed] {
        assert!(is_pending(call.as_mut()).await);
        feed.send(Ok(Bytes::from("abc"))).unwrap();
        assert!(is_pending(call.as_mut()).await);
        feed.send(Ok(Bytes::from("def"))).unwrap();
    }
    let response = soon(call).await.unwrap();
    assert_eq!(text(response.into_body()).await, "abcdef");
}

#[tokio::test]
async fn a_chain_dropped_in_the_handler_drops_the_handler_and_then_the_innermost_guest() {
    let events = Events::default();
    let chain = Chain::new([plain(), plain(), plain()]);
    let handler = Watch { index: 9, events: events.clone(), finished: false };
    {
        let mut call = pin!(chain.call_observed(get("/"), None, events.observer(), async move |_| {
            let _held = handler;
            std::future::pending::<Result<Response<Body>, Infallible>>().await
        }));
        assert!(is_pending(call.as_mut()).await);
        events.take();
    }
    assert_eq!(events.take(), ["9 is dropped", "2 is dropped", "1 is dropped", "0 is dropped"]);
}

#[tokio::test]
async fn a_chain_dropped_in_a_guest_loses_only_that_guests_instance() {
    let (outer, waiting, inner) = (ledger(), reader(), plain());
    for phase in ["request", "response"] {
        let chain = Chain::new([outer.clone(), waiting.clone(), inner.clone()]);
        let (_feed, body) = fed();
        let (request, response) = match phase {
            "request" => (Body::new(body), Body::empty()),
            _ => (Body::empty(), Body::new(body)),
        };
        // The ledger reads bodies too, so a different guest must wait.
        let chain = if phase == "request" { Chain::new([waiting.clone(), inner.clone()]) } else { chain };
        {
            let request = Request::post("/").body(request).unwrap();
            let mut call = pin!(chain.call(request, async |_| Ok::<_, Infallible>(Response::new(response))));
            assert!(is_pending(call.as_mut()).await);
        }
        idle(&waiting, 0).await;
        all_idle(&inner).await;
    }
    idle(&outer, 1).await;
    assert_eq!(ledgers(&outer).await, [Ledger { begun: 1, ended: 1, errors: 1 }]);
    assert_eq!(waiting.stats().dropped_cancelled, 2);
}

#[tokio::test]
async fn the_handlers_error_passes_through_and_every_guest_sees_is_error() {
    let guests = [ledger(), ledger(), ledger()];
    let error = Chain::new(guests.clone())
        .call(get("/"), async |_| Err::<Response<Body>, _>("the handler's own error"))
        .await
        .unwrap_err();
    assert_eq!(error, "the handler's own error");
    for guest in guests {
        idle(&guest, 1).await;
        assert_eq!(ledgers(&guest).await, [Ledger { begun: 1, ended: 1, errors: 1 }]);
    }
}

#[tokio::test]
async fn every_guest_sees_the_given_source_address() {
    let teller = |name: &str| {
        around(
            NO_FEATURES,
            &format!(
                "(call $set_header_value (i32.const 1) {{{name}}}
                    (global.get $buf) (call $get_source_addr (global.get $buf) (i32.const 100)))"
            ),
            "",
        )
    };
    let chain = Chain::new([teller("x-outer"), teller("x-inner")]);
    let answer = async |_| Ok::<_, Infallible>(Response::new(Body::empty()));
    let address = "192.0.2.1:80".parse().unwrap();
    let response = chain.call_observed(get("/"), Some(address), (), answer).await.unwrap();
    assert_eq!(
        (header(&response, "x-outer"), header(&response, "x-inner")),
        ("192.0.2.1:80", "192.0.2.1:80")
    );

    let fixed = std::net::SocketAddr::from(([192, 0, 2, 2], 80));
    let chain = chain.source_addr(move |_| Some(fixed));
    let response = chain.call(get("/"), answer).await.unwrap();
    assert_eq!(
        (header(&response, "x-outer"), header(&response, "x-inner")),
        ("192.0.2.2:80", "192.0.2.2:80")
    );
}
