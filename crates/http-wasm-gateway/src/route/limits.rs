//! The limits of a route: concurrency, body size and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use http_body::Body as _;
use http_body_util::{LengthLimitError, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::handler::Handler;
use crate::body::{BoxBody, boxed, observed};
use crate::config;
use crate::exchange::{Abandoned, AbandonedCalls, Inbound, Share, plain_text, too_large, unavailable};

/// The limits of one route.
pub(super) struct RouteLimits {
    timeout: Option<Duration>,
    max_body: Option<u64>,
    concurrency: Option<Arc<Concurrency>>,
}

impl RouteLimits {
    pub(super) fn new(route: &config::Route) -> Self {
        Self {
            timeout: route.timeout.map(|time| time.0),
            // Envoy sends more than the client's body, so `ext_proc` applies the limit itself.
            max_body: route.max_request_body.map(|size| size.0).filter(|_| route.ext_proc.is_none()),
            concurrency: route.concurrency.as_ref().map(|config| Arc::new(Concurrency::new(config))),
        }
    }

    /// Calls the handler within these limits.
    ///
    /// Time spent in the queue has its own limit and doesn't count towards the route's timeout.
    pub(super) async fn respond(
        &self,
        handler: &Handler,
        inbound: &mut Inbound,
        abandoned: &Abandoned,
    ) -> Response<BoxBody> {
        if self.timeout.is_none() && self.max_body.is_none() && self.concurrency.is_none() {
            return handler.respond(inbound, abandoned).await;
        }
        // Boxed, so that the future of a request without limits is no larger.
        Box::pin(self.limited(handler, inbound, abandoned)).await
    }

    async fn limited(
        &self,
        handler: &Handler,
        inbound: &mut Inbound,
        abandoned: &Abandoned,
    ) -> Response<BoxBody> {
        let Some(max) = self.max_body else { return self.queued(handler, inbound, abandoned).await };
        let body = inbound.request.body_mut();
        if body.size_hint().lower() > max {
            return too_large();
        }
        let over = Arc::new(AtomicBool::new(false));
        *body = capped(std::mem::take(body), max, over.clone());
        let response = self.queued(handler, inbound, abandoned).await;
        // This is why the body was incomplete, however a guest or upstream has responded to that.
        if over.load(Ordering::Relaxed) { too_large() } else { response }
    }

    async fn queued(
        &self,
        handler: &Handler,
        inbound: &mut Inbound,
        abandoned: &Abandoned,
    ) -> Response<BoxBody> {
        // Held until the response head is available, or until the end of a response that a guest still writes.
        let permit = match &self.concurrency {
            None => None,
            Some(concurrency) => match concurrency.acquire().await {
                Some(permit) => Some(abandoned.share(permit)),
                None => return unavailable(),
            },
        };
        inbound.queue_timeout = self.concurrency.as_ref().map(|concurrency| concurrency.queue_timeout);
        let response = match self.timeout {
            None => handler.respond(inbound, abandoned).await,
            Some(limit) => match tokio::time::timeout(limit, handler.respond(inbound, abandoned)).await {
                Ok(response) => response,
                Err(_) => return plain_text(StatusCode::GATEWAY_TIMEOUT, "gateway timeout\n"),
            },
        };
        match permit.zip(abandoned.stream_calls()) {
            Some((permit, calls)) => {
                let held = HeldByResponse { permit: permit.hold(), calls: calls.clone() };
                response.map(|body| boxed(observed(body, move |_, _| _ = &held)))
            }
            None => response,
        }
    }
}

/// Limits the number of concurrent requests and of waiting ones.
struct Concurrency {
    running: Semaphore,
    /// Permits for running and waiting requests.
    admitted: Semaphore,
    queue_timeout: Duration,
}

/// Permission to run, until this is dropped.
struct Permit<'a> {
    concurrency: &'a Arc<Concurrency>,
    running: SemaphorePermit<'a>,
    admitted: SemaphorePermit<'a>,
}

impl Share for Permit<'_> {
    type Held = HeldPermit;

    fn hold(self) -> HeldPermit {
        self.running.forget();
        self.admitted.forget();
        HeldPermit(self.concurrency.clone())
    }
}

