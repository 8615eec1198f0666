//! Bodies: reading in steps, replay, writing, and both at once.

use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Section};
use crate::guest::Function;
use crate::payload::Payload;
use crate::script::{REQUEST, RESPONSE, Script, script};
use crate::wire::Framing;

const SIZES: [usize; 6] = [0, 1, 64, 65, 5000, 70_000];
const STEPS: [u32; 3] = [64, 4096, 1 << 20];
const FRAMINGS: [(Framing, &str); 2] = [(Framing::Length, "length"), (Framing::Chunked, "chunked")];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    read_requests(&mut cases);
    read_responses(&mut cases);
    partial_reads(&mut cases);
    single_reads(&mut cases);
    writes(&mut cases);
    alternate(&mut cases);
    untouched(&mut cases);
    cases
}

fn case(id: String, says: impl Into<String>, exchange: Exchange) -> Case {
    Case::new(id, Section::Bodies, says, exchange)
}

fn read_requests(cases: &mut Vec<Case>) {
    for (framing, how) in FRAMINGS {
        for size in SIZES {
            for step in STEPS {
                let body = Payload::Pattern(size);
                let script = script().read_all(REQUEST, step, &body);
                let sent = || Exchange::post(body.clone(), framing).slowly(8192, 0);
                cases.push(
                    case(
                        format!("bodies/request/{how}/{size}-by-{step}/buffered"),
                        format!(
                            "with buffer_request a {size}-byte body, {how}, read in steps of {step}, \
                             is forwarded completely"
                        ),
                        sent().features(1).before(script.clone()).check(Check::BackendBody(body.clone())),
                    )
                    .differs(super::differences::LAST_CHUNK),
                );
                cases.push(
                    case(
                        format!("bodies/request/{how}/{size}-by-{step}/consumed"),
                        format!(
                            "without buffer_request a {size}-byte body, {how}, read in steps of {step}, is \
                            consumed"
                        ),
                        sent().before(script).check(Check::BackendBody(Payload::EMPTY)),
                    )
                    .differs(super::differences::OLD_LENGTH),
                );
            }
        }
    }
}

fn read_responses(cases: &mut Vec<Case>) {
    for (framing, how) in FRAMINGS {
        for size in SIZES {
            for step in STEPS {
                let body = Payload::Pattern(size);
                cases.push(case(
                    format!("bodies/response/{how}/{size}-by-{step}"),
                    format!(
                        "with buffer_response a {size}-byte body, {how}, read in steps of {step}, \
                         reaches the client completely"
                    ),
                    Exchange::get("/")
                        .reply(Reply::pattern(size, framing))
                        .features(2)
                        .after(script().read_all(RESPONSE, step, &body))
                        .check(Check::Body(body)),
                ));
            }
        }
    }
    for size in [1, 5000] {
        let body = Payload::Pattern(size);
        cases.push(case(
            format!("bodies/response/until-close/{size}"),
            format!("a {size}-byte body that ends with the connection is read and forwarded"),
            Exchange::get("/")
                .reply(Reply::pattern(size, Framing::Close))
                .features(2)
                .after(script().read_all(RESPONSE, 64, &body))
                .check(Check::Body(body)),
        ));
    }
}

/// Reads that stop before the end.
fn partial_reads(cases: &mut Vec<Case>) {
    let take = |kind, steps: &[usize]| {
        let mut from = 0;
        steps.iter().fold(script(), |script, &step| {
            let script = script.read_pattern(kind, from, step, &[false]);
            from += step;
            script
        })
    };
    let body = || Payload::Pattern(5000);
    for (what, steps) in [
        ("one-byte", &[1][..]),
        ("one-step", &[64]),
        ("many-steps", &[64, 64, 64, 64, 64]),
        ("growing-steps", &[1, 10, 100, 1000]),
        ("shrinking-steps", &[1000, 100, 10, 1]),
        ("all-but-one", &[4999]),
    ] {
        for (framing, how) in FRAMINGS {
            cases.push(
                case(
                    format!("bodies/partial/request/{how}/{what}"),
                    "with buffer_request, the whole body is forwarded, however much was read and in whatever \
                     steps",
                    Exchange::post(body(), framing)
                        .slowly(1000, 0)
                        .features(1)
                        .before(take(REQUEST, steps))
                        .check(Check::BackendBody(body())),
                )
                .differs(super::differences::LAST_CHUNK),
            );
        }
        cases.push(case(
            format!("bodies/partial/response/{what}"),
            "with buffer_response, the whole body reaches the client, however much was read and in whatever \
             steps",
            Exchange::get("/")
                .reply(Reply::pattern(5000, Framing::Chunked).slowly(1000, 0))
                .features(2)
                .after(take(RESPONSE, steps))
                .check(Check::Body(body())),
        ));
    }
    for (framing, how) in FRAMINGS {
        cases.push(
            case(
                format!("bodies/partial/consumed/{how}"),
                "without buffer_request, what was read is consumed, and the rest is forwarded",
                Exchange::post("read this, keep that", framing)
                    .before(script().read(REQUEST, 11, "read this, ", false))
                    .check(Check::BackendBody("keep that".into())),
            )
            .differs(super::differences::OLD_LENGTH),
        );
    }
}

