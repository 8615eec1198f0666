//! Finds the end of a head, and its lines.

use memchr::memchr;

/// A search for the end of a head, which resumes where it stopped.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// The start of the current line.
    line: usize,
    /// There is no line feed before this offset, except those of complete lines.
    searched: usize,
}

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadEnd {
    /// More input is needed.
    Partial,
    /// The first line is empty.
    EmptyLine,
    /// The head's length in bytes, including the empty line at its end.
    At(usize),
}

impl HeadScan {
    /// Searches for the end of the head at the start of `input`. Between calls, `input` may only grow.
    pub(crate) fn find(&mut self, input: &[u8]) -> Result<HeadEnd, &'static str> {
        while let Some(found) = memchr(b'\n', &input[self.searched..]) {
            let end = self.searched + found;
            let Some(line) = input[self.line..end].strip_suffix(b"\r") else {
                return Err("a line ends without a carriage return");
            };
            if line.is_empty() {
                return Ok(if self.line == 0 { HeadEnd::EmptyLine } else { HeadEnd::At(end + 1) });
            }
            self.line = end + 1;
            self.searched = self.line;
        }
        self.searched = input.len();
        Ok(HeadEnd::Partial)
    }
}

/// A field line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// The whole line, without its end.
    pub(crate) line: &'a [u8],
    pub(crate) name: &'a [u8],
    /// The value without surrounding whitespace.
    pub(crate) value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Splits a line. This only checks for what could make two parsers see different fields.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, &'static str> {
        // A name of token characters needs no further checks.
        match line.iter().position(|&byte| !is_token(byte)) {
            Some(colon @ 1..) if line[colon] == b':' && memchr(b'\r', &line[colon..]).is_none() => {
                Ok(Self { line, name: &line[..colon], value: line[colon + 1..].trim_ascii() })
            }
            _ => Self::parse_unusual(line),
        }
    }

    #[cold]
    fn parse_unusual(line: &'a [u8]) -> Result<Self, &'static str> {
        if memchr(b'\r', line).is_some() {
            return Err("a carriage return within a line");
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err("a folded line");
        }
        let Some(colon) = memchr(b':', line) else { return Err("a line without a colon") };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
            return Err("a field name that is empty or has white space");
        }
        Ok(Self { line, name, value })
    }

    /// Checks the characters of the name and the value.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if !self.name.iter().all(|&byte| is_token(byte)) {
            return Err("an invalid field name");
        }
        // Without branches, since values make up most of a head.
        let control = |byte: u8| (byte < b' ') & (byte != b'\t') | (byte == 0x7f);
        if self.line.iter().fold(false, |found, &byte| found | control(byte)) {
            return Err("a control character in a field value");
        }
        Ok(())
    }
}

/// The lines of a complete head, without their ends and up to the empty one.
pub(crate) fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let line = rest[..end].strip_suffix(b"\r").filter(|line| !line.is_empty())?;
        rest = &rest[end + 1..];
        Some(line)
    })
}

/// Parses a number that consists only of digits.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    let (&first, rest) = digits.split_first()?;
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    rest.iter().try_fold(digit(first)?, |number, &byte| number.checked_mul(10)?.checked_add(digit(byte)?))
}

/// Whether a character is allowed in field names and methods (RFC 9110 section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let others = b"!#$%&'*+-.^_`|~";
        let mut at = 0;
        while at < others.len() {
            table[others[at] as usize] = true;
            at += 1;
        }
        table
    };
    TOKEN[usize::from(byte)]
}
