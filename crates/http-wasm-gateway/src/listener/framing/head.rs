//! Heads of requests: their end, and the framing that they announce.

use bytes::{Buf as _, BytesMut};
use memchr::{memchr, memchr_iter};

/// A search for the end of a head, which goes on where it stopped.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// Where the current line begins.
    line: usize,
    /// Up to where there is no line feed.
    searched: usize,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Partial,
    Complete {
        bytes: usize,
        length: Length,
        /// Whether the request asks for another protocol.
        upgrades: bool,
    },
    Malformed(&'static str),
}

/// Length of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Chunked,
}

impl HeadScan {
    /// Looks for the end of the head with which `input` begins. Empty lines before it are dropped (RFC 9112 section 2.2).
    pub(super) fn scan(&mut self, input: &mut BytesMut) -> Scanned {
        while let Some(found) = memchr(b'\n', &input[self.searched..]) {
            let end = self.searched + found;
            let Some(line) = input[self.line..end].strip_suffix(b"\r") else {
                return Scanned::Malformed("a line ends without a carriage return");
            };
            let (first, empty) = (self.line == 0, line.is_empty());
            if empty && first {
                input.advance(end + 1);
                self.searched = 0;
                continue;
            }
            if empty {
                return complete(&input[..end + 1]);
            }
            self.line = end + 1;
            self.searched = self.line;
        }
        self.searched = input.len();
        Scanned::Partial
    }
}

fn complete(head: &[u8]) -> Scanned {
    match framing(head) {
        Ok((length, upgrades)) => Scanned::Complete { bytes: head.len(), length, upgrades },
        Err(reason) => Scanned::Malformed(reason),
    }
}

/// The framing that a head announces. The rest of the syntax is hyper's to judge.
fn framing(head: &[u8]) -> Result<(Length, bool), &'static str> {
    let mut begun = 0;
    let lines = memchr_iter(b'\n', head).map(|end| {
        let line = &head[begun..end];
        begun = end + 1;
        line
    });
    let mut lines = lines.filter_map(|line| line.strip_suffix(b"\r"));
    let start = lines.next().unwrap_or_default();
    let mut upgrades = start.starts_with(b"CONNECT ");
    let (mut content_length, mut chunked) = (None, false);
    for line in lines.take_while(|line| !line.is_empty()) {
        if memchr(b'\r', line).is_some() {
            return Err("a carriage return stands within a line");
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err("a field goes on in the next line");
        }
        let Some(colon) = memchr(b':', line) else { return Err("a line holds no field") };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
            return Err("a field has no name, or one with white space");
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            if content_length.is_some() {
                return Err("more than one Content-Length");
            }
            content_length = Some(decimal(value).ok_or("a Content-Length that is no number")?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked {
                return Err("more than one Transfer-Encoding");
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err("a Transfer-Encoding other than chunked");
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrades = true;
        }
    }
    match (content_length, chunked) {
        (Some(_), true) => Err("both Content-Length and Transfer-Encoding"),
        (None, true) if start.ends_with(b"HTTP/1.0") => Err("Transfer-Encoding in HTTP/1.0"),
        (None, true) => Ok((Length::Chunked, upgrades)),
        (length, false) => Ok((Length::Known(length.unwrap_or(0)), upgrades)),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // `parse` would take a sign as well.
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}
