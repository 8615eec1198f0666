//! A new instance of a guest whose start-up takes about 50 ms and fills 1 MiB, with and without a snapshot: the time
//! that a request waits if there is no idle instance.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_executor::block_on;
use http_wasm_host::{Engine, Guest, InMemoryHost, Limits, Outcome, Snapshot};

/// Each request grows the memory, after which the instance may not be reused, so each request needs a new one.
fn guest(snapshot: Snapshot) -> Guest<InMemoryHost> {
    let text = r#"(module
      (memory (export "memory") 17)
      (func (export "_initialize") (local $round i32) (local $at i32)
        (loop $rounds
          (local.set $at (i32.const 0))
          (loop $fill
            (i32.store (local.get $at)
              (i32.add (i32.load (local.get $at)) (i32.add (local.get $at) (i32.const 1))))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br_if $fill (i32.lt_u (local.get $at) (i32.const 1048576))))
          (local.set $round (i32.add (local.get $round) (i32.const 1)))
          (br_if $rounds (i32.lt_u (local.get $round) (i32.const 300)))))
      (func (export "handle_request") (result i64)
        (drop (memory.grow (i32.const 1)))
        (i64.const 0))
      (func (export "handle_response") (param i32 i32)))"#;
    let limits = Limits { retained_growth: 0, ..Limits::default() };
    let engine = Engine::new().expect("an engine");
    let builder = Guest::<InMemoryHost>::builder(&engine).limits(limits).snapshot(snapshot);
    builder.load(text.as_bytes()).expect("a valid guest")
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("new instance");
    group.sample_size(10);
    for (name, snapshot) in [("without a snapshot", Snapshot::Off), ("with a snapshot", Snapshot::On)] {
        let guest = guest(snapshot);
        group.bench_function(name, |b| {
            b.iter(|| match block_on(guest.handle_request(InMemoryHost::new("GET", "/"))) {
                Ok(Outcome::Respond(host)) => black_box(host),
                Ok(_) => panic!("the guest stops"),
                Err(error) => panic!("{error}"),
            });
        });
        let stats = guest.stats();
        assert!(stats.created > 10 && stats.idle == 0, "each request has had its own: {stats:?}");
    }
    group.finish();
}

criterion_group!(group, benches);
criterion_main!(group);
