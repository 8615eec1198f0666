//! Finds the end of a head, and its lines.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr_iter};

/// The end of the last line of a head, and the empty line after it.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// A search for the end of a head, which resumes where it stopped.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// The end doesn't start before this offset, and lines before it have been checked.
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
    /// Searches for the end of the head at the start of `input`. Between calls, `input` may only grow. In an incomplete
    /// head, the ends of lines are checked; in a complete one, [`lines`] does that, and [`fault`] if there are others.
    pub(crate) fn find(&mut self, input: &[u8]) -> Result<HeadEnd, &'static str> {
        if input.starts_with(b"\r\n") {
            return Ok(HeadEnd::EmptyLine);
        }
        // The end may have started to arrive.
        if let Some(end) = END.find(&input[self.searched.saturating_sub(3)..]) {
            return Ok(HeadEnd::At(self.searched.saturating_sub(3) + end + 4));
        }
        check_line_ends(input, self.searched)?;
        self.searched = input.len();
        Ok(HeadEnd::Partial)
    }
}

/// The fault of a complete head that has this one: a bare line feed comes before any other, as it does in a head that
/// arrives in pieces.
#[cold]
pub(crate) fn fault(head: &[u8], other: &'static str) -> &'static str {
    check_line_ends(head, 0).err().unwrap_or(other)
}

fn check_line_ends(input: &[u8], from: usize) -> Result<(), &'static str> {
    let mut ends = memchr_iter(b'\n', &input[from..]).map(|end| from + end);
    match ends.all(|end| end > 0 && input[end - 1] == b'\r') {
        true => Ok(()),
        false => Err(NO_CARRIAGE_RETURN),
    }
}

const NO_CARRIAGE_RETURN: &str = "a line ends without a carriage return";

/// The lines of a complete head, without their ends and up to the empty one.
pub(crate) fn lines(head: &[u8]) -> impl Iterator<Item = Result<&[u8], &'static str>> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let Some(line) = rest[..end].strip_suffix(b"\r") else {
            rest = &[];
            return Some(Err(NO_CARRIAGE_RETURN));
        };
        rest = &rest[end + 1..];
        (!line.is_empty()).then_some(Ok(line))
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

#[cfg(test)]
mod tests {
    use super::{HeadEnd, HeadScan, lines};

    /// What is found in `input`, which arrives in pieces of this size.
    fn found(input: &[u8], piece: usize) -> Result<HeadEnd, &'static str> {
        let mut scan = HeadScan::default();
        for arrived in (piece..input.len()).step_by(piece) {
            match scan.find(&input[..arrived]) {
                Ok(HeadEnd::Partial) => {}
                found => return found,
            }
        }
        scan.find(input)
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_is_split() {
        for piece in 1..30 {
            let head = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
            assert_eq!(
                found(&[head, b"\r\nmore\r\n\r\n".as_slice()].concat(), piece),
                Ok(HeadEnd::At(head.len()))
            );
            assert_eq!(found(&head[..head.len() - 1], piece), Ok(HeadEnd::Partial));
            assert_eq!(found(b"\r\nGET / HTTP/1.1\r\n\r\n", piece), Ok(HeadEnd::EmptyLine));
        }
    }

    #[test]
    fn a_bare_line_feed_is_an_error_in_complete_and_incomplete_heads() {
        for head in ["\na", "a\n", "a\r\nb\n", "a\r\n\n", "a\r\nb\n\n"] {
            for piece in 1..10 {
                assert!(found(head.as_bytes(), piece).is_err(), "{head:?}");
                let complete = format!("{head}\r\nb\r\n\r\n");
                let result = match found(complete.as_bytes(), piece) {
                    Ok(HeadEnd::At(end)) => {
                        lines(&complete.as_bytes()[..end]).collect::<Result<Vec<_>, _>>().err()
                    }
                    found => found.err(),
                };
                assert!(result.is_some(), "{complete:?}");
            }
        }
    }
}
