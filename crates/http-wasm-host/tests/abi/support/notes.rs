//! Notes that a guest takes, for tests to compare.

use std::fmt;

/// A note taken by a guest.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Note {
    Number(u64),
    Text(Vec<u8>),
    /// The result of `get_header_names` or `get_header_values`: the count, and the bytes with their NULs.
    List(u32, Vec<u8>),
    /// The result of `read_body`: whether it was the end, and the bytes.
    Read(bool, Vec<u8>),
}

pub(crate) fn number(number: u64) -> Note {
    Note::Number(number)
}

pub(crate) fn text(text: impl AsRef<[u8]>) -> Note {
    Note::Text(text.as_ref().to_vec())
}

pub(crate) fn list<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Note {
    let mut count = 0;
    let mut bytes = Vec::new();
    for value in values {
        count += 1;
        bytes.extend_from_slice(value.as_ref());
        bytes.push(0);
    }
    Note::List(count, bytes)
}

/// No header, or no names.
pub(crate) fn nothing() -> Note {
    list([""; 0])
}

/// A read that filled its buffer.
pub(crate) fn more(bytes: impl AsRef<[u8]>) -> Note {
    Note::Read(false, bytes.as_ref().to_vec())
}

/// A read that reached the end.
pub(crate) fn eof(bytes: impl AsRef<[u8]>) -> Note {
    Note::Read(true, bytes.as_ref().to_vec())
}

/// The notes that the prelude's `$read_all` takes of a body.
pub(crate) fn whole(body: &[u8]) -> Vec<Note> {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    vec![number(body.len() as u64), number(body.iter().fold(0xcbf2_9ce4_8422_2325, fnv))]
}

/// Decodes the notes that the prelude has written.
pub(crate) fn decode(mut raw: &[u8]) -> Vec<Note> {
    let mut notes = Vec::new();
    while let Some((&tag, rest)) = raw.split_first() {
        let (head, rest) = rest.split_at(8);
        let head = u64::from_le_bytes(head.try_into().unwrap());
        let (high, len) = ((head >> 32) as u32, if tag == 0 { 0 } else { head as u32 as usize });
        let (bytes, rest) = rest.split_at(len);
        raw = rest;
        notes.push(match tag {
            0 => Note::Number(head),
            1 => Note::Text(bytes.to_vec()),
            2 => Note::List(high, bytes.to_vec()),
            3 => {
                assert!(high <= 1, "the EOF flag is {high}");
                Note::Read(high == 1, bytes.to_vec())
            }
            _ => panic!("no such tag: {tag}"),
        });
    }
    notes
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number:#x}"),
            Self::Text(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::List(count, bytes) => write!(f, "{count} values \"{}\"", bytes.escape_ascii()),
            Self::Read(end, bytes) => {
                write!(f, "{}\"{}\"", if *end { "eof " } else { "" }, bytes.escape_ascii())
            }
        }
    }
}
