//! URIs and the host.

use crate::case::{Case, Check, Exchange, Http, Phase, Section};
use crate::guest::Function;
use crate::script::{REQUEST, script};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    read(&mut cases);
    set(&mut cases);
    refused(&mut cases);
    host(&mut cases);
    cases
}

fn case(id: &str, says: impl Into<String>, exchange: Exchange) -> Case {
    Case::new(id, Section::Fields, says, exchange)
}

fn read(cases: &mut Vec<Case>) {
    for (name, target) in [
        ("root", "/"),
        ("path", "/a/b"),
        ("query", "/a?b=c&d"),
        ("escapes", "/%41%2fb%20c?x=%3F%26"),
        ("double-slash", "//foo"),
        ("trailing-question-mark", "/a?"),
        ("dots", "/a/../b/./c"),
        ("question-in-query", "/a?b?c=/d"),
        ("sub-delimiters", "/a;b=c,d!e*(f)'g$h&i+j@k:l"),
    ] {
        cases.push(case(
            &format!("uri/get/{name}"),
            format!("{target} is read as on the wire, and forwarded unchanged"),
            Exchange::get(target)
                .before(script().reads(Function::GetUri, target))
                .check(Check::Target(target.to_owned())),
        ));
    }
    cases.push(
        case(
            "uri/get/asterisk",
            "the URI of OPTIONS * is *",
            Exchange::get("*").method("OPTIONS").before(script().reads(Function::GetUri, "*")),
        )
        .only(Http::One),
    );
    cases.push(
        case(
            "uri/get/absolute",
            "for a request in absolute form, path and query are read",
            Exchange::get("http://example.com/a?b")
                .host("example.com")
                .before(script().reads(Function::GetUri, "/a?b")),
        )
        .only(Http::One),
    );
}

fn set(cases: &mut Vec<Case>) {
    let table: [(&str, &[u8], &str, &str); 19] = [
        ("empty", b"", "/", "an empty URI sets /"),
        ("path", b"/new", "/new", "setting a path drops the previous query"),
        ("path-and-query", b"/new?x=1&y", "/new?x=1&y", "setting replaces path and query together"),
        ("query-only", b"?x=1", "/?x=1", "a query alone sets / with that query"),
        ("double-slash", b"//foo", "//foo", "//foo stays as it is"),
        ("double-slash-path", b"//foo/bar?x", "//foo/bar?x", "//foo/bar is a path, not an authority"),
        ("trailing-question-mark", b"/a?", "/a?", "a bare trailing ? stays"),
        (
            "absolute",
            b"http://other.example/a?b",
            "/a?b",
            "only the path and query of an absolute URI are \
             used",
        ),
        (
            "absolute-https",
            b"https://other.example:8443/a",
            "/a",
            "only the path and query of an absolute URI are used",
        ),
        ("absolute-no-path", b"http://other.example", "/", "an absolute URI without a path sets /"),
        (
            "absolute-query",
            b"http://other.example?q",
            "/?q",
            "an absolute URI without a path, but with a query",
        ),
        ("escapes", b"/%41%2F%20", "/%41%2F%20", "escapes stay as they are"),
        ("space", b"/a b", "/a%20b", "a space is percent-encoded"),
        ("8-bit", b"/caf\xe9", "/caf%E9", "an 8-bit byte is percent-encoded"),
        (
            "utf-8",
            "/k\u{e4}se?\u{e4}".as_bytes(),
            "/k%C3%A4se?%C3%A4",
            "bytes beyond ASCII are percent-encoded",
        ),
        ("fragment", b"/a#b", "/a%23b", "# is percent-encoded, as it isn't allowed there"),
        (
            "quotes",
            b"/\"<>\\^`{|}",
            "/%22%3C%3E%5C%5E%60%7B%7C%7D",
            "characters that aren't allowed in a URI are percent-encoded",
        ),
        ("dots", b"/a/../b", "/a/../b", "dots are not resolved"),
        ("long", &[b'/'; 3000], "", "a URI of 3,000 bytes is accepted"),
    ];
    for (name, uri, expected, says) in table {
        let expected = if expected.is_empty() { "/".repeat(3000) } else { expected.to_owned() };
        let exchange = Exchange::get("/old?query=1")
            .before(script().call(Function::SetUri, [uri.into()]).reads(Function::GetUri, &expected))
            .check(Check::Target(expected));
        cases.push(case(&format!("uri/set/{name}"), says, exchange));
    }
    cases.push(case(
        "uri/set/same",
        "setting the URI that was read changes nothing",
        Exchange::get("/a%20b?c=%41")
            .before(
                script()
                    .reads(Function::GetUri, "/a%20b?c=%41")
                    .call(Function::SetUri, ["/a%20b?c=%41".into()]),
            )
            .check(Check::Target("/a%20b?c=%41".to_owned())),
    ));
    cases.push(case(
        "uri/set/keeps-host",
        "setting an absolute URI keeps the host",
        Exchange::get("/")
            .host("kept.example")
            .before(script().call(Function::SetUri, ["http://other.example/x".into()]).values(
                REQUEST,
                "host",
                &[b"kept.example"],
            ))
            .check(Check::Target("/x".to_owned())),
    ));
}

