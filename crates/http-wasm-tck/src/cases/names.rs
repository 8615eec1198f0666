//! Header names: which may be set and looked up, and what setting, adding and removing does.

use super::shared::{KINDS, arrives, described, fields_case as case, read_args, traps};
use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Phase, Section};
use crate::guest::{FREE, Function};
use crate::script::{Arg, REQUEST, REQUEST_TRAILERS, RESPONSE, RESPONSE_TRAILERS, count_len, script};
use crate::wire::Framing;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    invalid_names(&mut cases);
    semantics(&mut cases);
    oversized(&mut cases);
    kinds(&mut cases);
    cases
}

fn invalid_names(cases: &mut Vec<Case>) {
    let names: [(&str, &[u8]); 9] = [
        ("empty", b""),
        ("space", b"x a"),
        ("colon", b"x:a"),
        ("cr-lf", b"x-a: 1\r\nx-injected"),
        ("lf", b"x-a\nx-injected"),
        ("nul", b"x-a\0"),
        ("tab", b"x\ta"),
        ("8-bit", b"x-\xe4"),
        ("bracket", b"x(a)"),
    ];
    for (what, name) in names {
        for (verb, function, kind) in
            [("set", Function::SetHeaderValue, REQUEST), ("add", Function::AddHeaderValue, RESPONSE)]
        {
            let says = format!("{} traps on a header name with {}", function.name(), described(what));
            let script = script().call(function, [kind.into(), name.into(), "1".into()]);
            let exchange = Exchange::get("/").before(script).check(traps());
            let case = case(format!("names/{verb}/{what}"), says, exchange);
            cases.push(if what == "empty" { case } else { case.differs(super::differences::INVALID) });
        }
        impossible(cases, what, name);
    }
    for (kind, kind_name) in &KINDS[2..] {
        let exchange = Exchange::get("/").before(script().set(*kind, b"x a", "1")).check(traps());
        let says = format!("an invalid name traps among {} as well", kind_name.replace('-', " "));
        cases.push(case(format!("names/{kind_name}"), says, exchange).differs(super::differences::INVALID));
    }
    let late = Exchange::get("/").features(2).after(script().set(RESPONSE, b"x a", "1"));
    cases.push(
        case(
            "names/after".to_owned(),
            "an invalid name traps in handle_response as well".to_owned(),
            late.check(Check::Traps(Phase::Response)),
        )
        .differs(super::differences::INVALID),
    );
}

/// Looks up and removes an invalid name.
fn impossible(cases: &mut Vec<Case>, what: &str, name: &[u8]) {
    let exchange = || {
        Exchange::post("a body", Framing::Chunked)
            .header("x-a", "1")
            .trailer("x-a", "1")
            .reply(Reply::default().header("x-a", "1").trailer("x-a", "1"))
    };
    let get = |kind: u32| {
        script().call(Function::GetHeaderValues, [kind.into(), name.into(), FREE.into(), 64.into()]).gives(0)
    };
    let stays = |kind| arrives(kind, "x-a", &[b"1"]);
    let mut add = |id: String, says: &str, kind: u32, exchange: Exchange, trapped: Phase| {
        let says = format!("{says} by a name with {} finds nothing", described(what));
        let case = case(format!("names/{id}/{what}"), says, exchange);
        cases.push(match kind {
            REQUEST_TRAILERS | RESPONSE_TRAILERS => case.differs(super::differences::TRAILERS),
            _ if what == "empty" => {
                case.harmlessly_differs(super::differences::EMPTY_LOOKUP, [Check::Traps(trapped)])
            }
            _ => case,
        });
    };
    for (kind, kind_name) in KINDS {
        let of = kind_name.replace('-', " ");
        add(
            format!("get-{kind_name}"),
            &format!("looking up {of}"),
            kind,
            exchange().before(get(kind)),
            Phase::Request,
        );
        add(
            format!("get-{kind_name}-after"),
            &format!("looking up {of} in handle_response"),
            kind,
            exchange().after(get(kind)),
            Phase::Response,
        );
        add(
            format!("remove-{kind_name}"),
            &format!("removing {of}"),
            kind,
            exchange().before(script().remove(kind, name)).check(stays(kind)),
            Phase::Request,
        );
        if matches!(kind, RESPONSE | RESPONSE_TRAILERS) {
            add(
                format!("remove-{kind_name}-after"),
                &format!("removing {of} in handle_response with buffer_response"),
                kind,
                exchange().features(2).after(script().remove(kind, name)).check(stays(kind)),
                Phase::Response,
            );
        }
    }
}

