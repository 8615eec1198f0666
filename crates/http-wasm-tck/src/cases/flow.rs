//! The results of `handle_request`, traps, and what happens after them.

use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Phase, Plan, Section};
use crate::guest::{FREE, Function};
use crate::payload::Payload;
use crate::script::{REQUEST, RESPONSE, Script, script};
use crate::wire::Framing;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    next(&mut cases);
    req_ctx(&mut cases);
    traps(&mut cases);
    cases
}

fn next(cases: &mut Vec<Case>) {
    for next in [1, 2, 0x8000_0000, u32::MAX] {
        cases.push(Case::new(
            format!("flow/next/{next}"),
            Section::PackedResults,
            format!("next {next} proceeds: anything but zero does"),
            Exchange::get("/")
                .before(script().proceed(next, 1))
                .check(Check::Body("from the backend".into())),
        ));
    }
    let mut stop = |ctx: u32| {
        cases.push(Case::new(
            format!("flow/stop/{ctx}"),
            Section::PackedResults,
            format!("next 0 stops with any req_ctx, such as {ctx}, and handle_response is not called"),
            Exchange::get("/")
                .before(script().write(RESPONSE, "stopped"))
                .stops_with(ctx)
                .after(script().trap())
                .check(Check::Status(200))
                .check(Check::Body("stopped".into()))
                .check(Check::NotReached),
        ));
    };
    stop(0);
    stop(1);
    stop(u32::MAX);
    cases.push(Case::of(
        "flow/stop/many",
        Section::Guest,
        "a guest that stops with req_ctx set serves any number of requests",
        Plan::InTurn(
            (0..40).map(|ctx| Exchange::get("/").stops_with(ctx).check(Check::NotReached)).collect(),
        ),
    ));
    cases.push(Case::new(
        "flow/body-untouched-by-stop",
        Section::Phases,
        "a guest that stops without reading the request can respond",
        Exchange::post(Payload::Pattern(100_000), Framing::Length)
            .before(script().write(RESPONSE, "no"))
            .stops()
            .check(Check::Body("no".into())),
    ));
}

fn req_ctx(cases: &mut Vec<Case>) {
    for ctx in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        cases.push(Case::new(
            format!("flow/req-ctx/{ctx}"),
            Section::PackedResults,
            format!("req_ctx {ctx} is passed to handle_response"),
            // The guest stores the script under req_ctx, and traps if it gets a different one.
            Exchange::get("/").before(script().proceed(1, ctx)).after(script().values(
                RESPONSE,
                "x-from",
                &[b"backend"],
            )),
        ));
    }
    let together = |name: &str, says: &str, make: fn(usize) -> Exchange| {
        Case::of(
            format!("flow/together/{name}"),
            Section::Guest,
            says,
            Plan::Together((0..64).map(make).collect()),
        )
    };
    cases.push(together(
        "own-ctx",
        "under 64 concurrent requests each handle_response runs in the instance of its handle_request",
        |i| {
            let name = format!("r{i}");
            Exchange::get(&format!("/{i}"))
                .header("x-nonce", &name)
                .reply(Reply::default().slowly(4, 20))
                .after(
                    script()
                        .values(REQUEST, "x-nonce", &[name.as_bytes()])
                        .reads(Function::GetUri, format!("/{i}")),
                )
        },
    ));
    cases.push(together("memory", "under 64 concurrent requests no instance serves two at once", |i| {
        let nonce = 0x5000 + i as u32;
        let at = FREE + 0x1_0000;
        // No other request may overwrite what handle_request leaves in memory for handle_response.
        Exchange::post(Payload::Pattern(600), Framing::Chunked)
            .slowly(200, 15)
            .features(1)
            .before(
                script()
                    .store(at, nonce)
                    .read_all(REQUEST, 64, &Payload::Pattern(600))
                    .load(at)
                    .gives(nonce.into()),
            )
            .check(Check::BackendBody(Payload::Pattern(600)))
    }));
    cases.push(together("bodies", "64 concurrent bodies don't get mixed up", |i| {
        let size = 500 + i * 37;
        Exchange::post(Payload::Pattern(size), Framing::Length)
            .slowly(100, 1)
            .reply(Reply::pattern(size + 1, Framing::Chunked))
            .features(3)
            .before(script().read_all(REQUEST, 64, &Payload::Pattern(size)))
            .after(script().read_all(RESPONSE, 64, &Payload::Pattern(size + 1)))
            .check(Check::BackendBody(Payload::Pattern(size)))
            .check(Check::Body(Payload::Pattern(size + 1)))
    }));
}

type MakeScript = fn() -> Script;

fn traps(cases: &mut Vec<Case>) {
    let all: [(&str, &str, MakeScript); 3] = [
        ("unreachable", "traps", || script().trap()),
        ("stack-overflow", "overflows its stack", || script().overflow()),
        ("host-call", "makes an invalid call", || {
            script().call(Function::GetHeaderNames, [9.into(), FREE.into(), 64.into()])
        }),
    ];
    for (name, what, make) in all {
        let ways: [(&str, &str, Exchange, Phase); 4] = [
            ("before", "in handle_request", Exchange::get("/").before(make()), Phase::Request),
            (
                "before-with-response",
                "in handle_request after it set a response",
                Exchange::get("/").before(
                    script()
                        .call(Function::SetStatusCode, [202.into()])
                        .set(RESPONSE, "x-secret", "1")
                        .write(RESPONSE, "half an answer")
                        .then(make()),
                ),
                Phase::Request,
            ),
            ("after", "in handle_response", Exchange::get("/").after(make()), Phase::Response),
            (
                "after-buffered",
                "in handle_response with buffer_response, after it wrote",
                Exchange::get("/").features(2).after(
                    script().set(RESPONSE, "x-secret", "1").write(RESPONSE, "half an answer").then(make()),
                ),
                Phase::Response,
            ),
        ];
        for (when, words, exchange, phase) in ways {
            let clean = || Exchange::get("/").before(script().is_clean());
            let exchange = exchange.check(Check::Traps(phase));
            cases.push(
                Case::of(
                    format!("flow/trap/{name}/{when}"),
                    Section::Bodies,
                    format!(
                        "when a guest {what} {words}, the client gets 500 without details, and the next \
                         requests get a clean instance"
                    ),
                    Plan::InTurn(vec![
                        exchange.check(Check::Nowhere("x-secret", "1")),
                        clean(),
                        clean(),
                        clean(),
                    ]),
                )
                .differs(
                    "the stack is in the body or the connection is dropped; the instance is used again \
                     in a dirty state",
                ),
            );
        }
    }
    cases.push(Case::of(
        "flow/trap/among-others",
        Section::Bodies,
        "a trap in one request doesn't affect concurrent ones",
        Plan::Together(
            (0..32)
                .map(|i| {
                    let slow = Exchange::get("/").reply(Reply::default().slowly(4, 10));
                    if i % 4 == 0 {
                        slow.before(script().trap()).check(Check::Traps(Phase::Request))
                    } else {
                        slow.after(script().values(RESPONSE, "x-from", &[b"backend"]))
                            .check(Check::Body("from the backend".into()))
                    }
                })
                .collect(),
        ),
    ));
}
