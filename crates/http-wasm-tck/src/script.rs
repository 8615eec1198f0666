//! Scripts: what the guest shall do in one phase, and what must come of each step.
//!
//! A script becomes bytes in one of two ways. As a *report* the guest writes down what it sees and the runner compares. Where the
//! guest can't tell anybody (in `handle_response` without `buffer_response`), the expectations go along, and the guest traps when one fails.

use crate::guest::{FREE, Function};
use crate::payload::{Payload, pattern};
use crate::text::shown;

/// Header kinds of the ABI.
pub const REQUEST: u32 = 0;
/// The response's headers, or its body.
pub const RESPONSE: u32 = 1;
/// The request's trailers.
pub const REQUEST_TRAILERS: u32 = 2;
/// The response's trailers.
pub const RESPONSE_TRAILERS: u32 = 3;

/// An operand.
#[derive(Clone, Debug)]
pub enum Arg {
    /// A number.
    N(u32),
    /// A text: two operands, where it stands and how long it is.
    T(Vec<u8>),
    /// The low half of the last result.
    Low,
    /// The high half of the last result.
    High,
    /// The low half of what a register keeps.
    Register(u8),
}

impl From<u32> for Arg {
    fn from(number: u32) -> Self {
        Self::N(number)
    }
}

impl<const N: usize> From<&[u8; N]> for Arg {
    fn from(text: &[u8; N]) -> Self {
        Self::T(text.to_vec())
    }
}

impl From<&[u8]> for Arg {
    fn from(text: &[u8]) -> Self {
        Self::T(text.to_vec())
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self::T(text.as_bytes().to_vec())
    }
}

/// What a piece of memory must hold.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Exact(Vec<u8>),
    /// NUL-terminated names: these among others, each once and in this order, all in lower case.
    Names(Vec<&'static str>),
    /// What the function says yes to, and what that is in words.
    Like(fn(&[u8]) -> bool, &'static str),
}

/// How a script becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The guest reports.
    Report,
    /// The guest compares, and traps.
    Expect,
}

/// What one entry of a report must be.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// The call that it is about.
    pub(crate) of: String,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
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

/// What the guest shall do in one phase.
#[derive(Clone, Debug, Default)]
pub struct Script {
    steps: Vec<Step>,
    called: Vec<Function>,
    of: String,
}

/// `count_len`: so many values of so many bytes, each with its NUL.
pub fn count_len(values: &[&[u8]]) -> u64 {
    (values.len() as u64) << 32 | values.iter().map(|value| value.len() as u64 + 1).sum::<u64>()
}