/// Setting, adding and removing, and how that affects reads.
fn semantics(cases: &mut Vec<Case>) {
    let mut add = |id: &str, section, says: &str, exchange: Exchange| {
        cases.push(Case::new(format!("headers/{id}"), section, says, exchange));
    };
    let one = |text: &[u8]| vec![text.to_vec()];
    let repeated =
        || Exchange::get("/").header("x-m", "1").header("X-Other", "o").header("X-M", "2").header("x-m", "3");
    add(
        "no-such-header",
        Section::PackedResults,
        "no such header is 0",
        Exchange::get("/").before(script().values(REQUEST, "x-none", &[])),
    );
    add(
        "empty-value",
        Section::PackedResults,
        "a header with an empty value is count 1, length 1",
        Exchange::get("/").header("x-e", "").before(script().values(REQUEST, "x-e", &[b""])),
    );
    add(
        "repeated-values",
        Section::PackedResults,
        "all values of a repeated header are read in order, each followed by one NUL",
        repeated().before(script().values(REQUEST, "x-m", &[b"1", b"2", b"3"])),
    );
    add(
        "mixed-case-lookup",
        Section::Fields,
        "names match case-insensitively",
        repeated().before(script().values(REQUEST, "X-m", &[b"1", b"2", b"3"])),
    );
    add(
        "names-once-lower-case-in-order",
        Section::Fields,
        "header names are lower case, listed once each, in the order received",
        repeated().before(script().names(REQUEST, &["x-m", "x-other"])),
    );
    let ordered = || Exchange::get("/").header("z-last", "1").header("m-mid", "2").header("a-first", "3");
    cases.push(
        case(
            "headers/names-in-order".to_owned(),
            "header names are in the order received, not sorted".to_owned(),
            ordered().before(script().names(REQUEST, &["z-last", "m-mid", "a-first"])),
        )
        .harmlessly_differs(super::differences::SORTED, [Check::Status(200)]),
    );
    cases.push(
        case(
            "headers/response-names-in-order".to_owned(),
            "response header names are in the order received".to_owned(),
            Exchange::get("/")
                .reply(Reply::default().header("z-last", "1").header("M-Mid", "2").header("a-first", "3"))
                .features(2)
                .after(script().names(RESPONSE, &["z-last", "m-mid", "a-first"])),
        )
        .harmlessly_differs(super::differences::SORTED, [Check::Status(200)]),
    );
    let mut add = |id: &str, says: &str, exchange: Exchange| {
        cases.push(case(format!("headers/{id}"), says.to_owned(), exchange));
    };
    add(
        "set-replaces-all",
        "set_header_value replaces all values of a name, whatever its case",
        repeated()
            .before(script().set(REQUEST, "x-M", "new").values(REQUEST, "x-m", &[b"new"]))
            .check(Check::BackendHeader("x-m", one(b"new"))),
    );
    add(
        "add-appends",
        "add_header_value appends to the values of a name",
        Exchange::get("/")
            .header("x-m", "1")
            .before(script().add(REQUEST, "X-M", "2").values(REQUEST, "x-m", &[b"1", b"2"]))
            .check(Check::BackendHeader("x-m", vec![b"1".to_vec(), b"2".to_vec()])),
    );
    add(
        "remove-removes-all",
        "remove_header removes all values of a name",
        repeated()
            .before(script().remove(REQUEST, "X-m").values(REQUEST, "x-m", &[]).names(REQUEST, &["x-other"]))
            .check(Check::BackendHeader("x-m", vec![]))
            .check(Check::BackendHeader("x-other", one(b"o"))),
    );
    add(
        "remove-unknown",
        "removing an absent header is allowed",
        Exchange::get("/").before(script().remove(REQUEST, "x-none")),
    );
    add(
        "set-cookie-adds",
        "each set-cookie that is added stays a header of its own",
        Exchange::get("/")
            .before(script().add(RESPONSE, "set-cookie", "a=1").add(RESPONSE, "Set-Cookie", "b=2"))
            .stops()
            .check(Check::Header("set-cookie", vec![b"a=1".to_vec(), b"b=2".to_vec()])),
    );
    add(
        "early-replaced-by-next",
        "a response header set before next is replaced by the next handler's of the same name",
        Exchange::get("/")
            .before(script().set(RESPONSE, "X-From", "guest").set(RESPONSE, "x-stays", "1"))
            .check(Check::Header("x-from", one(b"backend")))
            .check(Check::Header("x-stays", one(b"1"))),
    );
    let cookies = |values: &[&str]| values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>();
    add(
        "early-set-cookie-first",
        "a set-cookie set before next comes first, the next handler's is appended",
        Exchange::get("/")
            .before(script().set(RESPONSE, "set-cookie", "guest=1"))
            .reply(Reply::default().header("Set-Cookie", "backend=1"))
            .features(2)
            .after(script().values(RESPONSE, "set-cookie", &[b"guest=1", b"backend=1"]))
            .check(Check::Header("set-cookie", cookies(&["guest=1", "backend=1"]))),
    );
    add(
        "early-set-cookies-in-order",
        "each set-cookie set before next comes before the next handler's, in the order in which it was added",
        Exchange::get("/")
            .before(script().add(RESPONSE, "set-cookie", "guest=1").add(RESPONSE, "Set-Cookie", "guest=2"))
            .reply(Reply::default().header("Set-Cookie", "backend=1").header("set-cookie", "backend=2"))
            .check(Check::Header("set-cookie", cookies(&["guest=1", "guest=2", "backend=1", "backend=2"]))),
    );
    add(
        "early-seen-after-next",
        "a response header set before next is read in handle_response",
        Exchange::get("/")
            .before(script().set(RESPONSE, "x-early", "1"))
            .after(script().values(RESPONSE, "x-early", &[b"1"]).values(RESPONSE, "x-from", &[b"backend"])),
    );
    add(
        "response-set-after-next",
        "with buffer_response a header of the next handler is replaced, added to and removed",
        Exchange::get("/")
            .reply(Reply::default().header("X-A", "1").header("X-B", "1").header("X-C", "1"))
            .features(2)
            .after(script().set(RESPONSE, "x-a", "2").add(RESPONSE, "x-b", "2").remove(RESPONSE, "x-c"))
            .check(Check::Header("x-a", one(b"2")))
            .check(Check::Header("x-b", vec![b"1".to_vec(), b"2".to_vec()]))
            .check(Check::Header("x-c", vec![])),
    );
    for name in ["connection", "keep-alive", "te", "upgrade", "proxy-connection"] {
        add(
            &format!("connection-level/{name}"),
            &format!("{name} is a connection-level header: setting it is ignored"),
            Exchange::get("/")
                .before(script().set(REQUEST, name, "x-tck").set(RESPONSE, name, "x-tck"))
                .check(Check::Nowhere(name, "x-tck")),
        );
    }
}

