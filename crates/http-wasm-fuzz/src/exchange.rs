//! One exchange from end to end, with a guest that follows a script.

use std::cell::{Cell, OnceCell};
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use http_wasm_host::{
    Engine, Error, ErrorKind, Guest, Host, HttpHost, InMemoryHost, Limits, Outcome, Pinned, PoolStats,
};
use http_wasm_tck::guest::{Variant, wasm};
use http_wasm_tck::script::{AFTER_HEADER, BEFORE_HEADER, Script};
use http_wasm_tower::Chain;

use crate::checks;
use crate::drive::{CleanUps, drive};
use crate::message::{Request, Response};
use crate::subject::{Arrivals, Seen, Subject, client, http_request, http_response};
use crate::trace::Trace;

/// The plan of an exchange.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) request: Request,
    pub(crate) before: Script,
    pub(crate) after: Script,
    pub(crate) response: Response,
    pub(crate) end: End,
    /// How often the guest may wait in one phase before its client disconnects.
    pub(crate) waits: usize,
    /// Whether both hosts must produce the same result.
    pub(crate) comparable: bool,
}

/// What happens to the request between the phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    Failed,
    Dropped,
}

/// Limits that a script of a few steps can reach.
pub(crate) fn limits() -> Limits {
    Limits {
        replay_bytes: 16 * 1024,
        written_bytes: 32 * 1024,
        header_count: 24,
        header_bytes: 2 * 1024,
        uri_bytes: 512,
        log_line_bytes: 64,
        memory_bytes: 4 * 1024 * 1024,
        // No script computes for long, so whatever exceeds this has hung.
        deadline: Duration::from_secs(60),
        ..Limits::default()
    }
}

/// The conformance kit's guest, in a host of one kind.
pub(crate) struct Player<S: Host> {
    guest: Guest<S>,
    chain: Option<Chain>,
    clean_ups: CleanUps,
}

impl<S: Subject> Player<S> {
    pub(crate) fn new() -> Self {
        let clean_ups = CleanUps::default();
        let engine = Engine::builder().runtime(clean_ups.clone()).build().expect("WebAssembly works here");
        let wasm = wasm(Variant::Conformance).expect("the kit's guest is a module");
        let guest =
            Guest::<S>::builder(&engine).name(checks::GUEST).limits(limits()).config("a=b").load(&wasm);
        let guest = guest.expect("the kit's guest is one of ours");
        Self { chain: S::chain(&guest), guest, clean_ups }
    }

    /// Plays `plan`, and checks the invariants of every exchange.
    pub(crate) fn play(&self, plan: &Plan) -> Trace {
        let trace = self.run(plan);
        self.clean_ups.run();
        nothing_is_lost(self.guest.stats());
        let client_sent_head = plan.request.method == "HEAD";
        if let Some(request) = &trace.request {
            checks::request(request, &plan.request);
        }
        if let Some(response) = &trace.response {
            checks::response(response, client_sent_head);
        }
        if let Some(error) = &trace.error {
            checks::error(error);
            let breaks = plan.request.message.breaks || plan.response.message.breaks;
            assert!(breaks || !matches!(error.kind(), ErrorKind::Body(_)), "{error}");
        }
        trace
    }

    fn run(&self, plan: &Plan) -> Trace {
        let mut trace = Trace::default();
        let mut request = plan.request.clone();
        for (name, script) in [(BEFORE_HEADER, &plan.before), (AFTER_HEADER, &plan.after)] {
            let script = script.to_header();
            if !script.is_empty() {
                request.message.fields.push((name.into(), script.into()));
            }
        }
        match (&self.chain, plan.end) {
            (Some(chain), End::Answered) => through_chain(chain, plan, &request, &mut trace),
            _ => self.by_hand(plan, &request, &mut trace),
        }
        trace
    }

