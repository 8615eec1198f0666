//! Responses that are sent while the guest is writing them. The rules are in `docs/streaming.md`.

use super::shared::{PAUSE_MS, PIECE, SLOW, WHILE};
use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Http, Plan, Streams};
use crate::cases::shared::BUFFER_RESPONSE;
use crate::guest::{FREE, Function};
use crate::payload::Payload;
use crate::script::{RESPONSE, RESPONSE_TRAILERS, Script, eof_len, script};
use crate::wire::Framing;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    commit(&mut cases);
    reads(&mut cases);
    writes(&mut cases);
    fixed_heads(&mut cases);
    failures(&mut cases);
    trailers(&mut cases);
    cases
}

fn case(id: &str, says: impl Into<String>, plan: Plan) -> Case {
    super::shared::case(id, Streams::Response, says, plan)
}

fn one(id: &str, says: impl Into<String>, exchange: Exchange) -> Case {
    case(id, says, Plan::InTurn(vec![exchange]))
}

/// The guest runs `script` in `handle_response`, with `buffer_response`. Since it can't report in the head, it traps if
/// something is wrong.
fn streams(script_after: Script) -> Exchange {
    Exchange::get("/stream")
        .before(script().call(Function::EnableFeatures, [BUFFER_RESPONSE.into()]))
        .after(script_after)
}

fn chunked(len: usize) -> Reply {
    Reply::pattern(len, Framing::Chunked)
}

/// Takes about two seconds.
fn slow() -> Reply {
    chunked(SLOW).slowly(PIECE, PAUSE_MS)
}

fn set_status(status: u32) -> Script {
    script().call(Function::SetStatusCode, [status.into()])
}

fn commit(cases: &mut Vec<Case>) {
    let copied = Payload::Pattern(SLOW);
    let copy = script().copy_as_it_comes(RESPONSE, 65_536, Some(RESPONSE), &copied);
    cases.push(one(
        "commit/sends",
        "what is written is sent before handle_response returns",
        streams(copy).reply(slow()).check(Check::Streams(WHILE)).check(Check::Body(copied.clone())),
    ));
    let early = script().write(RESPONSE, "early, ").copy_as_it_comes(RESPONSE, 65_536, None, &copied);
    cases.push(one(
        "commit/before-reading",
        "the first write is sent though nothing was read",
        streams(early.write(RESPONSE, "late"))
            .reply(slow())
            .check(Check::Streams(WHILE))
            .check(Check::Body("early, late".into())),
    ));
    cases.push(one(
        "commit/head",
        "status and headers that are set before the first write are sent",
        streams(set_status(203).set(RESPONSE, "x-early", "1").write(RESPONSE, "body"))
            .check(Check::Status(203))
            .check(Check::Header("x-early", vec![b"1".to_vec()]))
            .check(Check::Body("body".into())),
    ));
    cases.push(one(
        "commit/framing",
        "a response that is sent while it is written has no content-length",
        streams(script().write(RESPONSE, "body"))
            .check(Check::Length(None))
            .check(Check::Body("body".into())),
    ));
    cases.push(one(
        "commit/empty-write",
        "a write of length 0 doesn't make the head final",
        streams(script().write(RESPONSE, "").then(set_status(203)))
            .check(Check::Status(203))
            .check(Check::Body("".into())),
    ));
    for (name, exchange) in [
        ("head-method", streams(Script::default()).method("HEAD")),
        ("204", streams(Script::default()).reply(Reply::bodiless(204))),
        ("304", streams(Script::default()).reply(Reply::bodiless(304))),
    ] {
        let write = script().write(RESPONSE, "dropped").set(RESPONSE, "x-late", "1");
        cases.push(one(
            &format!("commit/{name}"),
            "a response that can't have a body is not sent with the first write, which is dropped",
            exchange
                .after(write)
                .check(Check::Header("x-late", vec![b"1".to_vec()]))
                .check(Check::Body("".into())),
        ));
    }
    let held = streams(script().write(RESPONSE, "held").set(RESPONSE, "x-late", "1")).http10();
    cases.push(
        one(
            "commit/http10",
            "a response to a request of HTTP/1.0 is held until handle_response returns",
            held.check(Check::Header("x-late", vec![b"1".to_vec()])).check(Check::Body("held".into())),
        )
        .only(Http::One),
    );
}