/// Names and values that are longer than any buffer an implementation may have on its stack.
fn oversized(cases: &mut Vec<Case>) {
    for len in [65, 1000, 4000] {
        let value = "v".repeat(len);
        cases.push(case(
            format!("values/long/{len}"),
            format!("a header value of {len} bytes reaches the guest and the next handler unchanged"),
            Exchange::get("/")
                .header("x-long", &value)
                .before(
                    script()
                        .call(
                            Function::GetHeaderValues,
                            [0.into(), "x-long".into(), FREE.into(), 65_536.into()],
                        )
                        .gives(count_len(&[value.as_bytes()]))
                        .holds(FREE + len as u32 - 2, b"vv\0")
                        .call(
                            Function::SetHeaderValue,
                            [0.into(), "x-copy".into(), FREE.into(), (len as u32).into()],
                        ),
                )
                .check(Check::BackendHeader("x-copy", vec![value.clone().into_bytes()])),
        ));
    }
    let name = "x-".repeat(100);
    cases.push(case(
        "names/long".to_owned(),
        "a header name of 200 bytes can be set and read".to_owned(),
        Exchange::get("/").before(script().set(REQUEST, &name[..], "1").values(REQUEST, &name, &[b"1"])),
    ));
    cases.push(case(
        "names/over-the-name".to_owned(),
        "get_header_values may write its result over the name that was passed".to_owned(),
        Exchange::get("/").header("x-a", "value").before(
            script()
                .put(FREE, b"x-a")
                .call(Function::GetHeaderValues, [0.into(), FREE.into(), 3.into(), FREE.into(), 64.into()])
                .gives(count_len(&[b"value"]))
                .holds(FREE, b"value\0"),
        ),
    ));
}

/// Unknown kinds.
fn kinds(cases: &mut Vec<Case>) {
    for kind in [4_u32, 0x100, u32::MAX] {
        let calls: [(&str, Function, Vec<Arg>); 5] = [
            ("get-header-names", Function::GetHeaderNames, read_args(kind).to_vec()),
            (
                "get-header-values",
                Function::GetHeaderValues,
                vec![kind.into(), "x-a".into(), FREE.into(), 64.into()],
            ),
            ("set-header-value", Function::SetHeaderValue, vec![kind.into(), "x-a".into(), "1".into()]),
            ("add-header-value", Function::AddHeaderValue, vec![kind.into(), "x-a".into(), "1".into()]),
            ("remove-header", Function::RemoveHeader, vec![kind.into(), "x-a".into()]),
        ];
        for (name, function, args) in calls {
            cases.push(Case::new(
                format!("kinds/{name}/{kind}"),
                Section::Constants,
                format!("{} traps on the unknown header kind {kind}", function.name()),
                Exchange::get("/").before(script().call_with(function, &args)).check(traps()),
            ));
        }
    }
    for kind in [2_u32, u32::MAX] {
        for (name, function, args) in [
            ("read-body", Function::ReadBody, read_args(kind).to_vec()),
            ("write-body", Function::WriteBody, vec![kind.into(), "x".into()]),
        ] {
            cases.push(Case::new(
                format!("kinds/{name}/{kind}"),
                Section::Constants,
                format!("{} traps on the unknown body kind {kind}", function.name()),
                Exchange::get("/").before(script().call_with(function, &args)).check(traps()),
            ));
        }
    }
    for level in [-2_i32, 3, 4, i32::MAX] {
        cases.push(Case::new(
            format!("kinds/log/{level}"),
            Section::Constants,
            format!("log never traps for an unknown level, such as {level}"),
            Exchange::get("/")
                .before(script().call(Function::Log, [(level as u32).into(), "tck: odd level".into()])),
        ));
    }
}