    /// Cases that adapters don't cover: a special end between the phases, or a host without an adapter.
    fn by_hand(&self, plan: &Plan, request: &Request, trace: &mut Trace) {
        let (host, mut arrivals) = S::start(request);
        let waits = Cell::new(plan.waits);
        let outcome = drive(self.guest.handle_request(host), &waits, || arrivals.next());
        arrivals.rest();
        match outcome {
            None => {}
            Some(Err(error)) => trace.error = Some(error.into()),
            Some(Ok(Outcome::Respond(host))) => trace.response = Some(host.into_response()),
            Some(Ok(Outcome::Bypassed { .. })) => panic!("the guest fails closed"),
            Some(Ok(Outcome::Streams(_))) => panic!("the guest doesn't stream"),
            Some(Ok(Outcome::Next(pinned))) => go_on(plan, pinned, trace),
        }
    }
}

fn through_chain(chain: &Chain, plan: &Plan, request: &Request, trace: &mut Trace) {
    let waits = Cell::new(plan.waits);
    let seen = &mut trace.request;
    let call = chain.call_observed(http_request(request), client(request), (), |request| {
        // Bodies of this host are always ready, so only the guest waits.
        waits.set(plan.waits);
        let request = seen.insert(Seen::request(request));
        ready(Ok::<_, Infallible>(http_response(&answer(plan, request))))
    });
    match drive(call, &waits, || false) {
        None => {}
        Some(Ok(mut response)) => match response.extensions_mut().remove::<Arc<Error>>() {
            Some(error) => trace.error = Some(error),
            None => trace.response = Some(Seen::response(response)),
        },
    }
}

/// The next handler's response to this request.
fn answer(plan: &Plan, request: &Seen) -> Response {
    let mut response = plan.response.clone();
    if request.method == b"HEAD" {
        response.leave_body_out();
    }
    response
}

fn go_on<S: Subject>(plan: &Plan, mut pinned: Pinned<S>, trace: &mut Trace) {
    let reads_request = pinned.reads_request();
    let request = trace.request.insert(pinned.host_mut().take_request(reads_request));
    let response = answer(plan, request);
    let waits = Cell::new(plan.waits);
    let handled = match plan.end {
        End::Dropped => return,
        End::Failed => drive(pinned.handle_error(), &waits, || false),
        End::Answered => {
            let mut arrivals: Arrivals = pinned.host_mut().answer(&response);
            let handled = drive(pinned.handle_response(), &waits, || arrivals.next());
            arrivals.rest();
            handled.map(|handled| handled.map(|handled| handled.host))
        }
    };
    match handled {
        // After an error of the next handler, there is no response for the client.
        Some(Ok(host)) if plan.end == End::Answered => trace.response = Some(host.into_response()),
        Some(Ok(_)) | None => {}
        Some(Err(error)) => trace.error = Some(error.into()),
    }
}

/// Checks that every instance that was created is in the pool, or was dropped and counted.
pub(crate) fn nothing_is_lost(stats: PoolStats) {
    let dropped = stats.dropped_failed
        + stats.dropped_cancelled
        + stats.dropped_unclean
        + stats.dropped_outgrown
        + stats.dropped_idle;
    assert_eq!(stats.live, stats.idle, "{stats:?}");
    assert_eq!(stats.created, stats.live + dropped, "{stats:?}");
    assert_eq!(stats.dropped_unclean, 0, "{stats:?}");
}

/// A player for each kind of host.
struct Stage {
    http: OnceCell<Player<HttpHost>>,
    in_memory: OnceCell<Player<InMemoryHost>>,
}

impl Stage {
    const fn new() -> Self {
        Self { http: OnceCell::new(), in_memory: OnceCell::new() }
    }

    fn play(&self, plan: &Plan) -> Trace {
        let trace = self.http.get_or_init(Player::new).play(plan);
        // The in-memory host has no incomplete bodies.
        if !plan.request.message.breaks && !plan.response.message.breaks {
            let other = self.in_memory.get_or_init(Player::new).play(plan);
            if plan.comparable {
                checks::same(&trace, &other);
            }
        }
        trace
    }
}

/// Plays `plan` in both hosts.
pub(crate) fn play_in_both(plan: &Plan) -> Trace {
    // A script that writes to arbitrary addresses corrupts its instance's memory, which would affect the next
    // comparison.
    thread_local! {
        static COMPARABLE: Stage = const { Stage::new() };
        static ARBITRARY: Stage = const { Stage::new() };
    }
    if plan.comparable {
        COMPARABLE.with(|stage| stage.play(plan))
    } else {
        ARBITRARY.with(|stage| stage.play(plan))
    }
}
