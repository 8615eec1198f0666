//! Compares the expected with the actual results.

use std::collections::BTreeMap;

use http_wasm_tower::CallResult;
use serde_json::Value as Json;

use super::document::{Change, inline, quoted};
use super::file::{Expect, ExpectHeader, OneOrMore};
use crate::exchange::{Content, EntryKind, ExchangeResult, Value};

/// A difference between the expected and the actual result.
#[derive(Debug)]
pub(crate) struct Difference {
    /// What differs, as in `response.status`.
    pub(crate) what: String,
    pub(crate) expected: String,
    pub(crate) found: String,
    /// The actual value as TOML, if it can be written as such.
    right: Option<String>,
}

impl Difference {
    /// The change of the file that makes the expectation match.
    pub(crate) fn change(&self, case: usize) -> Option<Change> {
        let value = self.right.clone()?;
        Some(Change { path: format!("case.{case}.expect.{}", self.what), value })
    }
}

/// All differences of one exchange.
pub(crate) fn compare(expect: &Expect, result: &ExchangeResult) -> Vec<Difference> {
    let mut found = Differences::default();
    match (&expect.error, &result.error) {
        (None, Some(error)) => {
            let (error, none) = (error.to_string(), "the guest handles the request".to_owned());
            found.add("error", none, format!("it fails: {error}"), None);
        }
        (Some(text), None) => {
            found.add("error", format!("an error with {text:?}"), "none".to_owned(), None);
        }
        (Some(text), Some(error)) if !error.to_string().contains(text) => {
            found.add("error", format!("an error with {text:?}"), error.to_string(), None);
        }
        _ => {}
    }
    if let Some(called) = expect.next_called {
        found.equal("next_called", &called.to_string(), &result.request.is_some().to_string(), false);
    }
    if let Some(request) = &expect.request {
        match &result.request {
            None => found.add(
                "request",
                "a request".to_owned(),
                "the next handler wasn't called".to_owned(),
                None,
            ),
            Some(seen) => {
                let text = |what, expected: &Option<String>, found_text: &str, found: &mut Differences| {
                    if let Some(expected) = expected {
                        found.equal(what, expected, found_text, true);
                    }
                };
                text("request.method", &request.method, &seen.method, &mut found);
                text("request.uri", &request.uri, &seen.uri, &mut found);
                found.headers("request", &request.headers, &seen.content);
                found.body("request", &request.body, &request.body_contains, &request.json, &seen.content);
            }
        }
    }
    if let Some(response) = &expect.response {
        match &result.response {
            None => found.add("response", "a response".to_owned(), "none".to_owned(), None),
            Some(seen) => {
                if let Some(status) = response.status {
                    found.equal("response.status", &status.to_string(), &seen.status.to_string(), false);
                }
                found.headers("response", &response.headers, &seen.content);
                let (body, part, json) = (&response.body, &response.body_contains, &response.json);
                found.body("response", body, part, json, &seen.content);
            }
        }
    }
    found.logs(&expect.log, &expect.no_log, &logged(result));
    found.0
}

/// Expectations for a case that has none yet: the status, and whether the next handler is called.
pub(crate) fn expectations(case: usize, result: &ExchangeResult) -> Vec<Change> {
    let change = |what: &str, value: String| Change { path: format!("case.{case}.expect.{what}"), value };
    let mut changes = vec![change("next_called", result.request.is_some().to_string())];
    if let Some(response) = &result.response {
        changes.push(change("response.status", response.status.to_string()));
        if let Ok(body) = std::str::from_utf8(&response.content.body)
            && body.len() <= 1024
        {
            changes.push(change("response.body", quoted(body)));
        }
    }
    changes
}

/// What the guest has logged, as `level: message`, and written to stdout and stderr.
fn logged(result: &ExchangeResult) -> Vec<String> {
    let lines = result.entries.iter().filter_map(|entry| match &entry.kind {
        EntryKind::Line { stream, text } => Some(format!("{stream}: {text}")),
        EntryKind::Call(call) if call.function == "log" && matches!(call.result, CallResult::Returned(_)) => {
            let level = call.word("level").unwrap_or_default();
            let message = call.arguments.iter().find_map(|(name, value)| match value {
                Value::Bytes(bytes) if *name == "message" => Some(String::from_utf8_lossy(bytes)),
                _ => None,
            });
            Some(format!("{level}: {}", message.unwrap_or_default()))
        }
        _ => None,
    });
    lines.collect()
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, what: &str, expected: String, found: String, right: Option<String>) {
        self.0.push(Difference { what: what.to_owned(), expected, found, right });
    }

    fn equal(&mut self, what: &str, expected: &str, found: &str, is_text: bool) {
        if expected != found {
            let right = if is_text { quoted(found) } else { found.to_owned() };
            self.add(what, expected.to_owned(), found.to_owned(), Some(right));
        }
    }

    fn headers(&mut self, message: &str, expected: &BTreeMap<String, ExpectHeader>, content: &Content) {
        for (name, expected) in expected {
            let found = content.values(name);
            let what = format!("{message}.headers.{name}");
            let shown = if found.is_empty() { "none".to_owned() } else { found.join("\n") };
            let right = match &*found {
                [] => "false".to_owned(),
                [one] => quoted(one),
                more => {
                    format!("[{}]", more.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", "))
                }
            };
            let (matches, wanted) = match expected {
                ExpectHeader::Present(true) => (!found.is_empty(), "any value".to_owned()),
                ExpectHeader::Present(false) => (found.is_empty(), "none".to_owned()),
                ExpectHeader::Values(values) => (found == values.values(), of(values)),
            };
            if !matches {
                self.add(&what, wanted, shown, Some(right));
            }
        }
    }

    fn body(
        &mut self,
        message: &str,
        whole: &Option<String>,
        part: &Option<String>,
        json: &Option<Json>,
        content: &Content,
    ) {
        let found = String::from_utf8_lossy(&content.body);
        if let Some(whole) = whole {
            self.equal(&format!("{message}.body"), whole, &found, true);
        }
        if let Some(part) = part.as_ref().filter(|part| !found.contains(&***part)) {
            let wanted = format!("a body with {part:?}");
            self.add(&format!("{message}.body_contains"), wanted, found.clone().into_owned(), None);
        }
        if let Some(json) = json {
            let what = format!("{message}.json");
            let pretty = |json: &Json| serde_json::to_string_pretty(json).unwrap_or_default();
            match serde_json::from_slice::<Json>(&content.body) {
                Ok(found) if found == *json => {}
                Ok(found) => self.add(&what, pretty(json), pretty(&found), inline(&found)),
                Err(error) => {
                    let text = format!("not JSON ({error}): {found}");
                    self.add(&what, pretty(json), text, None);
                }
            }
        }
    }

    fn logs(&mut self, wanted: &[String], unwanted: &[String], lines: &[String]) {
        let mut rest = lines.iter();
        let missing = wanted.iter().find(|text| !rest.any(|line| line.contains(&***text)));
        let all = || if lines.is_empty() { "nothing is logged".to_owned() } else { lines.join("\n") };
        if let Some(text) = missing {
            self.add("log", format!("a line with {text:?}"), all(), None);
        }
        for text in unwanted {
            if let Some(line) = lines.iter().find(|line| line.contains(&**text)) {
                self.add("no_log", format!("no line with {text:?}"), line.clone(), None);
            }
        }
    }
}

fn of(values: &OneOrMore) -> String {
    values.values().join("\n")
}
