//! How requests end that are sent while the guest is writing them, and their responses.

use super::request_exchanges::{begun, case, copy, endless, fails, one, slow, value};
use super::shared::{PAUSE_MS, PIECE, SLOW, WHILE};
use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Plan, Streams};
use crate::cases::shared::BUFFER_RESPONSE;
use crate::guest::Function;
use crate::payload::Payload;
use crate::script::{REQUEST, RESPONSE, script};
use crate::wire::Framing;

pub(super) fn cases(cases: &mut Vec<Case>) {
    failures(cases);
    stops(cases);
    responses(cases);
    early_responses(cases);
}

fn failures(cases: &mut Vec<Case>) {
    let traps = fails(slow().sends(begun().trap()));
    cases.push(one("failure/trap", "a trap after the first write aborts the request", traps.clone()));
    let late = copy(65_536, &Payload::Pattern(SLOW)).trap();
    cases.push(one(
        "failure/late-trap",
        "a trap after most of the request was sent aborts it",
        fails(slow().sends(late)),
    ));
    cases.push(one(
        "failure/client",
        "a request that is aborted aborts the next handler's",
        slow()
            .cut()
            .sends(copy(65_536, &Payload::Pattern(SLOW)))
            .check(Check::AnyOf(vec![Check::Dropped, Check::StatusWithin(400, 599)]))
            .check(Check::BackendAborted),
    ));
    let clean = Exchange::get("/").before(script().is_clean());
    cases.push(case(
        "failure/clean",
        "after a failure the next request gets a clean instance",
        Plan::InTurn(vec![traps, clean]),
    ));
}

/// The guest responds itself after it has begun to write the request.
fn stops(cases: &mut Vec<Case>) {
    let answers = || {
        script()
            .call(Function::SetStatusCode, [403.into()])
            .set(RESPONSE, "x-own", "1")
            .write(RESPONSE, "the guest's")
    };
    let own = |exchange: Exchange| {
        exchange
            .stops()
            .check(Check::Status(403))
            .check(Check::Header("x-own", value("1")))
            .check(Check::Header("x-from", vec![]))
            .check(Check::Body("the guest's".into()))
            .check(Check::BackendAborted)
    };
    cases.push(one(
        "stop/aborts",
        "if next is 0, the request is aborted, and the guest's response is sent",
        own(slow().sends(begun().then(answers()))),
    ));
    cases.push(one(
        "stop/at-end",
        "if next is 0 after all of the request was written, it doesn't look complete either",
        own(slow().sends(copy(65_536, &Payload::Pattern(SLOW)).then(answers()))),
    ));
    cases.push(one(
        "stop/answered-before",
        "what was written of the response before the request's first write is sent if next is 0",
        own(slow().sends(answers().then(begun()))),
    ));
    cases.push(one(
        "stop/early-response",
        "if next is 0, the guest's response is sent even if the next handler has responded",
        own(slow().reply(Reply::default().early()).sends(begun().then(answers()))),
    ));
}

/// What is written of the response while the request is sent.
fn responses(cases: &mut Vec<Case>) {
    let copied = Payload::Pattern(SLOW);
    let both = || Check::Body("early, from the backend".into());
    cases.push(one(
        "response/held",
        "what is written of the response in handle_request precedes the next handler's",
        slow()
            .sends(script().write(RESPONSE, "early, ").then(copy(65_536, &copied)))
            .check(both())
            .check(Check::BackendBody(copied.clone())),
    ));
    cases.push(one(
        "response/held-late",
        "the same after the first write of the request",
        slow()
            .sends(copy(65_536, &copied).write(RESPONSE, "early, "))
            .check(both())
            .check(Check::BackendBody(copied.clone())),
    ));
    let answer = Payload::Pattern(1000);
    let buffer_response = script().call(Function::EnableFeatures, [BUFFER_RESPONSE.into()]);
    let exchange = slow()
        .sends(buffer_response.then(copy(65_536, &copied)))
        .after(script().copy_as_it_comes(RESPONSE, 65_536, Some(RESPONSE), &answer))
        .reply(Reply::pattern(1000, Framing::Chunked).slowly(100, PAUSE_MS))
        .check(Check::BackendStreams(WHILE))
        .check(Check::BackendBody(copied))
        .check(Check::Streams(WHILE))
        .check(Check::Body(answer));
    cases.push(super::shared::case(
        "both/copied",
        Streams::Both,
        "a guest can write the request, and then the response, while they are sent",
        Plan::InTurn(vec![exchange]),
    ));
}

/// The next handler responds before it has the whole request.
fn early_responses(cases: &mut Vec<Case>) {
    let copied = Payload::Pattern(SLOW);
    for (name, reply) in [
        ("reads-on", Reply::default().status(201).early()),
        ("reads-on-slowly", Reply::pattern(SLOW, Framing::Chunked).slowly(PIECE, 20).early()),
        ("reads-on/empty", Reply { framing: Framing::Length, ..Reply::bodiless(200) }.early()),
        ("reads-on/204", Reply::bodiless(204).early()),
    ] {
        cases.push(one(
            &format!("early/{name}"),
            "if the next handler responds early and reads on, it gets all that the guest writes",
            slow()
                .reply(reply)
                .sends(copy(65_536, &copied))
                .check(Check::BackendStreams(WHILE))
                .check(Check::BackendBody(copied.clone())),
        ));
    }
    cases.push(one(
        "early/stops-reading",
        "if the next handler responds and stops reading, reads return EOF, writes have no effect, and the response is \
         sent",
        endless()
            .reply(Reply::text(413, "too large").closing())
            .sends(script().copy_until_closed(REQUEST, 65_536).write_pattern(REQUEST, 300_000, 65_536))
            .check(Check::Body("too large".into())),
    ));
}
