//! What a guest passes to a host call.

use http_wasm_gateway::recording::{CallEvent, Data, Outcome};
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

    /// Whether a call with these is the recorded one. Of a write, only the bytes that were accepted are recorded: none
    /// if it failed, and otherwise perhaps only a part, after which the guest writes the rest.
    pub(super) fn are_of(&self, recorded: &CallEvent) -> bool {
        let its = Self::of(recorded);
        let is_part = || match (&*recorded.function, &*its.passed, &*self.passed) {
            ("fd_write" | "fd_pwrite", ..) if recorded.outcome != Outcome::Returned(0) => true,
            ("fd_write" | "fd_pwrite", [taken], [all]) => all.0.starts_with(&taken.0),
            _ => false,
        };
        self.numbers == its.numbers && (self.passed == its.passed || is_part())
    }

    /// The inputs of a recorded call.
    pub(super) fn of(call: &CallEvent) -> Self {
        Self { numbers: numbers(&call.function, &call.args), passed: call.passed.clone() }
    }
}

/// Whether a function changes or outputs something, so that other inputs are a difference rather than another question.
pub(super) fn changes(function: &str) -> bool {
    ["set_", "add_", "remove_", "write_", "enable_"].iter().any(|prefix| function.starts_with(prefix))
        || matches!(function, "log" | "fd_write" | "fd_pwrite" | "proc_exit" | "poll_oneoff")
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
            "fd_seek" => at(&[0, 1, 2]),
            "fd_pread" | "fd_readdir" => at(&[0, 3]),
            "path_open" => at(&[0, 4, 7]),
            // A clock or a file descriptor.
            _ => at(&[0]),
        },
    }
}

fn passed(function: &str, args: &[u64], memory: &[u8]) -> Vec<Data> {
    let Some(names) = params(function) else {
        let all = passed_to_wasi(function, args, memory);
        return if all.is_empty() { Vec::new() } else { vec![Data(all.into())] };
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

/// What was to be written, or the paths, a NUL between two of them.
fn passed_to_wasi(function: &str, args: &[u64], memory: &[u8]) -> Vec<u8> {
    let path = |at: usize| match args.get(at..at + 2) {
        Some(&[offset, len]) => slice(memory, offset as u32, len as u32).unwrap_or_default(),
        _ => &[],
    };
    let paths: &[usize] = match (function, args) {
        ("fd_write" | "fd_pwrite", &[_, iovs, count, ..]) => {
            return gathered(memory, iovs as u32, count as u32);
        }
        ("path_create_directory" | "path_readlink" | "path_remove_directory" | "path_unlink_file", _) => &[1],
        ("path_filestat_get" | "path_filestat_set_times" | "path_open", _) => &[2],
        ("path_link", _) => &[2, 5],
        ("path_rename", _) => &[1, 4],
        ("path_symlink", _) => &[0, 3],
        _ => return Vec::new(),
    };
    paths.iter().map(|at| path(*at)).collect::<Vec<_>>().join(&0)
}

/// Writes bytes to the buffers that a guest has for them, as far as there is room. Returns whether there was.
pub(super) fn scatter(memory: &mut [u8], iovs: u32, count: u32, mut bytes: &[u8]) -> bool {
    for iov in (0..count.min(1024)).map(|n| iovs.wrapping_add(n * 8)) {
        let Some((offset, len)) = number(memory, iov).zip(number(memory, iov.wrapping_add(4))) else { break };
        let (part, rest) = bytes.split_at(bytes.len().min(len as usize));
        let start = offset as usize;
        let Some(target) = memory.get_mut(start..start.saturating_add(part.len())) else { break };
        target.copy_from_slice(part);
        bytes = rest;
    }
    bytes.is_empty()
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
