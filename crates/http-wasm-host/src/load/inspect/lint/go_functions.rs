//! The names of Go's functions in a module without a name section.
//!
//! Go's runtime has a table of all functions for its stack traces (`pclntab`), which `-ldflags=-s` doesn't remove. It
//! begins with a header of eight bytes and eight words: the number of functions, the number of files, the start of the
//! code, and the offsets of five parts of the table, of which the first holds the names and the last the functions.

use crate::load::inspect::graph::Graph;

/// The header since Go 1.20. The instruction size and the word size follow.
const HEADER: &[u8] = &[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
const NAMES: usize = 3;
const FUNCTIONS: usize = 7;

/// The difference between Go's number of a function and its position among the module's own functions.
const FIRST_FUNCTION: usize = 0x1000;

/// The function that the linker exports as `_initialize`. The table is only trusted if it contains this function.
const INITIALIZE: &str = "_rt0_wasm_wasip1_lib";

/// How much memory is searched for the table, how many candidates are checked, and how many functions it may have. The
/// data of large programs takes about 10 MB.
const MAX_MEMORY: usize = 64 << 20;
const MAX_CANDIDATES: usize = 16;
const MAX_FUNCTIONS: usize = 1 << 20;

/// The functions of a Go library.
pub(super) struct GoFunctions {
    memory: Vec<u8>,
    /// The offset of the table.
    table: usize,
}

impl GoFunctions {
    /// `None` if there is no table, or the table doesn't belong to this module.
    pub(super) fn of(graph: &Graph<'_>) -> Option<Self> {
        let memory = graph.initial_memory(MAX_MEMORY)?;
        let initialize = graph.exported("_initialize")?;
        let headers = memory.windows(HEADER.len()).enumerate().filter(|(_, bytes)| *bytes == HEADER);
        // Any data may look like a header.
        let tables: Vec<usize> = headers.map(|(at, _)| at).take(MAX_CANDIDATES).collect();
        let mut functions = Self { memory, table: 0 };
        for table in tables {
            functions.table = table;
            if functions.find(graph, INITIALIZE) == Some(initialize) {
                return Some(functions);
            }
        }
        None
    }

    /// The function with this name.
    pub(super) fn find(&self, graph: &Graph<'_>, name: &str) -> Option<u32> {
        let names = self.table.checked_add(self.word(NAMES)?)?;
        let functions = self.table.checked_add(self.word(FUNCTIONS)?)?;
        (0..self.word(0)?.min(MAX_FUNCTIONS)).map_while(|index| self.function(functions, index)).find_map(
            |(function, at)| {
                let found = self.memory.get(names.checked_add(at)?..)?.strip_prefix(name.as_bytes())?;
                (found.first() == Some(&0))
                    .then(|| graph.defined_at(function.checked_sub(FIRST_FUNCTION)?))?
            },
        )
    }

    /// The number of a function, and the offset of its name.
    fn function(&self, functions: usize, index: usize) -> Option<(usize, usize)> {
        let entry = functions.checked_add(index.checked_mul(8)?)?;
        let details = functions.checked_add(self.half(entry.checked_add(4)?)?)?;
        Some((self.half(details)?, self.half(details.checked_add(4)?)?))
    }

    /// A word of the header.
    fn word(&self, index: usize) -> Option<usize> {
        let at = self.table + HEADER.len() + 8 * index;
        let bytes = self.memory.get(at..)?.first_chunk()?;
        u64::from_le_bytes(*bytes).try_into().ok()
    }

    fn half(&self, at: usize) -> Option<usize> {
        let bytes = self.memory.get(at..)?.first_chunk()?;
        u32::from_le_bytes(*bytes).try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::HEADER;
    use crate::abi::Features;
    use crate::load::inspect::inspect;
    use crate::load::inspect::lint::{Probed, Verdict};

    /// Judges a Go library without a name section, whose `main.main` has this code.
    fn judged(header: &[u8], main: &str) -> Verdict {
        let names = "_rt0_wasm_wasip1_lib\0main.main\0";
        let functions = 72 + names.len() as u64;
        let mut table = header.to_vec();
        for word in [2, 0, 0, 72, 0, 0, 0, functions] {
            table.extend_from_slice(&u64::to_le_bytes(word));
        }
        table.extend_from_slice(names.as_bytes());
        for half in [0x1000_u32, 16, 0x1003, 24, 0x1000, 0, 0x1003, 21] {
            table.extend_from_slice(&half.to_le_bytes());
        }
        let data = table.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\{byte:02x}");
            text
        });
        let guest = format!(
            r#"(module (@producers (language "Go" "go1.26.0"))
            (import "http_handler" "set_status_code" (func (param i32)))
            (memory (export "memory") 1) (table 1 funcref) (elem (i32.const 0) 4)
            (func (export "_initialize"))
            (func (export "handle_request") (result i64)
              (if (i32.load (i32.const 0)) (then (call_indirect (i32.const 0)))) (i64.const 1))
            (func (export "handle_response") (param i32 i32))
            (func {main})
            (data (i32.const 1000) "{data}"))"#
        );
        inspect(guest.as_bytes()).unwrap().lint_facts().judge(Features::NONE, Probed::Silent)
    }

    const REGISTERS: &str = "(i32.store (i32.const 0) (i32.const 1))";

    #[test]
    fn the_main_of_a_stripped_go_library_is_found_in_the_go_function_table() {
        let Verdict { refusals, warnings } = judged(HEADER, REGISTERS);
        assert!(warnings.is_empty(), "{warnings:?}");
        let [refusal] = &refusals[..] else { panic!("{refusals:?}") };
        assert!(refusal.to_string().contains("`main.main`, which looks like its start-up"), "{refusal}");

        let Verdict { refusals, warnings } = judged(HEADER, "");
        assert!(refusals.is_empty() && warnings.is_empty(), "an empty `main`: {refusals:?} {warnings:?}");
    }

    #[test]
    fn without_the_go_function_table_an_uncalled_main_is_only_a_warning() {
        let Verdict { refusals, warnings } = judged(&[0; 8], REGISTERS);
        assert!(refusals.is_empty(), "{refusals:?}");
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.to_string().contains("perhaps its handlers are registered in a `main`"), "{warning}");
    }
}
