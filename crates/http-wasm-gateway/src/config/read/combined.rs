//! Compound values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, Range};
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use toml::de::DeValue;

use super::context::{Context, Node, Value};
use crate::config::fault::Fault;
use crate::redaction::reveals;

/// A value and its position in the file; values built in code have none.
///
/// A value of a string with references, such as `${TOKEN}`, displays (`Debug`) and serializes as this string.
#[derive(Clone, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    at: Range<usize>,
    /// The position of the key, if the key is a name from the file.
    key: Option<Range<usize>>,
    in_part: bool,
    /// How the string is written in which references were replaced.
    written: Option<Arc<str>>,
}

impl<T: fmt::Debug> fmt::Debug for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.written {
            Some(written) => written.fmt(f),
            None => self.value.fmt(f),
        }
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.written {
            Some(written) if !reveals() => serializer.serialize_str(written),
            _ => self.value.serialize(serializer),
        }
    }
}

impl<T> Located<T> {
    pub(in crate::config) fn span(&self) -> Range<usize> {
        self.at.clone()
    }

    /// The position of its name, for an entry of a table with names from the file.
    pub(in crate::config) fn key_span(&self) -> Range<usize> {
        self.key.clone().unwrap_or_else(|| self.span())
    }

    /// Whether it was read from the file. If not, there is already an error about it.
    pub(in crate::config) fn was_read(&self) -> bool {
        !self.at.is_empty()
    }

    /// Whether a part of it couldn't be read, and seems to be missing.
    pub(in crate::config) fn was_read_in_part(&self) -> bool {
        self.in_part
    }

    /// How the string is written, if references in it were replaced.
    pub(crate) fn written(&self) -> Option<&Arc<str>> {
        self.written.as_ref()
    }

    /// Another value at the same position.
    pub(in crate::config) fn map<U>(self, map: impl FnOnce(T) -> U) -> Located<U> {
        let Self { value, at, key, in_part, written } = self;
        Located { value: map(value), at, key, in_part, written }
    }
}

/// Positions make no difference.
impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

/// The value has no position.
impl<T: FromStr> FromStr for Located<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(|value: T| value.into())
    }
}

impl<T> From<T> for Located<T> {
    fn from(value: T) -> Self {
        Self { value, at: 0..0, key: None, in_part: false, written: None }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Value> Value for Located<T> {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let faults = context.fault_count();
        let value = T::read(node, context)?;
        let written = match node.get_ref() {
            DeValue::Table(_) if T::IS_OPAQUE && context.has_references(node) => {
                Some("(has references)".into())
            }
            _ => context.written(node).cloned(),
        };
        Some(Self { value, at: node.span(), key: None, in_part: context.fault_count() > faults, written })
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: Value> Value for Option<T> {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        T::read(node, context).map(Some)
    }
}

/// The readable elements of a list are kept, so that an error in one element hides none in another.
impl<T: Value> Value for Vec<T> {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let DeValue::Array(elements) = node.get_ref() else {
            let fault = Fault::unexpected("a list", node);
            context.fault(match node.get_ref() {
                DeValue::String(text) => fault.help(format!("write a list with one element: [{text:?}]")),
                DeValue::Table(_) => match context.header(node) {
                    Some(name) => {
                        let name = name.split('.').next().unwrap_or(name);
                        fault.help(format!(
                            "each table of a list has a header with double brackets: [[{name}]]"
                        ))
                    }
                    None => fault.help("write a list with one element: [{ … }]"),
                },
                DeValue::Integer(number) => fault.help(format!("write a list with one element: [{number}]")),
                _ => fault,
            });
            return None;
        };
        Some(elements.iter().filter_map(|element| T::read(element, context)).collect())
    }
}

/// A table whose keys are names from the file.
impl<T: Value> Value for BTreeMap<String, Located<T>> {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let DeValue::Table(entries) = node.get_ref() else {
            context.fault(Fault::unexpected("a table", node).help("write a table, as in { NAME = … }"));
            return None;
        };
        let mut map = Self::new();
        for (name, value) in entries {
            if T::IS_SECTION && !matches!(value.get_ref(), DeValue::Table(_)) {
                let fault = Fault::unexpected("a table for each name", value);
                context.fault(match context.header(node) {
                    Some(header) => fault.help(format!("add a name to the header, as in [{header}.NAME]")),
                    None => fault,
                });
                // The other entries have the same cause.
                return None;
            }
            if let Some(value) = Located::read(value, context) {
                map.insert(name.get_ref().clone().into_owned(), Located { key: Some(name.span()), ..value });
            }
        }
        Some(map)
    }
}

/// A list that may be written as its only element.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for OneOrMany<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Value> Value for OneOrMany<T> {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        match node.get_ref() {
            DeValue::Array(_) => Vec::read(node, context).map(Self),
            _ => T::read(node, context).map(|one| Self(vec![one])),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// A list with at least one element.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct NonEmpty<T>(Vec<T>);

impl<T> Default for NonEmpty<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> From<T> for NonEmpty<T> {
    fn from(only: T) -> Self {
        Self(vec![only])
    }
}

impl<T> Extend<T> for NonEmpty<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, more: I) {
        self.0.extend(more);
    }
}

impl<T> Deref for NonEmpty<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Value> Value for NonEmpty<T> {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        if matches!(node.get_ref(), DeValue::Array(elements) if elements.is_empty()) {
            context.at(node.span(), "this list needs at least one element");
        }
        Vec::read(node, context).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for NonEmpty<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("NonEmpty{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<T>(), "minItems": 1 })
    }
}
