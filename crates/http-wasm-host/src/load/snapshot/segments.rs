//! Merges data segments of modules that have very many. Go's linker creates them, because it omits even short runs of
//! zeros.

use std::borrow::Cow;

use wasm_encoder::{ConstExpr, DataSection, Module, RawSection};
use wasmparser::{
    BinaryReaderError, Data, DataKind, DataSectionReader, FunctionBody, Operator, Parser, Payload,
};

/// The most segments that a module may have besides those that a snapshot adds, at most ten thousand. Engines accept
/// 100,000 in total, and the rewriter leaves an empty segment in place of each original one.
const MAX_SEGMENTS: u32 = 90_000;

/// Up to this many zeros between two segments are written out to merge them.
const MAX_GAP: u64 = 64;

/// Returns the valid module `wasm`. Its data segments are merged if it has more of them than a snapshot can have.
///
/// # Errors
/// The reason why that isn't possible.
pub(super) fn merge(wasm: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    merge_above(MAX_SEGMENTS, wasm)
}

fn merge_above(limit: u32, wasm: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let count = count(wasm).map_err(|error| error.to_string())?;
    if count <= limit {
        return Ok(Cow::Borrowed(wasm));
    }
    rewrite(limit, wasm).map(Cow::Owned).map_err(|why| {
        format!(
            "the module has {count} data segments, but a snapshot can have at most {limit}, and they can't be \
             merged: {why}"
        )
    })
}

fn count(wasm: &[u8]) -> Result<u32, BinaryReaderError> {
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::DataSection(section) = payload? {
            return Ok(section.count());
        }
    }
    Ok(0)
}

/// Why segments can't be merged.
#[derive(Debug, thiserror::Error)]
enum MergeError {
    #[error(transparent)]
    Invalid(#[from] BinaryReaderError),
    #[error("its code refers to them by index")]
    Referenced,
    #[error("not all have a constant offset")]
    NonConstantOffset,
    #[error("some overlap")]
    Overlap,
    #[error("too many have more than {MAX_GAP} bytes between them")]
    TooSparse,
}

fn rewrite(limit: u32, wasm: &[u8]) -> Result<Vec<u8>, MergeError> {
    let mut module = Module::new();
    let mut is_counted = false;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::DataCountSection { .. } => is_counted = true,
            Payload::DataSection(section) => {
                let section = merge_section(section.clone())?;
                if section.len() > limit {
                    return Err(MergeError::TooSparse);
                }
                module.section(&section);
            }
            // Code can only refer to segments if there is a data count.
            Payload::CodeSectionEntry(body) if is_counted && refers_to_segments(body)? => {
                return Err(MergeError::Referenced);
            }
            _ => {
                if let Some((id, range)) = payload.as_section() {
                    module.section(&RawSection { id, data: &wasm[range] });
                }
            }
        }
    }
    Ok(module.finish())
}

