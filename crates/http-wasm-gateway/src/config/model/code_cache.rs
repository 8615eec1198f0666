//! Where compiled guests are cached.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use toml::de::DeValue;

use crate::config::read::{Context, Located, Node, Value};

/// Whether compiled guests are cached, and in which directory.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(into = "serde_json::Value")]
pub enum CodeCache {
    /// They aren't.
    Off,
    /// They are, in this directory.
    Directory(Located<PathBuf>),
}

impl CodeCache {
    /// The directory, if there is one.
    pub fn directory(&self) -> Option<&Located<PathBuf>> {
        match self {
            Self::Off => None,
            Self::Directory(directory) => Some(directory),
        }
    }
}

impl From<CodeCache> for serde_json::Value {
    fn from(cache: CodeCache) -> Self {
        match cache {
            CodeCache::Off => false.into(),
            CodeCache::Directory(directory) => serde_json::to_value(directory).unwrap_or_default(),
        }
    }
}

impl Value for CodeCache {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        match node.get_ref() {
            DeValue::Boolean(false) => Some(Self::Off),
            DeValue::Boolean(true) => {
                context.expected("a path, or false", node);
                None
            }
            _ => Located::read(node, context).map(Self::Directory),
        }
    }
}

impl JsonSchema for CodeCache {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CodeCache".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "enum": [false] }] })
    }
}
