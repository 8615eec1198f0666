//! Requests that are sent while the guest is writing them.

use super::request_exchanges::{begun, copy, endless, fails, one, post, slow, value};
use super::shared::{PIECE, SLOW, WHILE};
use crate::case::{Case, Check, Exchange, Http};
use crate::cases::shared::BUFFER_REQUEST;
use crate::guest::{FREE, Function};
use crate::payload::Payload;
use crate::script::{REQUEST, REQUEST_TRAILERS, RESPONSE, eof_len, script};
use crate::wire::Framing;

pub(super) fn cases(cases: &mut Vec<Case>) {
    commit(cases);
    methods(cases);
    reads(cases);
    writes(cases);
    fixed_heads(cases);
    trailers(cases);
}

fn commit(cases: &mut Vec<Case>) {
    let copied = Payload::Pattern(SLOW);
    cases.push(one(
        "commit/sends",
        "what is written is sent before handle_request returns",
        slow()
            .sends(copy(65_536, &copied))
            .check(Check::BackendStreams(WHILE))
            .check(Check::BackendBody(copied.clone())),
    ));
    let early = script().write(REQUEST, "early, ").copy_as_it_comes(REQUEST, 65_536, None, &copied);
    cases.push(one(
        "commit/before-reading",
        "the first write is sent though nothing was read",
        slow()
            .sends(early.write(REQUEST, "late"))
            .check(Check::BackendStreams(WHILE))
            .check(Check::BackendBody("early, late".into())),
    ));
    let head = script()
        .call(Function::SetMethod, [b"PUT".into()])
        .call(Function::SetUri, [b"/other?q=1".into()])
        .set(REQUEST, "x-early", "1")
        .write(REQUEST, "body");
    cases.push(one(
        "commit/head",
        "method, URI and headers that are set before the first write are sent",
        post(10)
            .sends(head)
            .check(Check::Method("PUT"))
            .check(Check::Target("/other?q=1".to_owned()))
            .check(Check::BackendHeader("x-early", value("1")))
            .check(Check::BackendBody("body".into())),
    ));
    cases.push(one(
        "commit/framing",
        "a request that is sent while it is written has no content-length",
        Exchange::post("original", Framing::Length)
            .sends(script().write(REQUEST, "body"))
            .check(Check::BackendHeader("content-length", vec![]))
            .check(Check::BackendFraming(Framing::Chunked))
            .check(Check::BackendBody("body".into())),
    ));
    let empty = script().write(REQUEST, "").call(Function::SetUri, [b"/late".into()]);
    cases.push(one(
        "commit/empty-write",
        "a write of length 0 doesn't make the head final",
        post(10).sends(empty).check(Check::Target("/late".to_owned())).check(Check::BackendBody("".into())),
    ));
    let held = script().write(REQUEST, "held").set(REQUEST, "x-late", "1");
    cases.push(
        one(
            "commit/http10",
            "a request of HTTP/1.0 is held until handle_request returns",
            Exchange::post("original", Framing::Length)
                .http10()
                .sends(held)
                .check(Check::BackendHeader("x-late", value("1")))
                .check(Check::BackendBody("held".into())),
        )
        .only(Http::One),
    );
}

fn methods(cases: &mut Vec<Case>) {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let copied = Payload::Pattern(1000);
        cases.push(one(
            &format!("method/{method}/copied"),
            format!("the body of a {method} request is sent while it is written"),
            post(1000)
                .method(method)
                .sends(copy(65_536, &copied))
                .check(Check::Method(method))
                .check(Check::BackendFraming(Framing::Chunked))
                .check(Check::BackendBody(copied)),
        ));
        cases.push(one(
            &format!("method/{method}/added"),
            format!("a body that the guest writes for a {method} request without one is sent"),
            Exchange::get("/stream")
                .method(method)
                .sends(script().write(REQUEST, "added"))
                .check(Check::Method(method))
                .check(Check::BackendFraming(Framing::Chunked))
                .check(Check::BackendBody("added".into())),
        ));
    }
}

fn reads(cases: &mut Vec<Case>) {
    let some: Vec<u64> = (PIECE..SLOW).step_by(PIECE).map(|len| eof_len(false, len)).collect();
    let read = script().call(Function::ReadBody, [REQUEST.into(), FREE.into(), 65_536.into()]);
    cases.push(one(
        "read/what-is-there",
        "read_body returns what has arrived rather than fill the buffer",
        slow()
            .features(BUFFER_REQUEST)
            .sends(read.gives_one_of(&some))
            .check(Check::BackendBody(Payload::Pattern(SLOW))),
    ));
    cases.push(one(
        "read/no-more-than-asked",
        "read_body returns no more than buf_limit, and then continues from there",
        post(100)
            .features(BUFFER_REQUEST)
            .sends(
                script()
                    .read_pattern(REQUEST, 0, 1, &[false])
                    .call(Function::ReadBody, [REQUEST.into(), FREE.into(), 1.into()])
                    .gives(eof_len(false, 1)),
            )
            .check(Check::BackendBody(Payload::Pattern(100))),
    ));
    for len in [0, 1, 50_000] {
        let whole = Payload::Pattern(len);
        cases.push(one(
            &format!("read/unchanged/{len}"),
            format!("a body of {len} bytes that was read, and not written, passes unchanged"),
            post(len)
                .features(BUFFER_REQUEST)
                .sends(script().copy_as_it_comes(REQUEST, 65_536, None, &whole))
                .check(Check::BackendBody(whole.clone())),
        ));
    }
    cases.push(one(
        "read/after-commit",
        "reads continue after the first write, and never return 0 bytes without EOF",
        slow()
            .sends(
                script()
                    .write(REQUEST, "first, ")
                    .copy_as_it_comes(REQUEST, 3, None, &Payload::Pattern(SLOW))
                    .write(REQUEST, "last"),
            )
            .check(Check::BackendBody("first, last".into())),
    ));
    cases.push(one(
        "read/unread",
        "what the guest hasn't read when it returns is dropped",
        post(200_000)
            .sends(script().read_pattern(REQUEST, 0, 10, &[false]).write(REQUEST, "short"))
            .check(Check::BackendBody("short".into())),
    ));
    cases.push(one(
        "read/still-arriving",
        "the request ends when the guest returns, even if the original hasn't ended",
        endless().sends(script().write(REQUEST, "short")).check(Check::BackendBody("short".into())),
    ));
}

