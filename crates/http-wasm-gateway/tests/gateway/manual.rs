//! The manual: the page that lists all settings is generated from the schema, and the example configurations are valid.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use http_wasm_gateway::config::schema;
use serde_json::{Map, Value};

use crate::files::{Files, PASSES};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");

/// If this variable is set, the page is updated.
const WRITE: &str = "WRITE_MANUAL";

#[test]
fn the_settings_page_is_generated_from_the_schema() {
    let page = Manual::new().page();
    if std::env::var_os(WRITE).is_some() {
        fs::write(PAGE, &page).expect("the page can be written");
    }
    let committed = fs::read_to_string(PAGE).unwrap_or_default();
    assert!(committed == page, "docs/configuration.md is out of date: run this test with {WRITE}=1");
}

/// Files that configurations in the manual refer to, in addition to those in [`Files`].
const GUESTS: [&str; 4] = ["rewrite-headers.wat", "auth.wasm", "waf.wasm", "redact.wasm"];

#[test]
fn each_configuration_in_the_manual_is_valid() {
    let files = Files::new();
    for guest in GUESTS {
        files.write(guest, PASSES);
    }
    files.write("rules.conf", "");
    files.write("internal-ca.pem", include_str!("../fixtures/localhost.pem"));
    let users = files.write("gateway.toml", "").with_file_name("users");
    fs::create_dir(&users).expect("a directory can be made");
    fs::create_dir(users.with_file_name("secrets")).expect("a directory can be made");
    files.write("secrets/signing-key", "secret\n");

    let page = include_str!("../../../../docs/gateway.md");
    let shown: Vec<_> =
        page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(rest)).collect();
    assert!(shown.len() >= 7, "{} configurations", shown.len());
    for text in shown {
        if let Err(faults) = files.load(text) {
            panic!("{faults}\n\n{text}");
        }
    }
    let kubernetes = include_str!("../../../../deploy/kubernetes.yaml");
    let text = kubernetes.split("gateway.toml: |\n").nth(1).and_then(|rest| rest.split("  # Put").next());
    files.write("headers.wat", PASSES);
    files.load(text.expect("the example has a configuration")).unwrap_or_else(|faults| panic!("{faults}"));
}

const HEAD: &str = r#"# Gateway settings

<!-- Generated from the schema by crates/http-wasm-gateway/tests/gateway/manual.rs.
     Edit the comments in src/config/model instead. -->

The configuration is one TOML file. `http-wasm config check FILE` reports all of its errors, `http-wasm config schema`
prints a JSON schema that editors can use for completion, and [gateway.md](gateway.md) shows how settings work together.
Relative paths are relative to the file's directory.

