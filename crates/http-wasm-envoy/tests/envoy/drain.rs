//! Processors that stop, and clients that disconnect, while other requests continue.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::ext_proc::DUPLEX;
use crate::support::{Envoy, Message, Processor, Settings, Upstream, Wat, program};

/// Marks responses with the processor's name.
fn named(name: &str) -> Wat {
    Wat::new()
        .on_request("(drop (call $enable_features (i32.const 2)))", &[])
        .on_response("(call $set_header_value (i32.const 1) {} {})", &["x-processor", name])
}

/// Sends requests until `end`, and passes the responses to `seen`.
fn load(envoy: &Envoy, end: &AtomicBool, seen: impl Fn(Message)) {
    while !end.load(Ordering::Relaxed) {
        seen(envoy.get("/"));
    }
}

#[test]
fn no_request_fails_while_one_of_two_processors_drains_under_load() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let more = "ext_proc = {}\n[server]\ndrain_delay = \"5s\"";
    let mut first = Processor::start(&[&named("a")], more);
    let second = Processor::start(&[&named("b")], more);
    let envoy = Settings::new(upstream.addr).ext_proc(&[first.addr, second.addr], DUPLEX).start(&program);
    let (end, drained) = (AtomicBool::new(false), AtomicBool::new(false));
    let [by_first, by_second, late, failed] = [const { AtomicUsize::new(0) }; 4];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                load(&envoy, &end, |response| {
                    let count = match (response.status(), response.header("x-processor").as_deref()) {
                        (200, Some("a")) => &by_first,
                        (200, Some("b")) if drained.load(Ordering::Relaxed) => &late,
                        (200, Some("b")) => &by_second,
                        _ => &failed,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                });
            });
        }
        let enough = |count: &AtomicUsize| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while count.load(Ordering::Relaxed) < 20 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        enough(&by_first);
        enough(&by_second);
        first.drain();
        drained.store(true, Ordering::Relaxed);
        enough(&late);
        end.store(true, Ordering::Relaxed);
    });
    let [by_first, by_second, late, failed] =
        [by_first, by_second, late, failed].map(AtomicUsize::into_inner);
    assert!(by_first >= 20 && by_second >= 20 && late >= 20, "{by_first}, {by_second}, {late}");
    assert_eq!(failed, 0, "of {}", by_first + by_second + late + failed);
}

#[test]
fn client_disconnects_do_not_end_the_connection_shared_with_other_streams() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let processor = Processor::start(&[&named("a")], "ext_proc = {}");
    let mut envoy = Settings::new(upstream.addr).ext_proc(&[processor.addr], DUPLEX).start(&program);
    assert_eq!(envoy.get("/").status(), 200);
    let (end, failed) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                load(&envoy, &end, |response| {
                    failed.fetch_add(usize::from(response.status() != 200), Ordering::Relaxed);
                });
            });
        }
        let rude: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for number in 0..1000_u64 {
                        let mut socket = TcpStream::connect(envoy.addr).unwrap();
                        socket
                            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc")
                            .unwrap();
                        std::thread::sleep(Duration::from_micros(number % 7 * 200));
                        let _gone = socket.shutdown(Shutdown::Both);
                    }
                })
            })
            .collect();
        for rude in rude {
            rude.join().unwrap();
        }
        end.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.into_inner(), 0);
    let stats = envoy.ask("/stats?filter=cluster.processor.upstream_cx_(total|destroy)");
    let value = |name: &str| {
        let line = stats.lines().find(|line| line.starts_with(&format!("cluster.processor.{name}:")));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert_eq!(value("upstream_cx_destroy_remote_with_active_rq"), Some(0), "{stats}");
    envoy.assert_alive();
}