fn reads(cases: &mut Vec<Case>) {
    let some: Vec<u64> = (PIECE..SLOW).step_by(PIECE).map(|len| eof_len(false, len)).collect();
    let read =
        script().call(Function::ReadBody, [RESPONSE.into(), FREE.into(), 65_536.into()]).gives_one_of(&some);
    cases.push(one(
        "read/what-is-there",
        "read_body returns what has arrived rather than fill the buffer",
        Exchange::get("/stream")
            .features(BUFFER_RESPONSE)
            .after(read)
            .reply(slow())
            .check(Check::Body(Payload::Pattern(SLOW))),
    ));
    cases.push(one(
        "read/no-more-than-asked",
        "read_body returns no more than buf_limit, and then continues from there",
        Exchange::get("/stream")
            .features(BUFFER_RESPONSE)
            .after(
                script()
                    .read_pattern(RESPONSE, 0, 1, &[false])
                    .call(Function::ReadBody, [RESPONSE.into(), FREE.into(), 1.into()])
                    .gives(eof_len(false, 1)),
            )
            .reply(chunked(100))
            .check(Check::Body(Payload::Pattern(100))),
    ));
    for len in [0, 1, 100_000] {
        let whole = Payload::Pattern(len);
        cases.push(one(
            &format!("read/unchanged/{len}"),
            format!("a body of {len} bytes that was read, and not written, passes unchanged"),
            Exchange::get("/stream")
                .features(BUFFER_RESPONSE)
                .after(script().copy_as_it_comes(RESPONSE, 65_536, None, &whole))
                .reply(chunked(len))
                .check(Check::Body(whole.clone())),
        ));
    }
    cases.push(one(
        "read/after-commit",
        "reads continue after the first write, and never return 0 bytes without EOF",
        streams(
            script()
                .write(RESPONSE, "first, ")
                .copy_as_it_comes(RESPONSE, 3, None, &Payload::Pattern(SLOW))
                .write(RESPONSE, "last"),
        )
        .reply(slow())
        .check(Check::Body("first, last".into())),
    ));
    cases.push(one(
        "read/unread",
        "what the guest hasn't read when it returns is dropped",
        streams(script().read_pattern(RESPONSE, 0, 10, &[false]).write(RESPONSE, "short"))
            .reply(chunked(200_000))
            .check(Check::Body("short".into())),
    ));
}

fn writes(cases: &mut Vec<Case>) {
    for (len, step) in
        [(1, 1), (1000, 7), (65_535, 65_536), (65_537, 65_536), (300_000, 1000), (1_000_000, 65_536)]
    {
        let whole = Payload::Pattern(len);
        let copy = script().copy_as_it_comes(RESPONSE, step, Some(RESPONSE), &whole);
        cases.push(one(
            &format!("write/copied/{len}"),
            format!("{len} bytes that are copied as they come arrive in order"),
            streams(copy).reply(chunked(len)).check(Check::Body(whole)),
        ));
    }
    for (len, step) in [(65_536_u32, 0), (65_537, 0), (300_000, 0), (300_000, 65_536), (10_000, 100)] {
        let how = if step == 0 { "one write".to_owned() } else { format!("writes of {step}") };
        cases.push(one(
            &format!("write/{}/{len}", if step == 0 { "at-once" } else { "in-pieces" }),
            format!("{len} bytes in {how} arrive in order"),
            streams(script().write_pattern(RESPONSE, len, step))
                .check(Check::Body(Payload::Pattern(len as usize))),
        ));
    }
}

