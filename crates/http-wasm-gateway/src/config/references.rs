//! References in strings: `${NAME}`, `${NAME:-default}` and `${file:PATH}`. They are replaced as soon as the file has
//! been parsed, and no message or log shows what they were replaced with.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::permissions;
use super::read::{Context, Hidden, Node, Replaced};
use crate::error_text::plain;

/// The size up to which a file's content can be part of a string.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// The value of an environment variable.
type Env<'a> = &'a dyn Fn(&str) -> Option<std::ffi::OsString>;

/// Replaces the references in all strings of a document. Those that can't be replaced are errors.
pub(super) fn replace(document: &mut DeTable<'_>, source: &str, context: &mut Context) {
    let env = |name: &str| std::env::var_os(name);
    for (_, node) in document.iter_mut() {
        replace_in(node, source, &env, context);
    }
}

fn replace_in(node: &mut Node<'_>, source: &str, env: Env<'_>, context: &mut Context) {
    let at = node.span();
    match node.get_mut() {
        DeValue::String(text) if text.contains("${") => {
            let written: Arc<str> = (&**text).into();
            match resolve(&written, &at, source, env, context) {
                Some((replaced, values)) => {
                    *text = Cow::Owned(replaced);
                    if !values.is_empty() {
                        context.replaced(Replaced { at, written, values });
                    }
                }
                None => context.unresolved(at),
            }
        }
        DeValue::Array(list) => list.iter_mut().for_each(|node| replace_in(node, source, env, context)),
        DeValue::Table(table) => {
            for (_, node) in table.iter_mut() {
                replace_in(node, source, env, context);
            }
        }
        _ => {}
    }
}

/// Returns the string with its references replaced, and the references with their values. Values aren't searched again.
fn resolve(
    written: &str,
    at: &Range<usize>,
    source: &str,
    env: Env<'_>,
    context: &mut Context,
) -> Option<(String, Vec<(String, Hidden)>)> {
    let (mut text, mut values) = (String::with_capacity(written.len()), Vec::new());
    let (mut rest, mut faults) = (written, 0);
    // The position of the next reference in the source, so that errors point to it and not only to the string.
    let mut searched = at.start;
    while let Some(dollar) = rest.find('$') {
        text += &rest[..dollar];
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            text += "${";
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let (inner, end) = match after.split_once('}') {
                Some((inner, end)) => (Some(inner), end),
                None => (None, ""),
            };
            let whole = &rest[..rest.len() - end.len()];
            let place = match source.get(searched..at.end).and_then(|slice| slice.find(whole)) {
                Some(found) => searched + found..searched + found + whole.len(),
                // The reference is written with escapes.
                None => at.clone(),
            };
            searched = if place == *at { searched } else { place.end };
            rest = end;
            match value(inner, place, env, context) {
                Ok(value) => {
                    text += &value;
                    values.push((whole.to_owned(), Hidden(value)));
                }
                Err(fault) => {
                    faults += 1;
                    context.fault(*fault);
                }
            }
        } else {
            text.push('$');
            rest = &rest[1..];
        }
    }
    text += rest;
    (faults == 0).then_some((text, values))
}

const LITERAL: &str = "a literal `${` is written `$${`";

/// The value of a reference, given what is within its braces, or `None` if they aren't closed.
fn value(
    inner: Option<&str>,
    at: Range<usize>,
    env: Env<'_>,
    context: &mut Context,
) -> Result<String, Box<Fault>> {
    let Some(inner) = inner else {
        let fault = Fault::new(at, "the closing `}` of this reference is missing");
        return Err(Box::new(fault.help(LITERAL)));
    };
    if let Some(path) = inner.strip_prefix("file:") {
        return file(path, at, context);
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let starts = |name: &str| name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
    if !starts(name) || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        let fault = Fault::new(at, format!("invalid reference `${{{inner}}}`"));
        return Err(Box::new(
            fault.help(format!("expected ${{NAME}}, ${{NAME:-default}} or ${{file:PATH}}; {LITERAL}")),
        ));
    }
    match (env(name).map(std::ffi::OsString::into_string), default) {
        (Some(Ok(value)), None) => Ok(value),
        // As in a shell, the default also replaces an empty value.
        (Some(Ok(value)), Some(_)) if !value.is_empty() => Ok(value),
        (Some(Ok(_)) | None, Some(default)) => Ok(default.to_owned()),
        (Some(Err(_)), _) => {
            Err(Box::new(Fault::new(at, format!("the environment variable {name} isn't UTF-8 text"))))
        }
        (None, None) => {
            let fault = Fault::new(at, format!("the environment variable {name} isn't set"));
            Err(Box::new(fault.help(format!("set it, or give a default: ${{{name}:-default}}; {LITERAL}"))))
        }
    }
}

