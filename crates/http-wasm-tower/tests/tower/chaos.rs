//! Healthy and failing guests of every kind in one server, under load from clients of which many disconnect. This runs
//! in a separate process, so that the memory of other tests doesn't count.

#![expect(clippy::print_stdout, reason = "figures, for longer runs")]

use std::convert::Infallible;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_wasm_tower::{Body, Guest, HttpWasmLayer, Limits};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::guests::*;
use crate::support::*;

/// Duration of the load, in seconds.
const SECONDS: u64 = 3;

/// The variable that sets it, for longer runs.
const SECONDS_VARIABLE: &str = "HTTP_WASM_CHAOS_SECONDS";

#[test]
fn failing_guests_and_client_disconnects_affect_no_other_request_and_leak_nothing() {
    let this = std::env::current_exe().expect("a test has a binary");
    let arguments = ["chaos::in_its_own_process", "--exact", "--ignored", "--nocapture"];
    let output = Command::new(this).args(arguments).output().expect("the binary starts");
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    println!("{printed}");
}

/// Each guest, and whether it is healthy.
fn guests() -> Vec<(&'static str, Guest, bool)> {
    let limits = || Limits { deadline: Duration::from_millis(200), ..Limits::default() };
    let before = |features, text: &str| {
        let text =
            format!(r#"(func (export "handle_request") (result i64) (local $at i32) {text} (i64.const 1))"#);
        limited_guest(limits(), features, &text)
    };
    let reads = "(loop $more (br_if $more (i64.eqz (i64.shr_u
        (call $read_body (i32.const 0) (global.get $buf) (i32.const 64)) (i64.const 32)))))";
    let grows = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 256)) (i32.const -1))))
        (loop $fill
            (local.set $at (i32.add (local.get $at) (i32.const 1048576)))
            (memory.fill (local.get $at) (i32.const 1) (i32.const 1048576))
            (br_if $fill (i32.lt_u (local.get $at) (i32.const 67108864))))";
    let leaks = "(if (i32.ne (memory.grow (i32.const 16)) (i32.const -1)) (then
        (memory.fill (i32.mul (i32.sub (memory.size) (i32.const 1)) (i32.const 65536))
            (i32.const 1) (i32.const 65536))))";
    vec![
        ("loops", before(NO_FEATURES, "(loop $ever (br $ever))"), false),
        ("traps", before(NO_FEATURES, "unreachable"), false),
        ("traps_after", around(BUFFER_RESPONSE, "", "unreachable"), false),
        ("grows", before(NO_FEATURES, grows), false),
        ("leaks", before(NO_FEATURES, leaks), false),
        ("reads", before(BUFFER_REQUEST, reads), false),
        ("healthy", around(NO_FEATURES, "(call $set_header_value (i32.const 1) {x-a} {1})", ""), true),
        ("reads_both", ledger(), true),
    ]
}

#[test]
#[ignore = "started by the test above, in a separate process"]
fn in_its_own_process() {
    let server = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let server = server.expect("a runtime can be made");
    // Clients have a separate thread, so that they only wait for the server.
    let clients = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    clients.block_on(run(server.handle()));
}

async fn run(server: &Handle) {
    let seconds = std::env::var(SECONDS_VARIABLE).map_or(SECONDS, |text| text.parse().expect("a number"));
    let guests = guests();
    // Warm up, so that one-time allocations aren't counted.
    load(server, &guests, Duration::from_millis(300)).await;
    let before = quiet(server, &guests).await;
    let served = load(server, &guests, Duration::from_secs(seconds)).await;
    let after = quiet(server, &guests).await;
    println!("{served:?}\n{before:?}\n{after:?}");
    assert!(served.healthy > 0 && served.others > 0 && served.hung_up > 0, "{served:?}");
    // This isn't a latency target: a client that waits this long was forgotten.
    assert!(served.worst < TIMEOUT / 2, "{served:?}");
    assert_eq!((after.tasks, after.files), (before.tasks, before.files));
    if let (Some(before), Some(after)) = (before.resident, after.resident) {
        assert!(after <= before + before / 4 + 16 * 1024, "{before} KiB were resident, {after} KiB are");
    }
    for (name, guest, _) in &guests {
        let stats = guest.stats();
        let dropped =
            stats.dropped_failed + stats.dropped_cancelled + stats.dropped_unclean + stats.dropped_outgrown;
        assert_eq!(stats.created, stats.live + dropped, "{name}: {stats:?}");
        assert_eq!(stats.dropped_unclean, 0, "{name}: {stats:?}");
    }
}

/// The clients' results.
#[derive(Debug)]
struct Served {
    healthy: u64,
    others: u64,
    hung_up: u64,
    worst: Duration,
}