/// What fails after the first write.
fn fixed_heads(cases: &mut Vec<Case>) {
    let written = || script().write(RESPONSE, "sent");
    for (name, script) in [
        ("status", written().then(set_status(203))),
        ("same-status", written().then(set_status(200))),
        ("set", written().set(RESPONSE, "x-late", "1")),
        ("add", written().add(RESPONSE, "x-late", "1")),
        ("remove", written().remove(RESPONSE, "x-from")),
        ("empty", written().set(RESPONSE, "content-length", "0")),
    ] {
        let says = match name {
            "status" | "same-status" => "set_status_code traps after the first write",
            "set" => "set_header_value traps after the first write",
            "add" => "add_header_value traps after the first write",
            "remove" => "remove_header traps after the first write",
            _ => "content-length: 0 traps after the first write",
        };
        cases.push(one(&format!("fixed/{name}"), says, streams(script).check(Check::Aborted)));
    }
    cases.push(one(
        "fixed/reads",
        "the head can be read after the first write, as it was sent",
        streams(
            set_status(203)
                .set(RESPONSE, "x-early", "1")
                .write(RESPONSE, "sent")
                .call(Function::GetStatusCode, [])
                .gives(203)
                .values(RESPONSE, "x-early", &[b"1"])
                .values(RESPONSE, "content-length", &[]),
        )
        .check(Check::Status(203))
        .check(Check::Body("sent".into())),
    ));
}

fn failures(cases: &mut Vec<Case>) {
    let traps = streams(script().write(RESPONSE, "part of it").trap()).check(Check::Aborted);
    cases.push(one("failure/trap", "a trap after the first write aborts the response", traps.clone()));
    let late = script().copy_as_it_comes(RESPONSE, 65_536, Some(RESPONSE), &Payload::Pattern(SLOW)).trap();
    cases.push(one(
        "failure/late-trap",
        "a trap after most of the response was sent breaks it off",
        streams(late).reply(slow()).check(Check::Aborted),
    ));
    let copy = script().write(RESPONSE, "first").copy_as_it_comes(
        RESPONSE,
        65_536,
        Some(RESPONSE),
        &Payload::Pattern(1000),
    );
    cases.push(one(
        "failure/next",
        "a body that is aborted aborts the response",
        streams(copy).reply(chunked(1000).cut()).check(Check::Aborted),
    ));
    let clean = Exchange::get("/").before(script().is_clean());
    cases.push(case(
        "failure/clean",
        "after a failure the next request gets a clean instance",
        Plan::InTurn(vec![traps, clean]),
    ));
}

fn trailers(cases: &mut Vec<Case>) {
    let value = |text: &str| vec![text.as_bytes().to_vec()];
    let streams = |script: Script| streams(script).takes_trailers();
    let late = streams(script().write(RESPONSE, "body").set(RESPONSE_TRAILERS, "x-end", "1"))
        .check(Check::Body("body".into()))
        .check(Check::Trailer("x-end", value("1")));
    // Over HTTP/1.1, hosts may send announced trailers only.
    cases.push(
        one("trailers/late", "trailers can be set until handle_response returns", late).only(Http::Two),
    );
    let changed = script().set(RESPONSE_TRAILERS, "x-end", "early").write(RESPONSE, "body").set(
        RESPONSE_TRAILERS,
        "x-end",
        "late",
    );
    cases.push(one(
        "trailers/late-value",
        "trailers can be changed until handle_response returns",
        streams(changed).check(Check::Body("body".into())).check(Check::Trailer("x-end", value("late"))),
    ));
    cases.push(one(
        "trailers/announced",
        "trailers that are set before the first write are announced",
        streams(script().set(RESPONSE_TRAILERS, "x-end", "1").write(RESPONSE, "body"))
            .check(Check::Header("trailer", value("x-end")))
            .check(Check::Trailer("x-end", value("1"))),
    ));
    let reply = || chunked(1000).trailer("x-next", "1");
    cases.push(one(
        "trailers/unread",
        "announced trailers of the next handler follow a body that was not read to its end",
        streams(script().write(RESPONSE, "body"))
            .reply(reply())
            .check(Check::Body("body".into()))
            .check(Check::Trailer("x-next", value("1"))),
    ));
    let all = Payload::Pattern(1000);
    let read = script().copy_as_it_comes(RESPONSE, 65_536, Some(RESPONSE), &all);
    cases.push(one(
        "trailers/changed",
        "the next handler's trailers can be changed when its body was read",
        streams(read.set(RESPONSE_TRAILERS, "x-next", "2"))
            .reply(reply())
            .check(Check::Body(all))
            .check(Check::Trailer("x-next", value("2"))),
    ));
}
