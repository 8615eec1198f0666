//! Host functions that break a rule. They only use the ABI: the guest's arguments, its memory, and the results of
//! functions.

mod bodies;
mod fields;
mod head;
mod instance;
mod lists;
mod traps;
mod values;

use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use http_wasm_host::{HostCall, Intercepted, Trap};

use crate::broken::{Broken, OfMessage};
use crate::mutation::Mutation;

/// Kinds of headers and trailers, and of bodies.
const REQUEST: u32 = 0;
const RESPONSE: u32 = 1;
const REQUEST_TRAILERS: u32 = 2;
const RESPONSE_TRAILERS: u32 = 3;

/// Features.
const BUFFER_REQUEST: u32 = 1;
const BUFFER_RESPONSE: u32 = 2;

/// A function that is called instead of each host function of one guest.
pub(crate) fn intercept(mutation: Mutation) -> impl Fn(&mut HostCall<'_>) -> Intercepted {
    let sticky = AtomicU32::new(0);
    move |call| {
        if let Some(host) = call.host::<Broken>() {
            host.joined();
        }
        if mutation == Mutation::FeaturesStick {
            stick(call, &sticky)?;
        }
        let answer = broken(mutation, call);
        if matches!(answer, Ok(Poll::Ready(_))) {
            note(call, &answer);
        }
        answer
    }
}

/// Makes the call with the rule broken.
fn broken(mutation: Mutation, call: &mut HostCall<'_>) -> Intercepted {
    let functions = [
        traps::broken,
        values::broken,
        lists::broken,
        head::broken,
        fields::broken,
        instance::broken,
        bodies::broken,
    ];
    functions.iter().find_map(|broken| broken(mutation, call)).unwrap_or_else(|| call.proceed())
}

/// Enables features for every request that were enabled for one.
fn stick(call: &mut HostCall<'_>, sticky: &AtomicU32) -> Result<(), Trap> {
    if call.function == "enable_features" {
        sticky.fetch_or(call.args[0], Ordering::Relaxed);
    }
    let features = sticky.load(Ordering::Relaxed);
    let is_new =
        call.host::<Broken>().is_some_and(|host| !std::mem::replace(&mut host.seen.sticky_applied, true));
    if is_new && features != 0 {
        let _answered = call.call("enable_features", &[features])?;
    }
    Ok(())
}

/// Records the guest's call.
fn note(call: &mut HostCall<'_>, answer: &Intercepted) {
    let (function, args) = (call.function, call.args);
    let name = match function {
        "set_header_value" | "add_header_value" => {
            bytes(call.memory, args[1], args[2]).map(<[u8]>::to_ascii_lowercase)
        }
        _ => None,
    };
    let Some(host) = call.host::<Broken>() else { return };
    let seen = &mut host.seen;
    match (function, args) {
        ("enable_features", [features]) => {
            seen.features |= if seen.answered { 0 } else { *features };
            seen.late_features |= seen.answered;
        }
        ("set_status_code", [status]) if *status >= 200 && !seen.answered => {
            seen.early_status = u16::try_from(*status).ok();
        }
        ("set_header_value" | "add_header_value", [RESPONSE, ..]) if !seen.answered => {
            seen.early_names.extend(name);
        }
        ("set_header_value" | "add_header_value" | "remove_header", [REQUEST_TRAILERS, ..]) => {
            seen.request.has_edited_trailers = true;
        }
        ("set_header_value" | "add_header_value" | "remove_header", [RESPONSE_TRAILERS, ..]) => {
            seen.response.has_edited_trailers = true;
        }
        ("write_body", [REQUEST, ..]) => seen.request.is_written = true,
        ("write_body", [RESPONSE, _, len]) => {
            seen.response.is_written = true;
            seen.early_body += if seen.answered { 0 } else { *len as usize };
        }
        ("read_body", [REQUEST, ..]) if !seen.answered && seen.features & BUFFER_REQUEST != 0 => {
            read(&mut seen.request, answer);
        }
        ("read_body", [RESPONSE, ..]) if seen.answered && seen.features & BUFFER_RESPONSE != 0 => {
            read(&mut seen.response, answer);
        }
        _ => {}
    }
}

