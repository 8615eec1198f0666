//! Backtraces of guests, as positions in the author's file and sources.
//!
//! wasmtime knows the position of an instruction in the module that it has compiled, which differs from the author's:
//! suspension points were added to it, and it may be a snapshot. But the offset within a function, minus what was
//! inserted before it, is the same in both, and debug information maps offsets in the author's code section to source
//! lines.

mod backtrace;
mod debug_info;
mod lines;
mod names;
mod offsets;

use wasmtime::WasmBacktrace;

pub(crate) use self::backtrace::Backtrace;
use self::debug_info::DebugInfo;
use self::lines::Lines;
use self::offsets::Offsets;
pub(crate) use self::offsets::Shift;

/// What the backtraces of a guest's failures contain, for
/// [`GuestBuilder::backtraces`](crate::GuestBuilder::backtraces).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backtraces {
    /// Functions, and source lines if the module contains debug information (DWARF). That information is kept in
    /// memory; [`GuestFacts::debug_info_bytes`](crate::GuestFacts) is its size.
    #[default]
    Lines,
    /// Functions, and offsets in the module's file.
    Functions,
    /// There are no backtraces.
    Off,
}

/// Maps the code of a module to its author's file and sources.
pub(crate) struct Symbols {
    offsets: Offsets,
    /// `None` if there is no debug information, or it isn't needed.
    lines: Option<Lines>,
    /// The file with debug information that isn't in the module.
    separate_debug_info: Option<String>,
    is_off: bool,
}

impl Symbols {
    /// Reads the author's module. `moved` is what the suspension points have moved in it.
    pub(crate) fn read(wasm: &[u8], moved: Vec<Shift>, backtraces: Backtraces) -> Self {
        let debug_info = match backtraces {
            Backtraces::Lines => DebugInfo::read(wasm),
            Backtraces::Functions | Backtraces::Off => None,
        };
        Self {
            offsets: Offsets::read(wasm, moved),
            separate_debug_info: match backtraces {
                Backtraces::Lines => debug_info::separate_file(wasm, debug_info.as_ref()),
                Backtraces::Functions | Backtraces::Off => None,
            },
            lines: debug_info.map(Lines::new),
            is_off: backtraces == Backtraces::Off,
        }
    }

    /// The functions on a stack, innermost first.
    pub(crate) fn stack(&self, trace: &WasmBacktrace) -> Vec<String> {
        let name = |frame: &wasmtime::FrameInfo| {
            let function = frame.func_index();
            let name = frame.func_name().or_else(|| self.offsets.entry_point(function));
            name.map_or_else(|| format!("<function {function}>"), names::demangled)
        };
        trace.frames().iter().map(name).collect()
    }

    /// Size of the debug information that is kept, in bytes.
    pub(crate) fn debug_info_bytes(&self) -> usize {
        self.lines.as_ref().map_or(0, Lines::bytes)
    }

    /// The file with debug information that isn't in the module, and isn't read.
    pub(crate) fn separate_debug_info(&self) -> Option<&str> {
        self.separate_debug_info.as_deref()
    }
}
