//! Names for the added functions, so that a guest's stack traces are readable.

use wasm_encoder::Encode;
use wasmparser::BinaryReader;

use super::plan::Plan;

/// The subsection of the `name` section with the names of functions.
const FUNCTIONS: u8 = 1;

/// The content of a `name` section with names for the added functions. `None` if it can't be read.
///
/// Existing content stays unchanged, byte for byte.
pub(super) fn extended(section: &[u8], plan: &Plan) -> Option<Vec<u8>> {
    let mut reader = BinaryReader::new(section, 0);
    let mut out = Vec::with_capacity(section.len() + 64);
    while !reader.eof() {
        let start = reader.current_position();
        let id = reader.read_u8().ok()?;
        let size = reader.read_var_u32().ok()? as usize;
        let content = reader.read_bytes(size).ok()?;
        if id == FUNCTIONS {
            out.push(id);
            function_names(content, plan)?.encode(&mut out);
        } else {
            out.extend_from_slice(&section[start..reader.current_position()]);
        }
    }
    Some(out)
}

/// A name map is a count, followed by that many entries sorted by index. The added functions have the highest indices.
fn function_names(content: &[u8], plan: &Plan) -> Option<Vec<u8>> {
    let mut reader = BinaryReader::new(content, 0);
    let count = reader.read_var_u32().ok()?;
    let entries = &content[reader.current_position()..];
    let mut out = Vec::with_capacity(content.len() + 64);
    count.checked_add(plan.points.len() as u32 + 1)?.encode(&mut out);
    out.extend_from_slice(entries);
    for (n, point) in plan.points.iter().enumerate() {
        plan.replacement(n).encode(&mut out);
        point.label.encode(&mut out);
    }
    plan.pause().encode(&mut out);
    "suspension_point".encode(&mut out);
    Some(out)
}
