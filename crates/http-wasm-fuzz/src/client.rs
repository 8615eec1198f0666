//! hyper's client on bytes in memory.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::Builder;
use hyper::rt::{Read, ReadBufCursor, Write};

/// A response as hyper understands it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The body, unless it broke off.
    pub(crate) body: Option<Vec<u8>>,
}

/// Has hyper's client read these bytes as the answer to a request; nothing if it finds no head.
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
            // No body follows a switch of protocols; what does isn't hyper's.
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

/// Runs what never waits for anything outside.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("it waits for ever");
}

/// Gives the response once something of the request is written, and then ends.
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
