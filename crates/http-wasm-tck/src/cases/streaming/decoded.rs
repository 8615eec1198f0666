//! Messages with a content coding that are sent while the guest, which doesn't see the coding, is writing them.

use super::shared::{PAUSE_MS, PIECE, SLOW, WHILE};
use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Plan, Streams};
use crate::cases::shared::{BUFFER_REQUEST, BUFFER_RESPONSE};
use crate::guest::Function;
use crate::payload::Payload;
use crate::script::{REQUEST, RESPONSE, Script, script};
use crate::wire::Framing;

pub(super) fn cases(cases: &mut Vec<Case>) {
    requests(cases);
    responses(cases);
}

fn one(id: &str, streams: Streams, says: &str, exchange: Exchange) -> Case {
    super::shared::case(&format!("decoded/{id}"), streams, says, Plan::InTurn(vec![exchange]))
        .streaming(streams, true)
}

fn plain() -> Payload {
    Payload::Pattern(SLOW)
}

/// The size of ten pieces of the coded body. Each has at least one more byte of the plain one.
fn coded_piece() -> usize {
    plain().gzip().len().div_ceil(SLOW / PIECE)
}

fn gzip() -> Vec<Vec<u8>> {
    vec![b"gzip".to_vec()]
}

/// Takes about two seconds.
fn post() -> Exchange {
    Exchange::post(plain().gzip(), Framing::Chunked)
        .header("content-encoding", "gzip")
        .slowly(coded_piece(), PAUSE_MS)
}

fn requests(cases: &mut Vec<Case>) {
    let mut add = |name: &str, says: &str, exchange: Exchange| {
        cases.push(one(&format!("request/{name}"), Streams::Request, says, exchange));
    };
    let copy = script().values(REQUEST, "content-encoding", &[]).copy_as_it_comes(
        REQUEST,
        65_536,
        Some(REQUEST),
        &plain(),
    );
    add(
        "copied",
        "a request is decoded as it comes, and what the guest writes is sent without a coding",
        post()
            .sends(copy)
            .check(Check::BackendStreams(WHILE))
            .check(Check::BackendHeader("content-encoding", vec![]))
            .check(Check::BackendBody(plain())),
    );
    add(
        "unchanged",
        "a request that the guest reads, and doesn't write, passes as it came",
        post()
            .features(BUFFER_REQUEST)
            .sends(script().copy_as_it_comes(REQUEST, 65_536, None, &plain()))
            .check(Check::BackendHeader("content-encoding", gzip()))
            .check(Check::BackendBody(plain().gzip())),
    );
}

fn responses(cases: &mut Vec<Case>) {
    let mut add = |name: &str, says: &str, exchange: Exchange| {
        cases.push(one(&format!("response/{name}"), Streams::Response, says, exchange));
    };
    let reply = || {
        Reply { body: plain().gzip(), framing: Framing::Chunked, ..Reply::default() }
            .header("content-encoding", "gzip")
            .slowly(coded_piece(), PAUSE_MS)
    };
    let streams = |after: Script| {
        Exchange::get("/stream")
            .before(script().call(Function::EnableFeatures, [BUFFER_RESPONSE.into()]))
            .after(after)
            .reply(reply())
    };
    let copy = |to: Option<u32>| script().copy_as_it_comes(RESPONSE, 65_536, to, &plain());
    let written = || script().values(RESPONSE, "content-encoding", &[]).then(copy(Some(RESPONSE)));
    add(
        "copied",
        "a response is decoded as it comes, and what the guest writes is sent at once, coded again or not",
        streams(written())
            .header("accept-encoding", "gzip")
            .check(Check::Streams(WHILE))
            .check(Check::Decodes(plain())),
    );
    add(
        "not-accepted",
        "to a client that accepts no coding, what the guest writes is sent without one",
        streams(written())
            .check(Check::Streams(WHILE))
            .check(Check::Header("content-encoding", vec![]))
            .check(Check::Body(plain())),
    );
    add(
        "unchanged",
        "a response that the guest reads, and doesn't write, passes as it came",
        streams(copy(None))
            .header("accept-encoding", "gzip")
            .check(Check::Header("content-encoding", gzip()))
            .check(Check::Body(plain().gzip())),
    );
    add(
        "trap",
        "a trap after the first write aborts the response",
        streams(written().trap()).header("accept-encoding", "gzip").check(Check::Aborted),
    );
}
