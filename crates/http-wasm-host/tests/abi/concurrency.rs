//! Many concurrent exchanges, on many threads.

use std::sync::Barrier;

use http_wasm_host::{InMemoryHost, Outcome, Pinned};

use crate::support::{BUFFER_RESPONSE, ByHand, Probe, block_on, eventually, header, pattern, proceeds};

const EXCHANGES: usize = 64;

/// A guest that stores the length of the URI in memory, returns a multiple of it as `req_ctx`, and compares both in
/// `handle_response`. It responds with the header `x-state`, which is as long as the URI.
fn stateful() -> Probe<InMemoryHost> {
    proceeds(
        "(i32.store 0 (call $get_uri BUF 0))
         (return (i64.or (i64.const 1) (i64.shl (i64.extend_i32_u (i32.mul 1000003 (i32.load 0))) (i64.const 32))))",
    )
    .features(BUFFER_RESPONSE)
    .on_response(
        "(if (i32.ne (local.get $req_ctx) (i32.mul 1000003 (i32.load 0))) (then unreachable))
         (if (i32.ne (i32.load 0) (call $get_uri BUF 0)) (then unreachable))
         (memory.fill BUF 120 (i32.load 0))
         (call $set_header_value 1 \"x-state\" BUF (i32.load 0))",
    )
    .load()
}

fn request(n: usize) -> InMemoryHost {
    InMemoryHost::new("GET", &format!("/{}", "u".repeat(n)))
}

fn check(n: usize, host: &InMemoryHost) {
    assert_eq!(header(&host.response, "x-state"), Some("x".repeat(n + 1)));
}

#[test]
fn each_of_64_interleaved_exchanges_sees_its_own_state_on_any_thread() {
    let probe = stateful();
    for _ in 0..3 {
        let open: Vec<(usize, Pinned<_>)> = (0..EXCHANGES).map(|n| (n, probe.next(request(n)))).collect();
        assert_eq!(probe.stats().live, EXCHANGES as u64);
        // Started on one thread, and finished on others in a different order.
        let mut shares: Vec<Vec<_>> = (0..8).map(|_| Vec::new()).collect();
        for (n, pinned) in open.into_iter().rev() {
            shares[n * 7 % 8].push((n, pinned));
        }
        std::thread::scope(|scope| {
            for share in shares {
                scope.spawn(move || {
                    for (n, pinned) in share {
                        check(n, &block_on(pinned.handle_response()).unwrap().host);
                    }
                });
            }
        });
        let stats = probe.stats();
        assert_eq!((stats.live, stats.idle, stats.created), (64, 64, 64));
    }
}

#[test]
fn threads_that_start_exchanges_at_once_never_share_an_instance() {
    let probe = stateful();
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (probe, barrier) = (&probe, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..100 {
                    let n = thread * 100 + round;
                    match probe.outcome(request(n)).unwrap() {
                        Outcome::Next(pinned) if round % 10 == 3 => drop(pinned),
                        Outcome::Next(pinned) => check(n, &block_on(pinned.handle_response()).unwrap().host),
                        _ => unreachable!(),
                    }
                }
            });
        }
    });
    eventually("all are idle", || probe.stats().idle == probe.stats().live);
    let stats = probe.stats();
    assert_eq!(stats.dropped_failed + stats.dropped_cancelled + stats.dropped_unclean, 0);
    assert!(stats.live <= 8 + 80, "{stats:?}");
}

#[test]
fn interleaved_suspended_exchanges_each_get_their_own_body() {
    let probe = proceeds("(call $write_body 0 BUF (i32.wrap_i64 (call $read_body 0 BUF LIMIT)))").load();
    let mut open = Vec::new();
    for n in 0..EXCHANGES {
        let mut host = request(n);
        let feed = host.request.feed_body();
        let mut call = ByHand::new(probe.0.handle_request(host));
        call.waits();
        open.push((feed, call));
    }
    let body = pattern(EXCHANGES * 10);
    for round in 0..10 {
        for (n, (feed, call)) in open.iter_mut().enumerate() {
            feed.push(vec![body[n * 10 + round]]);
            call.waits();
        }
    }
    for (n, (feed, mut call)) in open.into_iter().enumerate() {
        feed.finish(None);
        let Ok(Outcome::Next(mut pinned)) = call.ends() else { panic!("the guest proceeds") };
        assert_eq!(pinned.host_mut().request.take_body().0, &body[n * 10..][..10]);
        block_on(pinned.handle_response()).unwrap();
    }
    assert_eq!((probe.stats().live, probe.stats().idle), (64, 64));
}

#[test]
fn a_suspended_exchange_can_resume_on_another_thread() {
    let probe = proceeds("(call $write_body 0 BUF (i32.wrap_i64 (call $read_body 0 BUF LIMIT)))").load();
    let mut host = request(1);
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    for piece in ["a", "b", "c"] {
        call = std::thread::scope(|scope| {
            let other = scope.spawn(move || {
                call.waits();
                call
            });
            other.join().unwrap()
        });
        feed.push(piece);
    }
    feed.finish(None);
    let Ok(Outcome::Next(mut pinned)) = call.ends() else { panic!("the guest proceeds") };
    assert_eq!(pinned.host_mut().request.take_body().0, b"abc");
}