/// The result of a single call.
fn single_reads(cases: &mut Vec<Case>) {
    let mut add = |id: &str, says: &str, exchange: Exchange| {
        cases.push(case(format!("bodies/read/{id}"), says, exchange));
    };
    let post = |text: &str| Exchange::post(text, Framing::Length);
    add(
        "shorter-than-room",
        "a body shorter than buf_limit is returned together with EOF",
        post("abc").before(script().read(REQUEST, 64, "abc", true)),
    );
    add(
        "empty",
        "an empty body reads 0 bytes with EOF",
        post("").before(script().read(REQUEST, 64, "", true)),
    );
    add(
        "none",
        "a request without a body reads 0 bytes with EOF",
        Exchange::get("/").before(script().read(REQUEST, 64, "", true)),
    );
    add(
        "after-eof",
        "after EOF, further reads return 0 bytes with EOF",
        post("abc").before(
            script().read(REQUEST, 64, "abc", true).read(REQUEST, 64, "", true).read(REQUEST, 1, "", true),
        ),
    );
    add(
        "goes-on",
        "repeated reads continue where the last one stopped",
        post("abcdefgh").before(
            script()
                .read(REQUEST, 3, "abc", false)
                .read(REQUEST, 3, "def", false)
                .read(REQUEST, 3, "gh", true),
        ),
    );
    add(
        "fills-the-buffer",
        "a read fills the buffer however the body arrives",
        Exchange::post(Payload::Pattern(300), Framing::Chunked).slowly(50, 20).before(script().read_pattern(
            REQUEST,
            0,
            299,
            &[false],
        )),
    );
    add(
        "slow-to-the-end",
        "a read waits for the end of a body that arrives slowly",
        Exchange::post("abcdef", Framing::Chunked)
            .slowly(2, 20)
            .before(script().read(REQUEST, 64, "abcdef", true)),
    );
    add(
        "fills-the-buffer-after",
        "a read of the response fills the buffer however the body arrives",
        Exchange::get("/")
            .reply(Reply::pattern(300, Framing::Chunked).slowly(50, 20))
            .features(2)
            .after(script().read_pattern(RESPONSE, 0, 299, &[false]))
            .check(Check::Body(Payload::Pattern(300))),
    );
    add(
        "after-eof-response",
        "after EOF, further reads of the response return 0 bytes with EOF",
        Exchange::get("/")
            .features(2)
            .after(script().read(RESPONSE, 64, "from the backend", true).read(RESPONSE, 64, "", true)),
    );
}

