//! An HTTP/1.1 client that works on raw bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A message as it was received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) start: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether it ended before it was complete.
    pub(crate) is_cut: bool,
}

impl Message {
    /// The values of a header, joined by "|".
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join("|"))
    }

    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
    }
}

fn fields(reader: &mut impl BufRead) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            return Some(fields);
        }
        let (name, value) = line.split_once(':')?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Reads one message. `bodyless` is set for a response that has no body regardless of its headers. Returns `None` at
/// the end of the connection.
pub(crate) fn read_message(reader: &mut impl BufRead, bodyless: bool) -> Option<Message> {
    let start = line(reader)?;
    let mut message = Message { start, headers: fields(reader)?, ..Message::default() };
    let is_response = message.start.starts_with("HTTP/");
    if bodyless || is_response && matches!(message.status(), 100..=199 | 204 | 304) {
        return Some(message);
    }
    if message.header("transfer-encoding").is_some() {
        loop {
            let Some(size) = line(reader).and_then(|size| usize::from_str_radix(size.trim(), 16).ok()) else {
                message.is_cut = true;
                return Some(message);
            };
            if size == 0 {
                match fields(reader) {
                    Some(trailers) => message.trailers = trailers,
                    None => message.is_cut = true,
                }
                return Some(message);
            }
            let at = message.body.len();
            message.body.resize(at + size, 0);
            if reader.read_exact(&mut message.body[at..]).is_err() || line(reader).is_none() {
                message.is_cut = true;
                return Some(message);
            }
        }
    }
    match message.header("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => {
            message.body.resize(length, 0);
            message.is_cut = reader.read_exact(&mut message.body).is_err();
        }
        None if is_response => message.is_cut = reader.read_to_end(&mut message.body).is_err(),
        None => {}
    }
    Some(message)
}

/// A request without a body whose head begins with this, and which closes the connection.
pub(crate) fn request(head: &str) -> Vec<u8> {
    format!("{head}\r\nhost: a\r\nconnection: close\r\n\r\n").into_bytes()
}

/// The same with a body in these chunks, and trailers as lines.
pub(crate) fn chunked(path: &str, pieces: &[&str], trailers: &str) -> Vec<u8> {
    let mut request = request(&format!("POST {path} HTTP/1.1\r\ntransfer-encoding: chunked"));
    for piece in pieces {
        request.extend_from_slice(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
    }
    request.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    request
}

/// Reads byte by byte until the input ends with `end`.
pub(crate) fn read_until(reader: &mut impl Read, end: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(end) {
        reader.read_exact(&mut byte)?;
        read.push(byte[0]);
    }
    Ok(read)
}

/// Sends the bytes of a request on a new connection and reads the response.
pub(crate) fn exchange(to: SocketAddr, request: &[u8]) -> Message {
    let mut socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut writer = socket.try_clone().unwrap();
    let request = request.to_vec();
    let is_head = request.starts_with(b"HEAD ");
    // The response may come before the request has been read.
    std::thread::spawn(move || {
        let _refused = writer.write_all(&request);
    });
    let mut reader = BufReader::new(&mut socket);
    read_message(&mut reader, is_head).expect("a response")
}
