//! The client of the host under test.

mod http1;
mod http2;
mod message;

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

pub use self::message::Http;
pub(crate) use self::message::{Request, Response};

/// The beginning of the error after a timeout.
pub(crate) const NO_RESPONSE: &str = "no response";

/// Sends a request on a new connection. The complete response must arrive within `timeout`; otherwise, the error says
/// why it didn't.
pub(crate) async fn send(
    address: &str,
    http: Http,
    request: &Request,
    timeout: Duration,
) -> Result<Response, String> {
    match tokio::time::timeout(timeout, exchange(address, http, request)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("{NO_RESPONSE} within {} s", timeout.as_secs())),
    }
}

async fn exchange(address: &str, http: Http, request: &Request) -> io::Result<Response> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    match http {
        Http::One => http1::send(stream, address, request).await,
        Http::Two => http2::send(stream, address, request).await,
    }
}
