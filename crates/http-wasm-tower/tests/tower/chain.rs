//! Several guests around one service.

use futures_util::FutureExt as _;
use http::{Request, Response};
use http_wasm_tower::{Body, Chain, Guest, HttpWasmLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::guests::*;
use crate::support::*;

/// A service behind two guests, of which the first is outermost: as a chain, and as two layers, which must behave
/// identically.
async fn behind<S>(first: Guest, second: Guest, inner: S) -> [std::net::SocketAddr; 2]
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let chain = Chain::new([first.clone(), second.clone()]);
    let chain = HttpWasmLayer::from(chain).layer(inner.clone());
    let layers = HttpWasmLayer::new(first).layer(HttpWasmLayer::new(second).layer(inner));
    [serve(chain).await, serve(layers).await]
}

/// Clients of both protocol versions for each of these servers.
async fn clients(addrs: [std::net::SocketAddr; 2]) -> Vec<Client> {
    let mut clients = Vec::new();
    for addr in addrs {
        clients.extend(Client::both(addr).await);
    }
    clients
}

/// Adds its name to a header of the request, and of the response.
fn signer(name: &str) -> Guest {
    around(
        BUFFER_RESPONSE,
        &format!("(call $add_header_value (i32.const 0) {{x-by}} {{{name}}})"),
        &format!("(call $add_header_value (i32.const 1) {{x-by}} {{{name}}})"),
    )
}

#[tokio::test]
async fn the_outer_guest_is_first_on_the_way_in_and_last_on_the_way_out() {
    for mut client in clients(behind(signer("outer"), signer("inner"), service_fn(describe)).await).await {
        let response = client.send(get("/")).await;
        let signed: Vec<_> = response.headers().get_all("x-by").iter().collect();
        assert_eq!(signed, ["inner", "outer"]);
        let seen = text(response.into_body()).await;
        assert!(seen.contains("x-by: outer\nx-by: inner\n"), "{seen}");
    }
}

#[tokio::test]
async fn an_outer_guest_that_stops_keeps_the_inner_one_from_being_called() {
    let stops = guest(
        NO_FEATURES,
        r#"(func (export "handle_request") (result i64) (call $set_status_code (i32.const 401)) (i64.const 0))"#,
    );
    let addrs = behind(stops, around(NO_FEATURES, "unreachable", ""), service_fn(hello)).await;
    for mut client in clients(addrs).await {
        assert_eq!(client.send(get("/")).await.status(), 401);
    }
}

#[tokio::test]
async fn an_inner_guests_failure_is_seen_as_a_response_by_the_outer_guest() {
    let failing = around(NO_FEATURES, "unreachable", "");
    let outer = around(
        BUFFER_RESPONSE,
        "",
        "(if (i32.eq (call $get_status_code) (i32.const 500))
        (then (call $set_status_code (i32.const 503)) (call $write_body (i32.const 1) {later})))",
    );
    for addr in behind(outer.clone(), failing, service_fn(hello)).await {
        let response = Client::http1(addr).await.send(get("/")).await;
        assert_eq!((response.status().as_u16(), text(response.into_body()).await), (503, "later".into()));
        idle(&outer, 1).await;
    }
}

/// Reads the whole body of a message (at most 100 bytes), and writes it between brackets.
fn bracket(kind: u32) -> String {
    format!(
        "(local $len i32)
         (local.set $len (i32.wrap_i64 (call $read_body (i32.const {kind}) (global.get $buf) (i32.const 100))))
         (call $write_body (i32.const {kind}) {{[}})
         (call $write_body (i32.const {kind}) (global.get $buf) (local.get $len))
         (call $write_body (i32.const {kind}) {{]}})"
    )
}

