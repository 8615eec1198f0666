//! Host functions with any arguments in any order, in both phases.

use arbitrary::{Result, Unstructured};
use http_wasm_tck::guest::{FREE, Function, MEMORY_END, Param};
use http_wasm_tck::script::{Arg, Script, script};

use crate::exchange::{End, Plan, play_in_both};
use crate::message::{Request, Response};

/// A guest calls host functions as the input says; see [`crate`].
pub fn hostcalls(input: &[u8]) {
    if let Ok(plan) = plan(&mut Unstructured::new(input)) {
        play_in_both(&plan);
    }
}

fn plan(u: &mut Unstructured<'_>) -> Result<Plan> {
    let request = Request::generate(u)?;
    let response = Response::generate(u, request.version)?;
    let end = match u.int_in_range(0..=7)? {
        0 => End::Failed,
        1 => End::Dropped,
        _ => End::Answered,
    };
    let waits = if u.ratio(1, 8)? { u.int_in_range(0..=3)? } else { usize::MAX };
    let derives = u.arbitrary()?;
    let before = calls(u, derives)?;
    let after = calls(u, derives)?;
    // Where a host keeps a header among the others, and when it knows that a body has ended, may differ.
    let comparable = !derives && waits == usize::MAX;
    Ok(Plan { request, before, after, response, end, waits, comparable })
}

/// Calls for one phase: few enough to fit into the guest's memory for a script. `derives` is whether arguments may be
/// derived from what earlier calls returned and wrote.
fn calls(u: &mut Unstructured<'_>, derives: bool) -> Result<Script> {
    let mut calls = script();
    // What a call does often depends on the features, so every other script starts by enabling some.
    if u.arbitrary()? {
        calls = calls.call(Function::EnableFeatures, [u.int_in_range(0..=7u32)?.into()]);
    }
    for _ in 0..u.int_in_range(0..=20)? {
        calls = match u.int_in_range(0..=40)? {
            0 => calls.proceed(u.int_in_range(0..=2)?, u.arbitrary()?),
            // It stays for the next exchange.
            1 if derives => calls.grow(u.int_in_range(0..=20)?, 48),
            2 => calls.trap(),
            3 => calls.overflow(),
            4 => calls.keep(u.int_in_range(0..=15)?),
            5 => calls.plus(u.arbitrary()?),
            6 => calls.fill(FREE, u.arbitrary()?, u.int_in_range(0..=5000)?),
            _ => {
                let function = *u.choose(Function::ALL)?;
                let args = args(u, function, derives)?;
                calls.call_with(function, &args)
            }
        };
    }
    Ok(calls)
}

fn args(u: &mut Unstructured<'_>, function: Function, derives: bool) -> Result<Vec<Arg>> {
    let mut args = Vec::new();
    for &param in function.params() {
        match param {
            Param::Features => args.push(u.int_in_range(0..=9)?.into()),
            Param::Level => args.push((u.int_in_range(0..=6u32)?.wrapping_sub(2)).into()),
            Param::Status => args.push(if u.ratio(1, 8)? {
                Arg::N(u.arbitrary()?)
            } else {
                (*u.choose(&[100u32, 101, 103, 200, 204, 205, 304, 404, 500, 999])?).into()
            }),
            Param::HeaderKind => args.push(kind(u, 3, derives)?),
            Param::BodyKind => args.push(kind(u, 1, derives)?),
            Param::Buf => args.push(place(u, derives)?),
            Param::BufLimit => args.push(room(u, derives)?),
            Param::In(what) if !derives || u.ratio(7, 8)? => args.push(Arg::T(text(u, what)?)),
            Param::In(_) => args.extend([place(u, derives)?, room(u, derives)?]),
            // It was added with the text before it.
            Param::InLen => {}
        }
    }
    Ok(args)
}

fn kind(u: &mut Unstructured<'_>, last: u32, derives: bool) -> Result<Arg> {
    if u.ratio(1, 24)? { number(u, derives) } else { Ok(u.int_in_range(0..=last)?.into()) }
}

fn number(u: &mut Unstructured<'_>, derives: bool) -> Result<Arg> {
    Ok(match u.int_in_range(0..=3)? {
        _ if !derives => Arg::N(u.arbitrary()?),
        0 => Arg::Low,
        1 => Arg::High,
        2 => Arg::Register(u.int_in_range(0..=15)?),
        _ => Arg::N(u.arbitrary()?),
    })
}

fn place(u: &mut Unstructured<'_>, derives: bool) -> Result<Arg> {
    Ok(match u.int_in_range(0..=15)? {
        0 if derives => number(u, derives)?,
        // Never where the script itself is.
        0 => (u.arbitrary::<u32>()? | FREE).into(),
        1 => (MEMORY_END - u.int_in_range(0..=64)?).into(),
        2 => (u32::MAX - u.int_in_range(0..=64)?).into(),
        _ => (FREE + u.int_in_range(0..=64)?).into(),
    })
}

fn room(u: &mut Unstructured<'_>, derives: bool) -> Result<Arg> {
    Ok(match u.int_in_range(0..=15)? {
        0 => number(u, derives)?,
        1 => 0.into(),
        2 | 3 => 65_536.into(),
        4 => u.int_in_range(1..=20_000)?.into(),
        _ => u.int_in_range(1..=64)?.into(),
    })
}

const NAMES: [&str; 18] = [
    "x-a",
    "X-A",
    "x-b",
    "host",
    "HOST",
    "content-length",
    "Content-Length",
    "transfer-encoding",
    "trailer",
    "connection",
    "te",
    "upgrade",
    "set-cookie",
    "content-type",
    "cookie",
    ":path",
    "",
    "x a",
];
const VALUES: [&str; 10] =
    ["", "0", "5", "chunked", "a, b", "example.org:80", "u@h", "[::1]:9", " padded ", "line\r\nx: y"];
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "get", "", "G T"];
const URIS: [&str; 10] = ["/", "", "*", "?q", "/a b", "http://h/p?q#f", "//x", "/%zz", "foo", "http://[::1]"];

fn text(u: &mut Unstructured<'_>, what: &str) -> Result<Vec<u8>> {
    let known: &[&str] = match what {
        "name" => &NAMES,
        "value" => &VALUES,
        "method" => &METHODS,
        "uri" => &URIS,
        _ => &[],
    };
    if !known.is_empty() && u.ratio(5, 8)? {
        return Ok(u.choose(known)?.as_bytes().to_vec());
    }
    let len = if u.ratio(1, 16)? { u.int_in_range(100..=160)? } else { u.int_in_range(0..=16)? };
    Ok(u.bytes(len)?.to_vec())
}
