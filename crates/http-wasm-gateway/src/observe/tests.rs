//! Checks what observers receive.

use std::sync::{Arc, Mutex};

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;

use crate::Gateway;
use crate::body::empty;
use crate::config::{Backend, Config, Guest, GuestSource, RequestId, Route};
use crate::exchange::{
    Abandoned, Answer as _, Client, FinishedRequest, GuestTimes, Inbound, RequestObserver,
};

const PASSES: &[u8] = br#"(module (memory (export "memory") 1)
  (func (export "handle_request") (result i64) i64.const 1)
  (func (export "handle_response") (param i32 i32)))"#;

const ANSWERS: &[u8] = br#"(module (memory (export "memory") 1)
  (func (export "handle_request") (result i64) i64.const 0)
  (func (export "handle_response") (param i32 i32)))"#;

const LOGS: &[u8] = br#"(module (import "http_handler" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1) (data (i32.const 0) "hello there")
  (func (export "handle_request") (result i64) (call $log (i32.const 0) (i32.const 0) (i32.const 11)) i64.const 1)
  (func (export "handle_response") (param i32 i32)))"#;

#[derive(Debug, Default)]
struct Collected(Mutex<Vec<Outcome>>);

/// What an observer has received.
#[derive(Debug)]
struct Outcome {
    target: String,
    route: Option<String>,
    attempts: usize,
    guests: Vec<GuestTimes>,
    status: Option<StatusCode>,
    response_bytes: u64,
    complete: bool,
}

impl RequestObserver for Collected {
    fn finished(&self, request: &FinishedRequest<'_>) {
        self.0.lock().unwrap().push(Outcome {
            target: request.record.target.clone(),
            route: request.record.route().map(ToString::to_string),
            attempts: request.attempts.len(),
            guests: request.guests.to_vec(),
            status: request.record.status(),
            response_bytes: request.response_bytes,
            complete: request.complete,
        });
    }
}

/// A gateway with a single route, `/hello`, with these guests.
async fn gateway(guests: &[(&str, &'static [u8])]) -> (Gateway, Arc<Collected>) {
    let mut config = Config::default();
    let mut route =
        Route { path: Some("/hello".parse().unwrap()), backend: Some(Backend::Hello), ..Route::default() };
    for (name, wat) in guests {
        let guest = Guest { path: GuestSource::Embedded("test", wat).into(), ..Guest::default() };
        config.guests.insert((*name).to_owned(), guest.into());
        route.guests.push((*name).to_owned().into());
    }
    config.routes.push(route.into());
    let collected = Arc::new(Collected::default());
    let gateway = Gateway::build_with(config, vec![collected.clone()]).await.unwrap();
    (gateway, collected)
}

async fn get(gateway: &Gateway, path: &str) -> http::Response<crate::body::BoxBody> {
    let client = Client { addr: ([10, 0, 0, 1], 1).into(), tls: false };
    let mut inbound = Inbound::new(Request::get(path).body(empty()).unwrap(), client);
    gateway.core.answer(&mut inbound, &Abandoned::default()).await
}

fn only(collected: &Collected) -> Outcome {
    let mut outcomes = collected.0.lock().unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_has_route_status_bytes_and_each_guests_time_in_order() {
    let (gateway, collected) = gateway(&[("z", PASSES), ("a", PASSES)]).await;
    let response = get(&gateway, "/hello?q").await;
    assert!(collected.0.lock().unwrap().is_empty(), "it is not over before the body is");
    response.into_body().collect().await.unwrap();
    let outcome = only(&collected);
    assert_eq!((outcome.route.as_deref(), outcome.attempts), (Some("route-1"), 0));
    assert_eq!((outcome.status, outcome.response_bytes, outcome.complete), (Some(StatusCode::OK), 11, true));
    assert_eq!(outcome.target, "/hello?q");
    let guests: Vec<_> =
        outcome.guests.iter().map(|times| (&*times.guest, times.response.is_some())).collect();
    assert_eq!(guests, [("z", true), ("a", true)]);
}

/// The log output.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// On one thread, because the subscriber belongs to it.
#[tokio::test]
async fn guest_log_messages_carry_the_request_id_and_route() {
    let mut config =
        Config { request_id: Some(RequestId { trust: true, respond: false }), ..Config::default() };
    let guest = Guest { path: GuestSource::Embedded("test", LOGS).into(), ..Guest::default() };
    config.guests.insert("talks".to_owned(), guest.into());
    config.routes.push(
        Route {
            name: Some("main".to_owned().into()),
            guests: vec!["talks".to_owned().into()],
            backend: Some(Backend::Hello),
            ..Route::default()
        }
        .into(),
    );
    let gateway = Gateway::build(config).await.unwrap();
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // With a single subscriber, whatever a thread without one logs first would be considered disabled for all.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let client = Client { addr: ([10, 0, 0, 1], 1).into(), tls: false };
    let request = Request::get("/").header("x-request-id", "abc-1").body(empty()).unwrap();
    gateway.core.answer(&mut Inbound::new(request, client), &Abandoned::default()).await;
    let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    let line = text.lines().find(|line| line.contains("hello there")).expect("the guest's line");
    for part in ["id=\"abc-1\"", "route=\"main\"", "guest=\"talks\""] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_answers_has_no_response_time() {
    let (gateway, collected) = gateway(&[("first", ANSWERS), ("second", PASSES)]).await;
    drop(get(&gateway, "/hello").await);
    let outcome = only(&collected);
    let guests: Vec<_> = outcome.guests.iter().map(|times| (&*times.guest, times.response)).collect();
    assert_eq!(guests, [("first", None)]);
    assert!(outcome.complete, "an empty body is whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_dropped_early_is_incomplete_and_an_unmatched_request_has_no_route() {
    let (gateway, collected) = gateway(&[]).await;
    drop(get(&gateway, "/hello").await);
    let outcome = only(&collected);
    assert_eq!((outcome.response_bytes, outcome.complete), (0, false));

    drop(get(&gateway, "/other").await);
    let outcome = only(&collected);
    assert_eq!((outcome.route, outcome.status), (None, Some(StatusCode::NOT_FOUND)));
}