#[tokio::test]
async fn each_guest_sees_the_bodies_as_changed_by_the_previous_one() {
    let both = || around(BUFFER_REQUEST | BUFFER_RESPONSE, &bracket(0), &bracket(1));
    for mut client in clients(behind(both(), both(), service_fn(mirror)).await).await {
        let response = client.send(post("/", "body")).await;
        assert_eq!(header(&response, "content-length"), "12");
        assert_eq!(text(response.into_body()).await, "[[[[body]]]]");
    }
}

#[tokio::test]
async fn each_guest_sees_the_whole_body_however_little_the_previous_one_read() {
    for read in [0, 1, 3, 4, 5] {
        let peeks = around(
            BUFFER_REQUEST | BUFFER_RESPONSE,
            &format!("(drop (call $read_body (i32.const 0) (global.get $buf) (i32.const {read})))")
                .repeat(read.min(1)),
            &format!("(drop (call $read_body (i32.const 1) (global.get $buf) (i32.const {read})))")
                .repeat(read.min(1)),
        );
        let brackets = around(BUFFER_REQUEST | BUFFER_RESPONSE, &bracket(0), &bracket(1));
        for (first, second) in [(peeks.clone(), brackets.clone()), (brackets, peeks)] {
            for mut client in clients(behind(first, second, service_fn(mirror)).await).await {
                assert_eq!(text(client.send(post("/", "body")).await.into_body()).await, "[[body]]");
            }
        }
    }
}

/// Adds its name to `x-by` and sets `x-last` to it, in the trailers of a kind.
fn sign_trailers(kind: u32, name: &str) -> String {
    format!(
        "(call $add_header_value (i32.const {kind}) {{x-by}} {{{name}}})
         (call $set_header_value (i32.const {kind}) {{x-last}} {{{name}}})"
    )
}

#[tokio::test]
async fn two_guests_edit_the_same_trailers_in_turn() {
    let signer = |name| around(BUFFER_RESPONSE | TRAILERS, &sign_trailers(2, name), &sign_trailers(3, name));
    let inner = service_fn(|request: Request<Body>| async move {
        let body = gather(request.into_body()).await;
        let trailers = body.trailers().expect("the guests set some");
        assert_eq!(trailers.get_all("x-by").iter().collect::<Vec<_>>(), ["client", "outer", "inner"]);
        assert_eq!(trailers.get_all("x-last").iter().collect::<Vec<_>>(), ["inner"]);
        Ok(Response::new(with_trailers("body", &[("x-by", "handler"), ("x-last", "handler")])))
    });
    for addr in behind(signer("outer"), signer("inner"), inner).await {
        let request = Request::post("/").body(with_trailers("body", &[("x-by", "client")])).unwrap();
        let answer = gather(Client::http2(addr).await.send(request).await.into_body()).await;
        let trailers = answer.trailers().unwrap();
        assert_eq!(trailers.get_all("x-by").iter().collect::<Vec<_>>(), ["handler", "inner", "outer"]);
        assert_eq!(trailers.get_all("x-last").iter().collect::<Vec<_>>(), ["outer"]);
        assert_eq!(answer.to_bytes(), "body");
    }
}

#[tokio::test]
async fn a_client_disconnect_lets_every_guest_of_the_chain_clean_up() {
    for nested in [false, true] {
        let (outer, inner) = (ledger(), ledger());
        let pending = service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, std::convert::Infallible>>()
        });
        {
            let (outer, inner) = (outer.clone(), inner.clone());
            let response = match nested {
                true => HttpWasmLayer::new(outer)
                    .layer(HttpWasmLayer::new(inner).layer(pending))
                    .oneshot(get("/"))
                    .boxed(),
                false => {
                    HttpWasmLayer::from(Chain::new([outer, inner])).layer(pending).oneshot(get("/")).boxed()
                }
            };
            let mut response = std::pin::pin!(response);
            assert!(is_pending(response.as_mut()).await);
        }
        for guest in [outer, inner] {
            idle(&guest, 1).await;
            assert_eq!(ledgers(&guest).await, [Ledger { begun: 1, ended: 1, errors: 1 }]);
        }
    }
}
