//! Responses that a guest builds: what the host adds, and the order in which the parts may be set.

use crate::case::{Case, Check, Exchange, Section};
use crate::guest::Function;
use crate::script::{RESPONSE, Script, script};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    content_types(&mut cases);
    orders(&mut cases);
    cases
}

/// Who writes a response's body, and when.
struct Writer {
    id: &'static str,
    by: &'static str,
    exchange: fn(Script) -> Exchange,
}

const WRITERS: [Writer; 3] = [
    Writer {
        id: "stop",
        by: "by a guest that stops",
        exchange: |script| Exchange::get("/").before(script).stops(),
    },
    Writer { id: "early", by: "before next", exchange: |script| Exchange::get("/").before(script) },
    Writer {
        id: "after",
        by: "in handle_response with buffer_response",
        exchange: |script| Exchange::get("/").features(2).after(script),
    },
];

fn content_types(cases: &mut Vec<Case>) {
    for (what, body) in [("html", "<html><p>a text</p></html>"), ("text", "a text"), ("json", "{\"a\": 1}")] {
        for Writer { id, by, exchange } in WRITERS {
            let exchange =
                exchange(script().write(RESPONSE, body)).check(Check::Header("content-type", vec![]));
            let says = format!("a body of {what} that is written {by} gets no content-type");
            let case = Case::new(format!("content-type/{id}/{what}"), Section::Bodies, says, exchange);
            cases.push(case.differs(super::differences::SNIFFED));
        }
    }
}

fn orders(cases: &mut Vec<Case>) {
    let status = || script().call(Function::SetStatusCode, [418.into()]);
    let header = || script().set(RESPONSE, "x-late", "1");
    let write = || script().write(RESPONSE, "a body");
    let has_header = || Check::Header("x-late", vec![b"1".to_vec()]);
    for Writer { id, by, exchange } in WRITERS {
        let mut add = |order: &str, says: &str, script: Script, checks: Vec<Check>| {
            let exchange = checks.into_iter().fold(exchange(script), Exchange::check);
            let says = format!("{says} when that is done {by}");
            let case = Case::new(format!("order/{order}/{id}"), Section::Phases, says, exchange);
            cases.push(case.differs(super::differences::LATE_HEAD));
        };
        if id != "early" {
            add(
                "status-after-write",
                "a status set after a body write takes effect",
                write().then(status()),
                vec![Check::Status(418)],
            );
            add(
                "header-after-status",
                "a header set after the status is sent",
                status().then(header()),
                vec![Check::Status(418), has_header()],
            );
        }
        add(
            "header-after-write",
            "a header set after a body write is sent",
            write().then(header()),
            vec![has_header()],
        );
        add(
            "write-header-write",
            "a header set between two writes is sent, and so is the whole body",
            write().then(header()).then(write()),
            vec![
                has_header(),
                Check::Body(
                    if id == "early" { "a bodya bodyfrom the backend" } else { "a bodya body" }.into(),
                ),
            ],
        );
    }
}
