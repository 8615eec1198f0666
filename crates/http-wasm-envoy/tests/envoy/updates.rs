//! Configuration updates under traffic.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::{SHOWS_INVENTORY, Settings, Upstream, Wat, exchange, program};

/// The number of updates, unless the variable is set.
const UPDATES: usize = 60;
const UPDATES_VARIABLE: &str = "HTTP_WASM_ENVOY_UPDATES";
/// One of the guests changes after this many updates.
const CHANGES: usize = 10;
/// How much memory may grow during the second half of the updates. 1,000 leaked configurations with their guests would
/// be several times as large.
const GROWTH: u64 = 24 << 20;

fn marks(text: &'static str) -> Wat {
    Wat::new()
        .on_request(
            "(drop (call $enable_features (i32.const 2))) (call $add_header_value (i32.const 0) {} {})",
            &["x-guest", text],
        )
        .on_response("(call $add_header_value (i32.const 1) {} {})", &["x-guest", text])
}

#[test]
fn updates_fail_no_request_reload_no_guest_and_leak_nothing() {
    let Some(program) = program() else { return };
    let updates = std::env::var(UPDATES_VARIABLE).map_or(UPDATES, |number| number.parse().unwrap());
    let upstream = Upstream::start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec());
    let mut settings = Settings::new(upstream.addr);
    settings.is_dynamic = true;
    settings.extra.extend(SHOWS_INVENTORY);
    settings.extra.extend(["--drain-time-s", "1", "--drain-strategy", "immediate"]);
    let stays = settings.guest("stays", &marks("a"), "");
    let changes = settings.guest("changes", &marks("b"), r#""config": "VERSION""#);
    let config = |version: usize, metadata: bool| {
        let changes = changes.replace("VERSION", &version.to_string());
        format!(
            r#"{{"guests": {{"stays": {stays}, "changes": {changes}}}, "chain": ["stays", "changes"],
                 "metadata": {metadata}}}"#
        )
    };
    let route = |metadata: bool| {
        let config = format!(r#"{{"chain": ["stays"], "metadata": {metadata}}}"#);
        [("/route", config), ("/own", format!(r#"{{"guests": {{"stays": {stays}}}}}"#))]
    };
    let routes = route(false);
    let mut envoy = settings
        .filter(&config(0, false))
        .route_config(routes[0].0, &routes[0].1)
        .route_config(routes[1].0, &routes[1].1)
        .start(&program);

    let (addr, done, requests) = (envoy.addr, AtomicBool::new(false), AtomicUsize::new(0));
    let mut half = 0;
    thread::scope(|scope| {
        for (path, guests) in [("/", "a|b"), ("/route", "a"), ("/own", "a")] {
            let (done, requests) = (&done, &requests);
            scope.spawn(move || {
                let request = format!(
                    "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc"
                );
                while !done.load(Ordering::Relaxed) {
                    let response = exchange(addr, request.as_bytes());
                    let seen = response.header("x-guest");
                    let mut seen: Vec<_> = seen.iter().flat_map(|values| values.split('|')).collect();
                    seen.sort_unstable();
                    assert_eq!(
                        (response.status(), response.text()),
                        (200, "ok".into()),
                        "{path}: {response:?}"
                    );
                    assert_eq!(seen.join("|"), guests, "{path}");
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Stops the clients even if this test fails.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _done = Done(&done);
        for update in 1..=updates {
            envoy.update(&config(update / CHANGES, update % 2 == 1), &route(update % 2 == 1));
            upstream.got();
            if update == updates / 2 {
                half = envoy.resident();
            }
        }
    });
    let end = envoy.resident();
    let requests = requests.into_inner();
    let last = updates / CHANGES;
    let (on, off) = (config(last, true), config(last, false));
    let left = envoy.settle([&on, &off], |left| left["streams"] == 0 && left["routes"] == 0);
    let figures = format!(
        "{updates} updates, {requests} requests; memory after half of them {} MiB, after all {} MiB, settled {} MiB; \
         left: {left:?}",
        half >> 20,
        end >> 20,
        envoy.resident() >> 20
    );
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{figures}");
    assert!(requests > 3, "{figures}");
    assert_eq!((envoy.loads("stays"), envoy.loads("changes")), (1, last + 1), "{figures}");
    assert_eq!((left["guests"], left["calls"]), (2, 0), "{figures}");
    assert_eq!(left["instances"], left["idle"], "{figures}");
    assert!(end < half + GROWTH, "{figures}");
    assert!(upstream.got().iter().all(|request| request.text() == "abc"));
}
