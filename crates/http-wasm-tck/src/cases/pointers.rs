//! Pointers at, across and beyond the end of memory.

use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Phase, Section};
use crate::guest::{FREE, Function, MEMORY_END, Param};
use crate::script::{Arg, Script, script};
use crate::wire::Framing;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &function in Function::ALL {
        for (at, &param) in function.params().iter().enumerate() {
            match param {
                Param::In(argument) => reads(&mut cases, function, at, argument),
                Param::Buf => writes(&mut cases, function),
                _ => {}
            }
        }
    }
    late(&mut cases);
    cases
}

/// Valid arguments, with `texts` at their positions.
fn arguments(function: Function, texts: &[(usize, (u32, u32))], buf: (u32, u32)) -> Vec<Arg> {
    let mut args: Vec<Arg> = Vec::new();
    for (at, param) in function.params().iter().enumerate() {
        let given = |at| texts.iter().find(|text| text.0 == at).map(|text| text.1);
        match param {
            Param::Features | Param::Level | Param::HeaderKind | Param::BodyKind => args.push(0.into()),
            Param::Status => args.push(200.into()),
            Param::In(name) => match given(at) {
                Some((offset, _)) => args.push(offset.into()),
                None => args.push(Arg::T(good(name).as_bytes().to_vec())),
            },
            Param::InLen => {
                if let Some((_, len)) = given(at - 1) {
                    args.push(len.into());
                }
            }
            Param::Buf => args.push(buf.0.into()),
            Param::BufLimit => args.push(buf.1.into()),
        }
    }
    args
}

fn good(argument: &str) -> &'static str {
    match argument {
        "uri" => "/ok",
        "method" => "PUT",
        "name" => "x-a",
        _ => "ok",
    }
}

fn exchange() -> Exchange {
    Exchange::post("a body", Framing::Length)
        .target("/pointers")
        .header("x-a", "12345")
        .reply(Reply::default())
}

/// Pointers to bytes that the host reads.
fn reads(cases: &mut Vec<Case>, function: Function, at: usize, argument: &str) {
    let text = good(argument);
    let len = text.len() as u32;
    let call = |offset: u32, len: u32| {
        let args = arguments(function, &[(at, (offset, len))], (FREE, 64));
        script().put(MEMORY_END - text.len() as u32, text.as_bytes()).call_with(function, &args)
    };
    let id = |what| format!("pointers/{}/{argument}/{what}", function.slug());
    let name = function.name();
    cases.push(Case::new(
        id("at-end"),
        Section::Fields,
        format!("{name} takes a {argument} that ends at the end of memory"),
        exchange().before(call(MEMORY_END - len, len)),
    ));
    for (what, offset, len, says) in [
        ("across-end", MEMORY_END - 1, 2, "reaches across the end of memory"),
        ("beyond-end", MEMORY_END, 1, "starts after the end of memory"),
        ("wraps-around", u32::MAX, 2, "would wrap around 32 bits"),
        ("too-long", 0, u32::MAX, "is longer than the memory"),
    ] {
        cases.push(Case::new(
            id(what),
            Section::Fields,
            format!("{name} traps when its {argument} {says}"),
            exchange().before(call(offset, len)).check(Check::Traps(Phase::Request)),
        ));
    }
}

