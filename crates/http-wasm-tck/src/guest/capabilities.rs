//! Capabilities of conformance guests: one that is written with a language's bindings can't use all of the ABI.

use std::ops::{BitOr, BitOrAssign};

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
        "returns a `next` other than 0 and 1, or a `req_ctx` for a request to which it responds itself",
    ),
];

impl Capabilities {
    /// Any pointer and length may be passed, and the memory ends at [`MEMORY_END`](super::MEMORY_END).
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
