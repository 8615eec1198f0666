//! Answers for calls that weren't recorded.

use std::collections::HashMap;
use std::sync::Arc;

use http_wasm_gateway::recording::{CallEvent, HarEntry, HarPair, HarSide};

use super::inputs::{changes, number, slice};

/// The source of answers to calls that the recorded guest didn't make: the messages of the recorded exchange, and the
/// time.
pub(super) struct Unrecorded {
    messages: Arc<Messages>,
    /// The recorded exchange that the guest handles.
    exchange: Option<u32>,
    is_response: bool,
    /// The last time that the guest read from each clock.
    clocks: [u64; 4],
    /// State of a deterministic random number generator.
    random: u64,
}

/// The messages of recorded exchanges.
pub(super) struct Messages(HashMap<(u32, HarSide), HarEntry>);

impl Messages {
    pub(super) fn new(entries: Vec<HarEntry>) -> Self {
        let known = |entry: HarEntry| Some(((entry.exchange?, entry.side?), entry));
        Self(entries.into_iter().filter_map(known).collect())
    }
}

/// The answer to such a call.
pub(super) struct Known {
    pub(super) value: u64,
    /// Whether the guest would have got the same answer.
    pub(super) is_known: bool,
}

const BADF: u64 = 8;
const NOSYS: u64 = 52;
const MICROSECOND: u64 = 1_000;

impl Unrecorded {
    pub(super) fn new(messages: Arc<Messages>) -> Self {
        Self { messages, exchange: None, is_response: false, clocks: [1; 4], random: 0x9e37_79b9_7f4a_7c15 }
    }

    pub(super) fn begin(&mut self, exchange: Option<u32>, function: &str) {
        (self.exchange, self.is_response) = (exchange, function == "handle_response");
    }

    /// Takes note of a recorded answer that the guest has got.
    pub(super) fn note(&mut self, call: &CallEvent) {
        if call.function == "clock_time_get"
            && let (Some(id), Some((_, data))) = (call.args.first(), call.written.first())
            && let (Some(clock), Ok(time)) =
                (self.clocks.get_mut(*id as usize), <[u8; 8]>::try_from(&*data.0))
        {
            *clock = u64::from_le_bytes(time);
        }
    }

    pub(super) fn answer(&mut self, function: &str, args: &[u64], memory: &mut [u8]) -> Known {
        let at = |n: usize| args.get(n).copied().unwrap_or_default() as u32;
        let done = |value| Known { value, is_known: true };
        let unknown = |value| Known { value, is_known: false };
        match function {
            "enable_features" => done(7),
            "log_enabled" => done(1),
            "clock_time_get" => {
                let Some(clock) = self.clocks.get_mut(at(0) as usize) else { return done(28) };
                *clock += MICROSECOND;
                let time = clock.to_le_bytes();
                put(memory, at(2), &time);
                done(0)
            }
            "clock_res_get" => {
                put(memory, at(1), &1u64.to_le_bytes());
                done(0)
            }
            "random_get" => {
                for offset in 0..at(1) {
                    self.random ^= self.random << 13;
                    self.random ^= self.random >> 7;
                    self.random ^= self.random << 17;
                    put(memory, at(0).wrapping_add(offset), &[self.random as u8]);
                }
                unknown(0)
            }
            "fd_write" => {
                let lens = (0..at(2).min(1024)).filter_map(|n| number(memory, at(1).wrapping_add(n * 8 + 4)));
                let written: u32 = lens.fold(0, u32::saturating_add);
                put(memory, at(3), &written.to_le_bytes());
                done(0)
            }
            "poll_oneoff" => {
                // The first subscription is ready.
                let mut event = [0; 32];
                if let Some(subscription) = slice(memory, at(0), 9) {
                    event[..8].copy_from_slice(&subscription[..8]);
                    event[10] = subscription[8];
                }
                put(memory, at(1), &event);
                put(memory, at(3), &1u32.to_le_bytes());
                unknown(0)
            }
            "args_sizes_get" | "environ_sizes_get" => {
                put(memory, at(0), &[0; 4]);
                put(memory, at(1), &[0; 4]);
                unknown(0)
            }
            "args_get" | "environ_get" | "sched_yield" | "fd_fdstat_set_flags" => done(0),
            "fd_fdstat_get" if at(0) <= 2 => {
                let mut stat = [0; 24];
                stat[0] = 2;
                put(memory, at(1), &stat);
                done(0)
            }
            "proc_raise" => done(NOSYS),
            _ if function.starts_with("fd_") || function.starts_with("path_") => done(BADF),
            _ if changes(function) => done(0),
            _ => self.message(function, args, memory),
        }
    }

