//! Variants of the guest: the plain one, and those that do something at start-up or lack something.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::Function;

/// What runs while an instance is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The module's start function.
    Section,
    /// An exported `_initialize`.
    Initialize,
    /// An exported `_start` that returns.
    Return,
    /// An exported `_start` that ends with `proc_exit(0)`.
    Exit,
}

/// A variant of the conformance guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Variant {
    /// Imports the 19 functions, does nothing at start-up.
    #[default]
    Conformance,
    /// Calls `get_config` and `log` at start-up, and logs a line.
    Start(Start),
    /// Enables these features at start-up.
    Features(u32),
    /// Calls a function at start-up that requires a request.
    Early(Function),
    /// Imports WASI functions as well.
    Wasi,
    /// Has no `handle_response`.
    NoHandleResponse,
    /// Declares support for messages that are sent while it is writing them.
    Stream,
}

/// The error for an unknown variant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown guest variant `{0}`; expected one of: {all}", all = names())]
pub struct UnknownVariant(String);

impl Variant {
    /// Every variant.
    pub fn all() -> impl Iterator<Item = Self> {
        let starts = [Start::Section, Start::Initialize, Start::Return, Start::Exit];
        let early = Function::ALL.iter().filter(|function| !function.works_at_start());
        [Self::Conformance, Self::Wasi, Self::NoHandleResponse, Self::Stream]
            .into_iter()
            .chain(starts.map(Self::Start))
            .chain((0..8).map(Self::Features))
            .chain(early.map(|&function| Self::Early(function)))
    }
}

fn names() -> String {
    Variant::all().map(|variant| variant.to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conformance => f.write_str("conformance"),
            Self::Start(Start::Section) => f.write_str("start-section"),
            Self::Start(Start::Initialize) => f.write_str("initialize"),
            Self::Start(Start::Return) => f.write_str("start"),
            Self::Start(Start::Exit) => f.write_str("start-exit"),
            Self::Features(features) => write!(f, "features-{features}"),
            Self::Early(function) => write!(f, "early-{}", function.slug()),
            Self::Wasi => f.write_str("wasi"),
            Self::NoHandleResponse => f.write_str("no-handle-response"),
            Self::Stream => f.write_str("stream"),
        }
    }
}

impl FromStr for Variant {
    type Err = UnknownVariant;

    fn from_str(name: &str) -> Result<Self, UnknownVariant> {
        Self::all().find(|variant| variant.to_string() == name).ok_or_else(|| UnknownVariant(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_found_by_its_name() {
        for variant in Variant::all() {
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
        assert!("other".parse::<Variant>().unwrap_err().to_string().contains("early-get-method"));
    }
}