/// `eof_len`.
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

    /// The same, with any number of operands.
    pub fn call_with(mut self, function: Function, args: &[Arg]) -> Self {
        self.called.push(function);
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
        let expected = Expected { of: self.of.clone(), what: What::Value(values.to_vec()) };
        self.steps.push(Step::Value(expected, values.to_vec()));
        self
    }

    /// Memory from `at` must be this now.
    pub fn holds(self, at: u32, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let len = Arg::N(bytes.len() as u32);
        self.holds_content(at, len, Content::Exact(bytes.to_vec()))
    }

    /// Memory from `at`, as long as `len`, must be like this now.
    pub fn holds_content(mut self, at: u32, len: Arg, content: Content) -> Self {
        let mut range = Vec::new();
        operand(&mut range, &Arg::N(at));
        operand(&mut range, &len);
        let expected = Expected { of: self.of.clone(), what: What::Memory(content.clone()) };
        self.steps.push(Step::Memory(expected, range, content));
        self
    }

    /// A getter must give this, into a buffer with room.
    pub fn reads(self, function: Function, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let room = value.len() as u32 + 16;
        self.call(function, [FREE.into(), room.into()]).gives(value.len() as u64).holds(FREE, value)
    }

    /// The values under a name must be these.
    pub fn values(self, kind: u32, name: &str, values: &[&[u8]]) -> Self {
        let all: Vec<u8> = values.iter().flat_map(|value| value.iter().copied().chain([0])).collect();
        let room = all.len() as u32 + 16;
        self.call(Function::GetHeaderValues, [kind.into(), name.into(), FREE.into(), room.into()])
            .gives(count_len(values))
            .holds(FREE, all)
    }

    /// The names must be these among others, each once, in this order.
    pub fn names(self, kind: u32, names: &[&'static str]) -> Self {
        self.call(Function::GetHeaderNames, [kind.into(), FREE.into(), 65_536.into()]).holds_content(
            FREE,
            Arg::Low,
            Content::Names(names.to_vec()),
        )
    }

    /// Sets a header or trailer.
    pub fn set<'a>(self, kind: u32, name: impl Into<Arg>, value: impl Into<Arg> + 'a) -> Self {
        self.call(Function::SetHeaderValue, [kind.into(), name.into(), value.into()])
    }

    /// Adds a header or trailer.
    pub fn add<'a>(self, kind: u32, name: impl Into<Arg>, value: impl Into<Arg> + 'a) -> Self {
        self.call(Function::AddHeaderValue, [kind.into(), name.into(), value.into()])
    }

    /// Removes a header or trailer.
    pub fn remove(self, kind: u32, name: impl Into<Arg>) -> Self {
        self.call(Function::RemoveHeader, [kind.into(), name.into()])
    }

    /// Reads once; these bytes must come.
    pub fn read(self, kind: u32, limit: u32, bytes: impl AsRef<[u8]>, eof: bool) -> Self {
        let bytes = bytes.as_ref();
        self.call(Function::ReadBody, [kind.into(), FREE.into(), limit.into()])
            .gives(eof_len(eof, bytes.len()))
            .holds(FREE, bytes)
    }

    /// Reads once; that many bytes from the middle of a pattern must come.
    pub fn read_pattern(self, kind: u32, from: usize, len: usize, eof: &[bool]) -> Self {
        let all = pattern(from + len);
        let results: Vec<u64> = eof.iter().map(|&eof| eof_len(eof, len)).collect();
        self.call(Function::ReadBody, [kind.into(), FREE.into(), (len as u32).into()])
            .gives_one_of(&results)
            .holds(FREE, &all[from..from + len.min(256)])
    }

    /// Reads to the end in steps; this must come, by the rules of `read_body`.
    pub fn read_all(self, kind: u32, step: u32, payload: &Payload) -> Self {
        self.copy_all(kind, step, None, payload)
    }

    /// The same, and writes each piece at once as a body of kind `to`.
    pub fn copy_all(mut self, kind: u32, step: u32, to: Option<u32>, payload: &Payload) -> Self {
        self.called.push(Function::ReadBody);
        if to.is_some() {
            self.called.push(Function::WriteBody);
        }
        self.of = format!("read_body({kind}) in steps of {step}");
        self.op(70, &[kind.into(), FREE.into(), step.into(), to.unwrap_or(255).into()])
            .gives(payload.digest())
    }

    /// Writes body bytes.
    pub fn write(self, kind: u32, bytes: impl Into<Arg>) -> Self {
        self.call(Function::WriteBody, [kind.into(), bytes.into()])
    }

    /// Writes so many bytes of the pattern in pieces of `step` (the whole in one with 0).
    pub fn write_pattern(mut self, kind: u32, len: u32, step: u32) -> Self {
        self = self.op(69, &[FREE.into(), len.into()]);
        let step = if step == 0 { len.max(1) } else { step };
        for from in (0..len).step_by(step as usize) {
            let len = step.min(len - from);
            self = self.call(Function::WriteBody, [kind.into(), (FREE + from).into(), len.into()]);
        }
        self
    }

    /// Fills memory with one byte.
    pub fn fill(self, at: u32, byte: u8, len: u32) -> Self {
        self.op(68, &[at.into(), u32::from(byte).into(), len.into()])
    }

    /// Puts bytes into memory, one by one.
    pub fn put(mut self, at: u32, bytes: &[u8]) -> Self {
        for (&byte, at) in bytes.iter().zip(at..) {
            self = self.fill(at, byte, 1);
        }
        self
    }

    /// What `handle_request` returns.
    pub fn proceed(self, next: u32, req_ctx: u32) -> Self {
        self.op(71, &[next.into(), req_ctx.into()])
    }

    /// Traps.
    pub fn trap(self) -> Self {
        self.op(72, &[])
    }

    /// Computes for ever.
    pub fn spin(self) -> Self {
        self.op(76, &[])
    }

    /// Calls itself until the stack is full.
    pub fn overflow(self) -> Self {
        self.op(82, &[])
    }

    /// This instance must not have trapped before.
    pub fn is_clean(mut self) -> Self {
        self.of = "traces of an earlier trap in the guest's memory".to_owned();
        self.op(75, &[]).gives(0)
    }

    /// Keeps the last result.
    pub fn keep(self, register: u32) -> Self {
        self.op(74, &[register.into()])
    }

    /// Adds to the low half of the last result.
    pub fn plus(self, number: i32) -> Self {
        self.op(77, &[(number as u32).into()])
    }

    /// Turns the sign of the low half of the last result.
    pub fn negate(self) -> Self {
        self.op(83, &[])
    }

    /// The last result must be that which was kept.
    pub fn same_as(mut self, register: u32) -> Self {
        self.of = format!("{} as before", self.of);
        self.op(78, &[register.into()]).gives(1)
    }

    /// Grows the memory; the number of pages before must be this.
    pub fn grow(mut self, pages: u32, before: u64) -> Self {
        self.of = "memory.grow".to_owned();
        self.op(79, &[pages.into()]).gives(before)
    }

    /// Calls a WASI function by its operation; it must answer 0.
    pub fn wasi(mut self, op: u8, name: &str, args: &[Arg]) -> Self {
        self.of = name.to_owned();
        self.op(op, args).gives(0)
    }

    /// Stores 32 bits.
    pub fn store(self, at: u32, value: u32) -> Self {
        self.op(81, &[at.into(), value.into()])
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The functions that it calls.
    pub fn functions(&self) -> &[Function] {
        &self.called
    }

    /// Appends another script.
    pub fn then(mut self, other: Self) -> Self {
        self.steps.extend(other.steps);
        self.called.extend(other.called);
        self.of = other.of;
        self
    }

    pub(crate) fn deliver(self, place: u32) -> Self {
        self.op(73, &[place.into()])
    }

    fn op(mut self, op: u8, args: &[Arg]) -> Self {
        let mut bytes = vec![op];
        args.iter().for_each(|arg| operand(&mut bytes, arg));
        self.steps.push(Step::Op(bytes));
        self
    }

    /// The bytes for the guest.
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
                    // Several values can't be told apart there; the case must not depend on it.
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

    /// What a report must contain, in order.
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
