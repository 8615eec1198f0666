//! What a guest passes to a host call.

use http_wasm_gateway::recording::{CallEvent, Data};
use http_wasm_host::FUNCTIONS;

/// The inputs of a call, without pointers, since these differ from guest to guest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inputs {
    /// Numbers, such as kinds, features, levels and clocks.
    pub(super) numbers: Vec<u64>,
    /// The bytes that the guest passes.
    pub(super) passed: Vec<Data>,
}

impl Inputs {
    /// The inputs of a replayed call.
    pub(super) fn read(function: &str, args: &[u64], memory: &[u8]) -> Self {
        Self { numbers: numbers(function, args), passed: passed(function, args, memory) }
    }

    /// The inputs of a recorded call.
    pub(super) fn of(call: &CallEvent) -> Self {
        Self { numbers: numbers(&call.function, &call.args), passed: call.passed.clone() }
    }
}

fn params(function: &str) -> Option<&'static [&'static str]> {
    FUNCTIONS.iter().find(|its| its.name == function).map(|function| function.param_names)
}

fn numbers(function: &str, args: &[u64]) -> Vec<u64> {
    let at = |places: &[usize]| places.iter().filter_map(|place| args.get(*place).copied()).collect();
    match params(function) {
        Some(names) => {
            let is_number = |name: &&str| matches!(*name, "kind" | "features" | "level" | "status");
            let pairs = names.iter().zip(args).filter(|(name, _)| is_number(name));
            pairs.map(|(_, value)| *value).collect()
        }
        None => match function {
            "random_get" => at(&[1]),
            "sched_yield" | "args_sizes_get" | "args_get" | "environ_sizes_get" | "environ_get" => Vec::new(),
            "poll_oneoff" => at(&[2]),
            // A clock or a file descriptor.
            _ => at(&[0]),
        },
    }
}

fn passed(function: &str, args: &[u64], memory: &[u8]) -> Vec<Data> {
    let Some(names) = params(function) else {
        return match (function, args) {
            ("fd_write", &[_, iovs, count, _]) => {
                let all = gathered(memory, iovs as u32, count as u32);
                if all.is_empty() { Vec::new() } else { vec![Data(all.into())] }
            }
            _ => Vec::new(),
        };
    };
    let is_pointer = |name: &str| {
        !matches!(name, "kind" | "features" | "level" | "status" | "buf")
            && !name.ends_with("_len")
            && !name.ends_with("_limit")
    };
    let pointers = names.iter().enumerate().filter(|(_, name)| is_pointer(name));
    let bytes = pointers.filter_map(|(at, _)| {
        let (offset, len) = (*args.get(at)? as u32, *args.get(at + 1)? as u32);
        slice(memory, offset, len).or((len == 0).then_some(&[][..])).map(Data::from)
    });
    bytes.collect()
}

pub(super) fn slice(memory: &[u8], offset: u32, len: u32) -> Option<&[u8]> {
    let start = offset as usize;
    memory.get(start..start.checked_add(len as usize)?)
}

pub(super) fn number(memory: &[u8], at: u32) -> Option<u32> {
    Some(u32::from_le_bytes(slice(memory, at, 4)?.try_into().ok()?))
}

/// How many bytes this host accepts in one `fd_write`.
const MAX_WRITE: usize = 64 * 1024;

fn gathered(memory: &[u8], iovs: u32, count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for iov in (0..count.min(1024)).map(|n| iovs.wrapping_add(n * 8)) {
        let part = number(memory, iov).zip(number(memory, iov.wrapping_add(4)));
        let Some(part) = part.and_then(|(offset, len)| slice(memory, offset, len)) else { break };
        bytes.extend_from_slice(&part[..part.len().min(MAX_WRITE - bytes.len())]);
    }
    bytes
}
