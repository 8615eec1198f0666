//! Converts the bytes of a file into a binary core module.

use crate::fault::{Fault, shown};

const MAGIC: &[u8] = b"\0asm";

/// What to build instead of a component; also used for imports that only components have.
pub(super) const BUILD_CORE: &str = "http-wasm guests are core modules: build for `wasm32-wasip1` or \
     `wasm32-unknown-unknown` instead of `wasm32-wasip2` (TinyGo and Go: wasip1 with `-buildmode=c-shared`), and don't \
     run the result through `wasm-tools component new`, cargo-component, componentize-js or the like";

/// The binary core module in `bytes`, which are binary or WebAssembly text.
pub(super) fn to_binary(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    if bytes.is_empty() {
        return Err(Fault::new(
            "the file is empty",
            "check that the build succeeded and that the path is the one it wrote",
        ));
    }
    let wasm = if MAGIC.starts_with(bytes) || bytes.starts_with(MAGIC) {
        bytes.to_vec()
    } else {
        parse_text(bytes)?
    };
    check_header(&wasm)?;
    Ok(wasm)
}

fn check_header(wasm: &[u8]) -> Result<(), Fault> {
    match wasm.get(4..8) {
        None => Err(Fault::new(
            format!("the file has {} of the 8 bytes in the header of a wasm module", wasm.len()),
            "it was truncated: copy or build it again",
        )),
        Some([1, 0, 0, 0]) => Ok(()),
        Some([_, _, 1, 0]) => {
            Err(Fault::new("the file is a WebAssembly component, not a core module", BUILD_CORE))
        }
        Some(version) => Err(Fault::new(
            format!(
                "the header has the version bytes {version:02x?}, but a core module has [01, 00, 00, 00]"
            ),
            "build the guest with a current toolchain, or copy it again if it was damaged in transit",
        )),
    }
}

fn parse_text(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let text = std::str::from_utf8(bytes).ok().map(|text| text.trim_start_matches('\u{feff}').trim_start());
    let Some(text) = text.filter(|text| text.starts_with(['(', ';'])) else {
        return Err(not_wasm(bytes, text));
    };
    wat::parse_str(text).map_err(|error| {
        let message = one_line(&error.to_string());
        Fault::new(format!("the WebAssembly text doesn't parse: {message}"), "correct the text there")
    })
}

/// Reduces wat's errors, which draw the source line with a caret below it, to one line for the log.
fn one_line(message: &str) -> String {
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default();
    let place = lines.next().and_then(|line| line.split_once("<anon>:")).map(|(_, place)| place.trim());
    let source = lines.nth(1).and_then(|line| line.split_once(" | ")).map(|(_, source)| source.trim());
    match (place, source) {
        (Some(place), Some(source)) => {
            let place = place.replace(':', ", column ");
            format!("{first} at line {place}, in `{}`", shown(source))
        }
        // Very long lines aren't shown. The message then ends with the position.
        _ => shown(&first.replace("<anon>:", "line ")),
    }
}

fn not_wasm(bytes: &[u8], text: Option<&str>) -> Fault {
    let (found, help) = match text {
        Some(text) => known_text(text),
        None => known_binary(bytes),
    };
    Fault::new(format!("the file is not a WebAssembly module but {found}"), help)
}

fn known_text(text: &str) -> (&'static str, &'static str) {
    const BUILD: &str = "pass the `.wasm` file that the guest's build writes, or WebAssembly text (`.wat`)";
    if text.starts_with('<') {
        (
            "HTML or XML",
            "a download probably returned an error or login page: inspect the file and download it again",
        )
    } else if text.starts_with("version https://git-lfs") {
        ("a Git LFS pointer", "run `git lfs pull` to get the file itself")
    } else if text.starts_with('{') {
        ("JSON", "it may be a manifest or a registry's error message: pass the `.wasm` file itself")
    } else {
        ("some other text", BUILD)
    }
}

fn known_binary(bytes: &[u8]) -> (&'static str, &'static str) {
    const BUILD: &str = "pass the `.wasm` file that the guest's build writes";
    const TARGET: &str =
        "it was built for a native target: build for `wasm32-wasip1` or `wasm32-unknown-unknown`";
    const UNPACK: &str = "unpack it first, and pass the `.wasm` file inside";
    const LINK: &str = "link it first (wasm-ld), and pass the linked `.wasm` file";
    let known: &[(&[u8], &str, &str)] = &[
        // wasmtime's own precompiled modules are ELF files too.
        (
            b"\x7fELF",
            "an ELF file",
            "native programs and precompiled `.cwasm` files can't be loaded: pass the `.wasm` file",
        ),
        (b"\xcf\xfa\xed\xfe", "a Mach-O program", TARGET),
        (b"\xca\xfe\xba\xbe", "a Mach-O program or Java class", TARGET),
        (b"MZ", "a Windows program", TARGET),
        (b"\x1f\x8b", "gzip data", UNPACK),
        (b"PK\x03\x04", "a zip archive", UNPACK),
        (b"\x28\xb5\x2f\xfd", "zstd data", UNPACK),
        (b"BC\xc0\xde", "LLVM bitcode", LINK),
    ];
    known
        .iter()
        .find(|(magic, ..)| bytes.starts_with(magic))
        .map_or(("binary data of another kind", BUILD), |&(_, found, help)| (found, help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        to_binary(bytes).unwrap_err().to_string()
    }

    #[test]
    fn binary_and_text_modules_are_both_accepted() {
        let binary = to_binary(b"(module)").unwrap();
        assert_eq!(binary, b"\0asm\x01\0\0\0");
        assert_eq!(to_binary(&binary).unwrap(), binary);
        assert_eq!(to_binary("\u{feff}\n;; a guest\n(module)".as_bytes()).unwrap(), binary);
    }

    #[test]
    fn empty_and_truncated_files_are_reported_as_such() {
        assert!(message(b"").starts_with("the file is empty; "));
        for cut in [&b"\0as"[..], b"\0asm", b"\0asm\x01\0\0"] {
            assert!(message(cut).contains("was truncated"), "{cut:?}");
        }
    }

    #[test]
    fn a_component_is_refused_with_the_right_target() {
        for component in [&b"\0asm\x0d\0\x01\0"[..], b"(component)"] {
            let message = message(component);
            assert!(message.contains("is a WebAssembly component, not a core module"), "{message}");
            assert!(
                message.contains("wasm32-wasip1") && message.contains("instead of `wasm32-wasip2`"),
                "{message}"
            );
        }
    }

    #[test]
    fn other_versions_of_wasm_are_refused() {
        assert!(message(b"\0asm\x02\0\0\0").contains("version bytes [02, 00, 00, 00]"));
    }

    #[test]
    fn text_that_does_not_parse_is_refused_with_its_place() {
        let message = message(b"(module\n  (func $f\n    i32.cnst 1))");
        assert!(message.contains("in `i32.cnst 1))`"), "{message}");
        assert!(message.contains("at line 3, column 5"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn well_known_other_files_are_recognised() {
        for (bytes, part) in [
            (&b"<!doctype html><html>"[..], "HTML or XML"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"{\"errors\":[]}", "JSON"),
            (b"hello", "some other text"),
            (b"\x7fELF\x02\x01\x80", "ELF"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\xff\xfe", "binary data of another kind"),
        ] {
            let message = message(bytes);
            assert!(message.contains("not a WebAssembly module but") && message.contains(part), "{message}");
        }
    }
}
