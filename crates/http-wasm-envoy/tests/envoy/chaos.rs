//! Everything that can go wrong, all at once, next to requests that must not be affected.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::support::{
    ABUSES, Envoy, Outgoing, PATHS, SHOWS_INVENTORY, Settings, Upstream, Wat, abuse, abuse_routes,
    abuse_upstream, exchange, exchange_http2, program,
};

/// Duration in seconds, unless the variable is set.
const SECONDS: u64 = 4;
const SECONDS_VARIABLE: &str = "HTTP_WASM_ENVOY_CHAOS_SECONDS";
/// The number of misbehaving clients.
const ABUSERS: usize = 4;
/// How much memory may grow after the first quarter of the time.
const GROWTH: u64 = 48 << 20;

/// Marks requests and responses, and reads both bodies.
fn marks() -> Wat {
    Wat::new()
        .on_request(
            "(drop (call $enable_features (i32.const 7))) (drop (call $read_all (i32.const 0)))
             (call $set_header_value (i32.const 0) {} {})",
            &["x-guest", "request"],
        )
        .on_response(
            "(drop (call $read_all (i32.const 1))) (call $set_header_value (i32.const 1) {} {})",
            &["x-guest", "response"],
        )
}

/// Counts of requests and events.
#[derive(Debug, Default)]
struct Counts {
    innocent: AtomicUsize,
    abuses: AtomicUsize,
    updates: usize,
}

fn run(
    runtime: &Runtime,
    envoy: &mut Envoy,
    upstream: &Upstream,
    config: &dyn Fn(usize) -> String,
    time: Duration,
    counts: &mut Counts,
) {
    let routes = abuse_routes(envoy.settings());
    envoy.update(&config(counts.updates), &routes);
    let addr = envoy.addr;
    let until = Instant::now() + time;
    let failed = AtomicBool::new(false);
    struct Failed<'a>(&'a AtomicBool);
    impl Drop for Failed<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.store(true, Ordering::Relaxed);
            }
        }
    }
    let goes_on = || Instant::now() < until && !failed.load(Ordering::Relaxed);
    let Counts { innocent, abuses, updates } = counts;
    thread::scope(|scope| {
        for http2 in [false, true] {
            let (goes_on, failed, innocent) = (&goes_on, &failed, &*innocent);
            scope.spawn(move || {
                let _failed = Failed(failed);
                let request =
                    b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
                let http2_request = Outgoing {
                    start: "POST /".into(),
                    body: vec![Bytes::from_static(b"abc")],
                    ..Outgoing::default()
                };
                while goes_on() {
                    let response = match http2 {
                        true => exchange_http2(runtime, addr, &http2_request),
                        false => exchange(addr, request),
                    };
                    assert_eq!((response.status(), response.text()), (200, "ok".into()), "{response:?}");
                    assert_eq!(response.header("x-guest").as_deref(), Some("response"), "{response:?}");
                    innocent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for abuser in 0..ABUSERS {
            let (goes_on, failed, abuses) = (&goes_on, &failed, &*abuses);
            scope.spawn(move || {
                let _failed = Failed(failed);
                let all = PATHS.into_iter().flat_map(|path| ABUSES.map(|kind| (path, kind))).cycle();
                for (path, kind) in all.skip(abuser * PATHS.len() * ABUSES.len() / ABUSERS) {
                    if !goes_on() {
                        return;
                    }
                    abuse(runtime, addr, path, kind);
                    abuses.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _failed = Failed(&failed);
        while goes_on() {
            *updates += 1;
            envoy.update(&config(*updates), &routes);
            for request in upstream.got() {
                let is_innocent = request.path() == "/";
                let seen = request.header("x-guest");
                assert_eq!(seen.as_deref(), is_innocent.then_some("request"), "{request:?}");
                assert!(!is_innocent || request.text() == "abc", "{request:?}");
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    envoy.assert_alive();
}

#[test]
fn abusive_clients_failing_guests_and_updates_do_not_affect_other_requests() {
    let Some(program) = program() else { return };
    let seconds = std::env::var(SECONDS_VARIABLE).map_or(SECONDS, |number| number.parse().unwrap());
    let runtime = Runtime::new().unwrap();
    let upstream = abuse_upstream();
    let mut settings = Settings::new(upstream.addr);
    settings.is_dynamic = true;
    settings.extra.extend(SHOWS_INVENTORY);
    // Gives streams of replaced listeners time to end.
    settings.extra.extend(["--drain-time-s", "10", "--drain-strategy", "immediate"]);
    let guest = settings.guest("innocent", &marks(), "");
    let config = |update: usize| {
        format!(r#"{{"guests": {{"innocent": {guest}}}, "metadata": {}}}"#, update.is_multiple_of(2))
    };
    let mut envoy = settings.filter(&config(0)).start(&program);
    let mut counts = Counts::default();
    let settled = |envoy: &mut Envoy| {
        envoy.settle([&config(1), &config(2)], |left| {
            let unused = ["routes", "streams", "calls"].map(|name| left[name]);
            unused == [0; 3] && left["instances"] == left["idle"] && left["guests"] == 1
        })
    };
    run(&runtime, &mut envoy, &upstream, &config, Duration::from_millis(seconds * 250), &mut counts);
    settled(&mut envoy);
    let before = envoy.resident();
    run(&runtime, &mut envoy, &upstream, &config, Duration::from_millis(seconds * 750), &mut counts);
    let left = settled(&mut envoy);
    let after = envoy.resident();
    let figures = format!(
        "{seconds} seconds: {counts:?}; memory after a quarter {} MiB, in the end {} MiB; left: {left:?}",
        before >> 20,
        after >> 20
    );
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{figures}");
    assert!(after < before + GROWTH, "{figures}");
    let log = envoy.log();
    assert!(!log.contains("panicked") && !log.contains("leaked"), "{log}");
}
