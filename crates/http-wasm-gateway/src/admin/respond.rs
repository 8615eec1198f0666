//! Responds to each path.

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::shared::Shared;
use super::status::Status;
use super::{host, page};
use crate::observe::{CONTENT_TYPE, Monitor};
use crate::stage::Stage;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

type Answer = Response<Full<Bytes>>;

/// The resources of the admin listener.
enum Resource {
    Livez,
    Readyz,
    Metrics,
    Status,
    Reload,
    /// A file of the page, with its media type and content.
    File(&'static str, &'static str),
}

impl Resource {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/livez" => Some(Self::Livez),
            "/readyz" => Some(Self::Readyz),
            "/metrics" => Some(Self::Metrics),
            "/status" => Some(Self::Status),
            "/reload" => Some(Self::Reload),
            _ => page::asset(path).map(|(content_type, bytes)| Self::File(content_type, bytes)),
        }
    }

    /// Whether it is harmless even if the host name is wrong. Probes may use any name.
    fn is_probe(&self) -> bool {
        matches!(self, Self::Livez | Self::Readyz)
    }

    /// The allowed methods, in the format of `Allow`.
    fn methods(&self) -> &'static str {
        match self {
            Self::Reload => "POST",
            _ => "GET, HEAD",
        }
    }
}

/// The response to an operator's request. Request bodies are ignored.
pub(super) async fn respond<B>(request: &Request<B>, shared: &Shared) -> Answer {
    let monitor = &*shared.monitor;
    let resource = Resource::at(request.uri().path());
    let meant = match &resource {
        Some(resource) if resource.is_probe() => Ok(()),
        _ => host::check(request, &shared.hosts.load()),
    };
    let mut answer = match meant {
        Err((status, why)) => text(status, why),
        Ok(()) => answer_to(request, resource, monitor).await,
    };
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

async fn answer_to<B>(request: &Request<B>, resource: Option<Resource>, monitor: &Monitor) -> Answer {
    match resource {
        None => text(StatusCode::NOT_FOUND, "not found\n"),
        Some(resource) if !resource.methods().split(", ").any(|method| *request.method() == *method) => {
            not_allowed(resource.methods())
        }
        Some(Resource::Livez) => text(StatusCode::OK, "alive\n"),
        Some(Resource::Readyz) => readyz(monitor.active.stage()),
        Some(Resource::Metrics) => content(StatusCode::OK, CONTENT_TYPE, monitor.metrics.encode()),
        Some(Resource::Status) => status(monitor),
        Some(Resource::Reload) if is_cross_site(request.headers()) => {
            text(StatusCode::FORBIDDEN, "a page of another site may not reload the configuration\n")
        }
        Some(Resource::Reload) => reload(monitor).await,
        Some(Resource::File(content_type, bytes)) => content(StatusCode::OK, content_type, bytes),
    }
}

fn readyz(stage: Stage) -> Answer {
    match stage {
        Stage::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Stage::Ready => text(StatusCode::OK, "ready\n"),
        Stage::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

fn status(monitor: &Monitor) -> Answer {
    match serde_json::to_vec_pretty(&Status::of(monitor)) {
        Ok(json) => content(StatusCode::OK, JSON, json),
        Err(error) => {
            tracing::error!(%error, "the status can't be written as JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the status is unavailable; the log says why\n")
        }
    }
}

async fn reload(monitor: &Monitor) -> Answer {
    match monitor.reload().await {
        None => text(StatusCode::NOT_IMPLEMENTED, "this gateway can't reload its configuration\n"),
        Some(Ok(summary)) => {
            let answer = format!("configuration reloaded: {summary}\n");
            content(StatusCode::OK, TEXT, answer)
        }
        Some(Err(why)) => {
            content(StatusCode::UNPROCESSABLE_ENTITY, TEXT, format!("configuration not reloaded: {why}\n"))
        }
    }
}

/// Whether a browser sent the request for another site's page. Other clients send neither field.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(HeaderValue::as_bytes);
    match text(header::HeaderName::from_static("sec-fetch-site")) {
        Some(site) => !matches!(site, b"same-origin" | b"none"),
        None => text(header::ORIGIN).is_some_and(|origin| {
            let origin = origin.splitn(2, |&byte| byte == b'/').nth(1).unwrap_or_default();
            let origin = Authority::try_from(origin.strip_prefix(b"/").unwrap_or(origin));
            let host = Authority::try_from(text(header::HOST).unwrap_or_default());
            !matches!((origin, host), (Ok(origin), Ok(host)) if origin == host)
        }),
    }
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    content(status, TEXT, text)
}

fn content(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(bytes.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