- **Durations** are strings with a unit: `"500ms"`, `"30s"`, `"1h 30m"`.
- **Sizes** are strings with a unit, such as `"16MiB"`, or numbers of bytes.
- **Strings** may contain `${NAME}`, `${NAME:-default}` and `${file:PATH}`, which are replaced with environment
  variables and the contents of files; see [secrets](gateway.md#secrets-and-settings-from-outside).
- A list with one element may be written without brackets where it says "or a list".

Exit codes of `config check`: 0, the configuration can be used; 2, it has errors, or warnings with `--strict`; 65, the
only errors are guests that can't be loaded.
"#;

/// A builder for the page.
struct Manual {
    types: Map<String, Value>,
    /// Sections in order: their position in a file, and their types.
    sections: Vec<(String, Value)>,
}

impl Manual {
    fn new() -> Self {
        let schema = schema().to_value();
        let types = schema["$defs"].as_object().expect("the schema has definitions").clone();
        let mut manual = Self { types, sections: Vec::new() };
        manual.collect(String::new(), &schema);
        manual
    }

    /// Adds a table, and the tables within it.
    fn collect(&mut self, place: String, table: &Value) {
        self.sections.push((place.clone(), table.clone()));
        for (name, setting) in properties(table) {
            let Some((ending, inner)) = self.table_of(&setting) else { continue };
            let place = if place.is_empty() { name } else { format!("{place}.{name}") };
            self.collect(format!("{place}{ending}"), &inner);
        }
    }

    /// The table that a setting refers to, and the form of its key: many by name, a list, or one.
    fn table_of(&self, setting: &Value) -> Option<(&'static str, Value)> {
        let table = |value: &Value| {
            let found = self.resolve(value);
            found.get("properties").is_some().then(|| found.clone())
        };
        if let Some(inner) = setting.get("additionalProperties").and_then(table) {
            return Some((".NAME", inner));
        }
        if let Some(items) = setting.get("items") {
            let choices = items.get("anyOf").and_then(Value::as_array);
            let inner = table(items).or_else(|| choices?.iter().find_map(table));
            return inner.map(|inner| ("[]", inner));
        }
        table(setting).map(|inner| ("", inner))
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let name = value.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
        name.and_then(|name| self.types.get(name)).unwrap_or(value)
    }

    fn page(&self) -> String {
        let mut page = HEAD.to_owned();
        for (place, table) in &self.sections {
            let title = match place.strip_suffix("[]") {
                _ if place.is_empty() => "Top level".to_owned(),
                Some(place) => format!("`[[{}]]`", place.replace("[]", "")),
                None => format!("`[{}]`", place.replace("[]", "")),
            };
            let _ = write!(page, "\n## {title}\n\n{}\n", wrapped(&text(table)));
            page.push_str("\n| setting | meaning | default |\n| --- | --- | --- |\n");
            let required = table.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            for (name, setting) in properties(table) {
                let default = match setting.get("default") {
                    _ if required.contains(&Value::from(name.as_str())) => "required".to_owned(),
                    Some(value) if self.table_of(&setting).is_none() && !is_empty(value) => {
                        format!("`{value}`")
                    }
                    _ => String::new(),
                };
                let _ = writeln!(page, "| `{name}` | {} | {default} |", self.cell(&setting));
            }
        }
        page
    }

    /// The description of a setting: its kind, its text, and its possible values.
    fn cell(&self, setting: &Value) -> String {
        let mut cell = format!("*{}.* {}", self.kind(setting), text(setting));
        if let Some(choices) = self.resolve(setting).get("oneOf").and_then(Value::as_array) {
            for choice in choices {
                let _ = write!(cell, " `{}`: {}", choice["const"], text(choice));
            }
        }
        cell.replace('|', "\\|")
    }

    fn kind(&self, setting: &Value) -> String {
        let of = |key: &str| setting.get(key).map(|value| self.kind(value));
        if self.table_of(setting).is_some_and(|(ending, _)| ending.is_empty()) {
            return "Table".to_owned();
        }
        if let Some(name) = setting.get("$ref").and_then(Value::as_str) {
            let known = self.resolve(setting);
            return match name.rsplit('/').next() {
                Some(name @ ("Duration" | "Size" | "Address" | "Network")) => name.to_owned(),
                Some("DurationOrZero") => "Duration".to_owned(),
                Some("DurationOrOff") => "Duration or `\"off\"`".to_owned(),
                Some("UpstreamUrl") => "URL".to_owned(),
                _ if known.get("oneOf").is_some() => "One of these".to_owned(),
                _ if known.get("properties").is_some() => "Table".to_owned(),
                _ => self.kind(known),
            };
        }
        if let Some(choices) = setting.get("anyOf").and_then(Value::as_array) {
            let first = self.kind(&choices[0]);
            return match choices.get(1).map(|choice| self.kind(choice)) {
                Some(second) if second.starts_with("List") => format!("{first}, or a list"),
                Some(second) => format!("{first} or {}", second.to_lowercase()),
                None => first,
            };
        }
        if let Some(values) = setting.get("enum").and_then(Value::as_array) {
            let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
            return values.join(", ");
        }
        if let Some(inner) =
            of("additionalProperties").filter(|_| setting["additionalProperties"].is_object())
        {
            return format!("{inner} by name");
        }
        match setting.get("type") {
            Some(Value::String(kind)) => match kind.as_str() {
                "array" => format!("List of: {}", of("items").unwrap_or_default().to_lowercase()),
                "string" => "String".to_owned(),
                "boolean" => "`true` or `false`".to_owned(),
                "object" => "Table".to_owned(),
                _ => "Number".to_owned(),
            },
            Some(Value::Array(kinds)) => {
                let kind = |kind: &Value| self.kind(&serde_json::json!({ "type": kind }));
                kinds.iter().map(kind).collect::<Vec<_>>().join(" or ")
            }
            _ => "Value".to_owned(),
        }
    }
}

/// Wraps a paragraph at 120 columns.
fn wrapped(paragraph: &str) -> String {
    let (mut lines, mut columns) = (String::new(), 0);
    for word in paragraph.split(' ') {
        let length = word.chars().count();
        let fits = columns + 1 + length <= 120;
        match columns {
            0 => {}
            _ if fits => lines.push(' '),
            _ => lines.push('\n'),
        }
        columns = if columns > 0 && fits { columns + 1 + length } else { length };
        lines += word;
    }
    lines
}

fn properties(table: &Value) -> BTreeMap<String, Value> {
    let entries = table.get("properties").and_then(Value::as_object).into_iter().flatten();
    entries.map(|(name, setting)| (name.clone(), setting.clone())).collect()
}

fn text(of: &Value) -> String {
    of.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

fn is_empty(value: &Value) -> bool {
    value == "" || value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}
