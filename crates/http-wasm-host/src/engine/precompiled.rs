//! Files with a guest's compiled code, for processes that don't compile it themselves.

/// The first bytes of such a file. No WebAssembly module, binary or text, starts like this.
const MAGIC: &[u8] = b"\x7fhttp-wasm\0";

/// Changes whenever compiled code relies on something that has changed in the host.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// The parts of such a file: the original module, and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Precompiled<'a> {
    pub(crate) wasm: &'a [u8],
    /// `None` if it was compiled by another version.
    pub(crate) code: Option<&'a [u8]>,
}

/// Whether these bytes start like such a file.
pub(crate) fn is_precompiled(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl<'a> Precompiled<'a> {
    /// Splits a file into its parts. Returns `None` if it is truncated.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let version = part(&mut rest)?;
        let wasm = part(&mut rest)?;
        let code = part(&mut rest)?;
        Some(Self { wasm, code: (version == VERSION.as_bytes()).then_some(code) })
    }

    /// Joins the parts into a file.
    pub(crate) fn write(wasm: &[u8], code: &[u8]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        for part in [VERSION.as_bytes(), wasm, code] {
            file.extend((part.len() as u64).to_le_bytes());
            file.extend(part);
        }
        file
    }
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<8>()?;
    let (part, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    *rest = after;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precompiled_code_round_trips() {
        let file = Precompiled::write(b"wasm", b"code");
        assert!(is_precompiled(&file) && !is_precompiled(b"\0asm"));
        assert_eq!(Precompiled::parse(&file), Some(Precompiled { wasm: b"wasm", code: Some(b"code") }));
    }

    #[test]
    fn a_file_truncated_anywhere_is_not_precompiled_code() {
        let file = Precompiled::write(b"wasm", b"code");
        assert!((0..file.len()).all(|end| Precompiled::parse(&file[..end]).is_none()));
        let mut huge = file.clone();
        huge[MAGIC.len()..MAGIC.len() + 8].fill(0xff);
        assert_eq!(Precompiled::parse(&huge), None);
    }

    #[test]
    fn code_of_another_version_is_not_used() {
        let mut file = Precompiled::write(b"wasm", b"code");
        file[MAGIC.len() + 8] ^= 1;
        assert_eq!(Precompiled::parse(&file), Some(Precompiled { wasm: b"wasm", code: None }));
    }
}
