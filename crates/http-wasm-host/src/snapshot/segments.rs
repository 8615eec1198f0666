//! Modules of very many data segments. Go's linker makes them: it leaves out zeros, however few.

use std::borrow::Cow;

use wasm_encoder::{ConstExpr, DataSection, Module, RawSection};
use wasmparser::{BinaryReaderError, Data, DataKind, DataSectionReader, Operator, Parser, Payload};

/// What a module may have beside those that a snapshot adds, ten thousand at most: engines take 100,000 in all, and the rewriter
/// leaves an empty one in the place of each that was there.
const MOST: usize = 50_000;

/// As many zeros between two segments are written out.
const LONGEST_GAP: u64 = 64;

/// The valid module `wasm`, with as few data segments as a snapshot can take.
///
/// # Errors
/// The reason why it can't be had.
pub(super) fn few(wasm: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    few_of(wasm).map_err(|error| error.to_string())?
}

fn few_of(wasm: &[u8]) -> Result<Result<Cow<'_, [u8]>, String>, BinaryReaderError> {
    let mut rewritten = Module::new();
    let mut joined_any = false;
    let mut is_counted = false;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if let Payload::DataSection(section) = &payload
            && section.count() as usize > MOST
        {
            // Where the segments are counted, code refers to them by number.
            let few = if is_counted { None } else { joined(section.clone())? };
            let Some(few) = few.filter(|few| few.len() as usize <= MOST) else {
                let count = section.count();
                let reason =
                    format!("the module has {count} data segments, of which a snapshot can take {MOST}");
                return Ok(Err(reason));
            };
            joined_any = true;
            rewritten.section(&few);
            continue;
        }
        is_counted |= matches!(payload, Payload::DataCountSection { .. });
        if let Some((id, range)) = payload.as_section() {
            rewritten.section(&RawSection { id, data: &wasm[range] });
        }
    }
    Ok(Ok(if joined_any { Cow::Owned(rewritten.finish()) } else { Cow::Borrowed(wasm) }))
}

/// An active segment at a constant place.
struct Segment<'a> {
    memory: u32,
    offset: u64,
    is_64: bool,
    data: Cow<'a, [u8]>,
}

/// The same data in fewer segments; `None` where a segment isn't active, has no constant place or overlaps with another.
fn joined(section: DataSectionReader<'_>) -> Result<Option<DataSection>, BinaryReaderError> {
    let mut segments = Vec::new();
    for data in section {
        let Some(segment) = Segment::of(data?)? else { return Ok(None) };
        segments.push(segment);
    }
    segments.sort_by_key(|segment| (segment.memory, segment.offset));
    let mut few: Vec<Segment<'_>> = Vec::new();
    for next in segments {
        if let Some(last) = few.last_mut().filter(|last| last.memory == next.memory) {
            let Some(gap) = next.offset.checked_sub(last.offset + last.data.len() as u64) else {
                return Ok(None);
            };
            if gap <= LONGEST_GAP {
                let data = last.data.to_mut();
                data.resize(data.len() + gap as usize, 0);
                data.extend_from_slice(&next.data);
                continue;
            }
        }
        few.push(next);
    }
    let mut section = DataSection::new();
    for Segment { memory, offset, is_64, data } in few {
        let offset = match is_64 {
            true => ConstExpr::i64_const(offset.cast_signed()),
            false => ConstExpr::i32_const((offset as u32).cast_signed()),
        };
        section.active(memory, &offset, data.iter().copied());
    }
    Ok(Some(section))
}

impl<'a> Segment<'a> {
    fn of(data: Data<'a>) -> Result<Option<Self>, BinaryReaderError> {
        let DataKind::Active { memory_index: memory, offset_expr } = data.kind else { return Ok(None) };
        let mut offset = offset_expr.get_operators_reader();
        let (offset, is_64) = match (offset.read()?, offset.read()?) {
            (Operator::I32Const { value }, Operator::End) => (u64::from(value.cast_unsigned()), false),
            (Operator::I64Const { value }, Operator::End) => (value.cast_unsigned(), true),
            _ => return Ok(None),
        };
        // A place beyond all memory is refused when the module is instantiated.
        let is_within = offset.checked_add(data.data.len() as u64).is_some();
        Ok(is_within.then_some(Self { memory, offset, is_64, data: data.data.into() }))
    }
}
