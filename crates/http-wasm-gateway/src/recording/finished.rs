//! The recorded data of an exchange.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use super::log::{End, InstanceLog, Memory};
use crate::inspect::{Message, Side};

/// The data of an exchange, complete once it has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) began: SystemTime,
    pub(super) took: Duration,
    pub(super) client_addr: SocketAddr,
    pub(super) is_tls: bool,
    pub(super) request_id: Option<String>,
    /// As the client sees them.
    pub(super) client: Messages,
    /// As the next handler after the guests sees them.
    pub(super) next: Messages,
    /// The instances that served it, outermost first.
    pub(super) parts: Vec<Part>,
    pub(super) guest_failed: bool,
    pub(super) memory: Arc<Memory>,
    /// The number of body bytes held.
    pub(super) held: usize,
}

/// A request and its response.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) request: Option<RequestHead>,
    pub(super) request_body: Content,
    pub(super) response: Option<ResponseHead>,
    pub(super) response_body: Content,
}

#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

/// The beginning of a body, and its trailers.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) kept: Vec<u8>,
    /// The memory that is reserved for it.
    taken: usize,
    /// The size of the body, or of the part that was read.
    pub(super) size: u64,
    /// The trailers after it.
    pub(super) trailers: Option<HeaderMap>,
}

/// An instance's part in an exchange.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) log: Arc<InstanceLog>,
    /// The positions in its log where the exchange begins and ends.
    pub(super) from: usize,
    pub(super) end: Option<End>,
}

impl Finished {
    /// An exchange that begins now.
    pub(super) fn new(
        client_addr: SocketAddr,
        is_tls: bool,
        request_id: Option<String>,
        memory: Arc<Memory>,
    ) -> Self {
        Self {
            began: SystemTime::now(),
            took: Duration::ZERO,
            client_addr,
            is_tls,
            request_id,
            client: Messages::default(),
            next: Messages::default(),
            parts: Vec::new(),
            guest_failed: false,
            memory,
            held: 0,
        }
    }

    /// Whether a guest has failed, or the response is a server error.
    pub(super) fn is_failure(&self) -> bool {
        let response = self.client.response.as_ref();
        self.guest_failed || response.is_some_and(|response| response.status.is_server_error())
    }

    /// An exchange in which nothing happened.
    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self::new(SocketAddr::from(([127, 0, 0, 1], 1)), false, None, Memory::new(usize::MAX))
    }

    /// The approximate amount of memory that it uses until it is written.
    pub(super) fn size(&self) -> usize {
        let messages = [&self.client, &self.next].map(Messages::size);
        let parts = self.parts.iter().map(|part| part.end().at.saturating_sub(part.from));
        size_of::<Self>() + self.held + messages.iter().sum::<usize>() + parts.sum::<usize>()
    }

    pub(super) fn content(&mut self, side: Side, message: Message) -> &mut Content {
        let messages = self.side(side);
        match message {
            Message::Request => &mut messages.request_body,
            Message::Response => &mut messages.response_body,
        }
    }

    pub(super) fn side(&mut self, side: Side) -> &mut Messages {
        match side {
            Side::Client => &mut self.client,
            Side::Next => &mut self.next,
        }
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        self.memory.release(self.held);
    }
}

impl Content {
    /// Keeps further bytes if there is memory for them. Returns how much more memory was reserved.
    pub(super) fn keep(&mut self, bytes: &[u8], most: usize, memory: &Memory) -> usize {
        let len = self.kept.len() + bytes.len();
        if len > self.taken {
            let sizes = [len.max((self.taken * 2).min(most)), len];
            let Some(size) = sizes.into_iter().find(|size| memory.take(size - self.taken)) else { return 0 };
            self.kept.reserve_exact(size - self.kept.len());
            self.kept.extend_from_slice(bytes);
            return size - std::mem::replace(&mut self.taken, size);
        }
        self.kept.extend_from_slice(bytes);
        0
    }
}

impl Messages {
    fn size(&self) -> usize {
        let request = self.request.as_ref().map_or(0, |head| {
            let uri = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
            uri + size(&head.headers)
        });
        let trailers = [&self.request_body, &self.response_body].into_iter().flat_map(|body| &body.trailers);
        let response = self.response.iter().map(|head| &head.headers);
        request + response.chain(trailers).map(size).sum::<usize>()
    }
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + size_of::<HeaderValue>()).sum()
}

impl Part {
    /// An instance's part in an exchange that begins at this position.
    pub(super) fn new(log: Arc<InstanceLog>, from: usize) -> Self {
        Self { log, from, end: None }
    }

    /// The position where it ends: the end of the log if the instance hasn't returned.
    pub(super) fn end(&self) -> End {
        self.end.unwrap_or_else(|| self.log.end())
    }
}
