//! The head of a message, and how its body is framed.

use serde::{Deserialize, Serialize};

/// How a message indicates where its body ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Framing {
    /// Not at all: there is no body, or HTTP/2 frames delimit it.
    #[default]
    None,
    /// With `content-length`.
    Length,
    /// In chunks.
    Chunked,
    /// By closing the connection.
    Close,
}

/// First line and fields of a message, with names in their original case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) first: Vec<u8>,
    pub(crate) fields: Fields,
}

pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The values of a name.
pub(crate) fn values<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.0.eq_ignore_ascii_case(name.as_bytes())).map(|field| &field.1[..])
}

impl Head {
    /// The framing that the fields declare, and the length of the body.
    pub(crate) fn framing(&self) -> Result<(Framing, u64), String> {
        let chunked = values(&self.fields, "transfer-encoding").any(|v| v.eq_ignore_ascii_case(b"chunked"));
        let lengths: Vec<&[u8]> = values(&self.fields, "content-length").collect();
        match (chunked, &lengths[..]) {
            (true, []) => Ok((Framing::Chunked, 0)),
            (true, _) => Err("both transfer-encoding and content-length".to_owned()),
            (false, []) => Ok((Framing::None, 0)),
            (false, [length]) => {
                let length = std::str::from_utf8(length).ok().and_then(|length| length.parse().ok());
                length
                    .map(|length| (Framing::Length, length))
                    .ok_or_else(|| "a content-length that is not a number".to_owned())
            }
            (false, _) => Err("several content-length headers".to_owned()),
        }
    }
}