/// The permit of a request that an abandoned call or the response's body holds.
struct HeldPermit(Arc<Concurrency>);

impl Drop for HeldPermit {
    fn drop(&mut self) {
        self.0.running.add_permits(1);
        self.0.admitted.add_permits(1);
    }
}

/// The permit of a response that guests are writing. The hook of the response's body has it, which is dropped after the
/// body; the calls that continue then hold the permit.
struct HeldByResponse {
    permit: Arc<HeldPermit>,
    calls: AbandonedCalls,
}

impl Drop for HeldByResponse {
    fn drop(&mut self) {
        self.calls.hold(|| self.permit.clone());
    }
}

impl Concurrency {
    fn new(config: &config::Concurrency) -> Self {
        let (max, queue) = (config.max.get() as usize, config.queue as usize);
        Self {
            running: Semaphore::new(max.min(Semaphore::MAX_PERMITS)),
            admitted: Semaphore::new(max.saturating_add(queue).min(Semaphore::MAX_PERMITS)),
            queue_timeout: config.queue_timeout.0,
        }
    }

    /// Waits for a permit. Returns `None` if too many requests are waiting already, or the wait takes too long.
    async fn acquire(self: &Arc<Self>) -> Option<Permit<'_>> {
        let admitted = self.admitted.try_acquire().ok()?;
        let running = tokio::time::timeout(self.queue_timeout, self.running.acquire()).await.ok()?.ok()?;
        Some(Permit { concurrency: self, running, admitted })
    }
}

