//! Methods, URIs, header names and values: whatever a guest passes, the result is valid and has the same meaning.

use arbitrary::{Result, Unstructured};
use http_wasm_host::ErrorKind;
use http_wasm_tck::guest::{FREE, Function};
use http_wasm_tck::script::{Arg, REQUEST, RESPONSE, script};

use crate::checks::{is_target, is_token, is_value};
use crate::exchange::{End, Plan, limits, play_in_both};
use crate::message::{Message, Request, Response};
use crate::trace::Trace;

/// A guest sets what the input says and reads it back; see [`crate`].
pub fn encoding(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let Ok(what) = u.int_in_range(0..=4) else { return };
    let first = text(&mut u).unwrap_or_default();
    match what {
        0 => method(&first),
        1 => uri(&first),
        2 => host(&first),
        kind => header(if kind == 3 { REQUEST } else { RESPONSE }, &first, &text(&mut u).unwrap_or_default()),
    }
}

fn text(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let len = u.arbitrary_len::<u8>()?.min(2500);
    Ok(u.bytes(len)?.to_vec())
}

/// Sets something, reads it back at once, and passes what was read to the next handler in the header `x-read`.
fn set_and_read(set: Function, set_args: &[Arg], get: Function, get_args: &[Arg]) -> Trace {
    let room = [get_args, &[FREE.into(), 65_536.into()]].concat();
    let before = script().call_with(set, set_args).call_with(get, &room);
    // A list of header values ends with a NUL, which no value may contain.
    let before = if get == Function::GetHeaderValues { before.plus(-1) } else { before };
    let before =
        before.call(Function::SetHeaderValue, [REQUEST.into(), "x-read".into(), FREE.into(), Arg::Low]);
    play_in_both(&Plan {
        request: Request {
            method: "GET",
            uri: "/",
            version: http::Version::HTTP_11,
            has_client: false,
            message: Message {
                fields: vec![(b"host".to_vec(), b"example.com".to_vec())],
                sized: true,
                ..Message::default()
            },
        },
        before,
        after: script(),
        response: Response { status: 200, message: Message { sized: true, ..Message::default() } },
        end: End::Answered,
        waits: usize::MAX,
        comparable: true,
    })
}

/// The value that was read back, if the guest didn't trap.
#[track_caller]
fn read_back(trace: &Trace) -> Option<&[u8]> {
    let request = trace.request.as_ref()?;
    let read: Vec<_> = request.values(b"x-read").collect();
    assert_eq!(read.len(), 1);
    Some(read[0])
}

/// Returns whether the value was accepted, and checks that this is correct. A value over a limit may be refused.
#[track_caller]
fn accepted(trace: &Trace, legal: bool, set: Function) -> bool {
    match &trace.error {
        None => assert!(legal, "accepted"),
        Some(error) if error.kind() == ErrorKind::Limit => return false,
        Some(error) => {
            assert!(!legal, "{error}");
            assert_eq!((error.kind(), error.function()), (ErrorKind::HostCall, Some(set.name())));
        }
    }
    legal
}

fn method(method: &[u8]) {
    let trace = set_and_read(Function::SetMethod, &[method.into()], Function::GetMethod, &[]);
    if accepted(&trace, is_token(method), Function::SetMethod) {
        assert_eq!(read_back(&trace), Some(method));
        assert_eq!(trace.request.as_ref().map(|request| &request.method[..]), Some(method));
    }
}

fn uri(uri: &[u8]) {
    let trace = set_and_read(Function::SetUri, &[uri.into()], Function::GetUri, &[]);
    let target = target(uri);
    if !accepted(&trace, target.is_some(), Function::SetUri) {
        return;
    }
    let sent = &trace.request.as_ref().expect("it went on").uri;
    assert_eq!(read_back(&trace), Some(&sent[..]), "the guest reads what goes out");
    assert!(is_target(sent), "{}", sent.escape_ascii());
    assert_eq!(decoded(sent), decoded(&target.expect("it was accepted")), "it means something else");
    let again = set_and_read(Function::SetUri, &[Arg::T(sent.clone())], Function::GetUri, &[]);
    assert_eq!(read_back(&again), Some(&sent[..]), "setting what was read changes it");
}

/// Path and query of the URI that a guest sets, before encoding; `None` if it isn't a URI.
fn target(uri: &[u8]) -> Option<Vec<u8>> {
    if uri.iter().any(u8::is_ascii_control) {
        return None;
    }
    let path = match uri {
        [] => b"/",
        [b'/' | b'?', ..] => uri,
        _ => {
            let at = uri.windows(3).position(|window| window == b"://")?;
            let scheme = &uri[..at];
            let legal = |&byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            if !scheme.first()?.is_ascii_alphabetic() || !scheme.iter().all(legal) {
                return None;
            }
            let rest = &uri[at + 3..];
            &rest[rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len())..]
        }
    };
    let slash: &[u8] = if path.first() == Some(&b'/') { b"" } else { b"/" };
    Some([slash, path].concat())
}

/// Decodes all percent-encoding. A lone `%` is literal.
fn decoded(mut target: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    while let [byte, rest @ ..] = target {
        let hex = |at: usize| char::from(*rest.get(at)?).to_digit(16);
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                target = &rest[2..];
            }
            _ => {
                decoded.push(*byte);
                target = rest;
            }
        }
    }
    decoded
}

fn host(host: &[u8]) {
    let name: Arg = "Host".into();
    let get = [REQUEST.into(), name.clone()];
    let set = [&get[..], &[host.into()]].concat();
    let trace = set_and_read(Function::SetHeaderValue, &set, Function::GetHeaderValues, &get);
    if let Some(read) = read_back(&trace) {
        assert_eq!(read, host);
        assert_eq!(trace.request.as_ref().and_then(|request| request.values(b"host").next()), Some(host));
        let legal = |byte: &u8| byte.is_ascii_graphic() && !b"/?#@\\".contains(byte);
        assert!(!host.is_empty() && host.iter().all(legal), "host \"{}\"", host.escape_ascii());
    }
}

/// Names with a meaning to the host, which are tested separately.
const SPECIAL: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "trailer",
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "x-read",
];

fn header(kind: u32, name: &[u8], value: &[u8]) {
    let lower = name.to_ascii_lowercase();
    if SPECIAL.iter().any(|special| special.as_bytes() == lower) {
        return;
    }
    let get = [kind.into(), name.into()];
    let set = [&get[..], &[value.into()]].concat();
    let trace = set_and_read(Function::SetHeaderValue, &set, Function::GetHeaderValues, &get);
    let fits = name.len() + value.len() <= limits().header_bytes;
    if !accepted(&trace, is_token(name) && is_value(value), Function::SetHeaderValue) {
        return;
    }
    assert!(fits, "over the limit");
    assert_eq!(read_back(&trace), Some(value));
    let message = if kind == REQUEST { &trace.request } else { &trace.response };
    let sent: Vec<_> = message.as_ref().expect("it went on").values(&lower).collect();
    assert_eq!(sent, [value]);
}
