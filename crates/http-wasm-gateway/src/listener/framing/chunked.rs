//! The chunks of a body.

use memchr::memchr;

/// The longest line with a chunk's size. Extensions, of which it may have some, are of no use to anybody here.
const MAX_SIZE_LINE: usize = 256;

/// How far a chunked body has come.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    next: Next,
    /// Bytes of trailers so far.
    trailers: usize,
}

#[derive(Debug, Default)]
enum Next {
    #[default]
    Size,
    Data {
        left: u64,
    },
    /// The end of a chunk's data.
    DataEnd,
    Trailer,
    End,
}

impl Chunks {
    /// How much of `input` is well-formed and may be passed on; 0 when more is needed to tell.
    pub(super) fn advance(&mut self, input: &[u8], max_trailers: usize) -> Result<usize, &'static str> {
        match &mut self.next {
            Next::Size => {
                let Some(line) = line(input, MAX_SIZE_LINE, "a chunk's size is too long")? else {
                    return Ok(0);
                };
                let left = size(line).ok_or("a chunk's size is no number")?;
                self.next = if left == 0 { Next::Trailer } else { Next::Data { left } };
                Ok(line.len() + 2)
            }
            Next::Data { left } => {
                let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= passed as u64;
                if *left == 0 {
                    self.next = Next::DataEnd;
                }
                Ok(passed)
            }
            Next::DataEnd => match input {
                [b'\r', b'\n', ..] => {
                    self.next = Next::Size;
                    Ok(2)
                }
                [] | [b'\r'] => Ok(0),
                _ => Err("a chunk is longer than it says"),
            },
            Next::Trailer => {
                let left = max_trailers.saturating_sub(self.trailers);
                let Some(line) = line(input, left, "the trailers are too long")? else { return Ok(0) };
                if line.starts_with(b" ") || line.starts_with(b"\t") {
                    return Err("a trailer goes on in the next line");
                }
                if line.is_empty() {
                    self.next = Next::End;
                }
                self.trailers += line.len() + 2;
                Ok(line.len() + 2)
            }
            Next::End => Ok(0),
        }
    }

    pub(super) fn is_end(&self) -> bool {
        matches!(self.next, Next::End)
    }
}

/// The first line, without its end.
fn line<'a>(input: &'a [u8], max: usize, too_long: &'static str) -> Result<Option<&'a [u8]>, &'static str> {
    let found = memchr(b'\n', input);
    if found.unwrap_or(input.len()) > max {
        return Err(too_long);
    }
    let Some(end) = found else { return Ok(None) };
    match input[..end].strip_suffix(b"\r") {
        Some(line) if !line.contains(&b'\r') => Ok(Some(line)),
        _ => Err("a line does not end as it should"),
    }
}

/// The size in a line; what follows it behind a semicolon is an extension.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let hex = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(str::from_utf8(digits).ok().filter(|_| hex)?, 16).ok()
}
