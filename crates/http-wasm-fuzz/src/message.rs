//! Incoming requests and responses: well-formed, in every shape.

use arbitrary::{Result, Unstructured};

pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// Headers, body and trailers. The fields include correct framing headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) fields: Vec<Field>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) trailers: Vec<Field>,
    /// Whether the length is known from the start.
    pub(crate) sized: bool,
    /// Whether the body ends in an error.
    pub(crate) breaks: bool,
}

/// A piece of a body.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Data(Vec<u8>),
    /// Nothing has arrived yet.
    Wait,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) uri: &'static str,
    pub(crate) version: http::Version,
    pub(crate) has_client: bool,
    pub(crate) message: Message,
}

#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) message: Message,
}

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "x!"];
const URIS: [&str; 6] = ["/", "/a/b?c=d", "/%41%2f?x=%", "//x", "/?", "/[]|"];
const VERSIONS: [http::Version; 3] = [http::Version::HTTP_10, http::Version::HTTP_11, http::Version::HTTP_2];
const STATUSES: [u16; 10] = [200, 200, 201, 204, 206, 304, 404, 500, 101, 999];
const NAMES: [&str; 6] = ["x-a", "x-b", "set-cookie", "content-type", "trailer", "host-x"];

impl Request {
    pub(crate) fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
        let method = *u.choose(&METHODS)?;
        let uri = if method == "OPTIONS" && u.arbitrary()? { "*" } else { *u.choose(&URIS)? };
        let version = *u.choose(&VERSIONS)?;
        let mut message = Message::generate(u, version)?;
        message.fields.push((b"host".to_vec(), b"example.com".to_vec()));
        Ok(Self { method, uri, version, has_client: u.arbitrary()?, message })
    }
}

impl Response {
    pub(crate) fn generate(u: &mut Unstructured<'_>, version: http::Version) -> Result<Self> {
        let status = *u.choose(&STATUSES)?;
        let mut response = Self { status, message: Message::generate(u, version)? };
        if matches!(status, 101 | 204 | 304) {
            response.leave_body_out();
            if status != 304 {
                response.message.fields.retain(|(name, _)| !is_framing(name));
            }
        }
        Ok(response)
    }

    /// Removes the body, as in a response to HEAD or with a status that doesn't allow one.
    pub(crate) fn leave_body_out(&mut self) {
        self.message.pieces.clear();
        self.message.trailers.clear();
        self.message.breaks = false;
        self.message.sized = true;
    }
}

impl Message {
    fn generate(u: &mut Unstructured<'_>, version: http::Version) -> Result<Self> {
        let mut message = Self { fields: fields(u)?, sized: u.arbitrary()?, ..Self::default() };
        for _ in 0..u.int_in_range(0..=4)? {
            let piece = match u.int_in_range(0..=3)? {
                0 => Piece::Wait,
                1 => Piece::Data(vec![b'x'; u.int_in_range(1..=9000)?]),
                _ => {
                    let len = u.int_in_range(1..=40)?;
                    Piece::Data(u.bytes(len)?.to_vec())
                }
            };
            message.pieces.push(piece);
        }
        // After a wait at the end, it would be undefined whether the end is known together with the last byte.
        while let Some(Piece::Wait) = message.pieces.last() {
            message.pieces.pop();
        }
        let can_stream = version != http::Version::HTTP_10;
        if message.sized || !can_stream {
            message.sized = true;
            if !message.pieces.is_empty() || u.arbitrary()? {
                let len = message.body().len().to_string();
                message.fields.push((b"content-length".to_vec(), len.into_bytes()));
            }
        } else {
            message.trailers = fields(u)?;
            message.trailers.retain(|(name, _)| name != b"trailer");
            if version == http::Version::HTTP_11 {
                message.fields.push((b"transfer-encoding".to_vec(), b"chunked".to_vec()));
            }
        }
        message.breaks = u.ratio(1, 16)?;
        Ok(message)
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let data = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Data(data) => Some(&data[..]),
            Piece::Wait => None,
        });
        data.flatten().copied().collect()
    }
}

pub(crate) fn is_framing(name: &[u8]) -> bool {
    [&b"content-length"[..], b"transfer-encoding"].contains(&name)
}

fn fields(u: &mut Unstructured<'_>) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    for _ in 0..u.int_in_range(0..=3)? {
        let name = u.choose(&NAMES)?.as_bytes().to_vec();
        let len = u.int_in_range(0..=12)?;
        let value = if name == b"trailer" { b"x-a".to_vec() } else { u.bytes(len)?.to_vec() };
        let legal = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        fields.push((name, value.into_iter().filter(legal).collect()));
    }
    Ok(fields)
}
