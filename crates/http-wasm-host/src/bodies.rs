//! How guests get bodies that have a content coding.

/// How a guest gets a body that has a content coding, such as gzip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bodies {
    /// The guest reads bodies as they were received, and what it writes is sent as it is.
    #[default]
    AsReceived,
    /// The guest reads and writes the content: `gzip`, `deflate`, `br` and `zstd` are decoded while the guest reads.
    /// `content-encoding` and `content-length` of such a message are hidden from it.
    ///
    /// A body that the guest leaves alone, or only reads, is sent as it was received, byte for byte. If the guest
    /// changes it, the fields that describe its bytes change too: digests and `accept-ranges` are removed, an `etag`
    /// becomes weak, and `vary` lists `accept-encoding`.
    ///
    /// If the guest has enabled `buffer_response`, without which it can neither read nor change responses, the requests
    /// that it passes on ask the next handler only for codings that can be decoded, and for whole responses.
    Decoded,
}

crate::choices! { Bodies { AsReceived = "as-received", Decoded = "decoded" } }

/// Settings of a guest whose bodies are [decoded](Bodies::Decoded), for
/// [`GuestBuilder::decoding`](crate::GuestBuilder::decoding).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decoding {
    /// What happens when the guest reads a body that can't be decoded. [`Undecodable::Refuse`] by default.
    pub undecodable: Undecodable,
    /// Whether a response that was coded, and that the guest has changed, is encoded again for a client that accepts a
    /// coding. Otherwise it is sent as the guest has written it. `true` by default.
    pub recompress: bool,
    /// Whether the guest may change the body of a message whose `cache-control` says `no-transform`. Otherwise a write
    /// fails. `false` by default.
    pub ignore_no_transform: bool,
}

impl Default for Decoding {
    fn default() -> Self {
        Self { undecodable: Undecodable::Refuse, recompress: true, ignore_no_transform: false }
    }
}

/// What happens when a guest reads a body with a coding that can't be decoded, or a part of a body (206).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Undecodable {
    /// The exchange fails: with 415 for a request, and with 502 for a response.
    #[default]
    Refuse,
    /// The guest reads the bytes as they were received, and the log has a warning.
    Pass,
}

crate::choices! { Undecodable { Refuse = "refuse", Pass = "pass" } }

/// Which bodies a guest may rewrite while they are sent.
///
/// The guest must declare that it can: by a custom section `http-wasm-stream`, unless
/// [`Lint::UndeclaredStream`](crate::Lint::UndeclaredStream) is [allowed](crate::GuestBuilder::allow).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stream {
    /// None: what the guest writes is sent when its function returns.
    #[default]
    Off,
    /// Responses. The first byte that the guest writes in `handle_response` makes status and headers final: they are
    /// sent, followed by what the guest writes, as it is written. A write returns when the receiver has taken the bytes
    /// and is ready for more. `read_body` returns as soon as there is at least one byte, or the end of the body. Until
    /// the guest returns, an instance is pinned to the response.
    ///
    /// A failure after that aborts the response, even if the guest [fails open](crate::OnFailure::Open). The time limit
    /// is [`stream_total`](crate::Limits::stream_total). [`written_bytes`](crate::Limits::written_bytes) doesn't apply.
    ///
    /// A request's body that the guest writes is sent when `handle_request` returns.
    Response,
    /// Requests, by the same rules. The first byte that the guest writes in `handle_request` makes method, URI and
    /// headers final, and the next handler is called: [`Outcome::Streams`](crate::Outcome::Streams). If the next
    /// handler has responded and takes no more of the body (see [`stream_stall`](crate::Limits::stream_stall)),
    /// `read_body` returns the end of the body, and what the guest writes is discarded. A response that the guest
    /// writes in `handle_response` is sent when that function returns.
    Request,
    /// Requests and responses.
    Both,
}

crate::choices! { Stream { Off = "off", Response = "response", Request = "request", Both = "both" } }

impl Stream {
    /// Returns whether the guest may write requests while they are sent.
    #[inline]
    pub fn requests(self) -> bool {
        matches!(self, Self::Request | Self::Both)
    }

    /// Returns whether the guest may write responses while they are sent.
    #[inline]
    pub fn responses(self) -> bool {
        matches!(self, Self::Response | Self::Both)
    }
}
