//! Trailers: reading and changing them, and which ones are forwarded.

use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Http, Section};
use crate::guest::{FREE, Function};
use crate::payload::Payload;
use crate::script::{REQUEST, REQUEST_TRAILERS, RESPONSE, RESPONSE_TRAILERS, script};
use crate::wire::Framing;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    request_trailers(&mut cases);
    response_trailers(&mut cases);
    unannounced_trailers(&mut cases);
    cases
}

fn case(id: &str, says: &str, exchange: Exchange) -> Case {
    Case::new(id, Section::Bodies, says, exchange)
}

fn one(text: &str) -> Vec<Vec<u8>> {
    vec![text.as_bytes().to_vec()]
}

fn request_trailers(cases: &mut Vec<Case>) {
    let mut add = |id: &str, says: &str, exchange: Exchange| {
        cases.push(
            case(&format!("trailers/request/{id}"), says, exchange).differs(super::differences::TRAILERS),
        );
    };
    let post = || Exchange::post("a body", Framing::Chunked).trailer("x-sum", "1").trailer("x-more", "2");
    let read =
        || script().values(REQUEST_TRAILERS, "x-sum", &[b"1"]).names(REQUEST_TRAILERS, &["x-sum", "x-more"]);
    let whole = |exchange: Exchange| exchange.check(Check::BackendBody("a body".into()));
    add(
        "untouched",
        "trailers of a body that the guest never touches pass through",
        whole(post()).check(Check::BackendTrailer("x-sum", one("1"))),
    );
    add(
        "buffered",
        "with buffer_request, reading request trailers waits for them, and the whole body is forwarded",
        whole(post().slowly(2, 20).features(1).before(read()))
            .check(Check::BackendTrailer("x-sum", one("1"))),
    );
    add(
        "unbuffered",
        "without buffer_request request trailers read as none before EOF",
        post()
            .slowly(2, 100)
            .before(script().values(REQUEST_TRAILERS, "x-sum", &[]))
            .check(Check::BackendTrailer("x-sum", one("1"))),
    );
    add(
        "after-eof",
        "without buffer_request request trailers can be read once the body was read to its end",
        post().before(script().read_all(REQUEST, 64, &"a body".into()).then(read())),
    );
    add(
        "body-and-trailers",
        "with buffer_request, body and trailers that were read are forwarded",
        whole(post().features(1).before(script().read_all(REQUEST, 4, &"a body".into()).then(read())))
            .check(Check::BackendTrailer("x-more", one("2"))),
    );
    add(
        "set",
        "setting a request trailer replaces the one that arrives",
        whole(post().before(script().set(REQUEST_TRAILERS, "X-Sum", "9")))
            .check(Check::BackendTrailer("x-sum", one("9")))
            .check(Check::BackendTrailer("x-more", one("2"))),
    );
    add(
        "add",
        "adding a request trailer appends to the one that arrives",
        whole(post().before(script().add(REQUEST_TRAILERS, "x-sum", "9")))
            .check(Check::BackendTrailer("x-sum", vec![b"1".to_vec(), b"9".to_vec()])),
    );
    add(
        "remove",
        "removing a request trailer removes the one that arrives",
        whole(post().before(script().remove(REQUEST_TRAILERS, "x-sum")))
            .check(Check::BackendTrailer("x-sum", vec![]))
            .check(Check::BackendTrailer("x-more", one("2"))),
    );
    add(
        "with-length",
        "a trailer set on a request with content-length is sent, along with the body",
        whole(Exchange::post("a body", Framing::Length).before(script().set(REQUEST_TRAILERS, "x-sum", "9")))
            .check(Check::BackendTrailer("x-sum", one("9"))),
    );
    add(
        "rewritten",
        "a rewritten body can have a trailer",
        Exchange::post("a body", Framing::Length)
            .before(script().write(REQUEST, "new").set(REQUEST_TRAILERS, "x-sum", "9"))
            .check(Check::BackendBody("new".into()))
            .check(Check::BackendTrailer("x-sum", one("9"))),
    );
    add(
        "replaced-unread",
        "announced trailers of a request body that the guest replaces unread are kept",
        post()
            .slowly(2, 20)
            .before(script().write(REQUEST, "new"))
            .check(Check::BackendBody("new".into()))
            .check(Check::BackendTrailer("x-sum", one("1")))
            .check(Check::BackendTrailer("x-more", one("2"))),
    );
    add(
        "replaced-part-read",
        "announced trailers of a request body that the guest reads in part and replaces are kept",
        post()
            .before(script().read(REQUEST, 2, "a ", false).write(REQUEST, "new"))
            .check(Check::BackendBody("new".into()))
            .check(Check::BackendTrailer("x-sum", one("1"))),
    );
    add(
        "removed-unannounced",
        "the trailer field of a request doesn't name a trailer that the guest has removed",
        post()
            .before(script().remove(REQUEST_TRAILERS, "x-sum"))
            .check(Check::Nowhere("trailer", "x-sum"))
            .check(Check::BackendTrailer("x-more", one("2"))),
    );
    add(
        "without-feature",
        "a guest may use trailers without enabling them",
        whole(post().features(1).before(read())),
    );
}

