//! The text of a test file: parsed, with the position of each value, so that expectations can be updated in place.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Value as Json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::TestFile;

/// A test file with its text.
pub(crate) struct Document {
    pub(crate) file: TestFile,
    text: String,
    /// Where each value is, by its path, as in `case.0.expect.response.status`.
    places: HashMap<String, Range<usize>>,
}

/// A change of a value in the text, as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: String,
    pub(crate) value: String,
}

impl Document {
    /// Parses the text.
    ///
    /// # Errors
    /// A description of what is wrong, with the line.
    pub(crate) fn parse(text: String) -> Result<Self, String> {
        let table = DeTable::parse(&text);
        let table = table.map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            format!("line {}: {}", line_of(&text, at), error.message())
        })?;
        let mut places = HashMap::new();
        let json = Json::Object(json_of_table(table.get_ref(), "", &mut places)?);
        let file = serde_json::from_value::<TestFile>(json.clone())
            .map_err(|error| located(&json, &text, &places, &error.to_string()))?;
        Ok(Self { file, text, places })
    }

    /// The line of a case, counted from 1.
    pub(crate) fn line_of_case(&self, at: usize) -> usize {
        let place = self.places.get(&format!("case.{at}.name"));
        place.map_or(0, |place| line_of(&self.text, place.start))
    }

    /// Whether a case has expectations.
    pub(crate) fn has_expectations(&self, at: usize) -> bool {
        self.places.contains_key(&format!("case.{at}.expect"))
    }

    /// The text with these changes. Values that aren't in the text are inserted after the name of their case, if it has
    /// no expectations yet.
    pub(crate) fn changed(&self, changes: &[Change]) -> String {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        for Change { path, value } in changes {
            if let Some(place) = self.places.get(path) {
                edits.push((place.clone(), value.clone()));
            } else if let Some((case, key)) = split(path)
                && !self.places.contains_key(&format!("{case}.expect"))
                && let Some(name) = self.places.get(&format!("{case}.name"))
            {
                edits.push((name.end..name.end, format!("\n{key} = {value}")));
            }
        }
        // From the end, so that positions stay valid; insertions at one position keep their order.
        edits.reverse();
        edits.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        let mut text = self.text.clone();
        for (place, value) in edits {
            text.replace_range(place, &value);
        }
        text
    }
}

/// `case.0` and `expect.response.status`.
fn split(path: &str) -> Option<(&str, &str)> {
    let at = path.find(".expect.")?;
    Some((&path[..at], &path[at + 1..]))
}

/// Text as a TOML string.
pub(crate) fn quoted(text: &str) -> String {
    // TOML's basic strings have the same escapes as JSON's, except for the last control character.
    Json::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// JSON as TOML, on one line.
pub(crate) fn inline(json: &Json) -> Option<String> {
    Some(match json {
        // TOML has no null.
        Json::Null => return None,
        Json::Bool(_) | Json::Number(_) => json.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Option<Vec<_>>>()?.join(", ")),
        Json::Object(fields) => {
            let fields =
                fields.iter().map(|(name, value)| Some(format!("{} = {}", quoted(name), inline(value)?)));
            format!("{{ {} }}", fields.collect::<Option<Vec<_>>>()?.join(", "))
        }
    })
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// Adds to an error which case it is in: the first that can't be parsed by itself.
fn located(json: &Json, text: &str, places: &HashMap<String, Range<usize>>, message: &str) -> String {
    let cases = json["case"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (at, case) in cases.iter().enumerate() {
        if let Err(error) = serde_json::from_value::<super::file::Case>(case.clone()) {
            let place = places.get(&format!("case.{at}"));
            let line = place.map_or(0, |place| line_of(text, place.start));
            let name = case["name"].as_str().map(|name| format!(" ({name:?})")).unwrap_or_default();
            return format!("case {} at line {line}{name}: {error}", at + 1);
        }
    }
    message.to_owned()
}

fn json_of_table(
    table: &DeTable<'_>,
    path: &str,
    places: &mut HashMap<String, Range<usize>>,
) -> Result<Map<String, Json>, String> {
    let mut fields = Map::new();
    for (name, value) in table {
        let name = name.get_ref();
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        fields.insert(name.to_string(), json(value, &path, places)?);
    }
    Ok(fields)
}

fn json(
    node: &Spanned<DeValue<'_>>,
    path: &str,
    places: &mut HashMap<String, Range<usize>>,
) -> Result<Json, String> {
    places.insert(path.to_owned(), node.span());
    Ok(match node.get_ref() {
        DeValue::String(text) => (**text).into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.into(),
            Err(_) => return Err(format!("{path}: {} is too large", number.as_str())),
        },
        DeValue::Float(number) => match number.as_str().parse().ok().and_then(serde_json::Number::from_f64) {
            Some(number) => number.into(),
            None => return Err(format!("{path}: JSON has no {}", number.as_str())),
        },
        DeValue::Array(list) => {
            let items = list.iter().enumerate();
            items.map(|(at, item)| json(item, &format!("{path}.{at}"), places)).collect::<Result<_, _>>()?
        }
        DeValue::Table(table) => Json::Object(json_of_table(table, path, places)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# Kept.
[[case]]
name = "first" # Kept too.
[case.expect]
response = { status = 200, body = "a" }

[[case]]
name = "second"
request.url = "/x"
"#;

    #[test]
    fn edits_keep_comments_and_layout_and_add_missing_keys() {
        let document = Document::parse(TEXT.to_owned()).unwrap();
        let change = |path: &str, value: &str| Change { path: path.to_owned(), value: value.to_owned() };
        let changed = document.changed(&[
            change("case.0.expect.response.status", "401"),
            change("case.0.expect.response.body", "\"b\""),
            change("case.0.expect.next_called", "false"),
            change("case.1.expect.response.status", "204"),
            change("case.1.expect.next_called", "true"),
        ]);
        let expected = TEXT
            .replace("status = 200, body = \"a\"", "status = 401, body = \"b\"")
            .replace("\"second\"\n", "\"second\"\nexpect.response.status = 204\nexpect.next_called = true\n");
        assert_eq!(changed, expected);
        Document::parse(changed).unwrap();
    }

    #[test]
    fn errors_name_their_case_and_line() {
        let wrong = |text: &str| Document::parse(text.to_owned()).map(|_| ()).unwrap_err();
        assert!(wrong("[[case]]\nname = ").starts_with("line 2: "), "{}", wrong("[[case]]\nname = "));
        let message = wrong(&TEXT.replace("request.url", "request.uri"));
        assert!(message.starts_with("case 2 at line 7 (\"second\"): unknown field `uri`"), "{message}");
    }

    #[test]
    fn json_is_converted_to_inline_toml_unless_it_contains_null() {
        let json = serde_json::json!({ "a": [1, true, "x\"y"], "b": { "c": 1.5 } });
        let text = inline(&json).unwrap();
        let document = format!("[[case]]\nname = \"n\"\nrequest.json = {text}");
        assert_eq!(Document::parse(document).unwrap().file.cases[0].request.json, Some(json));
        assert_eq!(inline(&serde_json::json!([null])), None);
    }
}