fn refers_to_segments(body: &FunctionBody<'_>) -> Result<bool, BinaryReaderError> {
    for operator in body.get_operators_reader()? {
        if let Operator::MemoryInit { .. }
        | Operator::DataDrop { .. }
        | Operator::ArrayNewData { .. }
        | Operator::ArrayInitData { .. } = operator?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An active segment with a constant offset.
struct Segment<'a> {
    memory: u32,
    offset: u64,
    is_64: bool,
    data: Cow<'a, [u8]>,
}

/// Merges the data into fewer segments.
fn merge_section(section: DataSectionReader<'_>) -> Result<DataSection, MergeError> {
    let mut segments = section.into_iter().map(|data| Segment::of(data?)).collect::<Result<Vec<_>, _>>()?;
    segments.sort_by_key(|segment| (segment.memory, segment.offset));
    let mut merged: Vec<Segment<'_>> = Vec::new();
    for next in segments {
        match merged.last_mut().filter(|last| last.memory == next.memory) {
            // An empty segment only has to lie within the memory, as the previous one does.
            Some(last) if next.data.is_empty() && next.offset <= last.end() => {}
            Some(last) => {
                let gap = next.offset.checked_sub(last.end()).ok_or(MergeError::Overlap)?;
                if gap <= MAX_GAP {
                    let data = last.data.to_mut();
                    data.resize(data.len() + gap as usize, 0);
                    data.extend_from_slice(&next.data);
                } else {
                    merged.push(next);
                }
            }
            None => merged.push(next),
        }
    }
    let mut section = DataSection::new();
    for Segment { memory, offset, is_64, data } in merged {
        let offset = match is_64 {
            true => ConstExpr::i64_const(offset.cast_signed()),
            false => ConstExpr::i32_const((offset as u32).cast_signed()),
        };
        section.active(memory, &offset, data.iter().copied());
    }
    Ok(section)
}

impl<'a> Segment<'a> {
    fn of(data: Data<'a>) -> Result<Self, MergeError> {
        let DataKind::Active { memory_index: memory, offset_expr } = data.kind else {
            return Err(MergeError::NonConstantOffset);
        };
        let mut operators = offset_expr.get_operators_reader();
        let (offset, is_64) = match (operators.read()?, operators.read()?) {
            (Operator::I32Const { value }, Operator::End) => (u64::from(value.cast_unsigned()), false),
            (Operator::I64Const { value }, Operator::End) => (value.cast_unsigned(), true),
            _ => return Err(MergeError::NonConstantOffset),
        };
        // The data must lie within the address space.
        offset.checked_add(data.data.len() as u64).ok_or(MergeError::NonConstantOffset)?;
        Ok(Self { memory, offset, is_64, data: data.data.into() })
    }

    fn end(&self) -> u64 {
        // This can't overflow: it was checked when the segment was read, and zeros are only added up to the next one.
        self.offset + self.data.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The memory, the offset, whether the offset has 64 bits, and the data.
    type Left = (u32, u64, bool, Vec<u8>);

    /// What remains of these segments if two are allowed.
    fn left(items: &str) -> Result<Vec<Left>, String> {
        let text = format!("(module (memory 2) (memory i64 1) {items} (func $f (export \"f\")))");
        let wasm = wat::parse_str(&text).unwrap();
        let merged = merge_above(2, &wasm)?;
        wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
            .validate_all(&merged)
            .unwrap();
        let mut left = Vec::new();
        for payload in Parser::new(0).parse_all(&merged) {
            if let Payload::DataSection(section) = payload.unwrap() {
                for data in section {
                    let Segment { memory, offset, is_64, data } = Segment::of(data.unwrap()).unwrap();
                    left.push((memory, offset, is_64, data.into_owned()));
                }
            }
        }
        Ok(left)
    }

    #[test]
    fn nearby_segments_of_the_same_memory_are_joined() {
        let items = r#"(data (memory 1) (i64.const 0) "one") (data (i32.const 70) "b") (data (i32.const 0) "a")
          (data (memory 1) (i64.const 3) "!") (data (i32.const 69) "_") (data (i32.const 71) "")"#;
        assert!(left(items).unwrap_err().ends_with("more than 64 bytes between them"));
        let items = items.replace("69", "65").replace("70", "66").replace("71", "67");
        let first = [&b"a"[..], &[0; 64], b"_b"].concat();
        assert_eq!(left(&items).unwrap(), [(0, 0, false, first), (1, 0, true, b"one!".to_vec())]);
    }

    #[test]
    fn segments_are_not_joined_if_there_are_few() {
        let items = r#"(data (i32.const 9) "b") (data (i32.const 8) "a")"#;
        let left = left(items).unwrap();
        assert_eq!(left, [(0, 9, false, b"b".to_vec()), (0, 8, false, b"a".to_vec())]);
    }

    #[test]
    fn empty_segments_overlap_nothing_and_are_kept_where_they_must_trap() {
        let items = r#"(data (i32.const 8) "abc") (data (i32.const 9) "") (data (i32.const 8) "")
          (data (i32.const 11) "") (data (i32.const 200000) "")"#;
        assert_eq!(left(items).unwrap(), [(0, 8, false, b"abc".to_vec()), (0, 200_000, false, vec![])]);
    }

    #[test]
    fn segments_that_cannot_be_joined_are_refused_with_the_reason() {
        let three = r#"(data (i32.const 8) "abc") (data (i32.const 11) "d") (data (i32.const 12) "e")"#;
        for (other, reason) in [
            ("(data (i32.const 9) \"x\")", "some overlap"),
            ("(data \"x\")", "not all have a constant offset"),
            ("(global $g i32 (i32.const 1)) (data (global.get $g) \"x\")", "not all have a constant offset"),
            (
                "(func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0)))",
                "its code refers to them by index",
            ),
            ("(func (data.drop 1))", "its code refers to them by index"),
        ] {
            let message = left(&format!("{three} {other}")).unwrap_err();
            assert!(
                message.contains("a snapshot can have at most 2, and they can't be merged: "),
                "{message}"
            );
            assert!(message.ends_with(reason), "{message}");
        }
    }

    #[test]
    fn segments_of_a_module_with_a_data_count_but_no_references_are_joined() {
        const CODE: u8 = wasm_encoder::SectionId::Code as u8;
        let parse = |code| {
            let data = r#"(data (i32.const 0) "a") (data (i32.const 1) "b") (data (i32.const 2) "c")"#;
            wat::parse_str(format!("(module (memory 1) {data} (func {code}))")).unwrap()
        };
        let counted = parse("(memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0))");
        let plain = parse("");
        let code = sections(&plain).find(|section| section.id == CODE).unwrap();
        let mut module = Module::new();
        for section in sections(&counted) {
            module.section(if section.id == CODE { &code } else { &section });
        }
        let merged = merge_above(2, &module.finish()).map(|merged| count(&merged).unwrap());
        assert_eq!(merged, Ok(1));
    }

    /// The offsets and lengths of consecutive segments, some of them past the end of a page, in any order.
    fn places() -> impl Strategy<Value = Vec<(usize, usize)>> {
        let gaps_and_lengths = proptest::collection::vec((0usize..100, 0usize..20), 3..9);
        let places = (65_000usize..65_500, gaps_and_lengths).prop_map(|(mut at, segments)| {
            let mut place = |(gap, len)| {
                at += gap + len;
                (at - len, len)
            };
            segments.into_iter().map(&mut place).collect::<Vec<_>>()
        });
        places.prop_shuffle()
    }

    proptest! {
        #[test]
        fn joining_segments_preserves_the_initial_memory_or_the_trap(places in places()) {
            let letters = |n: usize, len| char::from(b'a' + n as u8).to_string().repeat(len);
            let data = |(n, &(at, len))| format!("(data (i32.const {at}) \"{}\")", letters(n, len));
            let data: String = places.iter().enumerate().map(data).collect();
            let wasm = wat::parse_str(format!("(module (memory (export \"memory\") 1) {data})")).unwrap();
            let merged = rewrite(u32::MAX, &wasm).expect("none overlap");
            assert_eq!(memory(&merged), memory(&wasm));
        }
    }

    /// The initial memory of an instance. `None` if there can't be one.
    fn memory(wasm: &[u8]) -> Option<Vec<u8>> {
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, wasm).unwrap();
        let mut store = wasmtime::Store::new(&engine, ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).ok()?;
        Some(instance.get_memory(&mut store, "memory").unwrap().data(&store).to_vec())
    }

    fn sections(wasm: &[u8]) -> impl Iterator<Item = RawSection<'_>> {
        let sections = Parser::new(0).parse_all(wasm).filter_map(|payload| payload.unwrap().as_section());
        sections.map(|(id, range)| RawSection { id, data: &wasm[range] })
    }
}
