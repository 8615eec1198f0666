//! Backtraces of guests, as places in their author's file and sources.
//!
//! wasmtime knows the place of an instruction in the module that it has compiled, which isn't the author's: suspension
//! points were added to it, and a snapshot may have been made of it. But a place within a function, once what was
//! inserted there is subtracted, is the same in both, and debug information gives source lines by the place in the
//! original's code section.

mod backtrace;
mod debug_info;
mod lines;
mod names;
mod offsets;

pub(crate) use self::backtrace::Backtrace;
use self::debug_info::DebugInfo;
use self::lines::Lines;
pub(crate) use self::offsets::Moved;
use self::offsets::Offsets;

/// What a guest's backtraces contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backtraces {
    /// Functions, and source lines where the module carries debug information (DWARF). That information is kept in
    /// memory; [`GuestFacts::debug_info_bytes`](crate::GuestFacts) is its size.
    #[default]
    Lines,
    /// Functions, and offsets in the module's file.
    Functions,
    /// There are no backtraces.
    Off,
}

/// Where the code of one module is in its author's file and sources.
pub(crate) struct Symbols {
    offsets: Offsets,
    /// `None` without debug information, or if it isn't wanted.
    lines: Option<Lines>,
    is_off: bool,
}

impl Symbols {
    /// Reads the author's module. `moved` is what suspension points have moved in it.
    pub(crate) fn read(wasm: &[u8], moved: Vec<Moved>, backtraces: Backtraces) -> Self {
        let debug_info = match backtraces {
            Backtraces::Lines => DebugInfo::read(wasm),
            Backtraces::Functions | Backtraces::Off => None,
        };
        Self {
            offsets: Offsets::read(wasm, moved),
            lines: debug_info.map(Lines::new),
            is_off: backtraces == Backtraces::Off,
        }
    }

    /// Size of the debug information that is kept, in bytes.
    pub(crate) fn debug_info_bytes(&self) -> usize {
        self.lines.as_ref().map_or(0, Lines::bytes)
    }
}
