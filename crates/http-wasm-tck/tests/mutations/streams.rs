//! Hosts that break a rule of streaming.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_wasm_host::{Bodies, BodyKind, BoxError, GuestBuilder, HostCall, Intercepted, Stream};
use http_wasm_tck::case::Case;
use http_wasm_tck::cases;
use http_wasm_tower::Body;
use hyper::body::{Body as HttpBody, Bytes, Frame};
use hyper::{Request, Response};
use tokio::sync::oneshot;

use self::StreamFault::*;
use crate::broken::Broken;
use crate::host::Fault;
use crate::{AT_ONCE, confirmed, judge};

/// A rule of streaming to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFault {
    /// The message doesn't stream.
    Held,
    /// Changes of the head after the first write have no effect, rather than trap.
    LateHeadIgnored,
    /// An aborted message ends as if it were complete.
    EndsWhole,
    /// The first read returns 0 bytes without EOF.
    ReadsZero,
    /// Reads return one byte more than requested.
    ReadsMore,
    /// Reads never report EOF.
    NeverEnds,
    /// A write of length 0 makes the head final.
    EmptyWriteCommits,
    /// Only the first 64 KiB of a write are sent.
    WritesCut,
    /// Trailers that are set after the first write are lost.
    LateTrailersLost,
    /// Trailers are lost.
    TrailersLost,
    /// The status reads as 200.
    StatusIs200,
    /// The method reads as something else.
    MethodMisread,
    /// The next handler's response is sent, though next is 0.
    StopIgnored,
    /// When the next handler responds, it gets no more of the request.
    ResponseEndsRequest,
    /// The guest doesn't notice that the receiver is gone.
    ReceiverMissed,
    /// Bodies are neither decoded nor encoded.
    NotDecoded,
    /// Bodies that are sent without a coding are declared as coded.
    CodingKept,
}

/// A host that streams, with or without a broken rule for messages of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streaming {
    /// Whether it decodes bodies.
    pub(crate) decodes: bool,
    broken: Option<(BodyKind, StreamFault)>,
}

const REQUEST: BodyKind = BodyKind::Request;
const RESPONSE: BodyKind = BodyKind::Response;

/// The cases that each must fail: every failed case has one of these parts in its ID, and each part occurs in at least
/// one.
const TABLE: &[(BodyKind, StreamFault, &[&str])] = &[
    (RESPONSE, Held, &["stream/commit/", "stream/read/", "stream/fixed/", "both/"]),
    (
        RESPONSE,
        LateHeadIgnored,
        &["stream/fixed/", "commit/head-method", "commit/204", "commit/304", "stream/commit/http10"],
    ),
    (RESPONSE, EndsWhole, &["stream/fixed/", "stream/failure/"]),
    (
        RESPONSE,
        ReadsZero,
        &[
            "stream/commit/sends",
            "stream/commit/before-reading",
            "stream/read/",
            "stream/write/copied",
            "stream/trailers/changed",
            "both/",
        ],
    ),
    (RESPONSE, ReadsMore, &["stream/read/", "stream/write/copied"]),
    (
        RESPONSE,
        NeverEnds,
        &["stream/commit/", "stream/read/", "stream/write/copied", "stream/trailers/changed", "both/"],
    ),
    // The guest also writes what a last read without bytes has returned.
    (
        RESPONSE,
        EmptyWriteCommits,
        &[
            "stream/commit/empty-write",
            "stream/commit/sends",
            "stream/write/copied",
            "stream/trailers/changed",
            "both/",
        ],
    ),
    (RESPONSE, WritesCut, &["stream/write/at-once"]),
    (RESPONSE, LateTrailersLost, &["stream/trailers/late-value", "stream/trailers/changed"]),
    (RESPONSE, TrailersLost, &["stream/trailers/"]),
    (RESPONSE, StatusIs200, &["stream/fixed/reads"]),
    (RESPONSE, NotDecoded, &["decoded/response/", "decoded/request/"]),
    (RESPONSE, CodingKept, &["decoded/response/not-accepted"]),
    (
        REQUEST,
        Held,
        &[
            "request/commit/",
            "request/method/",
            "request/read/",
            "request/fixed/",
            "request/failure/",
            "request/early/",
            "request/stop/",
            "both/",
        ],
    ),
    (REQUEST, LateHeadIgnored, &["request/fixed/", "request/commit/http10"]),
    (REQUEST, EndsWhole, &["request/fixed/", "request/failure/", "request/stop/"]),
    (
        REQUEST,
        ReadsZero,
        &[
            "request/commit/sends",
            "request/commit/before-reading",
            "request/method/",
            "request/read/",
            "request/write/copied",
            "request/failure/late-trap",
            "request/stop/",
            "request/response/",
            "request/early/reads-on",
            "request/trailers/changed",
            "both/",
        ],
    ),
    (REQUEST, ReadsMore, &["request/read/", "request/write/copied"]),
    (
        REQUEST,
        NeverEnds,
        &[
            "request/commit/",
            "request/method/",
            "request/read/",
            "request/write/copied",
            "request/stop/at-end",
            "request/response/",
            "request/early/reads-on",
            "request/trailers/changed",
            "both/",
        ],
    ),
    (
        REQUEST,
        EmptyWriteCommits,
        &[
            "request/commit/empty-write",
            "request/commit/sends",
            "request/method/",
            "request/write/copied",
            "request/response/",
            "request/early/reads-on",
            "request/trailers/changed",
            "both/",
        ],
    ),
    (REQUEST, WritesCut, &["request/write/at-once"]),
    (REQUEST, LateTrailersLost, &["request/trailers/late-value", "request/trailers/changed"]),
    (REQUEST, TrailersLost, &["request/trailers/"]),
    (REQUEST, MethodMisread, &["request/fixed/reads"]),
    (REQUEST, StopIgnored, &["request/stop/"]),
    (REQUEST, ResponseEndsRequest, &["request/early/reads-on", "request/stop/early-response"]),
    (REQUEST, ReceiverMissed, &["request/early/stops-reading"]),
    (REQUEST, CodingKept, &["decoded/request/copied"]),
];

