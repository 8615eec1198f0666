//! Framing after rewrites, messages without body, streaming.

use std::time::Duration;

use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Http, Section};
use crate::guest::Function;
use crate::payload::Payload;
use crate::script::{REQUEST, RESPONSE, script};
use crate::wire::Framing;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    lengths(&mut cases);
    set_by_guests(&mut cases);
    bodiless(&mut cases);
    streaming(&mut cases);
    cases
}

fn case(id: &str, says: &str, exchange: Exchange) -> Case {
    Case::new(id, Section::Bodies, says, exchange)
}

fn one(text: &str) -> Vec<Vec<u8>> {
    vec![text.as_bytes().to_vec()]
}

fn lengths(cases: &mut Vec<Case>) {
    let post = || Exchange::post("original", Framing::Length);
    let longer = "a longer body than the original one";
    let mut add = |id: &str, says: &str, exchange: Exchange| {
        cases.push(case(&format!("framing/{id}"), says, exchange).differs(super::differences::OLD_LENGTH));
    };
    for (what, text) in [("shorter", "short"), ("longer", longer), ("empty", "")] {
        let len = text.len().to_string();
        add(
            &format!("request/{what}"),
            "the length of a rewritten request is that of the body that is sent",
            post()
                .before(script().write(REQUEST, text))
                .check(Check::BackendHeader("content-length", one(&len)))
                .check(Check::BackendHeader("transfer-encoding", vec![]))
                .check(Check::BackendBody(text.into())),
        );
        add(
            &format!("response/{what}"),
            "the length of a rewritten response is that of the body that is sent",
            Exchange::get("/")
                .features(2)
                .after(script().write(RESPONSE, text))
                .check(Check::Length(Some(text.len())))
                .check(Check::Body(text.into())),
        );
        add(
            &format!("early/{what}"),
            "the length of a response that a guest started before next is that of both bodies",
            Exchange::get("/")
                .before(script().write(RESPONSE, text))
                .check(Check::Length(Some(text.len() + "from the backend".len())))
                .check(Check::Body(format!("{text}from the backend").as_str().into())),
        );
    }
    add(
        "request/chunked-rewritten",
        "a chunked request that was rewritten is sent with a single framing",
        Exchange::post("original", Framing::Chunked)
            .before(script().write(REQUEST, "new"))
            .check(Check::BackendBody("new".into())),
    );
    add(
        "request/partly-consumed",
        "the length of a request that was read in part without buffering is that of the rest",
        post().before(script().read(REQUEST, 3, "ori", false)).check(Check::BackendBody("ginal".into())),
    );
}

/// Framing headers that a guest sets.
fn set_by_guests(cases: &mut Vec<Case>) {
    let mut add = |id: &str, says: &str, exchange: Exchange| {
        cases
            .push(case(&format!("framing/set/{id}"), says, exchange).differs(super::differences::OLD_LENGTH));
    };
    let post = || Exchange::post("original", Framing::Length);
    for (what, name, value) in [
        ("content-length", "content-length", "3"),
        ("content-length-more", "Content-Length", "3000"),
        ("transfer-encoding", "transfer-encoding", "chunked"),
    ] {
        add(
            &format!("request/{what}"),
            &format!("a {name} that a guest sets on the request is accepted and ignored"),
            post()
                .before(script().set(REQUEST, name, value))
                .check(Check::BackendBody("original".into()))
                .check(Check::BackendHeader("content-length", one("8"))),
        );
        add(
            &format!("response/{what}"),
            &format!("a {name} that a guest sets on the response is accepted and ignored"),
            Exchange::get("/")
                .features(2)
                .after(script().set(RESPONSE, name, value))
                .check(Check::Body("from the backend".into()))
                .check(Check::Length(Some(16))),
        );
        add(
            &format!("stop/{what}"),
            &format!("a {name} that a guest sets on its own response is accepted and ignored"),
            Exchange::get("/")
                .before(script().set(RESPONSE, name, value).write(RESPONSE, "blocked"))
                .stops()
                .check(Check::Body("blocked".into()))
                .check(Check::Length(Some(7))),
        );
    }
    add(
        "request/zero",
        "content-length: 0 empties a request body",
        post().before(script().set(REQUEST, "content-length", "0")).check(Check::BackendBody(Payload::EMPTY)),
    );
    add(
        "response/zero",
        "with buffer_response content-length: 0 empties the response body",
        Exchange::get("/")
            .features(2)
            .after(script().set(RESPONSE, "Content-Length", "0"))
            .check(Check::Body(Payload::EMPTY))
            .check(Check::Length(Some(0))),
    );
    add(
        "response/zero-and-status",
        "a guest blocks a response with a status and content-length: 0",
        Exchange::get("/")
            .features(2)
            .after(script().call(Function::SetStatusCode, [403.into()]).set(RESPONSE, "content-length", "0"))
            .check(Check::Status(403))
            .check(Check::Body(Payload::EMPTY)),
    );
    add(
        "response/zero-then-write",
        "a write after content-length: 0 is the body",
        Exchange::get("/")
            .features(2)
            .after(script().set(RESPONSE, "content-length", "0").write(RESPONSE, "blocked"))
            .check(Check::Body("blocked".into())),
    );
}

