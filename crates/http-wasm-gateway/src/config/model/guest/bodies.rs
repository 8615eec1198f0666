//! Bodies with a content coding.

use http_wasm_tower::choices;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use toml::de::DeValue;

use crate::config::read::{Context, Node, Value, choice, section};

/// How a guest gets a body with a content coding, such as gzip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bodies {
    /// As it was received.
    #[default]
    AsReceived,
    /// Decoded. A body that the guest doesn't change is sent as it was received.
    Decoded,
}

choices! { Bodies { AsReceived = "as-received", Decoded = "decoded" } }

impl From<Bodies> for http_wasm_tower::Bodies {
    fn from(bodies: Bodies) -> Self {
        match bodies {
            Bodies::AsReceived => Self::AsReceived,
            Bodies::Decoded => Self::Decoded,
        }
    }
}

impl Value for Bodies {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Settings of a guest whose `bodies` are "decoded".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Decoding {
    /// What happens when the guest reads a body with a coding other than `gzip`, `deflate`, `br` and `zstd`, or a
    /// partial response (206).
    pub undecodable: Undecodable,
    /// Whether a coded response that the guest has changed is compressed again for clients that accept it.
    pub recompress: bool,
    /// Whether the guest may change the body of a message whose `cache-control` says `no-transform`. Otherwise the
    /// guest fails when it does.
    pub ignore_no_transform: bool,
}

impl Default for Decoding {
    fn default() -> Self {
        let http_wasm_tower::Decoding { undecodable: _, recompress, ignore_no_transform } =
            Default::default();
        Self { undecodable: Undecodable::default(), recompress, ignore_no_transform }
    }
}

impl From<&Decoding> for http_wasm_tower::Decoding {
    fn from(decoding: &Decoding) -> Self {
        let undecodable = match decoding.undecodable {
            Undecodable::Refuse => http_wasm_tower::Undecodable::Refuse,
            Undecodable::Pass => http_wasm_tower::Undecodable::Pass,
        };
        let Decoding { recompress, ignore_no_transform, .. } = *decoding;
        Self { undecodable, recompress, ignore_no_transform }
    }
}

section! { Decoding { undecodable, recompress, ignore_no_transform } }

/// What happens when a guest reads a body that can't be decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Undecodable {
    /// A request gets 415, and a response becomes a 502.
    #[default]
    Refuse,
    /// The guest reads it as it was received, and the log has a warning.
    Pass,
}

choices! { Undecodable { Refuse = "refuse", Pass = "pass" } }

impl Value for Undecodable {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Which bodies a guest may rewrite while they are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(transform = allow_booleans)]
pub enum Stream {
    /// None: what the guest writes is held until its function returns.
    #[default]
    Off,
    /// Responses.
    Response,
    /// Requests.
    Request,
    /// Both.
    Both,
}

choices! { Stream { Off = "off", Response = "response", Request = "request", Both = "both" } }

/// Adds the values that don't name a message.
fn allow_booleans(schema: &mut Schema) {
    if let Some(choices) = schema.get_mut("oneOf").and_then(serde_json::Value::as_array_mut) {
        for (value, same) in [(true, Stream::Both), (false, Stream::Off)] {
            let description = format!("The same as \"{same}\".");
            choices
                .push(serde_json::json!({ "type": "boolean", "const": value, "description": description }));
        }
    }
}

impl From<Stream> for http_wasm_tower::Stream {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Off => Self::Off,
            Stream::Response => Self::Response,
            Stream::Request => Self::Request,
            Stream::Both => Self::Both,
        }
    }
}

impl Value for Stream {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        match node.get_ref() {
            DeValue::Boolean(false) => Some(Self::Off),
            DeValue::Boolean(true) => Some(Self::Both),
            _ => choice(node, context),
        }
    }
}
