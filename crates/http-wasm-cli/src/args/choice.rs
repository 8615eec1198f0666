//! Flags whose values are those of a closed enum.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use http_wasm_tower::Choice;

/// Parses a value by its name. The help and messages list the names.
pub(crate) fn choice<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(T::CHOICES.iter().map(|(name, _)| *name)).try_map(|name| T::choose(&name))
}