impl Streaming {
    fn sound(decodes: bool) -> Self {
        Self { decodes, broken: None }
    }

    fn with(kind: BodyKind, fault: StreamFault) -> Self {
        Self { decodes: matches!(fault, NotDecoded | CodingKept), broken: Some((kind, fault)) }
    }

    pub(crate) fn breaks(self, kind: BodyKind, fault: StreamFault) -> bool {
        self.broken == Some((kind, fault))
    }

    /// Loads the guest as such a host does.
    pub(crate) fn set(self, builder: GuestBuilder) -> GuestBuilder {
        let stream = match self.broken {
            Some((REQUEST, Held)) => Stream::Response,
            Some((RESPONSE, Held)) => Stream::Request,
            _ => Stream::Both,
        };
        let bodies = match self.broken {
            Some((_, NotDecoded)) => Bodies::AsReceived,
            _ if self.decodes => Bodies::Decoded,
            _ => Bodies::AsReceived,
        };
        let builder = builder.stream(stream).bodies(bodies);
        match self.broken {
            Some((kind, fault)) => builder.intercept(intercept(kind, fault)),
            None => builder,
        }
    }

    /// The message whose `content-encoding` can't be removed.
    pub(crate) fn keeps_coding_of(self) -> Option<BodyKind> {
        self.broken.filter(|(_, fault)| *fault == CodingKept).map(|(kind, _)| kind)
    }

    /// The request of a guest that has begun to write it, as such a host sends it. `responded` completes when there is
    /// a response.
    pub(crate) fn sent(self, request: Request<Body>, responded: oneshot::Receiver<()>) -> Request<Body> {
        match self.broken {
            Some((REQUEST, fault)) => {
                request.map(|body| Body::new(Faulty { body: Some(body), fault, responded }))
            }
            _ => request,
        }
    }
}

