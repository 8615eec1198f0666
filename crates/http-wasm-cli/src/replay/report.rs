//! The results of a replay.

use std::fmt::Write as _;

use http_wasm_gateway::recording::{CallEvent, Failure, Outcome};
use serde::Serialize;

use super::inputs::Inputs;

/// The results of replaying one instance.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) guest: String,
    /// The instance's number.
    pub(super) instance: u64,
    /// The recorded exchanges that it served.
    pub(super) recorded: Vec<u32>,
    /// Why it wasn't replayed, if it wasn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_replayed: Option<String>,
    /// Whether the guest is the recorded one.
    pub(super) same_guest: bool,
    pub(super) exchanges: usize,
    pub(super) calls: usize,
    /// How the recorded and the replayed instance failed.
    pub(super) recorded_failure: Option<Failure>,
    pub(super) replayed_failure: Option<Failure>,
    /// The calls in which the guest got or passed redacted values.
    pub(super) redacted: Vec<String>,
    pub(super) differences: Vec<Difference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<Vec<String>>,
}

/// A difference from the recording.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Difference {
    /// The exchange, counted from 1; 0 is the start-up.
    pub(super) exchange: usize,
    /// The guest's function.
    pub(super) function: String,
    /// Its call of the host, counted from 1.
    pub(super) call: usize,
    pub(super) text: String,
}

/// How many differences are shown.
const SHOWN: usize = 50;
/// How many calls with redacted values are shown.
const REDACTED_SHOWN: usize = 10;

impl Report {
    /// Of an instance that hasn't been replayed yet.
    pub(super) fn new(guest: String, instance: u64, same_guest: bool, recorded: Vec<u32>) -> Self {
        Self {
            guest,
            instance,
            recorded,
            not_replayed: None,
            same_guest,
            exchanges: 0,
            calls: 0,
            recorded_failure: None,
            replayed_failure: None,
            redacted: Vec::new(),
            differences: Vec::new(),
            trace: None,
        }
    }

    /// Whether the replay matched the recording.
    pub(super) fn is_same(&self) -> bool {
        self.not_replayed.is_none() && self.differences.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string doesn't fail.
        let _ = self.write(&mut out);
        out
    }

    /// Which exchanges of the recording it served, if they differ from its own numbers.
    fn served(&self) -> String {
        match &*self.recorded {
            [] | [1] => String::new(),
            [first, .., last] if (last - first) as usize == self.recorded.len() - 1 => {
                format!(", numbers {first} to {last} in the recording")
            }
            numbers => {
                let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
                let noun = if numbers.len() == 1 { "number" } else { "numbers" };
                format!(", {noun} {} in the recording", numbers.join(", "))
            }
        }
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        if let Some(reason) = &self.not_replayed {
            return writeln!(out, "guest {}: not replayed{}: {reason}", self.guest, self.served());
        }
        let plural = |count: usize, noun: &str| http_wasm_gateway::counted(count, noun);
        let file = if self.same_guest { "the recorded guest" } else { "another guest" };
        writeln!(
            out,
            "guest {} ({file}): {} in {}{}",
            self.guest,
            plural(self.calls, "host call"),
            plural(self.exchanges, "exchange"),
            self.served(),
        )?;
        for call in self.trace.iter().flatten() {
            writeln!(out, "  {call}")?;
        }
        match (&self.recorded_failure, &self.replayed_failure) {
            (None, None) => {}
            (Some(failure), None) => {
                writeln!(out, "the recorded failure did not happen: {}", failure.message)?
            }
            (recorded, Some(failure)) => {
                let how = if recorded.is_some() {
                    "the guest failed"
                } else {
                    "the guest failed, unlike the recorded one"
                };
                writeln!(out, "{how}: {}", failure.message)?;
                for line in failure.backtrace.iter().flat_map(|trace| trace.lines()) {
                    writeln!(out, "  {line}")?;
                }
            }
        }
        if !self.redacted.is_empty() {
            writeln!(out, "{} with redacted values:", plural(self.redacted.len(), "call"))?;
            for place in self.redacted.iter().take(REDACTED_SHOWN) {
                writeln!(out, "  {place}")?;
            }
            if let Some(more) = self.redacted.len().checked_sub(REDACTED_SHOWN).filter(|more| *more > 0) {
                writeln!(out, "  and {more} more")?;
            }
        }
        if self.differences.is_empty() {
            return writeln!(out, "no differences from the recording");
        }
        writeln!(out, "{}:", plural(self.differences.len(), "difference"))?;
        for Difference { exchange, function, call, text } in self.differences.iter().take(SHOWN) {
            let place = match exchange {
                0 => "start-up".to_owned(),
                _ => format!("exchange {exchange}, {function}"),
            };
            writeln!(out, "  {place}, after call {call}: {text}")?;
        }
        if let Some(more) = self.differences.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            writeln!(out, "  and {more} more")?;
        }
        if !self.redacted.is_empty() {
            writeln!(
                out,
                "redacted values may be the reason; `unredacted = true` records the original ones"
            )?;
        }
        Ok(())
    }
}

