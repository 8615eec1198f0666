//! Scripts: what the guest does in one phase, with the expected result of each step.
//!
//! A script is encoded in one of two ways. As a *report*, the guest records its results and the runner compares them.
//! Where the guest can't report anything (in `handle_response` without `buffer_response`), the script includes the
//! expectations, and the guest traps if one fails.

mod arg;
mod needs;
mod verbs;

pub use self::arg::Arg;

use self::needs::needed_for;
use crate::guest::{Capabilities, Function, Param};
use crate::text::{shown, to_hex};

/// Header kinds of the ABI.
pub const REQUEST: u32 = 0;
/// The response's headers, or its body.
pub const RESPONSE: u32 = 1;
/// The request's trailers.
pub const REQUEST_TRAILERS: u32 = 2;
/// The response's trailers.
pub const RESPONSE_TRAILERS: u32 = 3;

/// The request header with the script for `handle_request`.
pub const BEFORE_HEADER: &str = "x-tck-script";
/// The request header with the script for `handle_response`.
pub const AFTER_HEADER: &str = "x-tck-script-r";

/// The expected content of a range of memory.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Exact(Vec<u8>),
    /// NUL-terminated names in lower case, which include these, each once and in this order.
    Names(Vec<&'static str>),
    /// Bytes that the predicate accepts, and a description of them.
    Like(fn(&[u8]) -> bool, &'static str),
}

/// How a script is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The guest reports its results.
    Report,
    /// The guest compares its results, and traps on a difference.
    Expect,
}

/// The expected value of one entry of a report.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// The call that the entry is about.
    pub(crate) of: String,
    pub(crate) what: ExpectedResult,
}

#[derive(Clone, Debug)]
pub(crate) enum ExpectedResult {
    /// One of these results.
    Value(Vec<u64>),
    Memory(Content),
}

#[derive(Clone, Debug)]
enum Step {
    Op(Vec<u8>),
    Value(Expected, Vec<u64>),
    Memory(Expected, Vec<u8>, Content),
}

/// What the guest does in one phase.
#[derive(Clone, Debug, Default)]
pub struct Script {
    steps: Vec<Step>,
    called: Vec<Function>,
    of: String,
    needs: Capabilities,
    /// The `buf_limit` of the last call, if it is known and not `read_body`'s.
    limit: Option<u32>,
}

/// `count_len`: this many values of this many bytes in total, each with its NUL.
pub fn count_len(values: &[&[u8]]) -> u64 {
    (values.len() as u64) << 32 | values.iter().map(|value| value.len() as u64 + 1).sum::<u64>()
}

/// `eof_len`: the EOF flag, and the length.
pub fn eof_len(eof: bool, len: usize) -> u64 {
    u64::from(eof) << 32 | len as u64
}

/// An empty script.
pub fn script() -> Script {
    Script::default()
}

impl Script {
    /// Calls a function of the ABI.
    pub fn call<const N: usize>(self, function: Function, args: [Arg; N]) -> Self {
        self.call_with(function, &args)
    }

    /// The same with any number of operands.
    pub fn call_with(mut self, function: Function, args: &[Arg]) -> Self {
        self.called.push(function);
        self.needs |= needed_for(function, args);
        self.limit = match args.last() {
            Some(Arg::N(limit)) if function.params().last() == Some(&Param::BufLimit) => Some(*limit),
            _ => None,
        };
        let shown: Vec<String> = args.iter().map(show).collect();
        self.of = format!("{}({})", function.name(), shown.join(", "));
        self.op(function.op(), args)
    }

    /// The result of the last call must be this.
    pub fn gives(self, value: u64) -> Self {
        self.gives_one_of(&[value])
    }

    /// The result of the last call must be one of these.
    pub fn gives_one_of(mut self, values: &[u64]) -> Self {
        if self.limit.is_some_and(|limit| values.iter().any(|&value| value as u32 > limit)) {
            self.needs |= Capabilities::LIMITS;
        }
        let expected = Expected { of: self.of.clone(), what: ExpectedResult::Value(values.to_vec()) };
        self.steps.push(Step::Value(expected, values.to_vec()));
        self
    }

