//! Durations and sizes.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use toml::de::DeValue;

use super::context::{Context, Node, Value};
use super::scalar::value_of;
use crate::config::fault::Fault;

const A_TIME: &str = "a duration with its unit, as in \"30s\", \"500ms\" or \"1h 30m\"";
const OFF: &str = "off";
const A_SIZE: &str = "a size, as in \"16MiB\", or a number of bytes";

/// The longest duration that a setting can have. Longer ones are mistakes, and very long ones overflow clocks.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const TOO_LONG: &str = "this duration exceeds the maximum of 365 days";

/// How a number without a unit is written as a duration, which is the likeliest mistake.
fn with_unit(number: &str) -> Option<String> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let is_number = number.len() < 9 && number.bytes().all(is_digit) && number.parse::<f64>().is_ok();
    let are = if number == "1" { "second is" } else { "seconds are" };
    is_number.then(|| format!("{number} {are} written \"{number}s\""))
}

/// A duration that isn't zero, and at most 365 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Duration);

impl Time {
    /// This number of seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

/// As written in a configuration file, without the quotes.
impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(time) if time > MAX_TIME => Err(TOO_LONG.to_owned()),
            Ok(time) if !time.is_zero() => Ok(Self(time)),
            Ok(_) => Err("this duration must be longer than 0".to_owned()),
            Err(_) => Err(unexpected(text)),
        }
    }
}

/// What is wrong with a text that isn't a duration.
fn unexpected(text: &str) -> String {
    match with_unit(text) {
        Some(correction) => format!("expected {A_TIME}: {correction}"),
        None => format!("expected {A_TIME}"),
    }
}

impl Value for Time {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let time = AnyTime::read(node, context)?;
        if time.0.is_zero() {
            context.at(node.span(), "this duration must be longer than 0");
            return None;
        }
        Some(Self(time.0))
    }
}

/// A duration of at most 365 days, including zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnyTime(pub Duration);

/// As written in a configuration file, without the quotes.
impl FromStr for AnyTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(time) if time > MAX_TIME => Err(TOO_LONG.to_owned()),
            Ok(time) => Ok(Self(time)),
            Err(_) => Err(unexpected(text)),
        }
    }
}

impl Value for AnyTime {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let parsed = match node.get_ref() {
            DeValue::String(text) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        match parsed {
            Some(time) if time > MAX_TIME => context.at(node.span(), TOO_LONG),
            Some(time) => return Some(Self(time)),
            None => expected_time(A_TIME, node, context),
        }
        None
    }
}

/// Reports a value that isn't a duration, and how it is probably written as one.
fn expected_time(what: &str, node: &Node<'_>, context: &mut Context) {
    let correction = match node.get_ref() {
        DeValue::String(text) => with_unit(text),
        DeValue::Integer(number) => with_unit(number.as_str()),
        DeValue::Float(number) => with_unit(number.as_str()),
        _ => None,
    };
    let fault = Fault::unexpected(what, node);
    context.fault(match correction {
        Some(correction) => fault.help(correction),
        None => fault,
    });
}

/// A duration that isn't zero, or "off".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeOrOff(pub Option<Duration>);

impl TimeOrOff {
    /// This number of seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Some(Duration::from_secs(seconds)))
    }
}

impl Value for TimeOrOff {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        match node.get_ref() {
            DeValue::String(text) if text == OFF => Some(Self(None)),
            DeValue::String(text) if humantime::parse_duration(text).is_ok() => {
                Time::read(node, context).map(|time| Self(Some(time.0)))
            }
            _ => {
                expected_time(&format!("{A_TIME}, or {OFF:?}"), node, context);
                None
            }
        }
    }
}

/// A number of bytes that isn't zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size(pub u64);

impl Size {
    /// The number of bytes, as `usize`.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// As written in a configuration file, without the quotes.
impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = text.parse::<ByteSize>().ok().filter(|size| size.0 > 0);
        size.map(|size| Self(size.0)).ok_or_else(|| format!("expected {A_SIZE}, and not 0"))
    }
}

impl From<usize> for Size {
    fn from(bytes: usize) -> Self {
        Self(bytes as u64)
    }
}

impl Value for Size {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let bytes = match node.get_ref() {
            DeValue::String(text) => text.parse::<ByteSize>().ok().map(|size| size.0),
            DeValue::Integer(number) => value_of(number),
            _ => None,
        };
        match bytes {
            Some(0) => context.at(node.span(), "this size must be greater than 0"),
            Some(bytes) => return Some(Self(bytes)),
            None => context.expected(A_SIZE, node),
        }
        None
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AnyTime(self.0).serialize(serializer)
    }
}

impl Serialize for AnyTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl Serialize for TimeOrOff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(time) => Time(time).serialize(serializer),
            None => serializer.serialize_str(OFF),
        }
    }
}

/// In the largest unit that leaves no fraction.
impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let unit = [(30, "GiB"), (20, "MiB"), (10, "KiB")]
            .into_iter()
            .find(|(power, _)| self.0.trailing_zeros() >= *power && self.0 > 0);
        match unit {
            Some((power, unit)) => serializer.collect_str(&format_args!("{}{unit}", self.0 >> power)),
            None => serializer.serialize_u64(self.0),
        }
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        AnyTime::json_schema(generator)
    }
}

impl JsonSchema for AnyTime {
    fn schema_name() -> Cow<'static, str> {
        "DurationOrZero".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration with its unit: ns, us, ms, s, m, h, days.",
            "examples": ["30s", "500ms", "1h 30m"],
        })
    }
}

impl JsonSchema for TimeOrOff {
    fn schema_name() -> Cow<'static, str> {
        "DurationOrOff".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration with its unit, or \"off\".",
            "examples": ["30s", "1h", OFF],
        })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size with its unit (KB, KiB, MB, MiB, GB, GiB), or a number of bytes.",
            "anyOf": [
                { "type": "string", "examples": ["16MiB"] },
                { "type": "integer", "minimum": 1 },
            ],
        })
    }
}