fn refused(cases: &mut Vec<Case>) {
    let table: [(&str, &[u8], &str); 8] = [
        ("cr-lf", b"/a HTTP/1.1\r\nx-injected: 1\r\n\r\n", "CR LF in a URI traps"),
        ("cr", b"/a\rb", "CR in a URI traps"),
        ("lf", b"/a\nb", "LF in a URI traps"),
        ("nul", b"/a\0b", "NUL in a URI traps"),
        ("control", b"/a\x01", "a control character in a URI traps"),
        ("query-lf", b"/a?b\nc", "LF in a query traps"),
        ("no-uri", b"foo", "a string that isn't a URI traps"),
        ("no-uri-with-slash", b"foo/bar", "a string that isn't a URI traps, even with a slash"),
    ];
    for (name, uri, says) in table {
        let exchange = Exchange::get("/")
            .before(script().call(Function::SetUri, [uri.into()]))
            .check(Check::Traps(Phase::Request));
        cases.push(case(&format!("uri/refused/{name}"), says, exchange));
    }
}

fn host(cases: &mut Vec<Case>) {
    let exchange = || Exchange::get("/").host("given.example:8080");
    let one = |text: &str| vec![text.as_bytes().to_vec()];
    let ignored = "setting the host request header is ignored";
    cases.push(case(
        "host/read",
        "host is a request header, in HTTP/2 from :authority",
        exchange().before(script().values(REQUEST, "host", &[b"given.example:8080"])),
    ));
    cases.push(case(
        "host/read-mixed-case",
        "host is found whatever the case of its name",
        exchange().before(script().values(REQUEST, "Host", &[b"given.example:8080"])),
    ));
    cases.push(case(
        "host/listed",
        "host is among the names of request headers, once",
        exchange().before(script().names(REQUEST, &["host"])),
    ));
    cases.push(case(
        "host/read-after",
        "host can be read in handle_response",
        exchange().after(script().values(REQUEST, "host", &[b"given.example:8080"])),
    ));
    for (verb, says) in [("set", "setting host replaces it"), ("add", "adding host replaces it")] {
        let change = match verb {
            "set" => script().set(REQUEST, "host", "new.example"),
            _ => script().add(REQUEST, "Host", "new.example"),
        };
        cases.push(
            case(
                &format!("host/{verb}"),
                format!("{says}, and takes effect on what the next handler sees"),
                exchange()
                    .before(change.values(REQUEST, "host", &[b"new.example"]).names(REQUEST, &["host"]))
                    .check(Check::BackendHeader("host", one("new.example"))),
            )
            .differs(ignored),
        );
    }
    cases.push(
        case(
            "host/set-then-after",
            "handle_response reads the host that was set",
            exchange().before(script().set(REQUEST, "host", "new.example:1")).after(script().values(
                REQUEST,
                "host",
                &[b"new.example:1"],
            )),
        )
        .differs(ignored),
    );
    cases.push(
        case(
            "host/remove",
            "removing host traps",
            exchange().before(script().remove(REQUEST, "host")).check(Check::Traps(Phase::Request)),
        )
        .differs(ignored),
    );
    cases.push(
        case(
            "host/invalid",
            "a host with a line break in it traps",
            exchange()
                .before(script().set(REQUEST, "host", b"a\r\nx-injected: 1"))
                .check(Check::Traps(Phase::Request)),
        )
        .differs(ignored),
    );
    cases.push(case(
        "host/response",
        "a response header named host is one like any other",
        exchange().before(script().set(1, "host", "x")).stops().check(Check::Header("host", one("x"))),
    ));
}