/// HEAD, 204 and 304.
fn bodiless(cases: &mut Vec<Case>) {
    let mut add = |id: &str, says: &str, exchange: Exchange| {
        cases.push(case(&format!("framing/bodiless/{id}"), says, exchange));
    };
    let head = || Exchange::get("/").method("HEAD");
    let read = || script().read(RESPONSE, 64, "", true);
    add(
        "head",
        "the response to HEAD keeps the next handler's content-length, and has no body",
        head().check(Check::Length(Some(16))).check(Check::Body(Payload::EMPTY)),
    );
    add(
        "head-buffered",
        "with buffer_response the response to HEAD reads as empty and keeps its content-length",
        head().features(2).after(read()).check(Check::Length(Some(16))).check(Check::Body(Payload::EMPTY)),
    );
    add(
        "head-written",
        "a body written for HEAD is not sent",
        head()
            .features(2)
            .after(script().write(RESPONSE, "no place for it"))
            .check(Check::Body(Payload::EMPTY)),
    );
    add(
        "head-stop",
        "a guest that stops may respond to HEAD with a body that isn't sent",
        head().before(script().write(RESPONSE, "no place for it")).stops().check(Check::Body(Payload::EMPTY)),
    );
    for status in [204, 304] {
        let reply = || Reply::bodiless(status).header("x-from", "backend");
        add(
            &status.to_string(),
            &format!("a {status} passes through without a body"),
            Exchange::get("/").reply(reply()).check(Check::Body(Payload::EMPTY)),
        );
        add(
            &format!("{status}-buffered"),
            &format!("with buffer_response a {status} reads as empty"),
            Exchange::get("/").reply(reply()).features(2).after(read()).check(Check::Body(Payload::EMPTY)),
        );
        add(
            &format!("{status}-written"),
            &format!("a body written for a {status} is not sent"),
            Exchange::get("/")
                .reply(reply())
                .features(2)
                .after(script().write(RESPONSE, "no place for it"))
                .check(Check::Body(Payload::EMPTY)),
        );
        add(
            &format!("{status}-stop"),
            &format!("a guest's own {status} is sent without a body"),
            Exchange::get("/")
                .before(
                    script()
                        .call(Function::SetStatusCode, [u32::from(status).into()])
                        .write(RESPONSE, "no place for it"),
                )
                .stops()
                .check(Check::Status(status))
                .check(Check::Body(Payload::EMPTY)),
        );
    }
    let with_length = || {
        Exchange::get("/")
            .reply(Reply::bodiless(304).header("Content-Length", "1234"))
            .check(Check::Body(Payload::EMPTY))
    };
    // Some HTTP/1.1 servers leave it out at the last moment, as RFC 9110 section 8.6 allows, and the host can't change
    // that.
    add(
        "304-no-other-length",
        "a 304 keeps the next handler's content-length: no other one is sent",
        with_length().check(Check::AnyOf(vec![Check::Length(Some(1234)), Check::Length(None)])),
    );
    add(
        "304-length-read",
        "the content-length of a 304 is read in handle_response",
        with_length().after(script().values(RESPONSE, "content-length", &[b"1234"])),
    );
    add(
        "204-to-200",
        "a 204 that the guest turns into a 200 with a body has that body",
        Exchange::get("/")
            .reply(Reply::bodiless(204))
            .features(2)
            .after(script().call(Function::SetStatusCode, [200.into()]).write(RESPONSE, "a body"))
            .check(Check::Status(200))
            .check(Check::Body("a body".into())),
    );
    add(
        "200-to-204",
        "a 200 that the guest turns into a 204 has neither body nor length",
        Exchange::get("/")
            .features(2)
            .after(script().call(Function::SetStatusCode, [204.into()]))
            .check(Check::Status(204))
            .check(Check::Body(Payload::EMPTY))
            .check(Check::Length(None)),
    );
    add(
        "get-to-head",
        "if the guest changes the method to HEAD, the response has no body",
        Exchange::get("/")
            .before(script().call(Function::SetMethod, ["HEAD".into()]))
            .check(Check::Method("HEAD"))
            .check(Check::Body(Payload::EMPTY)),
    );
    cases.push(
        case(
            "framing/bodiless/304-length",
            "a 304 keeps the next handler's content-length",
            with_length().check(Check::Length(Some(1234))),
        )
        .only(Http::Two),
    );
}

/// Nothing is held back unless the guest asks for it.
fn streaming(cases: &mut Vec<Case>) {
    const BUFFERS: &str = "buffer_response buffers whole bodies, breaks flushing and upgrades";
    // The pause is much longer than the required time, because a busy machine may delay the first piece.
    const PAUSE_MS: u64 = 1000;
    const SEEN: Duration = Duration::from_millis(200);
    let slow = || Exchange::get("/").reply(Reply::pattern(200, Framing::Chunked).slowly(100, PAUSE_MS));
    let streams =
        |exchange: Exchange| exchange.check(Check::Streams(SEEN)).check(Check::Body(Payload::Pattern(200)));
    cases.push(case(
        "streaming/untouched",
        "a response that the guest never touches streams through",
        streams(slow()),
    ));
    cases.push(case(
        "streaming/headers-read",
        "a response whose head alone is read streams through",
        streams(slow().after(script().values(RESPONSE, "x-from", &[b"backend"]))),
    ));
    cases.push(
        case(
            "streaming/head-changed",
            "with buffer_response a response whose head alone is changed streams through",
            streams(slow().features(2).after(script().set(RESPONSE, "x-new", "1"))),
        )
        .differs(BUFFERS),
    );
    cases.push(
        case(
            "streaming/partly-read",
            "with buffer_response, the rest after what was read streams through",
            streams(slow().features(2).after(script().read_pattern(RESPONSE, 0, 10, &[false]))),
        )
        .differs(BUFFERS),
    );
    cases.push(case(
        "streaming/early-body",
        "what was written before next does not hold back the next handler's body",
        slow().before(script().write(RESPONSE, "early")).check(Check::Streams(SEEN)),
    ));
}
