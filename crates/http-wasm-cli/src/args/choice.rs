//! Flags whose values are the variants of an enum.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use http_wasm_tower::Choice;

/// Parses a variant by its name. Help and error messages list the names.
pub(crate) fn choice<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(T::CHOICES.iter().map(|(name, _)| *name)).try_map(|name| T::choose(&name))
}
