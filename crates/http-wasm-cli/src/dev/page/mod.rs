//! The page: a server for a browser on this machine.

mod host;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::json;
use super::replay::replay;
use super::store::Store;

/// Maximum number of connections. Further ones wait until one closes.
const MAX_CONNECTIONS: usize = 64;

/// Maximum number of requests that are being sent again at once.
const MAX_REPLAYS: usize = 8;

/// How long a client may take to send a request's head, and how long its connection may then be idle.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(15);

/// The header with the token.
const TOKEN: &str = "x-dev-token";

/// What a browser may load and do for the page: its own style and script, and requests to this server.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("script.js");
const STYLE: &str = include_str!("style.css");

type Answer = Response<Full<Bytes>>;

/// The page's server.
pub(super) struct Page {
    store: Arc<Store>,
    /// Required to send requests from the page. Pages of other sites can't read it.
    token: String,
    replays: Semaphore,
}

impl Page {
    pub(super) fn new(store: Arc<Store>, token: String) -> Self {
        Self { store, token, replays: Semaphore::new(MAX_REPLAYS) }
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self, listener: TcpListener) {
        let (page, connections) = (Arc::new(self), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "the page's listener can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let page = page.clone();
            tokio::spawn(async move {
                let _permit = permit;
                let service = service_fn(|request| {
                    let page = page.clone();
                    async move { Ok::<_, Infallible>(page.respond(&request).await) }
                });
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
                if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                    tracing::debug!(%error, "a connection to the page ended");
                }
            });
        }
    }

    async fn respond<B>(&self, request: &Request<B>) -> Answer {
        let mut answer = match host::check(request) {
            Ok(()) => self.answer(request).await,
            Err((status, why)) => text(status, why),
        };
        for (name, value) in [
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ] {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    async fn answer<B>(&self, request: &Request<B>) -> Answer {
        let path = request.uri().path();
        if let Some(id) = path.strip_prefix("/replay/") {
            return match *request.method() {
                Method::POST => self.replay(request, id).await,
                _ => not_allowed("POST"),
            };
        }
        let answer = match path {
            "/" => content("text/html; charset=utf-8", INDEX.replace("{{token}}", &self.token)),
            "/style.css" => {
                content("text/css; charset=utf-8", [http_wasm_gateway::STATUS_PAGE_STYLE, STYLE].concat())
            }
            "/script.js" => content("text/javascript; charset=utf-8", SCRIPT),
            "/state" => self.state(request.uri().query()),
            _ => match path.strip_prefix("/exchange/").and_then(|id| self.store.exchange(id.parse().ok()?)) {
                Some(exchange) => as_json(&json::exchange(&exchange)),
                None => return text(StatusCode::NOT_FOUND, "not found\n"),
            },
        };
        match *request.method() {
            Method::GET | Method::HEAD => answer,
            _ => not_allowed("GET, HEAD"),
        }
    }

    /// The state, unless the page has it already.
    fn state(&self, query: Option<&str>) -> Answer {
        let known = query.and_then(|query| query.strip_prefix("version=")?.parse().ok());
        if known == Some(self.store.version()) {
            return status(StatusCode::NO_CONTENT);
        }
        as_json(&json::state(&self.store))
    }

    async fn replay<B>(&self, request: &Request<B>, id: &str) -> Answer {
        let given = request.headers().get(TOKEN).map(HeaderValue::as_bytes);
        if given != Some(self.token.as_bytes()) {
            let why = "requests can be sent only from this server's own page, which has a token; reload it\n";
            return text(StatusCode::FORBIDDEN, why);
        }
        let Ok(_permit) = self.replays.try_acquire() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many requests are being sent again\n");
        };
        let (Ok(id), Some(server)) = (id.parse(), self.store.guest().server) else {
            return text(StatusCode::NOT_FOUND, "not found\n");
        };
        match replay(&self.store, id, server).await {
            Ok(new) => as_json(&serde_json::json!({ "id": new })),
            Err(why) => {
                let mut answer = content("text/plain; charset=utf-8", format!("{why}\n"));
                *answer.status_mut() = StatusCode::CONFLICT;
                answer
            }
        }
    }
}

/// An unguessable token.
pub(super) fn token() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The URL to open in a browser.
pub(super) fn url(addr: SocketAddr) -> String {
    format!("http://{addr}/")
}

fn as_json(value: &serde_json::Value) -> Answer {
    content("application/json", value.to_string())
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = content("text/plain; charset=utf-8", text);
    *answer.status_mut() = status;
    answer
}

fn content(content_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(bytes.into()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
