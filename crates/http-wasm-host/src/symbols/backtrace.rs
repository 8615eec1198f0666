//! The calls on a guest's stack when it failed.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use wasmtime::WasmBacktrace;

use super::{Symbols, names};

/// The calls on a guest's stack, innermost first.
pub(crate) struct Backtrace {
    calls: Vec<Call>,
    symbols: Arc<Symbols>,
    /// Created on first use, since not every failure is logged.
    text: OnceLock<String>,
}

#[derive(Clone)]
struct Call {
    function: u32,
    name: Option<String>,
    /// Where in the function's code. `None` in functions that were added to the author's.
    place: Option<u32>,
}

impl Backtrace {
    /// That of the failed call, if it has one that is wanted.
    pub(crate) fn of(error: &wasmtime::Error, symbols: &Arc<Symbols>) -> Option<Self> {
        let trace = error.downcast_ref::<WasmBacktrace>().filter(|_| !symbols.is_off)?;
        let call = |frame: &wasmtime::FrameInfo| Call {
            function: frame.func_index(),
            name: frame
                .func_name()
                .or_else(|| symbols.offsets.entry_point(frame.func_index()))
                .map(str::to_owned),
            place: frame
                .func_offset()
                .and_then(|offset| symbols.offsets.in_code_section(frame.func_index(), offset as u32)),
        };
        let calls = trace.frames().iter().map(call).collect();
        Some(Self { calls, symbols: symbols.clone(), text: OnceLock::new() })
    }

    /// One or more lines for each call: offset in the author's file, function, and source lines as far as they are
    /// known by now.
    pub(crate) fn text(&self) -> &str {
        self.text.get_or_init(|| written(&self.calls, &self.symbols))
    }

    /// Looks up its source lines.
    pub(crate) fn locate(&mut self) {
        if let Some(lines) = &self.symbols.lines {
            lines.look_up(&self.places());
            self.text = OnceLock::new();
        }
    }

    /// Looks up its source lines on another thread, unless they are known already or too many have been looked up
    /// recently, and then calls `then` there with the text that includes them.
    pub(crate) fn locate_later(&self, then: impl FnOnce(String) + Send + 'static) {
        if let Some(lines) = &self.symbols.lines {
            let (calls, symbols) = (self.calls.clone(), self.symbols.clone());
            lines.look_up_later(&self.places(), move || then(written(&calls, &symbols)));
        }
    }

    fn places(&self) -> Vec<u32> {
        let mut places: Vec<_> = self.calls.iter().filter_map(|call| call.place).collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

fn written(calls: &[Call], symbols: &Symbols) -> String {
    let mut text = String::new();
    for (n, Call { function, name, place }) in calls.iter().enumerate() {
        let line_end = if n == 0 { "" } else { "\n" };
        // Writing to a string doesn't fail.
        let _ = match place {
            Some(place) => {
                let offset = u64::from(symbols.offsets.code_section) + u64::from(*place);
                write!(text, "{line_end}{n:>4}: {offset:#8x} - ")
            }
            None => write!(text, "{line_end}{n:>4}:            "),
        };
        let known = place.and_then(|place| symbols.lines.as_ref()?.known(place));
        let known = known.unwrap_or_default();
        if known.is_empty() || known.starts_with('\n') {
            match name {
                Some(name) => text.push_str(&names::demangled(name)),
                None => text.push_str(&format!("<function {function}>")),
            }
        }
        text.push_str(&known);
    }
    text
}
