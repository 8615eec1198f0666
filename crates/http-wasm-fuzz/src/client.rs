//! hyper's client on bytes in memory.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::Builder;
use hyper::rt::{Read, ReadBufCursor, Write};

/// A response as parsed by hyper.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The body, unless it is incomplete.
    pub(crate) body: Option<Vec<u8>>,
}

/// Has hyper's client read these bytes as the response to a request. Returns `None` if it doesn't find a head.
pub(crate) fn ask(method: &Method, response: &[u8]) -> Option<Answer> {
    let io = Memory { response: Bytes::copy_from_slice(response), asked: false };
    run(async {
        let mut builder = Builder::new();
        builder.max_headers(1024).max_header_size(1 << 20);
        let (mut sender, connection) = builder.handshake(io).await.ok()?;
        let request = Request::builder().method(method).uri("/").header("host", "h");
        let answer = async {
            let response = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?).await.ok()?;
            let status = response.status().as_u16();
            // After switching protocols there is no body, and hyper doesn't parse what follows.
            let body = response.into_body().collect().await.ok().map(|body| body.to_bytes().to_vec());
            Some(Answer { status, body })
        };
        let mut connection = pin!(connection);
        let mut ended = false;
        let mut answer = pin!(answer);
        std::future::poll_fn(|cx| {
            if !ended {
                ended = connection.as_mut().poll(cx).is_ready();
            }
            answer.as_mut().poll(cx)
        })
        .await
    })
}

/// Runs a future that never waits for anything external.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("the future never completes");
}

/// A connection that returns the response once part of the request has been written, and then ends.
struct Memory {
    response: Bytes,
    asked: bool,
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            return Poll::Pending;
        }
        let size = self.response.len().min(buf.remaining());
        buf.put_slice(&self.response.split_to(size));
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
