//! Header values and methods: which may be set, and how they are sent.

use super::shared::{KINDS, described, fields_case as case, traps};
use crate::case::{Case, Check, Exchange, Http};
use crate::guest::Function;
use crate::script::{REQUEST, RESPONSE, RESPONSE_TRAILERS, script};
use crate::wire::Framing;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    invalid_values(&mut cases);
    legal(&mut cases);
    methods(&mut cases);
    cases
}

fn invalid_values(cases: &mut Vec<Case>) {
    let values: [(&str, &[u8]); 6] = [
        ("cr-lf", b"1\r\nx-injected: 2"),
        ("cr", b"1\rx-injected: 2"),
        ("lf", b"1\nx-injected: 2"),
        ("nul", b"1\0"),
        ("escape", b"\x1b[0m"),
        ("delete", b"1\x7f"),
    ];
    for (what, value) in values {
        for (kind, kind_name) in KINDS {
            for (verb, function) in [("set", Function::SetHeaderValue), ("add", Function::AddHeaderValue)] {
                // One function for each kind is enough, since both share their checks.
                if (verb == "set") != matches!(kind, REQUEST | RESPONSE_TRAILERS) {
                    continue;
                }
                let script = script().call(function, [kind.into(), "x-a".into(), value.into()]);
                let exchange = Exchange::post("body", Framing::Chunked).takes_trailers().before(script);
                let says = format!(
                    "{} traps on a value with {} among {}",
                    function.name(),
                    described(what),
                    kind_name.replace('-', " ")
                );
                let id = format!("values/{verb}/{kind_name}/{what}");
                cases.push(case(id, says, exchange.check(traps())).differs(super::differences::INVALID));
            }
        }
    }
}

/// Valid values pass unchanged.
fn legal(cases: &mut Vec<Case>) {
    let values: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("8-bit", b"caf\xe9 \xff"),
        ("utf-8", "käse".as_bytes()),
        ("tab-inside", b"a\tb"),
        ("comma", b"a, b"),
        ("quotes", b"\"a;b\""),
    ];
    for (what, value) in values {
        let to_backend = Exchange::get("/")
            .before(script().set(REQUEST, "x-v", value).values(REQUEST, "x-v", &[value]))
            .check(Check::BackendHeader("x-v", vec![value.to_vec()]));
        let says = format!("a request header value may be {}", described_value(what));
        cases.push(case(format!("values/request/{what}"), says, to_backend));
        let to_client = Exchange::get("/")
            .before(script().add(RESPONSE, "x-v", value).values(RESPONSE, "x-v", &[value]))
            .stops()
            .check(Check::Header("x-v", vec![value.to_vec()]));
        let says = format!("a response header value may be {}", described_value(what));
        cases.push(case(format!("values/response/{what}"), says, to_client));
        let received = Exchange::get("/")
            .header("x-v", value)
            .before(script().values(REQUEST, "x-v", &[value]))
            .check(Check::BackendHeader("x-v", vec![value.to_vec()]));
        let says =
            format!("a header value from the client reaches the guest if it is {}", described_value(what));
        cases.push(case(format!("values/received/{what}"), says, received));
    }
    for name in ["x_under", "x.dot", "x!#$%&'*+-^`|~9"] {
        let exchange = Exchange::get("/")
            .before(script().set(REQUEST, name, "1"))
            .check(Check::BackendHeader(name, vec![b"1".to_vec()]));
        cases.push(case(format!("names/legal/{name}"), format!("{name} is a valid header name"), exchange));
    }
}

fn described_value(what: &str) -> &'static str {
    match what {
        "empty" => "empty",
        "8-bit" => "invalid UTF-8",
        "utf-8" => "UTF-8 beyond ASCII",
        "tab-inside" => "text with a tab in it",
        "comma" => "a list, which stays one value",
        _ => "quoted text",
    }
}

fn methods(cases: &mut Vec<Case>) {
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "QUERY", "x-own.Method"] {
        cases.push(case(
            format!("method/set/{method}"),
            format!("the method can be set to {method}"),
            Exchange::get("/")
                .before(
                    script().call(Function::SetMethod, [method.into()]).reads(Function::GetMethod, method),
                )
                .check(Check::Method(method)),
        ));
    }
    for method in ["PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        cases.push(case(
            format!("method/get/{method}"),
            format!("the method {method} is read as received"),
            Exchange::get("/")
                .method(method)
                .before(script().reads(Function::GetMethod, method))
                .check(Check::Method(method)),
        ));
    }
    let invalid: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("space", b"GET /injected"),
        ("cr-lf", b"GET / HTTP/1.1\r\nx-injected: 1\r\n\r\nGET"),
        ("lf", b"GET\n"),
        ("nul", b"GET\0"),
        ("8-bit", b"G\xcbT"),
    ];
    for (what, method) in invalid {
        let case = case(
            format!("method/invalid/{what}"),
            format!("set_method traps on a method with {}", described(what)),
            Exchange::get("/").before(script().call(Function::SetMethod, [method.into()])).check(traps()),
        );
        cases.push(if what == "empty" { case } else { case.differs("an invalid method does not trap") });
    }
    cases.push(case(
        "method/after-set".to_owned(),
        "the request that is passed on has the method that was set last".to_owned(),
        Exchange::get("/")
            .before(
                script().call(Function::SetMethod, ["PUT".into()]).call(Function::SetMethod, ["POST".into()]),
            )
            .check(Check::Method("POST")),
    ));
    cases.push(
        case(
            "protocol-version/1.0".to_owned(),
            "the protocol version of an HTTP/1.0 client is HTTP/1.0".to_owned(),
            Exchange::get("/").http10().before(script().reads(Function::GetProtocolVersion, "HTTP/1.0")),
        )
        .only(Http::One),
    );
}
