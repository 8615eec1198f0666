//! Source lines from DWARF.

use std::fmt::Write as _;

use addr2line::Context;
use gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use wasmparser::{BinaryReader, Parser, Payload};

use super::names;

/// The sections needed for source lines; the others are about variables and types.
const SECTIONS: [SectionId; 10] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

/// The maximum number of functions shown for one position: the function itself, and those inlined into it.
const MAX_INLINED: usize = 16;

/// How many compilation units are searched for the name of a file with their debug information.
const MAX_UNITS: usize = 32;

/// The custom section with the name of the file that has a module's debug information, from Emscripten's
/// `-gseparate-dwarf`.
const EXTERNAL: &str = "external_debug_info";

/// The file with debug information of this module that isn't in it: all of it, or with split DWARF (`-gsplit-dwarf`)
/// that of a compilation unit.
pub(super) fn separate_file(wasm: &[u8], own: Option<&DebugInfo>) -> Option<String> {
    own.and_then(|own| own.split_file().ok().flatten()).or_else(|| {
        let mut sections = Parser::new(0).parse_all(wasm).map_while(Result::ok);
        sections.find_map(|payload| match payload {
            Payload::CustomSection(section) if section.name() == EXTERNAL => {
                let mut reader = BinaryReader::new(section.data(), section.data_offset());
                reader.read_string().ok().map(str::to_owned)
            }
            _ => None,
        })
    })
}

/// The sections of a module that contain source lines.
pub(super) struct DebugInfo(Vec<(SectionId, Box<[u8]>)>);

impl DebugInfo {
    /// `None` if the module has none.
    pub(super) fn read(wasm: &[u8]) -> Option<Self> {
        let mut sections = Vec::new();
        for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
            if let Payload::CustomSection(section) = payload
                && let Some(id) = SECTIONS.into_iter().find(|id| id.name() == section.name())
            {
                sections.push((id, section.data().into()));
            }
        }
        let info = Self(sections);
        (!info.section(SectionId::DebugInfo).is_empty()).then_some(info)
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(_, data)| data.len()).sum()
    }

    /// Returns the functions and source lines at each of these positions in the code section as text: innermost first,
    /// without a trailing line break. The text starts with a line break if the function's name is unknown, and is empty
    /// if nothing is known about the position.
    pub(super) fn look_up(&self, places: &[u32]) -> Vec<String> {
        self.try_look_up(places).unwrap_or_else(|_| vec![String::new(); places.len()])
    }

    fn try_look_up(&self, places: &[u32]) -> gimli::Result<Vec<String>> {
        let context = Context::from_dwarf(self.dwarf()?)?;
        // Information that is invalid for one position may be valid for another.
        Ok(places.iter().map(|place| at(&context, *place).unwrap_or_default()).collect())
    }

    fn split_file(&self) -> gimli::Result<Option<String>> {
        let dwarf = self.dwarf()?;
        let mut units = dwarf.units();
        for _ in 0..MAX_UNITS {
            let Some(header) = units.next()? else { break };
            let unit = dwarf.unit(header)?;
            if let Some(name) = unit.dwo_name()? {
                return Ok(Some(dwarf.attr_string(&unit, name)?.to_string_lossy().into_owned()));
            }
        }
        Ok(None)
    }

    fn dwarf(&self) -> gimli::Result<Dwarf<EndianSlice<'_, LittleEndian>>> {
        Dwarf::load(|id| Ok(EndianSlice::new(self.section(id), LittleEndian)))
    }

    fn section(&self, id: SectionId) -> &[u8] {
        self.0.iter().find(|(found, _)| *found == id).map_or(&[], |(_, data)| data)
    }
}

fn at(context: &Context<EndianSlice<'_, LittleEndian>>, place: u32) -> gimli::Result<String> {
    let mut frames = context.find_frames(u64::from(place)).skip_all_loads()?;
    let mut text = String::new();
    let mut shown = 0;
    while let Some(frame) = frames.next()?
        && shown < MAX_INLINED
    {
        let function = frame.function.as_ref().and_then(|function| function.raw_name().ok());
        if shown > 0 {
            text.push_str("\n                - ");
        }
        text.push_str(&function.map_or_else(String::new, |name| names::demangled(&name)));
        if let Some(location) = &frame.location
            && let Some(file) = location.file
        {
            // Writing to a string doesn't fail.
            let _ = write!(text, "\n             at {}", names::path(file));
            for number in [location.line, location.column].into_iter().map_while(|n| n.filter(|n| *n > 0)) {
                let _ = write!(text, ":{number}");
            }
        }
        shown += 1;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{CustomSection, Module};

    use super::{DebugInfo, EXTERNAL, separate_file};

    fn found(sections: &[(&str, &[u8])]) -> Option<String> {
        let mut module = Module::new();
        for (name, data) in sections {
            module.section(&CustomSection { name: (*name).into(), data: (*data).into() });
        }
        let wasm = module.finish();
        separate_file(&wasm, DebugInfo::read(&wasm).as_ref())
    }

    #[test]
    fn a_separate_debug_information_file_is_named() {
        assert_eq!(found(&[(EXTERNAL, b"\x0ca.debug.wasm")]).as_deref(), Some("a.debug.wasm"));
        assert_eq!(found(&[(EXTERNAL, b"\x0da.debug.wasm")]), None, "truncated");
        // One compilation unit of DWARF 4, with `DW_AT_GNU_dwo_name`.
        let unit = b"\x0e\0\0\0\x04\0\0\0\0\0\x04\x01a.dwo\0";
        let abbreviations = b"\x01\x11\0\xb0\x42\x08\0\0\0";
        let split: [(&str, &[u8]); 2] = [(".debug_info", unit), (".debug_abbrev", abbreviations)];
        assert_eq!(found(&split).as_deref(), Some("a.dwo"));
        // The same with `DW_AT_name`, which all units have.
        let plain: [(&str, &[u8]); 2] =
            [(".debug_info", unit), (".debug_abbrev", b"\x01\x11\0\x03\x08\0\0\0")];
        assert_eq!(found(&plain), None);
    }
}
