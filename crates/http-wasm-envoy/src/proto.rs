//! Decodes `google.protobuf.Struct`, the protobuf form of JSON.
//!
//! Envoy converts a configuration of this type to JSON, except Envoy 1.37, and 1.38 for routes, which pass its bytes.

use std::collections::BTreeMap;

use prost::{Message, Oneof};
use serde_json::{Map, Value as Json};

#[derive(Clone, PartialEq, Message)]
struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

/// The JSON object that these bytes encode, if they are a `Struct`.
pub(crate) fn object(bytes: &[u8]) -> Option<Map<String, Json>> {
    Struct::decode(bytes).ok().map(map)
}

fn map(table: Struct) -> Map<String, Json> {
    table.fields.into_iter().map(|(key, value)| (key, json(value))).collect()
}

fn json(value: Value) -> Json {
    match value.kind {
        None | Some(Kind::Null(_)) => Json::Null,
        Some(Kind::Number(number)) => whole(number).map_or_else(|| number.into(), Json::from),
        Some(Kind::String(text)) => text.into(),
        Some(Kind::Bool(is)) => is.into(),
        Some(Kind::Struct(table)) => Json::Object(map(table)),
        Some(Kind::List(list)) => list.values.into_iter().map(json).collect(),
    }
}

/// The number as an integer, if it has no fraction and is exact.
fn whole(number: f64) -> Option<i64> {
    // Beyond this, `f64` can't represent every integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_protobuf_struct_is_decoded_to_the_original_json() {
        // {"a": {"b": [1, 1.5, "x", true, null]}}
        let bytes = b"\x0a\x33\x0a\x01a\x12\x2e\x2a\x2c\x0a\x2a\x0a\x01b\x12\x25\x32\x23\
            \x0a\x09\x11\0\0\0\0\0\0\xf0\x3f\x0a\x09\x11\0\0\0\0\0\0\xf8\x3f\
            \x0a\x03\x1a\x01x\x0a\x02\x20\x01\x0a\x02\x08\0";
        let expected = json!({ "a": { "b": [1, 1.5, "x", true, null] } });
        assert_eq!(object(bytes).map(Json::Object), Some(expected));
        assert_eq!(object(b"not a message"), None);
    }
}