    /// Answers a call that reads from the messages.
    fn message(&self, function: &str, args: &[u64], memory: &mut [u8]) -> Known {
        let at = |n: usize| args.get(n).copied().unwrap_or_default() as u32;
        let seen_by = |side| self.messages.0.get(&(self.exchange?, side));
        let next = if self.is_response { seen_by(HarSide::Next) } else { None };
        let Some(entry) = next.or_else(|| seen_by(HarSide::Client)) else {
            // Without a message: the end of a body, or a status.
            let value = match function {
                "read_body" => 1 << 32,
                "get_status_code" => 200,
                _ => 0,
            };
            return Known { value, is_known: false };
        };
        let request = &entry.request;
        let text = |memory: &mut [u8], text: &[u8]| {
            if text.len() <= at(1) as usize {
                put(memory, at(0), text);
            }
            Known { value: text.len() as u64, is_known: true }
        };
        let headers = |kind: u32| match kind {
            0 => Some(&*request.headers),
            1 if self.is_response => entry.response.as_ref().map(|response| &*response.headers),
            2 => Some(&*request.trailers),
            3 if self.is_response => entry.response.as_ref().map(|response| &*response.trailers),
            1 | 3 => Some(&[][..]),
            _ => None,
        };
        match function {
            "get_method" => text(memory, request.method.as_bytes()),
            "get_uri" => {
                let rest = request.url.split_once("://").map_or(&*request.url, |(_, rest)| rest);
                let path = rest.find('/').map_or("/", |at| &rest[at..]);
                text(memory, path.as_bytes())
            }
            "get_protocol_version" => text(memory, request.http_version.as_bytes()),
            "get_source_addr" => text(memory, entry.client_address.as_deref().unwrap_or_default().as_bytes()),
            "get_status_code" => {
                let status = entry.response.as_ref().map(|response| response.status);
                let value = if self.is_response { status.unwrap_or(200) } else { 200 };
                Known { value: value.into(), is_known: true }
            }
            "get_header_names" => match headers(at(0)) {
                Some(headers) => {
                    let mut names: Vec<String> = Vec::new();
                    for HarPair { name, .. } in headers {
                        let name = name.to_ascii_lowercase();
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                    list(memory, names.iter().map(String::as_bytes), at(1), at(2))
                }
                None => Known { value: 0, is_known: false },
            },
            "get_header_values" => {
                let name = slice(memory, at(1), at(2)).unwrap_or_default().to_vec();
                match headers(at(0)) {
                    Some(headers) => {
                        let named =
                            headers.iter().filter(|pair| pair.name.as_bytes().eq_ignore_ascii_case(&name));
                        list(memory, named.map(|pair| pair.value.as_bytes()), at(3), at(4))
                    }
                    None => Known { value: 0, is_known: false },
                }
            }
            "read_body" => Known { value: 1 << 32, is_known: false },
            _ => Known { value: 0, is_known: false },
        }
    }
}

fn put(memory: &mut [u8], offset: u32, bytes: &[u8]) {
    let start = offset as usize;
    if let Some(target) = memory.get_mut(start..start.saturating_add(bytes.len())) {
        target.copy_from_slice(bytes);
    }
}

/// Writes values that each end with a NUL, if there is room for all of them.
fn list<'a>(memory: &mut [u8], values: impl Iterator<Item = &'a [u8]>, buf: u32, limit: u32) -> Known {
    let (mut bytes, mut count) = (Vec::new(), 0u64);
    for value in values {
        bytes.extend_from_slice(value);
        bytes.push(0);
        count += 1;
    }
    if bytes.len() <= limit as usize {
        put(memory, buf, &bytes);
    }
    Known { value: count << 32 | bytes.len() as u64, is_known: true }
}