fn writes(cases: &mut Vec<Case>) {
    for (size, step) in [(0, 0), (1, 0), (5000, 0), (5000, 64), (70_000, 0), (70_000, 4096)] {
        let body = Payload::Pattern(size as usize);
        let write = |kind| match size {
            0 => script().write(kind, ""),
            size => script().write_pattern(kind, size, step),
        };
        let pieces = if step == 0 { "at once".to_owned() } else { format!("in pieces of {step}") };
        let id = |place: &str| format!("bodies/write/{place}/{size}-by-{step}");
        for (framing, how) in FRAMINGS {
            cases.push(
                case(
                    id(&format!("request-{how}")),
                    format!("a {size}-byte body written {pieces} replaces the request body ({how})"),
                    Exchange::post("original", framing)
                        .before(write(REQUEST))
                        .check(Check::BackendBody(body.clone())),
                )
                .differs(super::differences::OLD_LENGTH),
            );
        }
        cases.push(case(
            id("stop"),
            format!("a {size}-byte body written {pieces} is the response of a guest that stops"),
            Exchange::get("/")
                .before(write(RESPONSE))
                .stops()
                .check(Check::Body(body.clone()))
                .check(Check::NotReached),
        ));
        cases.push(case(
            id("early"),
            format!("a {size}-byte body written {pieces} before next precedes the next handler's body"),
            Exchange::get("/")
                .before(write(RESPONSE))
                .reply(Reply::pattern(0, Framing::Length))
                .check(Check::Body(body.clone())),
        ));
        cases.push(case(
            id("after"),
            format!("with buffer_response a {size}-byte body written {pieces} replaces the response body"),
            Exchange::get("/").features(2).after(write(RESPONSE)).check(Check::Body(body)),
        ));
    }
    let mut add = |id: &str, says: &str, exchange: Exchange| {
        cases.push(case(format!("bodies/write/{id}"), says, exchange));
    };
    add(
        "starts-new",
        "the first write starts a new body, later ones append",
        Exchange::post("original", Framing::Length)
            .before(script().write(REQUEST, "a").write(REQUEST, "b").write(REQUEST, "c"))
            .check(Check::BackendBody("abc".into())),
    );
    add(
        "get-gets-body",
        "a body may be written for a request that had none",
        Exchange::get("/").before(script().write(REQUEST, "now")).check(Check::BackendBody("now".into())),
    );
    add(
        "early-then-after",
        "the first write in handle_response starts a new body, replacing what was written before next",
        Exchange::get("/")
            .features(2)
            .before(script().write(RESPONSE, "early"))
            .after(script().write(RESPONSE, "late"))
            .check(Check::Body("late".into())),
    );
    add(
        "early-seen-after",
        "with buffer_response what was written before next is read, followed by the next handler's body",
        Exchange::get("/").features(2).before(script().write(RESPONSE, "early, ")).after(script().read(
            RESPONSE,
            64,
            "early, from the backend",
            true,
        )),
    );
    add(
        "rest-is-dropped",
        "the unread rest of the original body is dropped once the guest has written",
        Exchange::post(Payload::Pattern(5000), Framing::Length)
            .before(script().read_pattern(REQUEST, 0, 10, &[false]).write(REQUEST, "new"))
            .check(Check::BackendBody("new".into())),
    );
    add(
        "reads-go-on",
        "after the first write, reads still return the original body",
        Exchange::post("abcdef", Framing::Length)
            .features(1)
            .before(
                script()
                    .read(REQUEST, 2, "ab", false)
                    .write(REQUEST, "X")
                    .read(REQUEST, 2, "cd", false)
                    .write(REQUEST, "Y"),
            )
            .check(Check::BackendBody("XY".into())),
    );
}

/// Alternates between reading and writing a piece.
fn alternate(cases: &mut Vec<Case>) {
    for (size, step) in [(5000, 64), (5000, 4096), (70_000, 4096), (65, 64)] {
        let body = Payload::Pattern(size);
        let copy = |kind| -> Script { script().copy_all(kind, step, Some(kind), &body) };
        for features in [0, 1] {
            let with = if features == 0 { "without" } else { "with" };
            cases.push(
                case(
                    format!("bodies/alternate/request/{size}-by-{step}/{with}-buffering"),
                    format!(
                        "{with} buffer_request a guest may read and write the request body alternately, \
                         {step} bytes at a time"
                    ),
                    Exchange::post(body.clone(), Framing::Length)
                        .features(features)
                        .before(copy(REQUEST))
                        .check(Check::BackendBody(body.clone())),
                )
                .differs(super::differences::LAST_CHUNK),
            );
        }
        cases.push(case(
            format!("bodies/alternate/response/{size}-by-{step}"),
            format!("a guest may read and write the response body alternately, {step} bytes at a time"),
            Exchange::get("/")
                .reply(Reply::pattern(size, Framing::Chunked))
                .features(2)
                .after(copy(RESPONSE))
                .check(Check::Body(body.clone())),
        ));
        cases.push(case(
            format!("bodies/alternate/request-to-response/{size}-by-{step}"),
            format!("a guest may respond with the request body, {step} bytes at a time"),
            Exchange::post(body.clone(), Framing::Chunked)
                .before(script().copy_all(REQUEST, step, Some(RESPONSE), &body))
                .stops()
                .check(Check::Body(body)),
        ));
    }
}

/// Bodies that the guest never touches.
fn untouched(cases: &mut Vec<Case>) {
    for (framing, how) in FRAMINGS {
        for size in [1, 5000, 300_000] {
            let body = Payload::Pattern(size);
            for features in [0, 3] {
                let with = if features == 0 { "without" } else { "with" };
                cases.push(case(
                    format!("bodies/untouched/{how}/{size}/{with}-buffering"),
                    format!(
                        "{size}-byte bodies that the guest never touches pass unchanged, {with} buffering"
                    ),
                    Exchange::post(body.clone(), framing)
                        .slowly(10_000, 0)
                        .reply(Reply::pattern(size, framing))
                        .features(features)
                        .after(script().call(Function::GetStatusCode, []).gives(200))
                        .check(Check::BackendBody(body.clone()))
                        .check(Check::Body(body.clone()))
                        .check(Check::Length((framing == Framing::Length).then_some(size))),
                ));
            }
        }
    }
}
