//! The measurement loops.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_wasm_gateway::StartError;
use http_wasm_tower::{Body, Chain, Error, Guest, GuestObserver};
use tokio::runtime::{Builder, Runtime};

use crate::exchange::SampleRequest;
use crate::failure::{Failure, plain};

/// Exchanges whose phases are timed individually: enough for a stable p99, and few enough to fit in memory.
const MAX_SAMPLES: usize = 1_000_000;

/// Requests created in advance, so that the time for creating them can be subtracted. With more, they would no longer
/// be in the cache when they are used, unlike those of a server.
const BATCH: usize = 16;

/// A guest and the request to send to it.
pub(crate) struct Workload {
    pub(super) guest: Guest,
    pub(super) chain: Chain,
    pub(super) request: SampleRequest,
}

/// The times of both phases, and how the requests ended.
pub(crate) struct Phases {
    pub(crate) handle_request: Vec<Duration>,
    /// Empty if the guest responds itself.
    pub(crate) handle_response: Vec<Duration>,
    pub(crate) outcome: String,
}

impl Workload {
    pub(crate) fn new(guest: Guest, request: SampleRequest) -> Self {
        Self { chain: Chain::new([guest.clone()]), guest, request }
    }

    /// One exchange.
    pub(crate) fn once(&self) -> Result<(), Failure> {
        runtime()?.block_on(self.exchange(self.request.build())).map(drop).map_err(failed)
    }

    /// The time of each phase for sequential requests, minus the time for reading the clock.
    pub(crate) fn phases(&self, share: Duration) -> Result<Phases, Failure> {
        let clock = clock();
        let times = RefCell::default();
        let mut status = None;
        let begin = Instant::now();
        let measured = runtime()?.block_on(async {
            let mut count = 0;
            while count < MAX_SAMPLES && (count == 0 || begin.elapsed() < share) {
                let observer = |_| Stopwatch { times: &times, clock, passed: false, start: Instant::now() };
                let call = self.chain.call_observed(self.request.build(), None, observer, hello);
                let response = served(call.await)?;
                count += 1;
                if times.borrow().handle_response.is_empty() {
                    status = Some(response.status());
                }
            }
            Ok::<_, Arc<Error>>(())
        });
        measured.map_err(failed)?;
        let Samples { handle_request, handle_response } = times.into_inner();
        let outcome = match status {
            Some(status) => format!("answered by the guest with {}", status.as_u16()),
            None => "forwarded by the guest".to_owned(),
        };
        Ok(Phases { handle_request, handle_response, outcome })
    }

    /// Requests per second served by `threads` threads together, minus the time for creating requests.
    pub(crate) fn throughput(&self, threads: usize, share: Duration) -> Result<f64, Failure> {
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.rate(share))).collect();
            let rates = running
                .into_iter()
                .map(|thread| thread.join().expect("a thread that measures doesn't panic"));
            rates.sum()
        })
    }

    /// Requests per second of this thread.
    fn rate(&self, share: Duration) -> Result<f64, Failure> {
        let (mut count, mut taken) = (0, Duration::ZERO);
        let begin = Instant::now();
        let measured = runtime()?.block_on(async {
            while count == 0 || begin.elapsed() < share {
                let requests: Vec<_> = (0..BATCH).map(|_| self.request.build()).collect();
                let start = Instant::now();
                for request in requests {
                    black_box(self.exchange(request).await?);
                }
                taken += start.elapsed();
                count += BATCH;
            }
            Ok::<_, Arc<Error>>(())
        });
        measured.map_err(failed)?;
        Ok(count as f64 / taken.as_secs_f64())
    }

    /// Runs the guest on a request.
    pub(super) async fn exchange(&self, request: Request<Body>) -> Result<Response<Body>, Arc<Error>> {
        served(self.chain.call(request, hello).await)
    }
}

/// The times of both phases.
#[derive(Default)]
struct Samples {
    handle_request: Vec<Duration>,
    handle_response: Vec<Duration>,
}

/// Measures each phase of one exchange.
struct Stopwatch<'a> {
    times: &'a RefCell<Samples>,
    clock: Duration,
    passed: bool,
    start: Instant,
}

impl GuestObserver for Stopwatch<'_> {
    fn passed(&mut self) {
        let time = self.start.elapsed().saturating_sub(self.clock);
        self.times.borrow_mut().handle_request.push(time);
        self.passed = true;
    }

    fn resumed(&mut self) {
        self.start = Instant::now();
    }

    fn finished(self, _: Option<&Error>) {
        let time = self.start.elapsed().saturating_sub(self.clock);
        let mut times = self.times.borrow_mut();
        let times = if self.passed { &mut times.handle_response } else { &mut times.handle_request };
        times.push(time);
    }
}

/// The next handler: drops the request and responds with `hello world`.
pub(super) fn hello(request: Request<Body>) -> Ready<Result<Response<Body>, Infallible>> {
    drop(black_box(request));
    let mut response = Response::new(Body::from(Bytes::from_static(b"hello world")));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    ready(Ok(response))
}

/// The response, or the guest's error.
pub(super) fn served(response: Result<Response<Body>, Infallible>) -> Result<Response<Body>, Arc<Error>> {
    let Ok(mut response) = response;
    match response.extensions_mut().remove::<Arc<Error>>() {
        Some(error) => Err(error),
        None => Ok(response),
    }
}

/// The time that reading the clock twice adds to a measurement.
fn clock() -> Duration {
    let mut times: Vec<_> = (0..1_001)
        .map(|_| {
            let start = Instant::now();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// A single-threaded runtime: guests may sleep, or yield during long computations.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Other(format!("cannot start the runtime: {}", plain(&error))))
}

pub(super) fn failed(error: Arc<Error>) -> Failure {
    StartError::Guests(vec![format!("the guest fails on this request: {error}")]).into()
}