/// A body that fails, and reports it, as soon as it exceeds the limit.
fn capped(body: BoxBody, max: u64, over: Arc<AtomicBool>) -> BoxBody {
    let limited = Limited::new(body, usize::try_from(max).unwrap_or(usize::MAX));
    boxed(observed(limited, move |frame, _| {
        if matches!(frame, Some(Err(error)) if error.is::<LengthLimitError>()) {
            over.store(true, Ordering::Relaxed);
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;

    use http::{Request, Response, StatusCode};
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use http_wasm_tower::Guest;
    use tokio::sync::{mpsc, oneshot};
    use tower::Service;
    use tower::util::BoxCloneSyncService;

    use super::RouteLimits;
    use crate::backend::Backend;
    use crate::body::{BoxBody, boxed, empty};
    use crate::config::{Concurrency, Route, Size, Time};
    use crate::exchange::{Abandoned, Client, Inbound};
    use crate::route::{Handler, NextHandler};

    fn request(body: BoxBody) -> Inbound {
        let client = Client { addr: ([10, 0, 0, 1], 1).into(), tls: false };
        Inbound::new(Request::post("/").body(body).unwrap(), client)
    }

    fn chunks(chunks: &[&'static str]) -> BoxBody {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok::<_, std::io::Error>(http_body::Frame::data((*chunk).into())))
            .collect();
        boxed(StreamBody::new(futures_util::stream::iter(frames)))
    }

    /// A handler without guests.
    fn without_guests<S>(service: S) -> Handler
    where
        S: Service<Request<BoxBody>, Response = Response<BoxBody>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        Handler::new(Vec::new(), NextHandler::Service(BoxCloneSyncService::new(service)))
    }

    /// A handler that reports each request, and responds when the test allows it.
    fn waits() -> (Handler, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let handler = tower::service_fn(move |_| {
            let (go, wait) = oneshot::channel();
            let _ = sender.send(go);
            async move {
                let _ = wait.await;
                Ok(crate::exchange::plain_text(StatusCode::OK, "done"))
            }
        });
        (without_guests(handler), receiver)
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_with_or_without_a_declared_length() {
        let limits = RouteLimits::new(&Route { max_request_body: Some(Size(4)), ..Route::default() });
        for (body, status) in [
            (boxed(Full::from("four")), 200),
            (boxed(Full::from("fives")), 413),
            (chunks(&["fo", "ur"]), 200),
            (chunks(&["four", "s"]), 413),
            (empty(), 200),
        ] {
            let response = limits
                .respond(
                    &Handler::new(Vec::new(), NextHandler::Backend(Backend::Echo)),
                    &mut request(body),
                    &Abandoned::default(),
                )
                .await;
            assert_eq!(response.status(), status);
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_a_413_even_if_the_handler_ignores_the_error() {
        let limits = RouteLimits::new(&Route { max_request_body: Some(Size(4)), ..Route::default() });
        let handler = tower::service_fn(async |request: Request<BoxBody>| {
            let _ = request.into_body().collect().await;
            Ok(crate::exchange::plain_text(StatusCode::OK, "done"))
        });
        let response = limits
            .respond(&without_guests(handler), &mut request(chunks(&["four", "s"])), &Abandoned::default())
            .await;
        assert_eq!(response.status(), 413);
    }

    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_before_anything_is_read() {
        let limits = RouteLimits::new(&Route { max_request_body: Some(Size(4)), ..Route::default() });
        let (handler, mut came) = waits();
        let response =
            limits.respond(&handler, &mut request(boxed(Full::from("fives"))), &Abandoned::default()).await;
        assert_eq!(response.status(), 413);
        assert!(came.try_recv().is_err(), "no handler has seen it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_after_the_timeout_is_a_504() {
        let limits = RouteLimits::new(&Route { timeout: Some(Time::seconds(2)), ..Route::default() });
        let (handler, mut came) = waits();
        let response = limits.respond(&handler, &mut request(empty()), &Abandoned::default()).await;
        assert_eq!(response.status(), 504);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "gateway timeout\n");
        assert!(came.try_recv().unwrap().is_closed(), "the next handler was dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_in_the_queue_and_are_rejected_when_it_is_full() {
        let concurrency =
            Concurrency { max: 1.try_into().unwrap(), queue: 1, queue_timeout: Time(Duration::from_secs(3)) };
        let route = Route { concurrency: Some(concurrency), ..Route::default() };
        let limits = Arc::new(RouteLimits::new(&route));
        let (handler, mut came) = waits();
        let handler = Arc::new(handler);
        let ask = || {
            let (limits, handler) = (limits.clone(), handler.clone());
            tokio::spawn(async move {
                limits.respond(&handler, &mut request(empty()), &Abandoned::default()).await
            })
        };
        let first = ask();
        let go = came.recv().await.unwrap();
        let second = ask();
        tokio::task::yield_now().await;
        let third = ask().await.unwrap();
        assert_eq!(third.status(), 503);
        assert_eq!(third.headers()["retry-after"], "1");
        assert!(came.try_recv().is_err(), "the second one waits");

        go.send(()).unwrap();
        assert_eq!(first.await.unwrap().status(), 200);
        let hold = came.recv().await.unwrap();
        // A request that waits for too long is rejected, which frees its place in the queue.
        assert_eq!(ask().await.unwrap().status(), 503);
        hold.send(()).unwrap();
        assert_eq!(second.await.unwrap().status(), 200);
    }

    /// Computes until it is stopped.
    const LOOPS: &[u8] = br#"(module
        (memory (export "memory") 1)
        (func (export "handle_request") (result i64) (loop $forever (br $forever)) unreachable)
        (func (export "handle_response") (param i32 i32)))"#;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_dropped_while_its_guest_computes_keeps_its_permit() {
        let concurrency =
            Concurrency { max: 1.try_into().unwrap(), queue: 0, queue_timeout: Time(Duration::from_secs(3)) };
        let limits = RouteLimits::new(&Route { concurrency: Some(concurrency), ..Route::default() });
        let engine = http_wasm_tower::Engine::builder().slots(1).build().unwrap();
        let limited = http_wasm_tower::Limits { deadline: Duration::from_secs(3), ..Default::default() };
        let guest = Guest::builder(&engine).limits(limited).load_async(LOOPS).await.unwrap();
        let handler = Handler::new(vec![guest.clone()], NextHandler::Backend(Backend::Echo));
        let status = async || {
            let (mut request, abandoned) = (request(empty()), Abandoned::default());
            let response = limits.respond(&handler, &mut request, &abandoned);
            tokio::time::timeout(Duration::from_millis(100), response).await.map(|response| response.status())
        };
        assert!(status().await.is_err(), "it computes");
        assert_eq!(guest.stats().abandoned, 1);
        assert_eq!(status().await.unwrap(), 503);
        while guest.stats().abandoned > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(status().await.is_err(), "it computes");
    }
}
