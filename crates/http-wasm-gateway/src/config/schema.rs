//! The JSON schema of the configuration, for editors and the manual.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use serde_json::Value;

use super::Config;

/// The JSON schema (draft 2020-12) of a configuration file, with each setting's purpose, unit and default.
pub fn schema() -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>();
    RecursiveTransform(without_null).transform(&mut schema);
    schema.insert("title".to_owned(), "http-wasm gateway".into());
    schema
}

/// TOML has no null: an optional setting is simply not required.
fn without_null(schema: &mut Schema) {
    match schema.get_mut("default") {
        Some(Value::Null) => drop(schema.remove("default")),
        Some(default) => drop_nulls(default),
        None => {}
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [only] = &choices[..] {
            let only = only.clone();
            schema.remove("anyOf");
            if let Some(only) = only.as_object() {
                for (key, value) in only {
                    schema.insert(key.clone(), value.clone());
                }
            }
        }
    }
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(entries) = value {
        entries.retain(|_, value| !value.is_null());
        entries.values_mut().for_each(drop_nulls);
    }
}
