//! Maps positions in compiled functions to positions in the author's file.

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

/// The functions that the host calls. Their names are known even if a module has no names.
const ENTRY_POINTS: [&str; 4] = ["handle_request", "handle_response", "_initialize", "_start"];

/// From this offset on, the rest of a function is further from its start than in the author's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    /// The function, among those that the module defines.
    pub(crate) function: u32,
    /// Offset in the function as compiled.
    pub(crate) from: u32,
    /// How much further, in bytes.
    pub(crate) by: u32,
}

/// Where the functions of a module are in its file.
pub(super) struct Offsets {
    imported_functions: u32,
    /// Offset of the code section's content in the file.
    pub(super) code_section: u32,
    /// Start of each function, relative to the code section's content.
    functions: Vec<u32>,
    entry_points: Vec<(u32, &'static str)>,
    /// In the order of functions, and of offsets within each.
    moved: Vec<Shift>,
}

impl Offsets {
    pub(super) fn read(wasm: &[u8], moved: Vec<Shift>) -> Self {
        let mut offsets = Self {
            imported_functions: 0,
            code_section: 0,
            functions: Vec::new(),
            entry_points: Vec::new(),
            moved,
        };
        // The module is known to be valid; in an invalid one, the rest would have no positions.
        for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
            match payload {
                Payload::ImportSection(imports) => {
                    let imports = imports.into_imports().map_while(Result::ok);
                    let functions =
                        imports.filter(|i| matches!(i.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
                    offsets.imported_functions = functions.count() as u32;
                }
                Payload::ExportSection(exports) => {
                    let functions = exports.into_iter().map_while(Result::ok);
                    let functions = functions.filter(|export| export.kind == ExternalKind::Func);
                    offsets.entry_points.extend(functions.filter_map(|export| {
                        let name = ENTRY_POINTS.into_iter().find(|name| *name == export.name)?;
                        Some((export.index, name))
                    }));
                }
                Payload::CodeSectionStart { count, range, .. } => {
                    offsets.code_section = range.start as u32;
                    offsets.functions.reserve_exact((count as usize).min(wasm.len()));
                }
                Payload::CodeSectionEntry(body) => {
                    offsets.functions.push(body.range().start as u32 - offsets.code_section);
                }
                _ => {}
            }
        }
        offsets
    }

    /// The name of a function that the host calls.
    pub(super) fn entry_point(&self, function: u32) -> Option<&'static str> {
        self.entry_points.iter().find(|(index, _)| *index == function).map(|(_, name)| *name)
    }

    /// The position of an instruction relative to the code section's content, given its function and its offset in the
    /// compiled function. `None` for functions that aren't the author's.
    pub(super) fn in_code_section(&self, function: u32, offset: u32) -> Option<u32> {
        let function = function.checked_sub(self.imported_functions)?;
        let start = self.functions.get(function as usize)?;
        let before = self.moved.partition_point(|m| (m.function, m.from) <= (function, offset));
        let last = self.moved[..before].last().filter(|moved| moved.function == function);
        start.checked_add(offset)?.checked_sub(last.map_or(0, |moved| moved.by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_corrected_by_what_was_inserted_into_the_same_function() {
        let wasm = wat::parse_str(
            r#"(module (import "m" "f" (func)) (func (call 0) (call 0)) (func (call 0) (call 0)) (func))"#,
        );
        let wasm = wasm.unwrap();
        let moved = |function, from, by| Shift { function, from, by };
        let offsets = Offsets::read(&wasm, vec![moved(0, 5, 2), moved(1, 4, 1), moved(1, 8, 3)]);
        let [first, second, third] = [1, 2, 3].map(|function| offsets.in_code_section(function, 0).unwrap());
        // Each starts with its size and its number of locals: one byte each.
        assert_eq!([first, second - first, third - second], [2, 7, 7]);
        let distances = |function, offsets_in: [u32; 5]| {
            let start = offsets.in_code_section(function, 0).unwrap();
            offsets_in.map(|offset| offsets.in_code_section(function, offset).unwrap() - start)
        };
        assert_eq!(distances(1, [1, 4, 5, 6, 9]), [1, 4, 3, 4, 7]);
        assert_eq!(distances(2, [1, 4, 7, 8, 9]), [1, 3, 6, 5, 6]);
        assert_eq!(distances(3, [1, 4, 7, 8, 9]), [1, 4, 7, 8, 9]);
        // The import, and a function that was added.
        assert_eq!([0, 4].map(|function| offsets.in_code_section(function, 1)), [None, None]);
        let call = offsets.code_section + first + 1;
        assert_eq!(wasm[call as usize..][..2], [0x10, 0]);
    }
}
