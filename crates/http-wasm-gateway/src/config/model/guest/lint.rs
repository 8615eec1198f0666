//! Which checks of how a guest was built are passed over.

use std::borrow::Cow;

use http_wasm_tower::Lint;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::config::read::{Context, Node, Value, choice};

/// A check that a guest may fail, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed(pub Lint);

impl Value for Allowed {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context).map(Self)
    }
}

impl Serialize for Allowed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl JsonSchema for Allowed {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Lint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": Lint::ALL.map(Lint::name) })
    }
}
