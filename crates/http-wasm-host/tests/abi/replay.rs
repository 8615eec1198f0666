//! Running a guest on recorded answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_wasm_host::{
    Answers, CallResult, ErrorKind, Guest, InMemoryHost, Limits, Phase, ReplayedCall, ReplayedModule,
    Returned, TraceEvent, TracedGrowth,
};

use crate::support::{block_on, engine};

/// Writes a letter that depends on the time to the URI, and traps if its memory can't grow by 16 MiB.
const GUEST: &str = r#"(module
  (import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
  (import "http_handler" "get_method" (func $get_method (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "/")
  (func (export "_initialize") (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 8))))
  (func (export "handle_request") (result i64)
    (i32.store8 (i32.const 1)
      (i32.add (i32.const 97) (i32.and (i32.load8_u (i32.const 9)) (i32.const 15))))
    (call $set_uri (i32.const 0) (i32.const 2))
    (drop (call $get_method (i32.const 100) (i32.const 8)))
    (if (i32.eq (memory.grow (i32.const 256)) (i32.const -1)) (then unreachable))
    i64.const 0x900000001)
  (func (export "handle_response") (param i32 i32)))"#;

/// The events of the instance that a replay needs.
#[derive(Debug, Clone, PartialEq)]
enum Event {
    Call(String, Vec<(u32, Vec<u8>)>, u64),
    Growth(TracedGrowth),
}

#[derive(Default)]
struct Script {
    events: Vec<Event>,
    at: usize,
    /// The URI that is set.
    uri: Vec<u8>,
}

impl Answers for Script {
    fn call(&mut self, call: ReplayedCall<'_>) -> Returned {
        let Some(Event::Call(function, written, value)) = self.events.get(self.at).cloned() else {
            return Returned::Trap("not recorded".to_owned());
        };
        self.at += 1;
        assert_eq!(call.function, function);
        if function == "set_uri" {
            self.uri = call.memory[call.args[0] as usize..][..call.args[1] as usize].to_vec();
        }
        for (offset, bytes) in written {
            call.memory[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        Returned::Value(value)
    }

    fn growth(&mut self, growth: TracedGrowth) -> bool {
        let Some(Event::Growth(recorded)) = self.events.get(self.at) else { return true };
        self.at += 1;
        assert_eq!((recorded.from, recorded.to), (growth.from, growth.to));
        recorded.granted
    }
}

#[test]
fn an_instance_does_the_same_again_with_the_same_answers() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let limits = Limits { memory_bytes: 4 * 1024 * 1024, ..Limits::default() };
    let builder = Guest::<InMemoryHost>::builder(engine()).limits(limits);
    let builder = builder.trace(move |_: u64, event: &TraceEvent<'_>| {
        let value = |result: &CallResult| match result {
            CallResult::Returned(value) => *value,
            other => panic!("{other:?}"),
        };
        let happened = match event {
            TraceEvent::HostCall(call) => {
                let written = match call.function.name {
                    "get_method" => vec![(call.args[0], call.written().to_vec())],
                    _ => Vec::new(),
                };
                Event::Call(call.function.name.to_owned(), written, value(&call.result))
            }
            TraceEvent::WasiCall(call) => {
                let written = call.written.iter().map(|(offset, bytes)| (*offset, bytes.to_vec())).collect();
                Event::Call(call.function.to_owned(), written, value(&call.result))
            }
            TraceEvent::Growth(growth) => Event::Growth(*growth),
            _ => return,
        };
        seen.lock().unwrap().push(happened);
    });
    let guest: Guest<InMemoryHost> = builder.load(GUEST.as_bytes()).unwrap();
    let Err(error) = block_on(guest.handle_request(InMemoryHost::new("PATCH", "/"))) else {
        panic!("its memory may not grow so much");
    };
    let events = std::mem::take(&mut *events.lock().unwrap());
    let time = |event: &Event| {
        matches!(event, Event::Call(name, written, 0)
        if name == "clock_time_get" && written.len() == 1 && written[0].0 == 8 && written[0].1.len() == 8)
    };
    assert!(events.iter().any(time), "{events:?}");

    let replayed = |events: &[Event]| {
        let module = ReplayedModule::load(engine(), "g", GUEST.as_bytes(), Duration::from_secs(10)).unwrap();
        let script = Script { events: events.to_vec(), ..Script::default() };
        let mut instance = module.instance(script).unwrap();
        instance.start().unwrap();
        let result = instance.handle_request();
        let answers = instance.answers();
        assert_eq!(answers.at, events.len(), "everything is asked for again");
        (result, answers.uri.clone())
    };
    let (result, uri) = replayed(&events);
    let again = result.unwrap_err();
    assert_eq!((again.kind(), again.phase()), (ErrorKind::Trap, Some(Phase::Request)));
    assert_eq!((again.reason(), again.backtrace()), (error.reason(), error.backtrace()));
    assert!(again.backtrace().is_some());

    // With other answers, the result differs.
    let other = events.iter().cloned().map(|event| match event {
        Event::Growth(mut growth) => {
            growth.granted = true;
            Event::Growth(growth)
        }
        Event::Call(name, mut written, value) if name == "clock_time_get" => {
            written[0].1[1] ^= 1;
            Event::Call(name, written, value)
        }
        same => same,
    });
    let other: Vec<_> = other.collect();
    let (result, other_uri) = replayed(&other);
    assert_eq!(result.unwrap(), (true, 9));
    assert_ne!(other_uri, uri);
}

#[test]
fn a_recorded_trap_of_a_host_function_is_one_again_and_an_endless_loop_ends() {
    struct Traps;
    impl Answers for Traps {
        fn call(&mut self, _: ReplayedCall<'_>) -> Returned {
            Returned::Trap("for a reason".to_owned())
        }

        fn growth(&mut self, _: TracedGrowth) -> bool {
            true
        }
    }
    let guest = r#"(module
      (import "http_handler" "get_status_code" (func $status (result i32)))
      (memory (export "memory") 1)
      (func (export "handle_request") (result i64) (loop $again (br $again)) i64.const 1)
      (func (export "handle_response") (param i32 i32) (drop (call $status))))"#;
    let module = ReplayedModule::load(engine(), "g", guest.as_bytes(), Duration::from_millis(20)).unwrap();
    let mut instance = module.instance(Traps).unwrap();
    instance.start().unwrap();
    let error = instance.handle_response(0, false).unwrap_err();
    assert_eq!((error.function(), error.reason()), (Some("get_status_code"), "for a reason"));
    let error = instance.handle_request().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(matches!(error.reason(), reason if reason.contains("20ms")), "{error}");
}
