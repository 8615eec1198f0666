//! The entries in the record of an exchange.

use std::time::Duration;

use http_wasm_tower::{Argument, CallResult, Features, Phase, TracedCall};

/// Something that happened in an exchange.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// When it happened, counted from the start of the recording.
    pub(crate) at: Duration,
    pub(crate) kind: EntryKind,
    /// Why it has less effect than the guest's author might expect.
    pub(crate) note: Option<String>,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum EntryKind {
    /// An instance is created.
    Created,
    /// Its start-up has ended.
    Started { error: Option<String> },
    /// One of the guest's two functions is called.
    Entered { phase: Phase, req_ctx: u32, is_error: bool },
    /// The guest has called a host function.
    Call(Box<CallEntry>),
    /// The guest has written a line to stdout or stderr, or the host has dropped some of its lines.
    Line { stream: String, text: String },
    /// The next handler has got the request.
    Next,
    /// The next handler has responded with this status, or has failed.
    Answered { status: Option<u16> },
    /// The guest's function has returned or failed.
    Returned { phase: Phase, proceeds: bool, req_ctx: u32, error: Option<String>, took: Duration },
}

/// A call of a host function.
#[derive(Debug, Clone)]
pub(crate) struct CallEntry {
    pub(crate) function: &'static str,
    pub(crate) phase: Option<Phase>,
    pub(crate) arguments: Vec<(&'static str, Value)>,
    pub(crate) result: CallResult,
    /// What the result means, if the function has one.
    pub(crate) answer: Option<Answer>,
    /// How long the host took, excluding waiting.
    pub(crate) took: Duration,
    /// How long the guest waited for the result.
    pub(crate) waited: Option<Duration>,
    /// Bytes that went from the guest to the host, or back.
    pub(crate) bytes: usize,
}

/// An argument.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A kind, a number or similar, as a word.
    Word(String),
    Bytes(Vec<u8>),
}

/// What a result means.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A number, or features by their names.
    Word(String),
    /// A value. `bytes` is `None` if the guest only asked for the length, or if its buffer was too small.
    Value { len: u32, bytes: Option<Vec<u8>> },
    /// Several values, with the same rule.
    Values { count: u32, len: u32, values: Option<Vec<Vec<u8>>> },
    /// A piece of a body.
    Body { eof: bool, bytes: Vec<u8> },
}

impl CallEntry {
    pub(crate) fn of(call: &TracedCall<'_>) -> Self {
        let mut bytes = 0;
        let arguments = call.arguments().map(|(name, argument)| {
            let value = match argument {
                Argument::Bytes(argument) => {
                    bytes += argument.len();
                    Value::Bytes(argument.to_vec())
                }
                other => Value::Word(other.to_string()),
            };
            (name, value)
        });
        let arguments = arguments.collect();
        let answer = Answer::of(call);
        Self {
            function: call.function.name,
            phase: call.phase,
            arguments,
            result: call.result.clone(),
            answer,
            took: call.took,
            waited: None,
            bytes: bytes + call.written().len(),
        }
    }

    /// The argument of this name, as bytes.
    pub(crate) fn bytes_of(&self, name: &str) -> Option<&[u8]> {
        self.arguments.iter().find_map(|(its, value)| match value {
            Value::Bytes(bytes) if *its == name => Some(&**bytes),
            _ => None,
        })
    }

    /// The argument of this name, as a word.
    pub(crate) fn word(&self, name: &str) -> Option<&str> {
        self.arguments.iter().find_map(|(its, value)| match value {
            Value::Word(word) if *its == name => Some(&**word),
            _ => None,
        })
    }

    /// The message that the call changes, "request" or "response", if it does.
    pub(crate) fn changes(&self) -> Option<&'static str> {
        let kind = || match self.word("kind") {
            Some(kind) if kind.starts_with("request") => Some("request"),
            Some(kind) if kind.starts_with("response") => Some("response"),
            _ => None,
        };
        match self.function {
            "set_method" | "set_uri" => Some("request"),
            "set_status_code" => Some("response"),
            "set_header_value" | "add_header_value" | "remove_header" | "write_body" => kind(),
            _ => None,
        }
    }

    pub(crate) fn succeeded(&self) -> bool {
        matches!(self.result, CallResult::Returned(_))
    }
}

impl Answer {
    fn of(call: &TracedCall<'_>) -> Option<Self> {
        let CallResult::Returned(result) = call.result else { return None };
        if call.function.results.is_empty() {
            return None;
        }
        let (high, low) = ((result >> 32) as u32, result as u32);
        let written = call.written();
        // For an empty value, nothing is written.
        let whole = written.len() == low as usize;
        Some(match call.function.name {
            "enable_features" => {
                Self::Word(format!("{} supported", Argument::Features(Features::from_bits(low), 0)))
            }
            "log_enabled" => Self::Word(if low == 0 { "no" } else { "yes" }.to_owned()),
            "get_status_code" => Self::Word(low.to_string()),
            "read_body" => Self::Body { eof: high != 0, bytes: written.to_vec() },
            "get_header_names" | "get_header_values" => {
                let terminated = || written.split_inclusive(|byte| *byte == 0);
                let values = || terminated().map(|value| value[..value.len() - 1].to_vec()).collect();
                Self::Values { count: high, len: low, values: whole.then(values) }
            }
            _ => Self::Value { len: low, bytes: whole.then(|| written.to_vec()) },
        })
    }
}
