//! Traces, as a collector receives them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use http_wasm_gateway::GuestLogLayer;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::served::Served;
use crate::support::eventually;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A server that records what it receives: OTLP at `/v1/traces`, and requests as an upstream elsewhere.
struct Receiver {
    url: String,
    batches: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    traceparents: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (batches, traceparents) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let mut task = JoinSet::new();
        let (kept, seen) = (batches.clone(), traceparents.clone());
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, seen) = (kept.clone(), seen.clone());
                let service = service_fn(move |request| receive(request, kept.clone(), seen.clone()));
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(async move { http.serve_connection(TokioIo::new(stream), service).await });
            }
        });
        Self { url, batches, traceparents, _task: task }
    }

    /// All spans by name, once there are `count`.
    async fn spans(&self, count: usize) -> BTreeMap<String, Span> {
        eventually(async || {
            let batches = self.batches.lock().unwrap();
            let scopes =
                batches.iter().flat_map(|batch| &batch.resource_spans).flat_map(|all| &all.scope_spans);
            let spans = scopes.flat_map(|scope| &scope.spans);
            let spans: BTreeMap<String, Span> = spans.map(|span| (span.name.clone(), span.clone())).collect();
            (spans.len() >= count).then_some(spans)
        })
        .await
    }
}

async fn receive(
    request: Request<Incoming>,
    batches: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    traceparents: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    if head.uri.path() != "/v1/traces" {
        let traceparent = head.headers.get("traceparent").expect("a traceparent");
        traceparents.lock().unwrap().push(traceparent.to_str().expect("plain").to_owned());
        return Ok(Response::new(Full::from("from upstream")));
    }
    assert_eq!(head.headers["content-type"], "application/x-protobuf");
    batches.lock().unwrap().push(ExportTraceServiceRequest::decode(body).expect("OTLP in protobuf"));
    Ok(Response::new(Full::from(ExportTraceServiceResponse::default().encode_to_vec())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.clone()).and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{name}: {other:?} among {attributes:?}"),
    }
}

fn config(receiver: &Receiver, ratio: f64) -> String {
    let url = &receiver.url;
    format!(
        "[telemetry]\notlp_endpoint = '{url}'\nservice_name = 'edge'\nsample_ratio = {ratio}\n\
         [guests.judge]\npath = 'judges.wat'\n[upstreams.app]\naddresses = ['{url}']\n\
         [[routes]]\nname = 'main'\nguests = ['judge']\nupstream = 'app'\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_spans_of_request_guest_phases_with_logs_and_upstream() {
    tracing_subscriber::registry().with(GuestLogLayer::default()).init();
    let receiver = Receiver::start().await;
    let served = Served::start(&config(&receiver, 0.0)).await;
    let answer = served.send(Request::get("/x?secret=1").header("traceparent", PARENT), "").await;
    assert_eq!(answer.body(), "from upstream");

    let spans = receiver.spans(4).await;
    let names: Vec<&str> = spans.keys().map(String::as_str).collect();
    assert_eq!(names, ["GET app", "GET main", "judge handle_request", "judge handle_response"]);
    let [app, request, before, after] = ["GET app", "GET main", names[2], names[3]].map(|name| &spans[name]);
    assert!(spans.values().all(|span| hex(&span.trace_id) == PARENT[3..35]), "one trace, the client's");
    assert_eq!(hex(&request.parent_span_id), PARENT[36..52]);
    assert_eq!((request.kind(), app.kind()), (SpanKind::Server, SpanKind::Client));
    for below in [app, before, after] {
        assert_eq!(below.parent_span_id, request.span_id);
        let (start, end) = (below.start_time_unix_nano, below.end_time_unix_nano);
        assert!(request.start_time_unix_nano <= start && start <= end && end <= request.end_time_unix_nano);
    }
    assert!(before.end_time_unix_nano <= app.start_time_unix_nano, "the guest is done before it goes on");
    assert!(app.end_time_unix_nano <= after.start_time_unix_nano);
    let words: Vec<&str> = before.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!((words, after.events.len()), (vec!["judging"], 0));

    let sent = receiver.traceparents.lock().unwrap()[0].clone();
    assert_eq!(sent, format!("00-{}-{}-01", &PARENT[3..35], hex(&app.span_id)), "the upstream's parent");
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/x"),
        ("http.response.status_code", "200"),
        ("http_wasm.route", "main"),
        ("client.address", "127.0.0.1"),
    ] {
        assert_eq!(attribute(&request.attributes, name), value, "{name}");
    }
    let batches = receiver.batches.lock().unwrap();
    let resource = batches[0].resource_spans[0].resource.as_ref().expect("a resource");
    assert_eq!(attribute(&resource.attributes, "service.name"), "edge");
    assert!(!format!("{batches:?}").contains("secret"), "queries stay here");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_recorded_on_the_span_where_it_happened() {
    let receiver = Receiver::start().await;
    let served = Served::start(&config(&receiver, 1.0)).await;
    assert_eq!(served.get("/trap").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let spans = receiver.spans(2).await;
    for (name, kind) in [("GET main", "500"), ("judge handle_request", "trap")] {
        assert_eq!(spans[name].status.as_ref().map(|status| status.code), Some(2), "{name}");
        assert_eq!(attribute(&spans[name].attributes, "error.type"), kind);
    }
    assert!(spans["GET main"].parent_span_id.is_empty(), "a trace of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsampled_trace_is_propagated_but_not_exported() {
    let receiver = Receiver::start().await;
    let served = Served::start(&config(&receiver, 0.0)).await;
    served.get("/x").await;
    let sampled = Request::get("/y").header("traceparent", PARENT);
    served.send(sampled, "").await;
    assert_eq!(receiver.spans(4).await.len(), 4, "those of the second request alone");
    let traceparents = receiver.traceparents.lock().unwrap().clone();
    assert!(traceparents[0].ends_with("-00") && traceparents[1].ends_with("-01"), "{traceparents:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_switches_collectors_after_flushing_pending_spans_to_the_old_one() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let admin = "[admin]\naddress = '127.0.0.1:0'\n";
    let with = |receiver: &Receiver| format!("{admin}{}", config(receiver, 1.0));
    let served = Served::reloadable(&with(&first)).await;
    served.get("/x").await;
    served.reload(&with(&second)).await;
    served.get("/y").await;
    assert_eq!(first.spans(4).await.len(), 4);
    assert_eq!(second.spans(4).await.len(), 4);
    served.reload(&format!("{admin}[[routes]]\nbackend = 'hello'\n")).await;
    served.get("/z").await;
    let paths = |receiver: &Receiver| format!("{:?}", receiver.batches.lock().unwrap());
    assert!(!paths(&first).contains("/y") && !paths(&second).contains("/x"));
}
