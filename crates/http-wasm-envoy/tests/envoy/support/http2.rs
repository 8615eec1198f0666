//! An HTTP/2 client and upstream for Envoy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::Message;

/// A timeout that is longer than any exchange in these tests.
const LIMIT: Duration = Duration::from_secs(60);

/// A message to send.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outgoing {
    /// "GET /path", or a status.
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    /// The body's pieces. Without any, the head ends the message, unless there are trailers.
    pub(crate) body: Vec<Bytes>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether the message is reset after its body rather than ended.
    pub(crate) is_reset: bool,
    /// Whether the response is sent before the end of the request.
    pub(crate) is_early: bool,
}

impl Outgoing {
    fn ends_with_head(&self) -> bool {
        self.body.is_empty() && self.trailers.is_empty() && !self.is_reset
    }
}

fn map(fields: &[(String, String)]) -> HeaderMap {
    let field = |(name, value): &(String, String)| {
        (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
    };
    fields.iter().map(field).collect()
}

fn list(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

async fn send_rest(mut stream: SendStream<Bytes>, message: &Outgoing) -> Result<(), h2::Error> {
    for (at, piece) in message.body.iter().enumerate() {
        let is_last = at + 1 == message.body.len() && message.trailers.is_empty() && !message.is_reset;
        stream.send_data(piece.clone(), is_last)?;
    }
    if message.is_reset {
        // Let the data leave before the reset.
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    } else if !message.trailers.is_empty() {
        stream.send_trailers(map(&message.trailers))?;
    }
    Ok(())
}

/// Reads a message's body and trailers to their end.
async fn read_rest(stream: &mut RecvStream, message: &mut Message) {
    loop {
        match stream.data().await {
            Some(Ok(piece)) => {
                let _ = stream.flow_control().release_capacity(piece.len());
                message.body.extend_from_slice(&piece);
            }
            Some(Err(_)) => return message.is_cut = true,
            None => break,
        }
    }
    match stream.trailers().await {
        Ok(trailers) => message.trailers = trailers.as_ref().map(list).unwrap_or_default(),
        Err(_) => message.is_cut = true,
    }
}

/// Sends a request on a new connection, and reads the response. Without a response, the status is 0.
pub(crate) fn exchange_http2(runtime: &Runtime, to: SocketAddr, request: &Outgoing) -> Message {
    let exchange = async {
        let (mut client, connection) =
            h2::client::handshake(TcpStream::connect(to).await.unwrap()).await.unwrap();
        let connection = tokio::spawn(connection);
        let (method, path) = request.start.split_once(' ').unwrap();
        let mut head = Request::builder().method(method).uri(format!("http://a{path}")).body(()).unwrap();
        *head.headers_mut() = map(&request.headers);
        let (response, stream) = client.send_request(head, request.ends_with_head()).unwrap();
        // The response may come before the request has been sent.
        let sent = if request.ends_with_head() { Ok(()) } else { send_rest(stream, request).await };
        let mut message = Message::default();
        match response.await {
            Ok(response) => {
                let (head, mut body) = response.into_parts();
                message.start = format!("HTTP/2 {}", head.status.as_u16());
                message.headers = list(&head.headers);
                read_rest(&mut body, &mut message).await;
            }
            Err(_) => message.is_cut = true,
        }
        let _ = sent;
        drop(client);
        connection.abort();
        message
    };
    runtime.block_on(async { tokio::time::timeout(LIMIT, exchange).await.expect("an exchange that ends") })
}

/// An HTTP/2 upstream that records the requests. `h2` checks their framing, including their length.
pub(crate) struct Http2Upstream {
    pub(crate) addr: SocketAddr,
    got: Arc<Mutex<Vec<Message>>>,
}

impl Http2Upstream {
    /// Answers each request with the result of `answer`, which only gets the head if the response is early.
    pub(crate) fn start(
        runtime: &Runtime,
        answer: impl Fn(&Message) -> Outgoing + Send + Sync + 'static,
    ) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), got.clone());
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, seen) = (answer.clone(), seen.clone());
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(serve(request, respond, answer.clone(), seen.clone()));
                    }
                });
            }
        });
        Self { addr, got }
    }

    /// Takes the requests that have arrived so far.
    pub(crate) fn got(&self) -> Vec<Message> {
        std::mem::take(&mut self.got.lock().unwrap())
    }
}

async fn serve(
    request: Request<RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    answer: Arc<impl Fn(&Message) -> Outgoing>,
    seen: Arc<Mutex<Vec<Message>>>,
) {
    let (head, mut body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut message = Message { start: format!("{} {path} HTTP/2", head.method), ..Message::default() };
    message.headers = list(&head.headers);
    let answer = answer(&message);
    if !answer.is_early {
        read_rest(&mut body, &mut message).await;
        seen.lock().unwrap().push(message);
    }
    let mut head = Response::builder().status(answer.start.as_str()).body(()).unwrap();
    *head.headers_mut() = map(&answer.headers);
    let Ok(stream) = respond.send_response(head, answer.ends_with_head()) else { return };
    if !answer.ends_with_head() {
        let _cut = send_rest(stream, &answer).await;
    }
}
