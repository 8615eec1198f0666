//! A compact binary encoding of events. Logs use it in memory, and are decoded into [`Event`]s when they are written.

use std::borrow::Cow;

use http_wasm_tower::Phase;

use super::event::{CallEvent, Data, Event, Failure, Outcome};

/// An event to add to a log.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    Growth {
        table: bool,
        from: u64,
        to: u64,
        granted: bool,
    },
    /// The previous growth, which was granted, has failed.
    GrowthFailed,
    Call(CallEntry<'a>),
    Started {
        failure: Option<Failure>,
    },
    Entered {
        phase: Phase,
        req_ctx: u32,
        is_error: bool,
    },
    Returned {
        proceeds: bool,
        req_ctx: u32,
        failure: Option<Failure>,
    },
}

/// A host call to add to a log.
#[derive(Debug)]
pub(super) struct CallEntry<'a> {
    pub(super) function: &'static str,
    pub(super) args: &'a [u64],
    pub(super) passed: &'a [&'a [u8]],
    /// The result, or why the function trapped.
    pub(super) outcome: Result<u64, &'a str>,
    pub(super) written: &'a [(u32, &'a [u8])],
}

/// The names of the functions in a log. The encoding refers to them by index.
pub(super) type Names = Vec<&'static str>;

mod tag {
    pub(super) const GROWTH: u8 = 0;
    pub(super) const GROWTH_FAILED: u8 = 1;
    pub(super) const CALL: u8 = 2;
    pub(super) const STARTED: u8 = 3;
    pub(super) const ENTERED: u8 = 4;
    pub(super) const RETURNED: u8 = 5;
}

/// The maximum length of an encoded number.
const NUMBER: usize = 10;

impl Entry<'_> {
    /// An upper bound of the encoded length.
    pub(super) fn max_len(&self) -> usize {
        match self {
            Self::Call(call) => {
                let passed: usize = call.passed.iter().map(|bytes| bytes.len() + NUMBER).sum();
                let written: usize = call.written.iter().map(|(_, bytes)| bytes.len() + 2 * NUMBER).sum();
                let trapped = call.outcome.err().map_or(0, str::len);
                (6 + call.args.len()) * NUMBER + passed + written + trapped
            }
            Self::Started { failure: Some(failure) } | Self::Returned { failure: Some(failure), .. } => {
                let backtrace = failure.backtrace.as_ref().map_or(0, String::len);
                8 * NUMBER + failure.kind.len() + failure.reason.len() + failure.message.len() + backtrace
            }
            _ => 4 * NUMBER,
        }
    }

    /// Appends the encoded event.
    pub(super) fn write(&self, names: &mut Names, to: &mut Vec<u8>) {
        match self {
            Self::Growth { table, from, to: size, granted } => {
                to.extend([tag::GROWTH, u8::from(*table), u8::from(*granted)]);
                put_number(to, *from);
                put_number(to, *size);
            }
            Self::GrowthFailed => to.push(tag::GROWTH_FAILED),
            Self::Call(call) => call.write(names, to),
            Self::Started { failure } => {
                to.push(tag::STARTED);
                put_failure(to, failure.as_ref());
            }
            Self::Entered { phase, req_ctx, is_error } => {
                to.extend([tag::ENTERED, u8::from(*phase == Phase::Response), u8::from(*is_error)]);
                put_number(to, (*req_ctx).into());
            }
            Self::Returned { proceeds, req_ctx, failure } => {
                to.extend([tag::RETURNED, u8::from(*proceeds)]);
                put_number(to, (*req_ctx).into());
                put_failure(to, failure.as_ref());
            }
        }
    }
}

impl CallEntry<'_> {
    fn write(&self, names: &mut Names, to: &mut Vec<u8>) {
        let is_name = |name: &&str| std::ptr::eq(*name, self.function) || *name == self.function;
        let name = names.iter().position(is_name).unwrap_or_else(|| {
            names.push(self.function);
            names.len() - 1
        });
        to.push(tag::CALL);
        put_number(to, name as u64);
        put_number(to, self.args.len() as u64);
        self.args.iter().for_each(|arg| put_number(to, *arg));
        put_number(to, self.passed.len() as u64);
        self.passed.iter().for_each(|bytes| put_bytes(to, bytes));
        match self.outcome {
            Ok(value) => {
                to.push(0);
                put_number(to, value);
            }
            Err(reason) => {
                to.push(1);
                put_bytes(to, reason.as_bytes());
            }
        }
        put_number(to, self.written.len() as u64);
        for (offset, bytes) in self.written {
            put_number(to, (*offset).into());
            put_bytes(to, bytes);
        }
    }
}

fn put_number(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_number(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn put_failure(to: &mut Vec<u8>, failure: Option<&Failure>) {
    to.push(failure.is_some().into());
    let Some(Failure { kind, reason, message, backtrace }) = failure else { return };
    for text in [kind, reason, message] {
        put_bytes(to, text.as_bytes());
    }
    to.push(backtrace.is_some().into());
    if let Some(backtrace) = backtrace {
        put_bytes(to, backtrace.as_bytes());
    }
}

/// Decodes entries.
pub(super) struct Reader<'a> {
    names: &'a [&'static str],
    rest: &'a [u8],
}

/// A decoded entry.
pub(super) enum Decoded {
    Event(Event),
    /// The previous growth has failed.
    GrowthFailed,
}