/// A recorded call as text.
pub(super) fn shown(call: &CallEvent) -> String {
    let mut text = shown_call(&call.function, &Inputs::of(call));
    if let Outcome::Trapped(reason) = &call.outcome {
        let _ = write!(text, " trapped: {reason}");
    }
    text
}

/// A call as text.
pub(super) fn shown_call(function: &str, inputs: &Inputs) -> String {
    const MAX_LEN: usize = 200;
    let numbers = inputs.numbers.iter().map(ToString::to_string);
    let passed = inputs.passed.iter().map(|data| {
        let cut = if data.0.len() > MAX_LEN { "…" } else { "" };
        format!("\"{}\"{cut}", data.0[..data.0.len().min(MAX_LEN)].escape_ascii())
    });
    let arguments: Vec<_> = numbers.chain(passed).collect();
    format!("{function}({})", arguments.join(", "))
}

/// The longest instruction that is likely.
const INSTRUCTION: u64 = 16;

/// Whether two guests have failed at the same place. At the first of a function's instructions, a trap has that one's
/// place or the function's, depending on whether the call ran on a fiber.
pub(super) fn is_same_place(recorded: Option<&str>, replayed: Option<&str>) -> bool {
    let (recorded, replayed) = (offsets(recorded), offsets(replayed));
    match (&*recorded, &*replayed) {
        ([first, callers @ ..], [its, its_callers @ ..]) => {
            first.abs_diff(*its) <= INSTRUCTION && callers == its_callers
        }
        (recorded, replayed) => recorded == replayed,
    }
}

/// The offsets in the module of the calls on a stack.
fn offsets(backtrace: Option<&str>) -> Vec<u64> {
    backtrace.unwrap_or_default().lines().filter_map(offset).collect()
}

fn offset(line: &str) -> Option<u64> {
    let (number, rest) = line.trim_start().split_once(':')?;
    number.parse::<usize>().ok()?;
    u64::from_str_radix(rest.split_whitespace().next()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::is_same_place;

    #[test]
    fn a_trap_may_have_the_place_of_its_function_and_calls_must_be_the_same() {
        let stack =
            |trap: &str| format!("   0:   {trap} - fail\n   1:    0x111 - handle_request\n       at a.rs:1");
        let is_same = |a: &str, b: &str| is_same_place(Some(&stack(a)), Some(&stack(b)));
        assert!(is_same("0xca", "0xca") && is_same("0xca", "0xcb") && is_same("0xcb", "0xca"));
        assert!(!is_same("0xca", "0x1ca"));
        let other = stack("0xca").replace("0x111", "0x112");
        assert!(!is_same_place(Some(&stack("0xca")), Some(&other)));
        assert!(!is_same_place(Some(&stack("0xca")), None) && is_same_place(None, None));
    }
}
