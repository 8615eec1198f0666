//! The steps of scripts: the ABI's functions as cases use them, and the interpreter's own operations.

use super::{Arg, Content, Script, count_len, eof_len};
use crate::guest::{Capabilities, FREE, Function};
use crate::payload::{Payload, pattern};

impl Script {
    /// Calls a getter, which must return this value into a large enough buffer.
    pub fn reads(self, function: Function, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let room = value.len() as u32 + 16;
        self.call(function, [FREE.into(), room.into()]).gives(value.len() as u64).holds(FREE, value)
    }

    /// Reads the values of a name, which must be these.
    pub fn values(self, kind: u32, name: &str, values: &[&[u8]]) -> Self {
        let all: Vec<u8> = values.iter().flat_map(|value| value.iter().copied().chain([0])).collect();
        let room = all.len() as u32 + 16;
        self.call(Function::GetHeaderValues, [kind.into(), name.into(), FREE.into(), room.into()])
            .gives(count_len(values))
            .holds(FREE, all)
    }

    /// Reads the names, which must include these, each once and in this order.
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

    /// Reads once; these bytes must be returned.
    pub fn read(self, kind: u32, limit: u32, bytes: impl AsRef<[u8]>, eof: bool) -> Self {
        let bytes = bytes.as_ref();
        self.call(Function::ReadBody, [kind.into(), FREE.into(), limit.into()])
            .gives(eof_len(eof, bytes.len()))
            .holds(FREE, bytes)
    }

    /// Reads once; this many bytes from the middle of a pattern must be returned.
    pub fn read_pattern(self, kind: u32, from: usize, len: usize, eof: &[bool]) -> Self {
        let all = pattern(from + len);
        let results: Vec<u64> = eof.iter().map(|&eof| eof_len(eof, len)).collect();
        self.call(Function::ReadBody, [kind.into(), FREE.into(), (len as u32).into()])
            .gives_one_of(&results)
            .holds(FREE, &all[from..from + len.min(256)])
    }

    /// Reads to the end in steps, by the rules of `read_body`; this payload must be returned.
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

    /// The same for a host that streams: each read must return at least one byte, or the end.
    pub fn copy_as_it_comes(mut self, kind: u32, step: u32, to: Option<u32>, payload: &Payload) -> Self {
        self.called.push(Function::ReadBody);
        if to.is_some() {
            self.called.push(Function::WriteBody);
        }
        self.of = format!("read_body({kind}) of what is there, up to {step} bytes");
        self.op(85, &[kind.into(), FREE.into(), step.into(), to.unwrap_or(255).into()])
            .gives(payload.digest())
    }

    /// Copies a body as it comes until it ends, which it may do early, because its receiver is gone.
    pub fn copy_until_closed(self, kind: u32, step: u32) -> Self {
        self.op(85, &[kind.into(), FREE.into(), step.into(), kind.into()])
    }

    /// Writes body bytes.
    pub fn write(self, kind: u32, bytes: impl Into<Arg>) -> Self {
        self.call(Function::WriteBody, [kind.into(), bytes.into()])
    }

    /// Writes this many bytes of the pattern in pieces of `step` (in one piece with 0).
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

    /// Sets the result of `handle_request`.
    pub fn proceed(mut self, next: u32, req_ctx: u32) -> Self {
        if next > 1 {
            self.needs |= Capabilities::RESULTS;
        }
        self.op(71, &[next.into(), req_ctx.into()])
    }

    /// Traps.
    pub fn trap(self) -> Self {
        self.op(72, &[])
    }

    /// Loops forever.
    pub fn spin(self) -> Self {
        self.op(76, &[])
    }

    /// Recurses until the stack overflows.
    pub fn overflow(self) -> Self {
        self.op(82, &[])
    }

    /// Checks that this instance hasn't trapped before.
    pub fn is_clean(mut self) -> Self {
        self.of = "traces of an earlier trap in the guest's memory".to_owned();
        self.op(75, &[]).gives(0)
    }

    /// Stores the last result in a register.
    pub fn keep(self, register: u32) -> Self {
        self.op(74, &[register.into()])
    }

    /// Adds to the low half of the last result.
    pub fn plus(self, number: i32) -> Self {
        self.op(77, &[(number as u32).into()])
    }

    /// Negates the low half of the last result.
    pub fn negate(self) -> Self {
        self.op(83, &[])
    }

    /// The last result must be equal to the one in the register.
    pub fn same_as(mut self, register: u32) -> Self {
        self.of = format!("{} as before", self.of);
        self.op(78, &[register.into()]).gives(1)
    }

    /// Grows the memory, whose previous size in pages must be `before`.
    pub fn grow(mut self, pages: u32, before: u64) -> Self {
        self.of = "memory.grow".to_owned();
        self.needs |= Capabilities::MEMORY;
        self.op(79, &[pages.into()]).gives(before)
    }

    /// Calls a WASI function by its operation. It must return 0.
    pub fn wasi(mut self, op: u8, name: &str, args: &[Arg]) -> Self {
        self.of = name.to_owned();
        self.op(op, args).gives(0)
    }

    /// Asks for the guest's [`Capabilities`].
    pub(crate) fn capabilities(self) -> Self {
        self.op(84, &[]).gives_one_of(&[])
    }

    /// Stores 32 bits.
    pub fn store(self, at: u32, value: u32) -> Self {
        self.op(81, &[at.into(), value.into()])
    }

    /// Loads 32 bits.
    pub fn load(mut self, at: u32) -> Self {
        self.of = format!("what is in memory at {at:#x}");
        self.op(80, &[at.into()])
    }
}