fn response_trailers(cases: &mut Vec<Case>) {
    let mut add = |id: &str, says: &str, exchange: Exchange| {
        cases.push(
            case(&format!("trailers/response/{id}"), says, exchange).differs(super::differences::TRAILERS),
        );
    };
    let reply = || Reply::default().trailer("X-Sum", "1").trailer("X-More", "2");
    let get = || Exchange::get("/").reply(reply());
    let whole = |exchange: Exchange| exchange.check(Check::Body("from the backend".into()));
    let read = || {
        script().values(RESPONSE_TRAILERS, "x-sum", &[b"1"]).names(RESPONSE_TRAILERS, &["x-sum", "x-more"])
    };
    add(
        "untouched",
        "trailers of a response that the guest never touches reach the client",
        whole(get()).check(Check::Trailer("x-sum", one("1"))),
    );
    add(
        "buffered",
        "with buffer_response, reading response trailers waits for the rest of the body, which is forwarded",
        whole(Exchange::get("/").reply(reply().slowly(4, 20)).features(2).after(read()))
            .check(Check::Trailer("x-sum", one("1"))),
    );
    add(
        "body-then-trailers",
        "body and trailers that were read reach the client",
        whole(
            get().features(2).after(script().read_all(RESPONSE, 5, &"from the backend".into()).then(read())),
        )
        .check(Check::Trailer("x-more", one("2"))),
    );
    add(
        "trailers-then-body",
        "after its trailers the body can still be read",
        whole(get().features(2).after(read().read_all(RESPONSE, 5, &"from the backend".into()))),
    );
    add(
        "set",
        "setting a response trailer replaces the one that arrives",
        whole(get().features(2).after(script().set(RESPONSE_TRAILERS, "x-sum", "9")))
            .check(Check::Trailer("x-sum", one("9")))
            .check(Check::Trailer("x-more", one("2"))),
    );
    add(
        "add",
        "adding a response trailer appends to the one that arrives",
        whole(get().features(2).after(script().add(RESPONSE_TRAILERS, "x-sum", "9")))
            .check(Check::Trailer("x-sum", vec![b"1".to_vec(), b"9".to_vec()])),
    );
    add(
        "remove",
        "removing a response trailer removes the one that arrives",
        whole(get().features(2).after(script().remove(RESPONSE_TRAILERS, "X-SUM")))
            .check(Check::Trailer("x-sum", vec![]))
            .check(Check::Trailer("x-more", one("2"))),
    );
    add(
        "set-before-next",
        "a response trailer set before next is not lost",
        whole(Exchange::get("/").takes_trailers().reply(Reply::default()).before(script().set(
            RESPONSE_TRAILERS,
            "x-sum",
            "9",
        )))
        .check(Check::Trailer("x-sum", one("9"))),
    );
    add(
        "stop",
        "a guest's own response can have a trailer",
        Exchange::get("/")
            .takes_trailers()
            .before(script().write(RESPONSE, "own").set(RESPONSE_TRAILERS, "x-sum", "9"))
            .stops()
            .check(Check::Body("own".into()))
            .check(Check::Trailer("x-sum", one("9"))),
    );
    let new = |exchange: Exchange| exchange.check(Check::Body("new".into()));
    let write = || script().write(RESPONSE, "new");
    add(
        "replaced-unread",
        "announced trailers of a response body that the guest replaces unread are kept",
        new(Exchange::get("/").reply(reply().slowly(4, 20)).features(2).after(write()))
            .check(Check::Trailer("x-sum", one("1")))
            .check(Check::Trailer("x-more", one("2"))),
    );
    add(
        "replaced-part-read",
        "announced trailers of a response body that the guest reads in part and replaces are kept",
        new(get().features(2).after(script().read(RESPONSE, 4, "from", false).then(write())))
            .check(Check::Trailer("x-sum", one("1"))),
    );
    add(
        "emptied",
        "announced trailers of a response body that the guest empties are kept",
        get()
            .features(2)
            .after(script().set(RESPONSE, "content-length", "0"))
            .check(Check::Body(Payload::EMPTY))
            .check(Check::Trailer("x-sum", one("1"))),
    );
    add(
        "replaced-and-edited",
        "the guest's changes to trailers apply to a body that is replaced unread",
        new(get().features(2).after(write().set(RESPONSE_TRAILERS, "x-sum", "9")))
            .check(Check::Trailer("x-sum", one("9")))
            .check(Check::Trailer("x-more", one("2"))),
    );
    add(
        "removed-unannounced",
        "the trailer field of a response doesn't name a trailer that the guest has removed",
        whole(get().features(2).after(script().remove(RESPONSE_TRAILERS, "x-sum")))
            .check(Check::Nowhere("trailer", "X-Sum"))
            .check(Check::Nowhere("trailer", "x-sum"))
            .check(Check::Trailer("x-more", one("2"))),
    );
    add(
        "not-accepted",
        "a trailer that the client can't accept is dropped, not trapped",
        whole(Exchange::get("/").features(2).after(script().set(RESPONSE_TRAILERS, "x-sum", "9"))),
    );
    add(
        "read-back",
        "a response trailer that was set is read back",
        get().features(2).after(
            script()
                .set(RESPONSE_TRAILERS, "x-new", "9")
                .call(Function::GetHeaderValues, [3.into(), "X-New".into(), FREE.into(), 64.into()])
                .gives(1 << 32 | 2)
                .holds(FREE, b"9\0"),
        ),
    );
}

/// Unannounced trailers, which an HTTP/2 client can get nevertheless.
fn unannounced_trailers(cases: &mut Vec<Case>) {
    let mut add = |id: &str, says: &str, kind: &str, kept: Vec<Vec<u8>>| {
        let reply = Reply::default().header("content-type", kind).unannounced_trailer("grpc-status", "0");
        let exchange = Exchange::get("/")
            .reply(reply)
            .features(2)
            .after(script().write(RESPONSE, "new"))
            .check(Check::Body("new".into()))
            .check(Check::Trailer("grpc-status", kept));
        let case = case(&format!("trailers/unannounced/{id}"), says, exchange);
        cases.push(case.only(Http::Two).differs(super::differences::TRAILERS));
    };
    add(
        "grpc",
        "trailers of a gRPC response whose body the guest replaces unread are kept",
        "application/grpc",
        one("0"),
    );
    add(
        "other",
        "unannounced trailers of another response whose body the guest replaces unread are dropped",
        "text/plain",
        vec![],
    );
}
