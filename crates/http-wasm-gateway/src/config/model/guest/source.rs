//! Where a guest's module and its configuration come from.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use toml::de::DeValue;

use crate::config::fault::Fault;
use crate::config::read::{Context, Node, Value, text};

/// Where a guest's module is.
#[derive(Debug, Clone, Serialize)]
#[serde(into = "String")]
pub enum GuestSource {
    /// In a file.
    File(PathBuf),
    /// In this program, under this name.
    Embedded(&'static str, &'static [u8]),
}

impl Default for GuestSource {
    fn default() -> Self {
        Self::File(PathBuf::new())
    }
}

impl From<GuestSource> for String {
    fn from(source: GuestSource) -> Self {
        match source {
            GuestSource::File(path) => path.to_string_lossy().into_owned(),
            GuestSource::Embedded(name, _) => format!("embedded:{name}"),
        }
    }
}

impl Value for GuestSource {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        Value::read(node, context).map(Self::File)
    }
}

impl JsonSchema for GuestSource {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "GuestSource".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// The bytes that `get_config` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct GuestConfig(pub String);

impl Value for GuestConfig {
    const IS_OPAQUE: bool = true;

    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        match node.get_ref() {
            DeValue::Table(_) => json(node, context).map(|json| Self(json.to_string())),
            _ => text(node, "a string or a table", context).map(|text| Self(text.to_owned())),
        }
    }
}

fn json(node: &Node<'_>, context: &mut Context) -> Option<serde_json::Value> {
    Some(match node.get_ref() {
        DeValue::String(text) => (**text).into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.into(),
            Err(_) => {
                context.at(node.span(), "the number is too large");
                return None;
            }
        },
        DeValue::Float(number) => match number.as_str().parse().ok().and_then(serde_json::Number::from_f64) {
            Some(number) => number.into(),
            None => {
                context.fault(
                    Fault::new(node.span(), "JSON can't represent this number")
                        .help("guests get tables as JSON, which has neither NaN nor infinity"),
                );
                return None;
            }
        },
        DeValue::Array(list) => list.iter().map(|node| json(node, context)).collect::<Option<_>>()?,
        DeValue::Table(table) => table
            .iter()
            .map(|(key, node)| Some((key.get_ref().clone().into_owned(), json(node, context)?)))
            .collect::<Option<serde_json::Map<_, _>>>()?
            .into(),
    })
}

impl JsonSchema for GuestConfig {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "GuestConfig".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "object"] })
    }
}