fn writes(cases: &mut Vec<Case>) {
    for (len, step) in
        [(1, 1), (1000, 7), (65_535, 65_536), (65_537, 65_536), (300_000, 1000), (1_000_000, 65_536)]
    {
        let whole = Payload::Pattern(len);
        cases.push(one(
            &format!("write/copied/{len}"),
            format!("{len} bytes that are copied as they come arrive in order"),
            post(len).sends(copy(step, &whole)).check(Check::BackendBody(whole)),
        ));
    }
    for (len, step) in [(65_536_u32, 0), (65_537, 0), (300_000, 0), (300_000, 65_536), (10_000, 100)] {
        let how = if step == 0 { "one write".to_owned() } else { format!("writes of {step}") };
        cases.push(one(
            &format!("write/{}/{len}", if step == 0 { "at-once" } else { "in-pieces" }),
            format!("{len} bytes in {how} arrive in order"),
            post(10)
                .sends(script().write_pattern(REQUEST, len, step))
                .check(Check::BackendBody(Payload::Pattern(len as usize))),
        ));
    }
}

/// What fails after the first write.
fn fixed_heads(cases: &mut Vec<Case>) {
    for (name, says, change) in [
        ("method", "set_method traps", script().call(Function::SetMethod, [b"PUT".into()])),
        ("same-method", "set_method traps", script().call(Function::SetMethod, [b"POST".into()])),
        ("uri", "set_uri traps", script().call(Function::SetUri, [b"/late".into()])),
        ("set", "set_header_value traps", script().set(REQUEST, "x-late", "1")),
        ("add", "add_header_value traps", script().add(REQUEST, "x-late", "1")),
        ("remove", "remove_header traps", script().remove(REQUEST, "x-early")),
        ("empty", "content-length: 0 traps", script().set(REQUEST, "content-length", "0")),
    ] {
        cases.push(one(
            &format!("fixed/{name}"),
            format!("{says} after the first write, and the request is aborted"),
            fails(slow().header("x-early", "1").sends(begun().then(change))),
        ));
    }
    cases.push(one(
        "fixed/reads",
        "the head can be read after the first write, as it was sent",
        post(10)
            .sends(
                script()
                    .call(Function::SetMethod, [b"PUT".into()])
                    .call(Function::SetUri, [b"/sent".into()])
                    .set(REQUEST, "x-early", "1")
                    .write(REQUEST, "sent")
                    .reads(Function::GetMethod, "PUT")
                    .reads(Function::GetUri, "/sent")
                    .values(REQUEST, "x-early", &[b"1"])
                    .values(REQUEST, "content-length", &[]),
            )
            .check(Check::Target("/sent".to_owned()))
            .check(Check::BackendBody("sent".into())),
    ));
    cases.push(one(
        "fixed/response",
        "the response's head can still be changed after the first write of the request",
        post(10)
            .sends(script().write(REQUEST, "sent").set(RESPONSE, "x-late", "1"))
            .check(Check::Header("x-late", value("1")))
            .check(Check::BackendBody("sent".into())),
    ));
}

fn trailers(cases: &mut Vec<Case>) {
    let body = |exchange: Exchange| exchange.check(Check::BackendBody("body".into()));
    let changed = script().set(REQUEST_TRAILERS, "x-end", "early").write(REQUEST, "body").set(
        REQUEST_TRAILERS,
        "x-end",
        "late",
    );
    cases.push(one(
        "trailers/late-value",
        "trailers can be changed until handle_request returns",
        body(post(10).sends(changed)).check(Check::BackendTrailer("x-end", value("late"))),
    ));
    cases.push(one(
        "trailers/announced",
        "trailers that are set before the first write are announced",
        body(post(10).sends(script().set(REQUEST_TRAILERS, "x-end", "1").write(REQUEST, "body")))
            .check(Check::BackendHeader("trailer", value("x-end")))
            .check(Check::BackendTrailer("x-end", value("1"))),
    ));
    let client = || post(1000).trailer("x-client", "1");
    cases.push(one(
        "trailers/unread",
        "announced trailers of the client follow a body that was not read to its end",
        body(client().sends(script().write(REQUEST, "body")))
            .check(Check::BackendTrailer("x-client", value("1"))),
    ));
    let all = Payload::Pattern(1000);
    cases.push(one(
        "trailers/changed",
        "the client's trailers can be changed when its body was read",
        client()
            .sends(copy(65_536, &all).set(REQUEST_TRAILERS, "x-client", "2"))
            .check(Check::BackendBody(all))
            .check(Check::BackendTrailer("x-client", value("2"))),
    ));
}