impl<'a> Reader<'a> {
    pub(super) fn new(names: &'a [&'static str], bytes: &'a [u8]) -> Self {
        Self { names, rest: bytes }
    }

    /// The number of bytes that haven't been read.
    pub(super) fn rest(&self) -> usize {
        self.rest.len()
    }

    /// Returns the next entry, or `None` at the end.
    pub(super) fn next(&mut self) -> Option<Decoded> {
        let event = match self.byte()? {
            tag::GROWTH => {
                let (table, granted) = (self.flag()?, self.flag()?);
                Event::Growth { table, from: self.number()?, to: self.number()?, granted }
            }
            tag::GROWTH_FAILED => return Some(Decoded::GrowthFailed),
            tag::CALL => Event::Call(Box::new(self.call()?)),
            tag::STARTED => Event::Started { failure: self.failure()? },
            tag::ENTERED => {
                let function = if self.flag()? { "handle_response" } else { "handle_request" };
                let (is_error, req_ctx) = (self.flag()?, self.number()? as u32);
                Event::Entered { function: Cow::Borrowed(function), req_ctx, is_error, exchange: None }
            }
            tag::RETURNED => {
                let (proceeds, req_ctx) = (self.flag()?, self.number()? as u32);
                Event::Returned { proceeds, req_ctx, failure: self.failure()? }
            }
            _ => return None,
        };
        Some(Decoded::Event(event))
    }

    fn call(&mut self) -> Option<CallEvent> {
        let function = Cow::Borrowed(*self.names.get(self.len()?)?);
        let args = (0..self.len()?).map(|_| self.number()).collect::<Option<_>>()?;
        let passed = (0..self.len()?).map(|_| self.bytes().map(Data::from)).collect::<Option<_>>()?;
        let outcome = match self.flag()? {
            false => Outcome::Returned(self.number()?),
            true => Outcome::Trapped(self.text()?),
        };
        let written = (0..self.len()?).map(|_| Some((self.number()? as u32, Data::from(self.bytes()?))));
        let written = written.collect::<Option<_>>()?;
        Some(CallEvent { function, args, passed, outcome, written, redacted: false })
    }

    /// Reads an optional failure.
    fn failure(&mut self) -> Option<Option<Failure>> {
        if !self.flag()? {
            return Some(None);
        }
        let (kind, reason, message) = (self.text()?, self.text()?, self.text()?);
        let backtrace = if self.flag()? { Some(self.text()?) } else { None };
        Some(Some(Failure { kind, reason, message, backtrace }))
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn flag(&mut self) -> Option<bool> {
        Some(self.byte()? != 0)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Some(value)
    }

    fn len(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let (bytes, rest) = self.len().and_then(|len| self.rest.split_at_checked(len))?;
        self.rest = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(self.bytes()?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written() {
        let failure = Failure {
            kind: "trap".to_owned(),
            reason: "wasm `unreachable`".to_owned(),
            message: "guest g: wasm `unreachable`".to_owned(),
            backtrace: Some("0: 0x12".to_owned()),
        };
        let returned = CallEntry {
            function: "get_uri",
            args: &[0, 127, 128, u64::MAX],
            passed: &[b"", b"x-name\xff"],
            outcome: Ok(u64::MAX),
            written: &[(u32::MAX, b"/path"), (7, b"")],
        };
        let trapped = CallEntry {
            function: "set_uri",
            args: &[],
            passed: &[],
            outcome: Err("out of bounds"),
            written: &[],
        };
        let entries = [
            Entry::Growth { table: true, from: 0, to: 1 << 40, granted: true },
            Entry::Call(returned),
            Entry::Call(trapped),
            Entry::Started { failure: None },
            Entry::Entered { phase: Phase::Response, req_ctx: u32::MAX, is_error: true },
            Entry::Returned { proceeds: true, req_ctx: 9, failure: Some(failure.clone()) },
        ];
        let (mut names, mut bytes) = (Names::new(), Vec::new());
        for entry in &entries {
            let before = bytes.len();
            entry.write(&mut names, &mut bytes);
            assert!(bytes.len() - before <= entry.max_len(), "{entry:?}");
        }
        let mut reader = Reader::new(&names, &bytes);
        let mut read = Vec::new();
        while let Some(Decoded::Event(event)) = reader.next() {
            read.push(event);
        }
        assert_eq!(reader.rest(), 0);
        let call = |function, args: &[u64], passed: &[&[u8]], outcome, written: &[(u32, &[u8])]| {
            Event::Call(Box::new(CallEvent {
                function: Cow::Borrowed(function),
                args: args.to_vec(),
                passed: passed.iter().map(|bytes| Data::from(*bytes)).collect(),
                outcome,
                written: written.iter().map(|(offset, bytes)| (*offset, Data::from(*bytes))).collect(),
                redacted: false,
            }))
        };
        let function = Cow::Borrowed("handle_response");
        let expected = [
            Event::Growth { table: true, from: 0, to: 1 << 40, granted: true },
            call(
                "get_uri",
                &[0, 127, 128, u64::MAX],
                &[b"", b"x-name\xff"],
                Outcome::Returned(u64::MAX),
                &[(u32::MAX, b"/path"), (7, b"")],
            ),
            call("set_uri", &[], &[], Outcome::Trapped("out of bounds".to_owned()), &[]),
            Event::Started { failure: None },
            Event::Entered { function, req_ctx: u32::MAX, is_error: true, exchange: None },
            Event::Returned { proceeds: true, req_ctx: 9, failure: Some(failure) },
        ];
        assert_eq!(read, expected);
        // A truncated entry isn't returned.
        let mut cut = Reader::new(&names, &bytes[..bytes.len() - 1]);
        assert_eq!(std::iter::from_fn(|| cut.next()).count(), expected.len() - 1);
    }
}
