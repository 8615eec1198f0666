//! The loops that take the time.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_wasm_gateway::StartError;
use http_wasm_host::{Outcome, Pinned};
use http_wasm_tower::{Body, Error, Guest, HttpHost};
use tokio::runtime::{Builder, Runtime};

use super::request::SampleRequest;
use crate::failure::{Failure, plain};

/// Exchanges whose phases are timed one by one: enough for a p99 that stays, few enough to keep.
const MAX_SAMPLES: usize = 1_000_000;

/// Requests made at once, so that making them can be taken off. More would fall out of the cache, which no server's do.
const BATCH: usize = 16;

/// A guest, and what it is sent.
pub(crate) struct Course {
    pub(super) guest: Guest,
    pub(super) request: SampleRequest,
}

/// The times of both phases, and how the requests ended.
pub(crate) struct Phases {
    pub(crate) handle_request: Vec<Duration>,
    /// Empty when the guest answers the request itself.
    pub(crate) handle_response: Vec<Duration>,
    pub(crate) outcome: String,
}

impl Course {
    pub(crate) fn new(guest: Guest, request: SampleRequest) -> Self {
        Self { guest, request }
    }

    /// One exchange.
    pub(crate) fn once(&self) -> Result<(), Failure> {
        runtime()?.block_on(self.exchange(self.request.build())).map(drop).map_err(failed)
    }

    /// The time of each phase, one request after the other, the reading of the clock taken off.
    pub(crate) fn phases(&self, share: Duration) -> Result<Phases, Failure> {
        let clock = clock();
        let (mut handle_request, mut handle_response) = (Vec::new(), Vec::new());
        let mut status = None;
        let begin = Instant::now();
        let measured = runtime()?.block_on(async {
            while handle_request.len() < MAX_SAMPLES && (handle_request.is_empty() || begin.elapsed() < share)
            {
                let host = HttpHost::new(self.request.build(), None);
                let start = Instant::now();
                let outcome = self.guest.handle_request(host).await?;
                handle_request.push(start.elapsed().saturating_sub(clock));
                match outcome {
                    Outcome::Respond(host) => status = Some(host.into_response().status()),
                    Outcome::Bypassed { error, .. } => return Err(error),
                    Outcome::Next(mut pinned) => {
                        next(&mut pinned);
                        let start = Instant::now();
                        let host = pinned.handle_response().await?.host;
                        handle_response.push(start.elapsed().saturating_sub(clock));
                        drop(host.into_response());
                    }
                }
            }
            Ok::<_, Error>(())
        });
        measured.map_err(failed)?;
        let outcome = match status {
            Some(status) => format!("answered by the guest with {}", status.as_u16()),
            None => "passed on by the guest".to_owned(),
        };
        Ok(Phases { handle_request, handle_response, outcome })
    }

    /// Requests per second that `threads` serve together, the making of requests taken off.
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
        let (mut served, mut taken) = (0, Duration::ZERO);
        let begin = Instant::now();
        let measured = runtime()?.block_on(async {
            while served == 0 || begin.elapsed() < share {
                let requests: Vec<_> = (0..BATCH).map(|_| self.request.build()).collect();
                let start = Instant::now();
                for request in requests {
                    black_box(self.exchange(request).await?);
                }
                taken += start.elapsed();
                served += BATCH;
            }
            Ok::<_, Error>(())
        });
        measured.map_err(failed)?;
        Ok(served as f64 / taken.as_secs_f64())
    }

    /// Takes a request through the guest, as the tower layer does.
    pub(super) async fn exchange(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        match self.guest.handle_request(HttpHost::new(request, None)).await? {
            Outcome::Respond(host) => Ok(host.into_response()),
            Outcome::Bypassed { error, .. } => Err(error),
            Outcome::Next(mut pinned) => {
                next(&mut pinned);
                Ok(pinned.handle_response().await?.host.into_response())
            }
        }
    }
}

/// The next handler: drops the request and answers `hello world`.
pub(super) fn next(pinned: &mut Pinned<HttpHost>) {
    let keep_head = pinned.reads_request();
    drop(black_box(pinned.host_mut().take_request(keep_head)));
    let mut response = Response::new(Body::from(Bytes::from_static(b"hello world")));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    pinned.host_mut().set_response(response);
}

/// What reading the clock twice adds to a time.
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

/// The executor of one thread: guests may sleep, or yield when they compute for long.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Other(format!("cannot start the runtime: {}", plain(&error))))
}

pub(super) fn failed(error: Error) -> Failure {
    StartError::Guests(vec![format!("the guest fails at this request: {error}")]).into()
}
