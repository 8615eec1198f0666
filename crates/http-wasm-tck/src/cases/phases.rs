//! Every function in either phase, for every kind.

use super::shared::{
    BUFFER_RESPONSE, KINDS, arrives, phases_case as case, phases_exchange as exchange, reads_none,
};
use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Http, Phase};
use crate::guest::{FREE, Function};
use crate::payload::Payload;
use crate::script::{Arg, Content, REQUEST, REQUEST_TRAILERS, RESPONSE, RESPONSE_TRAILERS, Script, script};
use crate::wire::Framing;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    always(&mut cases);
    reads(&mut cases);
    early_reads(&mut cases);
    late_reads(&mut cases);
    changes(&mut cases);
    features(&mut cases);
    cases
}

type MakeScript = fn() -> Script;

/// Functions without effect on the messages: configuration, log.
fn always(cases: &mut Vec<Case>) {
    let all: [(&str, MakeScript); 4] = [
        ("get-config", || script().call(Function::GetConfig, [FREE.into(), 0.into()])),
        ("log", || script().call(Function::Log, [0.into(), "tck: a line".into()])),
        ("log-enabled", || script().call(Function::LogEnabled, [2.into()]).gives_one_of(&[0, 1])),
        ("get-source-addr", || {
            let twice = script().call(Function::GetSourceAddr, [FREE.into(), 0.into()]).keep(0);
            twice.call(Function::GetSourceAddr, [FREE.into(), 64.into()]).same_as(0)
        }),
    ];
    for (name, make) in all {
        let says = |when| format!("{} works in {when}", name.replace('-', "_"));
        cases.push(case(format!("{name}/before"), says("handle_request"), exchange().before(make())));
        cases.push(case(format!("{name}/after"), says("handle_response"), exchange().after(make())));
        let buffered = exchange().features(BUFFER_RESPONSE).after(make());
        cases.push(case(
            format!("{name}/after-buffered"),
            says("handle_response with buffer_response"),
            buffered,
        ));
    }
}

/// Parts of the request that can be read in any phase.
fn reads(cases: &mut Vec<Case>) {
    let mut read = |name: &str, what: &str, only: Option<Http>, script: Script| {
        let mut push = |when: &str, says: &str, exchange: Exchange| {
            let mut case = case(format!("{name}/{when}"), format!("{what} can be read {says}"), exchange);
            case.only = only;
            cases.push(case);
        };
        push("before", "in handle_request", exchange().before(script.clone()));
        push("after", "in handle_response", exchange().after(script.clone()));
        let buffered = exchange().features(BUFFER_RESPONSE).after(script);
        push("after-buffered", "in handle_response with buffer_response", buffered);
    };
    read("get-method", "the method", None, script().reads(Function::GetMethod, "POST"));
    read("get-uri", "the URI", None, script().reads(Function::GetUri, "/phase?q=1"));
    let version = |text| script().reads(Function::GetProtocolVersion, text);
    read("get-protocol-version", "the protocol version", Some(Http::One), version("HTTP/1.1"));
    read("get-protocol-version-2", "the protocol version", Some(Http::Two), version("HTTP/2.0"));
    read(
        "get-header-names/request-headers",
        "the names of request headers",
        None,
        names(REQUEST, &["x-b", "x-a"]),
    );
    read(
        "get-header-values/request-headers",
        "a request header",
        None,
        script().values(REQUEST, "x-a", &[b"1"]).values(REQUEST, "X-B", &[b"2"]),
    );
}

