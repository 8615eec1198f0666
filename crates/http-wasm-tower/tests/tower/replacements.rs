//! Replacements for instances that are lost.

use std::time::Duration;

use http_wasm_tower::{HttpWasmLayer, Limits};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::guests::*;
use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_starts_slowly_gets_another_instance_before_an_endless_call_is_stopped() {
    let limits = Limits { deadline: Duration::from_secs(4), ..Limits::default() };
    let text = format!(
        r#"{COMPUTE} (func (export "_initialize") (call $compute (i32.const 100000000)))
        (func (export "handle_request") (result i64) (loop $more (br $more)) (i64.const 1))
        (func (export "handle_response") (param i32 i32))"#
    );
    let guest = limited_guest(limits, NO_FEATURES, &text);
    assert_eq!((guest.stats().created, guest.stats().idle), (1, 1));
    let service = HttpWasmLayer::new(guest.clone()).layer(service_fn(mirror));
    let endless = tokio::spawn(service.oneshot(get("/")));
    reaches(&guest, "an idle instance beside the one in use", |stats| (stats.live, stats.idle) == (2, 1))
        .await;
    assert!(!endless.is_finished());
    assert_eq!(soon(endless).await.unwrap().unwrap().status(), 500);
}