/// The content of a file, without the line break at its end.
fn file(path: &str, at: Range<usize>, context: &mut Context) -> Result<String, Box<Fault>> {
    if path.is_empty() {
        let fault = Fault::new(at, "the path of the file is missing");
        return Err(Box::new(fault.help("expected ${file:PATH}")));
    }
    let path = context.path(path);
    context.refers_to(&path);
    let shown = path.display();
    let mut text = read(&path).map_err(|reason| {
        let fault = Fault::new(at.clone(), format!("cannot read the file {shown}: {reason}"));
        Box::new(fault.help("relative paths are relative to the directory of the configuration"))
    })?;
    if let Some(mode) = permissions::readable_by_everyone(&path) {
        let fault = Fault::warning(at, format!("the file {shown} is readable by everyone (mode {mode:04o})"));
        context.fault(fault.help(format!("chmod 600 {shown}")));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let size = File::open(path).and_then(|file| file.take(MAX_FILE_SIZE + 1).read_to_string(&mut text));
    match size {
        Ok(size) if size as u64 > MAX_FILE_SIZE => Err("it is larger than 1 MiB".to_owned()),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err("it isn't UTF-8 text".to_owned()),
        Err(error) => Err(plain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use super::*;

    fn resolved(written: &str) -> Result<String, String> {
        let env = |name: &str| match name {
            "A" => Some(OsString::from("one")),
            "EMPTY" => Some(OsString::new()),
            "NESTED" => Some(OsString::from("${A}")),
            _ => None,
        };
        let mut context = Context::new(PathBuf::new(), written);
        let text = resolve(written, &(0..written.len()), written, &env, &mut context);
        let fault = context.into_faults().first().map(|fault| fault.message().to_owned());
        text.map(|(text, _)| text).ok_or_else(|| fault.expect("a reason"))
    }

    #[test]
    fn references_are_resolved_and_only_dollar_brace_is_special() {
        for (written, expected) in [
            ("${A}", "one"),
            ("a${A}b${A}", "aonebone"),
            ("$A $ $$ {A} }", "$A $ $$ {A} }"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$${A", "${A"),
            ("${B:-x y}", "x y"),
            ("${B:-}", ""),
            ("${A:-x}", "one"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NESTED}", "${A}"),
            ("${B:-$A}", "$A"),
        ] {
            assert_eq!(resolved(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn an_unresolvable_reference_is_an_error() {
        for (written, expected) in [
            ("${B}", "the environment variable B isn't set"),
            ("${A", "the closing `}` of this reference is missing"),
            ("${}", "invalid reference `${}`"),
            ("${1A}", "invalid reference `${1A}`"),
            ("${A-B}", "invalid reference `${A-B}`"),
            ("${A:x}", "invalid reference `${A:x}`"),
            ("${ A }", "invalid reference `${ A }`"),
            ("${file:}", "the path of the file is missing"),
            ("${file:/no/such}", "cannot read the file /no/such: no such file or directory"),
        ] {
            assert_eq!(resolved(written), Err(expected.to_owned()), "{written}");
        }
    }

    #[test]
    fn a_referenced_file_is_inserted_without_its_trailing_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (content, expected) in
            [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("${A} $${B}", "${A} $${B}"), ("", "")]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(resolved(&format!("${{file:{}}}", path.display())).as_deref(), Ok(expected));
        }
        std::fs::write(&path, [0xff]).unwrap();
        assert!(resolved(&format!("${{file:{}}}", path.display())).unwrap_err().contains("isn't UTF-8"));
    }
}