/// Checks the names. A guest that can't report at least compares two results with each other.
fn names(kind: u32, names: &[&'static str]) -> Script {
    script()
        .names(kind, names)
        .keep(0)
        .call(Function::GetHeaderNames, [kind.into(), FREE.into(), 0.into()])
        .same_as(0)
}

/// What `handle_request` reads of a response that doesn't exist yet.
fn early_reads(cases: &mut Vec<Case>) {
    let mut read = |name: String, says: &str, script: Script| {
        cases.push(case(format!("{name}/before"), says.to_owned(), exchange().before(script)));
    };
    for (kind, name) in &KINDS[1..] {
        read(
            format!("get-header-names/{name}"),
            "before next there are no response headers or trailers except those that the guest set",
            reads_none(*kind, "x-r"),
        );
        let set = script().set(*kind, "X-Own", "4").add(*kind, "x-own", "5").names(*kind, &["x-own"]);
        read(
            format!("get-header-values/{name}"),
            "before next the guest reads the response headers and the trailers that it set itself",
            set.values(*kind, "x-own", &[b"4", b"5"]).remove(*kind, "x-own").values(*kind, "x-own", &[]),
        );
    }
    let status = |status| script().call(Function::GetStatusCode, []).gives(status);
    read("get-status-code".to_owned(), "before next the status is 200 until the guest sets one", status(200));
    let set = script().call(Function::SetStatusCode, [404.into()]).then(status(404));
    let set = set.call(Function::SetStatusCode, [201.into()]).then(status(201));
    cases.push(case(
        "get-status-code/before-set".to_owned(),
        "before next the guest reads the status that it set last".to_owned(),
        exchange().before(set).stops().check(Check::Status(201)),
    ));
}

/// What `handle_response` can read of the response.
fn late_reads(cases: &mut Vec<Case>) {
    let reply = || Reply::default().status(404).header("X-R", "3").header("x-q", "").header("x-r", "4");
    let mut read = |name: &str, says: &str, script: Script| {
        let ways = [("after", 0, ""), ("after-buffered", BUFFER_RESPONSE, " with buffer_response")];
        for (when, features, with) in ways {
            let exchange = exchange().reply(reply()).features(features).after(script.clone());
            cases.push(case(
                format!("{name}/{when}"),
                format!("{says} can be read in handle_response{with}"),
                exchange,
            ));
        }
    };
    read(
        "get-header-names/response-headers",
        "the names of response headers",
        names(RESPONSE, &["x-r", "x-q"]),
    );
    read(
        "get-header-values/response-headers",
        "a response header",
        script().values(RESPONSE, "x-r", &[b"3", b"4"]).values(RESPONSE, "x-q", &[b""]),
    );
    read("get-status-code", "the status", script().call(Function::GetStatusCode, []).gives(404));
    if let Some(case) = cases.iter_mut().rev().nth(1) {
        *case = case.clone().differs("get_status_code without buffer_response kills the connection");
    }
    let empty = |kind: u32| reads_none(kind, "x-t");
    for (kind, name) in &KINDS[2..] {
        cases.push(case(
            format!("get-header-names/{name}/after"),
            format!(
                "the {} of a message without any read as none in handle_response",
                name.replace('-', " ")
            ),
            exchange().after(empty(*kind)),
        ));
    }
    cases.push(case(
        "get-header-names/response-trailers/after-unbuffered".to_owned(),
        "without buffer_response response trailers read as none, as they have not arrived yet".to_owned(),
        exchange()
            .reply(Reply::default().trailer("x-t", "1").slowly(8, 30))
            .after(empty(RESPONSE_TRAILERS))
            .check(Check::Trailer("x-t", vec![b"1".into()])),
    ));
    cases.push(case(
        "get-header-values/response-trailers/after-buffered".to_owned(),
        "with buffer_response reading response trailers waits for them".to_owned(),
        exchange()
            .reply(Reply::default().trailer("x-t", "1").slowly(8, 30))
            .features(BUFFER_RESPONSE)
            .after(script().values(RESPONSE_TRAILERS, "x-t", &[b"1"]).names(RESPONSE_TRAILERS, &["x-t"]))
            .check(Check::Trailer("x-t", vec![b"1".into()]))
            .check(Check::Body("from the backend".into())),
    ));
}

/// A change: its name, the message that it applies to, and its effect in `handle_request`.
struct Change {
    name: String,
    script: Script,
    request: bool,
    check: Check,
}

fn all_changes() -> Vec<Change> {
    let mut changes = vec![
        Change {
            name: "set-method".to_owned(),
            script: script().call(Function::SetMethod, ["PUT".into()]),
            request: true,
            check: Check::Method("PUT"),
        },
        Change {
            name: "set-uri".to_owned(),
            script: script().call(Function::SetUri, ["/other".into()]),
            request: true,
            check: Check::Target("/other".to_owned()),
        },
        Change {
            name: "write-body/request".to_owned(),
            script: script().write(REQUEST, "written"),
            request: true,
            check: Check::BackendBody("written".into()),
        },
    ];
    for (kind, name) in KINDS {
        let check = |name, values: &[&[u8]]| arrives(kind, name, values);
        let request = matches!(kind, REQUEST | REQUEST_TRAILERS);
        changes.push(Change {
            name: format!("set-header-value/{name}"),
            script: script().set(kind, "x-new", "1").set(kind, "X-New", "2"),
            request,
            check: check("x-new", &[b"2"]),
        });
        changes.push(Change {
            name: format!("add-header-value/{name}"),
            script: script().add(kind, "x-new", "1").add(kind, "X-New", "2"),
            request,
            check: check("x-new", &[b"1", b"2"]),
        });
        changes.push(Change {
            name: format!("remove-header/{name}"),
            script: script().set(kind, "x-new", "1").remove(kind, "X-NEW"),
            request,
            check: check("x-new", &[]),
        });
    }
    changes
}

/// An exchange with trailers in both directions.
fn changeable() -> Exchange {
    Exchange::post("request body", Framing::Chunked)
        .trailer("x-rt", "1")
        .reply(Reply::default().trailer("x-t", "1"))
}

fn changes(cases: &mut Vec<Case>) {
    for change in all_changes() {
        let Change { name, script, request, check } = change;
        let what = name.replace('-', "_").replace('/', " of ");
        cases.push(case(
            format!("{name}/before"),
            format!("{what} is allowed in handle_request and takes effect"),
            changeable().before(script.clone()).check(check.clone()),
        ));
        cases.push(case(
            format!("{name}/after"),
            match request {
                true => format!("{what} traps in handle_response: the request has already been passed on"),
                false => format!("{what} traps in handle_response without buffer_response"),
            },
            changeable().after(script.clone()).check(Check::Traps(Phase::Response)),
        ));
        let buffered = changeable().features(BUFFER_RESPONSE).after(script);
        cases.push(match request {
            true => case(
                format!("{name}/after-buffered"),
                format!("{what} traps in handle_response, with buffer_response as well"),
                buffered.check(Check::Traps(Phase::Response)),
            ),
            false => case(
                format!("{name}/after-buffered"),
                format!("{what} is allowed in handle_response with buffer_response and takes effect"),
                buffered.check(check),
            ),
        });
    }
}

/// `enable_features` in either phase.
fn features(cases: &mut Vec<Case>) {
    let enable = |features: u32| script().call(Function::EnableFeatures, [features.into()]);
    cases.push(case(
        "enable-features/after".to_owned(),
        "enable_features in handle_response changes nothing: setting a status still traps".to_owned(),
        exchange()
            .after(enable(BUFFER_RESPONSE).call(Function::SetStatusCode, [201.into()]))
            .check(Check::Traps(Phase::Response)),
    ));
    cases.push(case(
        "enable-features/after-answer".to_owned(),
        "enable_features is allowed in handle_response".to_owned(),
        exchange().after(enable(BUFFER_RESPONSE)),
    ));
    cases.push(
        case(
            "enable-features/after-buffered".to_owned(),
            "enable_features returns what the host supports in handle_response as well".to_owned(),
            exchange().features(BUFFER_RESPONSE).after(enable(0).gives_one_of(&[3, 7])),
        )
        .harmlessly_differs(super::differences::ECHOES, [Check::Status(200)]),
    );
    cases.push(case(
        "enable-features/before".to_owned(),
        "enable_features in handle_request holds for that request".to_owned(),
        exchange()
            .before(enable(BUFFER_RESPONSE))
            .buffers_from_start()
            .after(script().call(Function::GetStatusCode, []).gives(200))
            .check(Check::Status(200)),
    ));
    let source = Content::Like(
        |text| {
            let text = String::from_utf8_lossy(text);
            text.is_empty() || text.parse::<std::net::SocketAddr>().is_ok()
        },
        "ip:port with IPv6 in brackets, or nothing",
    );
    cases.push(case(
        "get-source-addr/form".to_owned(),
        "the source address is ip:port, or empty if the server doesn't know it".to_owned(),
        exchange().before(script().call(Function::GetSourceAddr, [FREE.into(), 64.into()]).holds_content(
            FREE,
            Arg::Low,
            source,
        )),
    ));
    cases.push(case(
        "request-as-handed-on".to_owned(),
        "handle_response reads the request as the guest passed it on".to_owned(),
        exchange()
            .before(
                script()
                    .call(Function::SetMethod, ["PUT".into()])
                    .call(Function::SetUri, ["/new".into()])
                    .set(REQUEST, "x-a", "9")
                    .remove(REQUEST, "x-b"),
            )
            .after(
                script()
                    .reads(Function::GetMethod, "PUT")
                    .reads(Function::GetUri, "/new")
                    .values(REQUEST, "x-a", &[b"9"])
                    .values(REQUEST, "x-b", &[]),
            )
            .check(Check::BackendBody(Payload::from("request body"))),
    ));
}