    /// Memory at `at` must now contain these bytes.
    pub fn holds(self, at: u32, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let len = Arg::N(bytes.len() as u32);
        self.holds_content(at, len, Content::Exact(bytes.to_vec()))
    }

    /// `len` bytes of memory at `at` must now have this content.
    pub fn holds_content(mut self, at: u32, len: Arg, content: Content) -> Self {
        let mut range = Vec::new();
        operand(&mut range, &Arg::N(at));
        operand(&mut range, &len);
        let expected = Expected { of: self.of.clone(), what: ExpectedResult::Memory(content.clone()) };
        self.steps.push(Step::Memory(expected, range, content));
        self
    }

    /// Whether the script has no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What a guest needs in order to run it.
    pub(crate) fn needs(&self) -> Capabilities {
        self.needs
    }

    /// The functions that it calls.
    pub fn functions(&self) -> &[Function] {
        &self.called
    }

    /// Appends another script.
    pub fn then(mut self, other: Self) -> Self {
        self.steps.extend(other.steps);
        self.called.extend(other.called);
        self.needs |= other.needs;
        self.limit = other.limit;
        self.of = other.of;
        self
    }

    pub(crate) fn deliver(self, place: u32) -> Self {
        self.op(73, &[place.into()])
    }

    /// Appends an operation of the guest's interpreter.
    fn op(mut self, op: u8, args: &[Arg]) -> Self {
        let mut bytes = vec![op];
        args.iter().for_each(|arg| operand(&mut bytes, arg));
        self.steps.push(Step::Op(bytes));
        self
    }

    /// The script as a header value, for a guest that reports nothing and traps if an expectation fails.
    pub fn to_header(&self) -> String {
        to_hex(&self.compile(Mode::Expect))
    }

    /// The encoded script.
    pub(crate) fn compile(&self, mode: Mode) -> Vec<u8> {
        let mut bytes = Vec::new();
        for step in &self.steps {
            match (step, mode) {
                (Step::Op(op), _) => bytes.extend(op),
                (Step::Value(..), Mode::Report) => bytes.push(64),
                (Step::Memory(_, range, _), Mode::Report) => {
                    bytes.push(65);
                    bytes.extend(range);
                }
                (Step::Value(_, values), Mode::Expect) => {
                    // The guest can't check for one of several values, so a case must not depend on that.
                    if let [value] = values[..] {
                        bytes.push(66);
                        bytes.extend(value.to_le_bytes());
                    }
                }
                (Step::Memory(_, range, Content::Exact(exact)), Mode::Expect) => {
                    bytes.push(67);
                    bytes.extend(&range[..5.min(range.len())]);
                    operand(&mut bytes, &Arg::T(exact.clone()));
                }
                (Step::Memory(..), Mode::Expect) => {}
            }
        }
        bytes
    }

    /// The expected entries of the report, in order.
    pub(crate) fn expected(&self) -> Vec<Expected> {
        let expectation = |step: &Step| match step {
            Step::Op(_) => None,
            Step::Value(expected, _) | Step::Memory(expected, ..) => Some(expected.clone()),
        };
        self.steps.iter().filter_map(expectation).collect()
    }
}

fn operand(bytes: &mut Vec<u8>, arg: &Arg) {
    match arg {
        Arg::N(number) => {
            bytes.push(0);
            bytes.extend(number.to_le_bytes());
        }
        Arg::T(text) => {
            bytes.push(2);
            bytes.extend((text.len() as u16).to_le_bytes());
            bytes.extend(text);
        }
        Arg::Low => bytes.push(3),
        Arg::High => bytes.push(4),
        Arg::Register(register) => bytes.extend([5, *register]),
    }
}

fn show(arg: &Arg) -> String {
    match arg {
        Arg::N(number) if *number > 0xffff => format!("{number:#x}"),
        Arg::N(number) => number.to_string(),
        Arg::T(text) => shown(text),
        Arg::Low | Arg::High | Arg::Register(_) => "last result".to_owned(),
    }
}