/// Buffers that the host writes to.
fn writes(cases: &mut Vec<Case>, function: Function) {
    // There is no configuration, and the address may be unknown, in which case nothing is written.
    if matches!(function, Function::GetConfig | Function::GetSourceAddr) {
        return;
    }
    let id = |what| format!("pointers/{}/buf/{what}", function.slug());
    let name = function.name();
    let call = |script: Script, buf: Arg, limit: Arg| {
        let mut args = arguments(function, &[], (0, 0));
        args.truncate(args.len() - 2);
        args.extend([buf, limit]);
        script.call_with(function, &args)
    };
    if function == Function::ReadBody {
        let read = |buf: u32, limit: u32| call(script(), buf.into(), limit.into());
        cases.push(Case::new(
            id("at-end"),
            Section::Bodies,
            "read_body takes a buffer that ends at the end of memory",
            exchange().before(read(MEMORY_END - 16, 16).gives(1 << 32 | 6).holds(MEMORY_END - 16, "a body")),
        ));
        for (what, buf, limit, says) in [
            (
                "across-end",
                MEMORY_END - 15,
                16,
                "when its buffer reaches across the end of memory, though the body would fit",
            ),
            ("beyond-end", MEMORY_END, 1, "when its buffer starts after the end of memory"),
            ("wraps-around", u32::MAX, 2, "when its buffer would wrap around 32 bits"),
            ("no-room", FREE, 0, "when buf_limit is 0"),
        ] {
            cases.push(Case::new(
                id(what),
                Section::Bodies,
                format!("read_body traps {says}"),
                exchange().before(read(buf, limit)).check(Check::Traps(Phase::Request)),
            ));
        }
        return;
    }
    let length = || call(script(), FREE.into(), 0.into()).keep(0);
    // Only the host knows the length of its value: the buffer begins that many bytes before the end.
    let at_end = |shift: i32| {
        let mut script = length().negate().plus(MEMORY_END as i32 + shift).keep(1);
        script = call(script, Arg::Register(1), u32::MAX.into());
        script
    };
    cases.push(Case::new(
        id("at-end"),
        Section::Fields,
        format!("{name} writes a value that ends at the end of memory"),
        exchange().before(at_end(0).same_as(0)),
    ));
    let traps = |what, says, script: Script| {
        Case::new(
            id(what),
            Section::Fields,
            format!("{name} traps when what it writes {says}"),
            exchange().before(script).check(Check::Traps(Phase::Request)),
        )
        .differs(super::differences::IGNORED)
    };
    cases.push(traps("across-end", "reaches across the end of memory", at_end(1)));
    let beyond = call(script(), MEMORY_END.into(), 4096.into());
    cases.push(traps("beyond-end", "starts after the end of memory", beyond));
    let wraps = call(script(), u32::MAX.into(), 4096.into());
    cases.push(traps("wraps-around", "would wrap around 32 bits", wraps));
    let nothing = call(script(), u32::MAX.into(), 0.into());
    cases.push(Case::new(
        id("nothing-written"),
        Section::Fields,
        format!("{name} with buf_limit 0 takes any buffer, as it writes nothing"),
        exchange().before(nothing),
    ));
}

/// The same rules in `handle_response`.
fn late(cases: &mut Vec<Case>) {
    let beyond: [(&str, Script); 6] = [
        ("get-method", script().call(Function::GetMethod, [MEMORY_END.into(), 64.into()])),
        ("get-uri", script().call(Function::GetUri, [MEMORY_END.into(), 64.into()])),
        (
            "get-header-names",
            script().call(Function::GetHeaderNames, [1.into(), MEMORY_END.into(), 4096.into()]),
        ),
        (
            "get-header-values",
            script()
                .call(Function::GetHeaderValues, [1.into(), "x-from".into(), MEMORY_END.into(), 64.into()]),
        ),
        ("get-header-values/name", {
            let args = [1.into(), MEMORY_END.into(), 1.into(), FREE.into(), 64.into()];
            script().call(Function::GetHeaderValues, args)
        }),
        ("log", script().call(Function::Log, [0.into(), MEMORY_END.into(), 1.into()])),
    ];
    for (name, script) in beyond {
        cases.push(Case::new(
            format!("pointers/{name}/after/beyond-end"),
            Section::Fields,
            "memory out of bounds traps in handle_response as well",
            exchange().after(script).check(Check::Traps(Phase::Response)),
        ));
    }
    let buffered: [(&str, Script); 4] = [
        ("read-body", script().call(Function::ReadBody, [1.into(), MEMORY_END.into(), 1.into()])),
        ("read-body/no-room", script().call(Function::ReadBody, [1.into(), FREE.into(), 0.into()])),
        ("write-body", script().call(Function::WriteBody, [1.into(), MEMORY_END.into(), 1.into()])),
        ("set-header-value", {
            let args = [1.into(), "x-a".into(), (MEMORY_END - 1).into(), 2.into()];
            script().call(Function::SetHeaderValue, args)
        }),
    ];
    for (name, script) in buffered {
        cases.push(Case::new(
            format!("pointers/{name}/after-buffered/out-of-bounds"),
            Section::Fields,
            "memory out of bounds, or no room to read into, traps in handle_response as well",
            exchange().features(2).after(script).check(Check::Traps(Phase::Response)),
        ));
    }
}
