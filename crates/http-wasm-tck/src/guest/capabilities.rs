//! Capabilities of conformance guests: one that is written with a language's bindings can't use all of the ABI.

use std::ops::{BitOr, BitOrAssign};

use super::{Function, MEMORY_END, Param};
use crate::script::Arg;

/// Parts of the ABI that bindings may hide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u32);

/// Each capability, and what a case that needs it does.
const ALL: [(Capabilities, &str); 5] = [
    (Capabilities::MEMORY, "passes pointers outside its memory, or depends on the memory's size"),
    (Capabilities::LIMITS, "reads a value into a buffer that is too small, or asks for its length alone"),
    (Capabilities::TEXT, "passes a name, method, URI or message that isn't UTF-8"),
    (Capabilities::NUMBERS, "passes a kind or level that the ABI doesn't define"),
    (
        Capabilities::RESULTS,
        "returns a `next` other than 0 and 1, or a `req_ctx` for a request that it answers",
    ),
];

impl Capabilities {
    /// Any pointer and length may be passed, and the memory ends at [`MEMORY_END`].
    pub const MEMORY: Self = Self(1);
    /// Values may be read into any buffer, and a value that doesn't fit still has a length.
    pub const LIMITS: Self = Self(2);
    /// Names, methods, URIs and messages may be any bytes.
    pub const TEXT: Self = Self(4);
    /// Kinds and levels may be any numbers.
    pub const NUMBERS: Self = Self(8);
    /// `handle_request` may return any pair of numbers.
    pub const RESULTS: Self = Self(16);

    /// All capabilities, as the kit's own guest has them.
    pub fn all() -> Self {
        ALL.iter().fold(Self::default(), |all, (one, _)| all | *one)
    }

    /// Capabilities that a guest reports; unknown bits are ignored.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits as u32 & Self::all().0)
    }

    /// Why a guest with these capabilities can't run a case, as the end of a sentence about the case.
    pub(crate) fn lacking(self, needed: Self) -> Option<&'static str> {
        ALL.iter().find(|(one, _)| needed.0 & one.0 & !self.0 != 0).map(|(_, what)| *what)
    }

    /// The capabilities that a guest needs for this call.
    pub(crate) fn needed_for(function: Function, args: &[Arg]) -> Self {
        let (mut needed, mut args) = (Self::default(), args.iter());
        let mut params = function.params().iter();
        while let (Some(param), Some(arg)) = (params.next(), args.next()) {
            needed |= match (param, arg) {
                (Param::HeaderKind, Arg::N(4..)) | (Param::BodyKind, Arg::N(2..)) => Self::NUMBERS,
                (Param::Level, Arg::N(level)) if !(-1..=2).contains(&level.cast_signed()) => Self::NUMBERS,
                // Arbitrary bytes are allowed.
                (Param::In("value" | "body"), Arg::T(_)) => {
                    params.next();
                    Self::default()
                }
                (Param::In(_), Arg::T(text)) => {
                    params.next();
                    if str::from_utf8(text).is_ok() { Self::default() } else { Self::TEXT }
                }
                (Param::In(_), start) => {
                    params.next();
                    in_memory(start, args.next())
                }
                (Param::Buf, start) => {
                    params.next();
                    let limit = args.next();
                    match limit {
                        _ if function == Function::ReadBody => in_memory(start, limit),
                        Some(Arg::N(1..)) => in_memory(start, limit),
                        _ => Self::LIMITS | in_memory(start, None),
                    }
                }
                _ => Self::default(),
            };
        }
        needed
    }
}

/// The capabilities that are needed for bytes at an address.
fn in_memory(start: &Arg, len: Option<&Arg>) -> Capabilities {
    let len = match len {
        Some(Arg::N(len)) => *len,
        _ => 0,
    };
    match start {
        Arg::N(start) if start.checked_add(len).is_some_and(|end| end <= MEMORY_END) => {
            Capabilities::default()
        }
        _ => Capabilities::MEMORY,
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Capabilities {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::FREE;
    use crate::script::script;

    fn needs(function: Function, args: &[Arg]) -> Capabilities {
        script().call_with(function, args).needs()
    }

    #[test]
    fn what_any_binding_can_pass_needs_nothing() {
        let nothing = Capabilities::default();
        assert_eq!(needs(Function::SetUri, &["/é".into()]), nothing);
        assert_eq!(needs(Function::GetUri, &[FREE.into(), 64.into()]), nothing);
        assert_eq!(needs(Function::SetHeaderValue, &[3.into(), "a".into(), b"\xff".into()]), nothing);
        assert_eq!(needs(Function::ReadBody, &[1.into(), FREE.into(), 0.into()]), nothing);
        assert_eq!(needs(Function::WriteBody, &[0.into(), (MEMORY_END - 1).into(), 1.into()]), nothing);
        assert_eq!(needs(Function::Log, &[u32::MAX.into(), "debug".into()]), nothing);
        assert_eq!(script().call(Function::GetUri, [FREE.into(), 64.into()]).gives(64).needs(), nothing);
    }

    #[test]
    fn a_script_needs_what_bindings_may_hide() {
        let memory = Capabilities::MEMORY;
        assert_eq!(needs(Function::SetUri, &[(MEMORY_END - 1).into(), 2.into()]), memory);
        assert_eq!(needs(Function::SetUri, &[u32::MAX.into(), 2.into()]), memory);
        assert_eq!(needs(Function::GetUri, &[FREE.into(), u32::MAX.into()]), memory);
        assert_eq!(script().grow(1, 48).needs(), memory);
        let limits = Capabilities::LIMITS;
        assert_eq!(needs(Function::GetUri, &[FREE.into(), 0.into()]), limits);
        assert_eq!(needs(Function::GetUri, &[FREE.into(), Arg::Low]), limits);
        assert_eq!(script().call(Function::GetUri, [FREE.into(), 6.into()]).gives(7).needs(), limits);
        assert_eq!(needs(Function::RemoveHeader, &[0.into(), b"\xff".into()]), Capabilities::TEXT);
        assert_eq!(needs(Function::RemoveHeader, &[4.into(), "a".into()]), Capabilities::NUMBERS);
        assert_eq!(needs(Function::WriteBody, &[2.into(), "a".into()]), Capabilities::NUMBERS);
        assert_eq!(needs(Function::LogEnabled, &[3.into()]), Capabilities::NUMBERS);
        assert_eq!(script().proceed(2, 1).needs(), Capabilities::RESULTS);
        assert_eq!(script().then(script().proceed(2, 1)).needs(), Capabilities::RESULTS);
    }

    #[test]
    fn a_lack_is_described_by_what_the_case_does() {
        let all = Capabilities::all();
        assert_eq!(all.lacking(all), None);
        let none = Capabilities::default();
        assert_eq!(none.lacking(none), None);
        assert!(none.lacking(Capabilities::TEXT).is_some_and(|why| why.contains("UTF-8")));
        assert_eq!(Capabilities::from_bits(u64::MAX), all);
    }
}
