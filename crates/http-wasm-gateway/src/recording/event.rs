//! Events of an instance, as they are written to recordings.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An event of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A memory or table was created, or the guest tried to grow it.
    Growth {
        /// Whether it is a table.
        #[serde(default, skip_serializing_if = "is_false")]
        table: bool,
        /// The size before, in bytes or elements.
        from: u64,
        /// The requested size.
        to: u64,
        /// Whether the request was granted.
        granted: bool,
    },
    /// The guest called a host function.
    Call(Box<CallEvent>),
    /// The start-up is over.
    Started {
        /// Why it failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// One of the guest's two functions was called.
    Entered {
        /// `handle_request` or `handle_response`.
        function: Cow<'static, str>,
        /// The argument `req_ctx`.
        req_ctx: u32,
        /// The argument `is_error`.
        is_error: bool,
        /// The number of the exchange in this file, if it is recorded here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exchange: Option<u32>,
    },
    /// The function returned or failed.
    Returned {
        /// Whether the request is passed on to the next handler.
        proceeds: bool,
        /// The guest's own value for `handle_response`.
        req_ctx: u32,
        /// Why it failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
}

/// A call of a host function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallEvent {
    /// The function's name in the ABI or in WASI.
    pub function: Cow<'static, str>,
    /// Its arguments as the guest passed them.
    pub args: Vec<u64>,
    /// The bytes that the guest passed, in the order of the arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<Data>,
    /// Its outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The bytes that it wrote to the guest's memory, and where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<(u32, Data)>,
    /// Whether bytes of this call were replaced when the recording was written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub redacted: bool,
}

/// The outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It returned this value; 0 if it has no result.
    Returned(u64),
    /// It trapped for this reason.
    Trapped(String),
}

/// Why an instance failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind of failure, such as `trap`.
    pub kind: String,
    /// The reason.
    pub reason: String,
    /// The complete message, as logged.
    pub message: String,
    /// The calls on the guest's stack, innermost first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
}

/// Bytes. In JSON, a string if they are text, otherwise `{"base64": "…"}`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Data(pub Box<[u8]>);

impl From<&http_wasm_tower::Error> for Failure {
    fn from(error: &http_wasm_tower::Error) -> Self {
        Self {
            kind: error.kind().name().to_owned(),
            reason: error.reason().to_owned(),
            message: error.to_string(),
            backtrace: error.backtrace().map(str::to_owned),
        }
    }
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Base64 { base64: BASE64_STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_bytes().into())),
            Form::Binary(Base64 { base64 }) => {
                let bytes = BASE64_STANDARD.decode(base64).map_err(D::Error::custom)?;
                Ok(Self(bytes.into()))
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Base64 {
    base64: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Binary(Base64),
}

fn is_false(value: &bool) -> bool {
    !value
}
