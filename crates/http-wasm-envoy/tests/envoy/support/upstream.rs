//! An HTTP/1.1 upstream for Envoy.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use super::client::{Message, read_message};

/// An upstream with fixed responses, which records the requests.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    got: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    /// Answers each request with the bytes that `answer` returns. Closes the connection if they say so.
    pub(crate) fn start(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), got.clone());
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (answer, seen) = (answer.clone(), seen.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(socket.try_clone().unwrap());
                    let mut socket = socket;
                    while let Some(message) = read_message(&mut reader, false) {
                        let response = answer(&message);
                        seen.lock().unwrap().push(message);
                        let head = response.split(|&byte| byte == b'\n').take_while(|line| line.len() > 1);
                        let closes = { head }.any(|line| line.eq_ignore_ascii_case(b"connection: close\r"));
                        if socket.write_all(&response).is_err() || closes {
                            return;
                        }
                    }
                });
            }
        });
        Self { addr, got }
    }

    /// Answers with 200 and this body.
    pub(crate) fn says(body: &'static str) -> Self {
        Self::start(move |_| {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        })
    }

    /// Takes the requests that have arrived so far.
    pub(crate) fn got(&self) -> Vec<Message> {
        std::mem::take(&mut self.got.lock().unwrap())
    }
}