fn read(of: &mut OfMessage, answer: &Intercepted) {
    if let Ok(Poll::Ready(eof_len)) = answer {
        of.last_read = *eof_len as u32 as usize;
        of.read += of.last_read;
    }
}

/// `len` bytes of the guest's memory at `at`; `None` if out of bounds.
fn bytes(memory: &[u8], at: u32, len: u32) -> Option<&[u8]> {
    memory.get(at as usize..)?.get(..len as usize)
}

/// The guest's argument in memory. Traps if it is out of bounds.
fn argument(call: &mut HostCall<'_>, at: u32, len: u32) -> Result<Vec<u8>, Trap> {
    if len == 0 {
        return Ok(Vec::new());
    }
    bytes(call.memory, at, len).map(<[u8]>::to_vec).ok_or_else(Trap::unfounded)
}

/// Writes `value` if it fits. Returns its length.
fn write_if_fits(call: &mut HostCall<'_>, value: &[u8], at: u32, limit: u32) -> Result<u32, Trap> {
    let len = value.len() as u32;
    if 0 < len && len <= limit {
        let room = call.memory.get_mut(at as usize..).and_then(|room| room.get_mut(..value.len()));
        room.ok_or_else(Trap::unfounded)?.copy_from_slice(value);
    }
    Ok(len)
}

/// Checks that the entire buffer is in bounds.
fn check_buffer(call: &HostCall<'_>, at: u32, limit: u32) -> Result<(), Trap> {
    match limit == 0 || bytes(call.memory, at, limit).is_some() {
        true => Ok(()),
        false => Err(Trap::unfounded()),
    }
}

fn ready(value: impl Into<u64>) -> Intercepted {
    Ok(Poll::Ready(value.into()))
}

/// The result of a function without buffers.
fn value_of(call: &mut HostCall<'_>, function: &str, args: &[u32]) -> Result<u64, Trap> {
    match call.call_on(&mut [], function, args)? {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => Err(Trap::unfounded()),
    }
}

/// The entire value that `function` writes.
fn value(call: &mut HostCall<'_>, function: &str) -> Result<Vec<u8>, Trap> {
    let len = value_of(call, function, &[0, 0])? as u32;
    let mut memory = vec![0; len as usize];
    let _written = call.call_on(&mut memory, function, &[0, len])?;
    Ok(memory)
}

/// All names of a kind, which must have arrived.
fn names(call: &mut HostCall<'_>, kind: u32) -> Result<Vec<Vec<u8>>, Trap> {
    all(call, "get_header_names", kind, b"")
}

/// All values of a name, which must have arrived.
fn values(call: &mut HostCall<'_>, kind: u32, name: &[u8]) -> Result<Vec<Vec<u8>>, Trap> {
    all(call, "get_header_values", kind, name)
}

fn all(call: &mut HostCall<'_>, function: &str, kind: u32, name: &[u8]) -> Result<Vec<Vec<u8>>, Trap> {
    let start = name.len();
    let mut list = |memory: &mut [u8], limit: usize| {
        let [start, limit] = [start, limit].map(|len| len as u32);
        let of_name = [kind, 0, start, start, limit];
        let of_kind = [kind, start, limit];
        let args = if function == "get_header_names" { &of_kind[..] } else { &of_name };
        call.call_on(memory, function, args)
    };
    let mut memory = name.to_vec();
    let Poll::Ready(count_len) = list(&mut memory, 0)? else { return Ok(Vec::new()) };
    let (count, len) = ((count_len >> 32) as usize, count_len as u32 as usize);
    memory.resize(start + len, 0);
    let _written = list(&mut memory, len)?;
    Ok(memory[start..].split(|byte| *byte == 0).take(count).map(<[u8]>::to_vec).collect())
}