/// The replacement of each host function for messages of this kind.
fn intercept(kind: BodyKind, fault: StreamFault) -> impl Fn(&mut HostCall<'_>) -> Intercepted {
    let of = kind as u32;
    let trailers = of + 2;
    move |call| {
        let is_late = call.host::<Broken>().is_some_and(|host| host.is_late(kind));
        let answer = match (fault, call.function, call.args) {
            (LateHeadIgnored, "set_status_code", _) if is_late && kind == RESPONSE => Ok(Poll::Ready(0)),
            (LateHeadIgnored, "set_method" | "set_uri", _) if is_late && kind == REQUEST => {
                Ok(Poll::Ready(0))
            }
            (LateHeadIgnored, "set_header_value" | "add_header_value" | "remove_header", &[changed, ..])
                if is_late && changed == of =>
            {
                Ok(Poll::Ready(0))
            }
            (LateTrailersLost, "set_header_value", &[changed, ..]) if is_late && changed == trailers => {
                Ok(Poll::Ready(0))
            }
            (TrailersLost, "set_header_value", &[changed, ..]) if changed == trailers => Ok(Poll::Ready(0)),
            (ReadsZero, "read_body", &[read, ..]) if read == of && is_first_read(call, kind) => {
                Ok(Poll::Ready(0))
            }
            (ReadsMore, "read_body", &[read, at, limit]) if read == of => {
                call.call("read_body", &[read, at, limit + 1])
            }
            (NeverEnds, "read_body", &[read, ..]) if read == of => {
                call.proceed().map(|read| read.map(|read| read & u64::from(u32::MAX)))
            }
            (EmptyWriteCommits, "write_body", &[written, at, 0]) if written == of => {
                call.call("write_body", &[written, at, 1])
            }
            (WritesCut, "write_body", &[written, at, len]) if written == of => {
                call.call("write_body", &[written, at, len.min(65_536)])
            }
            (StatusIs200, "get_status_code", _) => Ok(Poll::Ready(200)),
            (MethodMisread, "get_method", args) => call.call("get_protocol_version", args),
            _ => call.proceed(),
        };
        if let ("write_body", &[written, _, len]) = (call.function, call.args)
            && written == of
            && len > 0
            && let Some(host) = call.host::<Broken>()
        {
            host.of_mut(kind).is_written = true;
        }
        answer
    }
}

/// Whether nothing of the message has been read yet.
fn is_first_read(call: &mut HostCall<'_>, kind: BodyKind) -> bool {
    call.host::<Broken>().is_some_and(|host| std::mem::replace(&mut host.of_mut(kind).read, 1) == 0)
}

/// The response as such a host sends it.
pub(crate) fn sent(fault: Fault, response: Response<Body>) -> Response<Body> {
    match fault {
        Fault::Stream(host) if host.breaks(RESPONSE, EndsWhole) => {
            // It doesn't matter that the sender is dropped.
            let (_, responded) = oneshot::channel();
            response.map(|body| Body::new(Faulty { body: Some(body), fault: EndsWhole, responded }))
        }
        _ => response,
    }
}

/// A body with one of the faults [`EndsWhole`], [`ResponseEndsRequest`] and [`ReceiverMissed`].
struct Faulty {
    /// Until it has ended early.
    body: Option<Body>,
    fault: StreamFault,
    /// When the next handler has responded.
    responded: oneshot::Receiver<()>,
}

impl HttpBody for Faulty {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.fault == ResponseEndsRequest
            && this.body.is_some()
            && Pin::new(&mut this.responded).poll(cx).is_ready()
        {
            this.body = None;
        }
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        Poll::Ready(match this.fault {
            EndsWhole => frame.and_then(Result::ok).map(Ok),
            _ => frame,
        })
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && self.fault == ReceiverMissed
        {
            tokio::spawn(async move {
                let _kept = body;
                std::future::pending::<()>().await;
            });
        }
    }
}

fn all() -> Vec<Case> {
    cases::all().into_iter().filter(|case| case.streams().is_some()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unmutated_host_passes_the_cases_for_streams() {
    for decodes in [false, true] {
        let failed = confirmed(Fault::Stream(Streaming::sound(decodes)), &[], &all()).await;
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

/// If the variable `MUTATIONS_ONLY` is set, only tests mutations whose names contain its value.
#[tokio::test(flavor = "multi_thread")]
async fn every_broken_stream_fails_exactly_the_cases_for_its_rule() {
    let cases = all();
    let only = std::env::var("MUTATIONS_ONLY").unwrap_or_default();
    let table: Vec<_> = TABLE
        .iter()
        .map(|&(kind, fault, expected)| (Fault::Stream(Streaming::with(kind, fault)), expected))
        .filter(|(fault, _)| format!("{fault:?}").contains(&only))
        .collect();
    let mut wrong = String::new();
    for chunk in table.chunks(AT_ONCE) {
        let running: Vec<_> = chunk
            .iter()
            .map(|&(fault, expected)| {
                let cases = cases.clone();
                let failed = tokio::spawn(async move { confirmed(fault, expected, &cases).await });
                (fault, expected, failed)
            })
            .collect();
        for (fault, expected, failed) in running {
            wrong.push_str(&judge(fault, expected, &failed.await.expect("the run does not panic")));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
