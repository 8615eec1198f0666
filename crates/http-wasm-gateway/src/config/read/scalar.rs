//! Single values.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use http_wasm_tower::Choice;
use toml::de::{DeInteger, DeValue};

use super::context::{Context, Node, Value};
use crate::config::fault::Fault;

/// The node's string; `what` is what was expected.
pub(in crate::config) fn text<'a>(node: &'a Node<'_>, what: &str, context: &mut Context) -> Option<&'a str> {
    match node.get_ref() {
        DeValue::String(text) => Some(text),
        found => {
            let fault = Fault::unexpected(what, node);
            context.fault(match found {
                DeValue::Integer(number) => fault.help(format!("strings are in quotes: \"{number}\"")),
                DeValue::Float(number) => fault.help(format!("strings are in quotes: \"{number}\"")),
                DeValue::Array(_) => fault.help("write one value, without brackets"),
                _ => fault,
            });
            None
        }
    }
}

/// The node's string, parsed; `what` is what was expected, without an article.
pub(in crate::config) fn parsed<T: FromStr<Err: Display>>(
    node: &Node<'_>,
    what: &str,
    context: &mut Context,
) -> Option<T> {
    let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let text = text(node, &format!("{article} {what}"), context)?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            // A quotation may be of the value in another form, in which nothing recognises it.
            let reason = error.to_string();
            let is_hidden = context.written(node).is_some() && reason.contains('"');
            let reason = if is_hidden { String::new() } else { format!(": {reason}") };
            context.at(node.span(), format!("invalid {what} {text:?}{reason}"));
            None
        }
    }
}

/// One of the values of the enum `T`.
pub(in crate::config) fn choice<T: Choice>(node: &Node<'_>, context: &mut Context) -> Option<T> {
    let word = text(node, &T::expected(), context)?;
    match T::choose(word) {
        Ok(value) => Some(value),
        Err(error) => {
            let fault = Fault::new(node.span(), error.to_string());
            context.fault(match error.nearest() {
                Some(name) => fault.help(format!("did you mean {name:?}?")),
                None => fault,
            });
            None
        }
    }
}

/// A whole number within `range`.
pub(super) fn integer(
    node: &Node<'_>,
    range: std::ops::RangeInclusive<u64>,
    context: &mut Context,
) -> Option<u64> {
    let number = match node.get_ref() {
        DeValue::Integer(number) => value_of(number),
        _ => None,
    };
    if let Some(number) = number.filter(|number| range.contains(number)) {
        return Some(number);
    }
    let (least, most) = (range.start(), range.end());
    let what = match number {
        Some(number) if number > *most => format!("a whole number from {least} to {most}"),
        _ => format!("a whole number of {least} or more"),
    };
    unquoted(&what, node, context, |text| text.parse().is_ok_and(|number| range.contains(&number)));
    None
}

/// Reports something other than expected, and what to do if it is the right value in quotes.
fn unquoted(what: &str, node: &Node<'_>, context: &mut Context, is_right: impl FnOnce(&str) -> bool) {
    let fault = Fault::unexpected(what, node);
    context.fault(match node.get_ref() {
        DeValue::String(text) if is_right(text) => fault.help(format!("without quotes: {text}")),
        _ => fault,
    });
}

pub(super) fn value_of(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

impl Value for String {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        text(node, "a string", context).map(str::to_owned)
    }
}

impl Value for bool {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let value = match node.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => None,
        };
        if value.is_none() {
            unquoted("true or false", node, context, |text| text.parse::<bool>().is_ok());
        }
        value
    }
}

/// A status code.
impl Value for u16 {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let status = match node.get_ref() {
            DeValue::Integer(number) => value_of(number).and_then(|number| number.try_into().ok()),
            _ => None,
        };
        if status.is_none() {
            unquoted("a status code, such as 404", node, context, |text| text.parse::<Self>().is_ok());
        }
        status
    }
}

impl Value for u32 {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        integer(node, 0..=Self::MAX.into(), context).and_then(|number| number.try_into().ok())
    }
}

impl Value for NonZeroU32 {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let number = integer(node, 1..=u32::MAX.into(), context)?;
        u32::try_from(number).ok().and_then(Self::new)
    }
}

/// A ratio from 0 to 1.
impl Value for f64 {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let number = match node.get_ref() {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| (0.0..=1.0).contains(number));
        if number.is_none() {
            unquoted("a number from 0 to 1", node, context, |text| {
                text.parse().is_ok_and(|number| (0.0..=1.0).contains(&number))
            });
        }
        number
    }
}

/// Relative paths are relative to the directory of the configuration.
impl Value for PathBuf {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        match text(node, "a path", context)? {
            "" => {
                context.at(node.span(), "the path is empty");
                None
            }
            path => Some(context.path(path)),
        }
    }
}