/// Resources in use while the server is idle.
#[derive(Debug)]
struct Quiet {
    tasks: usize,
    files: Option<usize>,
    /// In KiB.
    resident: Option<u64>,
}

/// Waits until the server is idle.
async fn quiet(server: &Handle, guests: &[(&str, Guest, bool)]) -> Quiet {
    for (_, guest, _) in guests {
        all_idle(guest).await;
    }
    let metrics = server.metrics();
    let none_left = async {
        while metrics.num_alive_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(none_left).await;
    let files = std::fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
    Quiet { tasks: metrics.num_alive_tasks(), files, resident: resident() }
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Serves all guests, each on its own path, and sends requests for this long.
async fn load(server: &Handle, guests: &[(&'static str, Guest, bool)], length: Duration) -> Served {
    let inner = service_fn(|request: Request<Body>| async move {
        // This handler ignores whether the client's body is complete.
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        Ok::<_, Infallible>(Response::new("hello".into_body()))
    });
    let services: Arc<Vec<_>> = Arc::new(
        guests
            .iter()
            .map(|(name, guest, _)| (*name, HttpWasmLayer::new(guest.clone()).layer(inner)))
            .collect(),
    );
    let route = service_fn(move |request: Request<hyper::body::Incoming>| {
        let name = request.uri().path().trim_start_matches('/');
        let found = services.iter().find(|(known, _)| *known == name);
        let service = found.expect("clients ask for guests that there are").1.clone();
        service.oneshot(request.map(Body::new))
    });
    let listener = server.spawn(TcpListener::bind("127.0.0.1:0")).await.expect("it doesn't panic");
    let listener = listener.expect("a free port");
    let addr = listener.local_addr().expect("a bound listener has an address");
    let serving = server.spawn(serve_on(listener, route));

    let counts = [const { AtomicU64::new(0) }; 3];
    let counts = Arc::new(counts);
    let end = Instant::now() + length;
    let clients = guests.iter().flat_map(|(name, _, healthy)| {
        // Two of each kind, and twice as many of the healthy ones.
        let count = if *healthy { 4 } else { 2 };
        (0..count).map(|client| tokio::spawn(ask(addr, name, *healthy, client, end, counts.clone())))
    });
    let clients: Vec<_> = clients.collect();
    let mut worst = Duration::ZERO;
    for client in clients {
        worst = worst.max(client.await.expect("no client has anything to complain of"));
    }
    serving.abort();
    let _ = serving.await;
    let [healthy, others, hung_up] = counts.each_ref().map(|count| count.load(Ordering::Relaxed));
    Served { healthy, others, hung_up, worst }
}

/// Sends the requests of one client, each on a new connection. Returns the longest time of a request to a healthy
/// guest.
async fn ask(
    addr: std::net::SocketAddr,
    name: &'static str,
    healthy: bool,
    client: u64,
    end: Instant,
    counts: Arc<[AtomicU64; 3]>,
) -> Duration {
    let mut random = Random(client * 7919 + name.len() as u64 * 104_729 + 1);
    let mut worst = Duration::ZERO;
    while Instant::now() < end {
        let start = Instant::now();
        let mut raw = Raw::connect(addr).await;
        raw.send(format!(
            "POST /{name} HTTP/1.1\r\nhost: a\r\ncontent-length: 200\r\nconnection: close\r\n\r\n"
        ))
        .await;
        raw.send([b'x'; 100]).await;
        // Half of the clients of healthy guests stay. Clients of looping guests stay as well: a loop continues until
        // its deadline even if its client has disconnected, so there would soon be a hundred of them.
        let goes = match name {
            "loops" => false,
            _ if healthy => client % 2 == 1,
            _ => random.below(3) == 0,
        };
        if goes {
            tokio::time::sleep(Duration::from_micros(random.below(5000))).await;
            counts[2].fetch_add(1, Ordering::Relaxed);
            if random.below(2) == 0 {
                let _ = raw.0.set_zero_linger();
            }
            continue;
        }
        if !healthy {
            tokio::time::sleep(Duration::from_millis(random.below(20))).await;
        }
        let mut answer = Vec::new();
        // A failing guest doesn't wait for the rest of the body, and the server may have closed the connection by now.
        let rest = tokio::io::AsyncWriteExt::write_all(&mut raw.0, &[b'x'; 100]).await;
        let read = soon(raw.0.read_to_end(&mut answer)).await;
        if healthy {
            rest.and(read.map(drop)).expect("the connection lives");
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"),
                "{answer}"
            );
            worst = worst.max(start.elapsed());
        }
        counts[usize::from(!healthy)].fetch_add(1, Ordering::Relaxed);
    }
    worst
}
