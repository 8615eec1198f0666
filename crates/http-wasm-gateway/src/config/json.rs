//! Guests from JSON, for programs whose configuration is JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use toml::de::{DeTable, DeValue};

use super::check;
use super::fault::{Fault, Faults};
use super::model::{Guest, GuestSource};
use super::read::{Context, Located, Value as _};

/// Reads and checks a table of guests, like `guests` in a file, from a JSON object. Relative paths are relative to the
/// working directory. Files are only accessed once `is_allowed` has accepted all paths.
///
/// # Errors
/// All faults, shown as TOML.
pub fn guests_from_json(
    table: &Map<String, Json>,
    is_allowed: impl Fn(&Path) -> Result<(), String>,
) -> Result<BTreeMap<String, Guest>, Faults> {
    let name = Path::new("guests");
    let mut text = String::new();
    for (guest, settings) in table {
        match settings {
            Json::Object(settings) => {
                let _ = writeln!(text, "[{}]", quoted(guest));
                for (key, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
                    let _ = writeln!(text, "{} = {}", quoted(key), toml(value));
                }
            }
            // Reading it reports what is expected there.
            other => text.insert_str(0, &format!("{} = {}\n", quoted(guest), toml(other))),
        }
    }
    let (document, syntax) = DeTable::parse_recoverable(&text);
    if let Some(first) = syntax.first() {
        return Err(Faults::new(name, text.clone(), vec![Fault::syntax(first, syntax.len())]));
    }
    let mut context = Context::new(PathBuf::new(), &text);
    let document = toml::Spanned::new(document.span(), DeValue::Table(document.into_inner()));
    let guests = BTreeMap::<String, Located<Guest>>::read(&document, &mut context);
    if let Some(guests) = &guests {
        check_allowed(guests, is_allowed, &mut context);
        if context.fault_count() == 0 {
            check::guests::check(guests, &mut context);
        }
    }
    let faults = context.into_faults();
    match guests {
        Some(guests) if faults.is_empty() => {
            Ok(guests.into_iter().map(|(name, guest)| (name, guest.value)).collect())
        }
        _ => Err(Faults::new(name, text.clone(), faults)),
    }
}

fn check_allowed(
    guests: &BTreeMap<String, Located<Guest>>,
    is_allowed: impl Fn(&Path) -> Result<(), String>,
    context: &mut Context,
) {
    for guest in guests.values() {
        let module = match &guest.path.value {
            GuestSource::File(path) if guest.path.was_read() => Some((path.as_path(), guest.path.span())),
            _ => None,
        };
        let config = guest.config_file.as_ref().map(|path| (path.as_path(), path.span()));
        let mounts = guest.mounts.iter().map(|mount| (mount.0.host.as_path(), mount.span()));
        for (path, span) in module.into_iter().chain(config).chain(mounts) {
            if let Err(reason) = is_allowed(path) {
                context.at(span, reason);
            }
        }
    }
}

/// A value as TOML in one line. Null values are omitted.
fn toml(value: &Json) -> String {
    match value {
        Json::Null => "\"\"".to_owned(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(list) => {
            let list: Vec<_> = list.iter().filter(|value| !value.is_null()).map(toml).collect();
            format!("[{}]", list.join(", "))
        }
        Json::Object(table) => {
            let entry = |(key, value): (&String, &Json)| format!("{} = {}", quoted(key), toml(value));
            let entries: Vec<_> = table.iter().filter(|(_, value)| !value.is_null()).map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A basic string of TOML. JSON escapes characters in the same way, with one exception.
fn quoted(text: &str) -> String {
    Json::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(guests: Json) -> Result<BTreeMap<String, Guest>, Faults> {
        let Json::Object(guests) = guests else { panic!("a table of guests") };
        guests_from_json(&guests, |_| Ok(()))
    }

    #[test]
    fn a_guest_in_json_has_the_same_settings_as_in_toml() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a \"b\".wat");
        std::fs::write(&path, "").unwrap();
        let guests = read(json!({
            "auth": {
                "path": path, "sha256": null, "on_failure": "open", "config": {"deny": ["a\u{7f}\n", 1.5, true]},
                "limits": {"deadline": "20ms", "memory_bytes": "4 MiB"}, "args": ["auth"]
            }
        }))
        .unwrap();
        let guest = &guests["auth"];
        assert_eq!(guest.limits.deadline.0, std::time::Duration::from_millis(20));
        assert_eq!(guest.limits.memory_bytes.bytes(), 4 << 20);
        assert_eq!(guest.config.as_ref().unwrap().value.0, "{\"deny\":[\"a\u{7f}\\n\",1.5,true]}");
        assert_eq!(guest.args, ["auth".to_owned().into()]);
    }

    #[test]
    fn files_that_are_not_allowed_are_not_opened() {
        let Json::Object(guests) = json!({ "a": {"path": "/no/such.wasm", "sha256": "short"} }) else {
            panic!()
        };
        let faults = guests_from_json(&guests, |path| Err(format!("{} is off limits", path.display())));
        let faults = faults.unwrap_err().to_string();
        assert!(faults.contains("/no/such.wasm is off limits"), "{faults}");
        assert!(!faults.contains("SHA-256"), "{faults}");
    }

    #[test]
    fn all_errors_in_json_guests_are_reported() {
        let faults = read(json!({ "a": {"pth": "x.wasm"}, "b": 7 })).unwrap_err().to_string();
        for word in ["pth", "path", "expected a table"] {
            assert!(faults.contains(word), "{faults}");
        }
    }
}
