//! Hosts that break a rule of streaming.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_wasm_host::{BoxError, HostCall, Intercepted};
use http_wasm_tck::case::Case;
use http_wasm_tck::cases;
use http_wasm_tower::Body;
use hyper::Response;
use hyper::body::{Body as HttpBody, Bytes, Frame};

use crate::broken::Broken;
use crate::host::Fault;
use crate::{confirmed, judge};

/// A rule of streaming to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFault {
    /// Nothing streams.
    Held,
    /// Changes of the head after the first write have no effect, rather than trap.
    LateHeadIgnored,
    /// An aborted response ends as if it were complete.
    EndsWhole,
    /// The first read of a response returns 0 bytes without EOF.
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
}

/// The cases that each must fail: every failed case has one of these parts in its ID, and each part occurs in at least
/// one.
const TABLE: &[(StreamFault, &[&str])] = &[
    (StreamFault::Held, &["commit/", "read/", "fixed/"]),
    (StreamFault::LateHeadIgnored, &["fixed/", "commit/head-method", "commit/204", "commit/304"]),
    (StreamFault::EndsWhole, &["fixed/", "failure/"]),
    (
        StreamFault::ReadsZero,
        &["commit/sends", "commit/before-reading", "read/", "write/copied", "trailers/changed"],
    ),
    (StreamFault::ReadsMore, &["read/", "write/copied"]),
    (StreamFault::NeverEnds, &["commit/", "read/", "write/copied", "trailers/changed"]),
    // The guest also writes what a last read without bytes has returned.
    (
        StreamFault::EmptyWriteCommits,
        &["commit/empty-write", "commit/sends", "write/copied", "trailers/changed"],
    ),
    (StreamFault::WritesCut, &["write/at-once"]),
    (StreamFault::LateTrailersLost, &["trailers/late-value", "trailers/changed"]),
    (StreamFault::TrailersLost, &["trailers/"]),
    (StreamFault::StatusIs200, &["fixed/reads"]),
];

/// Whether this host streams, or should.
pub(crate) fn is_among(fault: Fault) -> bool {
    matches!(fault, Fault::Stream(_))
}

/// The replacement of each host function.
pub(crate) fn intercept(fault: StreamFault) -> impl Fn(&mut HostCall<'_>) -> Intercepted {
    const RESPONSE: u32 = 1;
    const TRAILERS: u32 = 3;
    move |call| {
        let host = call.host::<Broken>();
        let (answered, is_written) =
            host.map_or((false, false), |host| (host.seen.answered, host.seen.response.is_written));
        let is_late = answered && is_written;
        let answer = match (fault, call.function, call.args) {
            (StreamFault::LateHeadIgnored, "set_status_code", _) if is_late => Ok(Poll::Ready(0)),
            (
                StreamFault::LateHeadIgnored,
                "set_header_value" | "add_header_value" | "remove_header",
                [RESPONSE, ..],
            ) if is_late => Ok(Poll::Ready(0)),
            (StreamFault::LateTrailersLost, "set_header_value", [TRAILERS, ..]) if is_late => {
                Ok(Poll::Ready(0))
            }
            (StreamFault::TrailersLost, "set_header_value", [TRAILERS, ..]) => Ok(Poll::Ready(0)),
            (StreamFault::ReadsZero, "read_body", [RESPONSE, ..]) if is_first_read(call) => {
                Ok(Poll::Ready(0))
            }
            (StreamFault::ReadsMore, "read_body", &[RESPONSE, at, limit]) => {
                call.call("read_body", &[RESPONSE, at, limit + 1])
            }
            (StreamFault::NeverEnds, "read_body", [RESPONSE, ..]) => {
                call.proceed().map(|read| read.map(|read| read & u64::from(u32::MAX)))
            }
            (StreamFault::EmptyWriteCommits, "write_body", &[RESPONSE, at, 0]) => {
                call.call("write_body", &[RESPONSE, at, 1])
            }
            (StreamFault::WritesCut, "write_body", &[RESPONSE, at, len]) => {
                call.call("write_body", &[RESPONSE, at, len.min(65_536)])
            }
            (StreamFault::StatusIs200, "get_status_code", _) => Ok(Poll::Ready(200)),
            _ => call.proceed(),
        };
        if let ("write_body", &[RESPONSE, _, len]) = (call.function, call.args)
            && len > 0
            && let Some(host) = call.host::<Broken>()
        {
            host.seen.response.is_written = true;
        }
        answer
    }
}

/// Whether nothing of the response has been read yet.
fn is_first_read(call: &mut HostCall<'_>) -> bool {
    call.host::<Broken>().is_some_and(|host| std::mem::replace(&mut host.seen.response.read, 1) == 0)
}

/// The response as such a host sends it.
pub(crate) fn sent(fault: Fault, response: Response<Body>) -> Response<Body> {
    match fault {
        Fault::Stream(Some(StreamFault::EndsWhole)) => response.map(|body| Body::new(EndsWhole(body))),
        _ => response,
    }
}

/// A body that ends normally where the original is aborted.
struct EndsWhole(Body);

impl HttpBody for EndsWhole {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll_frame(cx)).and_then(Result::ok).map(Ok))
    }
}

fn all() -> Vec<Case> {
    cases::all().into_iter().filter(Case::streams).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unmutated_host_passes_the_cases_for_streams() {
    let failed = confirmed(Fault::Stream(None), &[], &all()).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broken_stream_fails_exactly_the_cases_for_its_rule() {
    let cases = all();
    let running: Vec<_> = TABLE
        .iter()
        .map(|&(fault, expected)| {
            let (fault, cases) = (Fault::Stream(Some(fault)), cases.clone());
            (fault, expected, tokio::spawn(async move { confirmed(fault, expected, &cases).await }))
        })
        .collect();
    let mut wrong = String::new();
    for (fault, expected, failed) in running {
        wrong.push_str(&judge(fault, expected, &failed.await.expect("the run does not panic")));
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
