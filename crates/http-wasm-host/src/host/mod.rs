//! How an HTTP server gives guests access to its messages.

mod body;
mod change;
mod detach;
mod feed;
mod header_map;
mod http;
mod in_memory;
mod names;
mod rewritten;

use std::net::SocketAddr;
use std::task::{Context, Poll};

pub use self::body::Body;
pub use self::change::{BodyState, HeadChange};
pub use self::detach::{Detach, Detachable};
pub use self::feed::Feed;
pub use self::http::{HttpHost, Inform, StreamedRequest};
pub use self::in_memory::{InMemoryHead, InMemoryHost, Message};
use crate::abi::BodyKind;
use crate::error::{BoxError, Refused};
use crate::message::body_budget::BodyAccount;
use crate::message::{Fields, Frame, HeaderChange, Outgoing};

/// A server's exchange as guests access it: a [`LocalHost`] that can be sent to another thread. It is implemented for
/// every [`LocalHost`] that is [`Send`].
///
/// To run guests on a host that is bound to its server's thread, wrap it in [`Detachable`].
pub trait Host: LocalHost + Send {}

impl<H: LocalHost + Send> Host for H {}

/// One request/response pair of an HTTP server, as plain data; the core enforces the rules of the ABI.
///
/// Implementations may hold references into the server that are bound to a thread; see [`Host`].
///
/// The core has checked everything that it passes in: methods, header names and values are valid, URIs are in origin
/// form or `*`, and nothing is called in the wrong phase. The request must be available when the exchange starts, and
/// the response once the next handler has returned one; until then, the core keeps what the guest sets. Trailers arrive
/// as the last [`Frame`] of a body, and are sent with an [`Outgoing`] body. Header names match case-insensitively in
/// all methods.
///
/// The documentation of each method quotes the rule of the [ABI](https://http-wasm.io/http-handler-abi/) that it
/// implements, with the host function that the rule is about.
///
/// # Example
/// A server whose messages are in memory, and have no trailers:
///
/// ```
/// use std::task::{Context, Poll};
///
/// use http_wasm_host::{
///     BodyKind, BodyState, BoxError, Chunks, Engine, Fields, Frame, Guest, HeaderChange, LocalHost, Outcome, Outgoing,
///     Refused, HeadChange, Rest,
/// };
///
/// #[derive(Default)]
/// struct Message {
///     headers: Fields,
///     body: Chunks,
/// }
///
/// struct MyHost {
///     method: Vec<u8>,
///     path: Vec<u8>,
///     status: u16,
///     messages: [Message; 2],
/// }
///
/// impl MyHost {
///     fn get(path: &str) -> Self {
///         Self { method: b"GET".into(), path: path.into(), status: 200, messages: Default::default() }
///     }
/// }
///
/// impl LocalHost for MyHost {
///     type Head = (BodyKind, Vec<u8>, Vec<u8>, u16, Fields);
///
///     fn save_head(&self, message: BodyKind) -> Self::Head {
///         let headers = self.messages[message as usize].headers.clone();
///         (message, self.method.clone(), self.path.clone(), self.status, headers)
///     }
///
///     fn restore_head(&mut self, (message, method, path, status, headers): Self::Head) {
///         match message {
///             BodyKind::Request => (self.method, self.path) = (method, path),
///             BodyKind::Response => self.status = status,
///         }
///         self.messages[message as usize].headers = headers;
///     }
///
///     fn method(&self) -> &[u8] {
///         &self.method
///     }
///
///     fn uri(&self) -> &[u8] {
///         &self.path
///     }
///
///     fn protocol_version(&self) -> &'static str {
///         "HTTP/1.1"
///     }
///
///     fn change_head(&mut self, change: HeadChange<'_>) -> Result<(), Refused> {
///         match change {
///             HeadChange::Method(method) => self.method = method.into(),
///             HeadChange::Uri(path) => self.path = path.into(),
///             // This server keeps the authority nowhere else.
///             HeadChange::Authority(host) => self.messages[0].headers.set(b"host", host),
///             HeadChange::Status(status) => self.status = status,
///         }
///         Ok(())
///     }
///
///     fn status(&self) -> u16 {
///         self.status
///     }
///
///     fn header_names<'a>(&'a self, message: BodyKind, visit: impl FnMut(&'a [u8])) {
///         self.messages[message as usize].headers.names().for_each(visit);
///     }
///
///     fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], visit: impl FnMut(&'a [u8])) {
///         self.messages[message as usize].headers.values(name).for_each(visit);
///     }
///
///     fn change_header(
///         &mut self,
///         message: BodyKind,
///         name: &[u8],
///         change: HeaderChange<'_>,
///     ) -> Result<(), Refused> {
///         self.messages[message as usize].headers.change(name, change);
///         Ok(())
///     }
///
///     fn poll_body(
///         &mut self,
///         message: BodyKind,
///         _: &mut Context<'_>,
///     ) -> Poll<Option<Result<Frame, BoxError>>> {
///         Poll::Ready(self.messages[message as usize].body.pop().map(|piece| Ok(Frame::Data(piece))))
///     }
///
///     fn body_state(&self, message: BodyKind) -> BodyState {
///         match self.messages[message as usize].body.is_empty() {
///             true => BodyState::Ended,
///             false => BodyState::Buffered,
///         }
///     }
///
///     fn body_remaining(&self, message: BodyKind) -> Option<u64> {
///         Some(self.messages[message as usize].body.len() as u64)
///     }
///
///     fn set_body(&mut self, message: BodyKind, mut outgoing: Outgoing) {
///         let body = &mut self.messages[message as usize].body;
///         if let Rest::Follows = outgoing.rest {
///             while let Some(piece) = body.pop() {
///                 outgoing.first.push(piece);
///             }
///         }
///         *body = outgoing.first;
///     }
/// }
///
/// // A guest that answers all requests with 404.
/// let guest = Guest::<MyHost>::load(&Engine::new()?, br#"(module
///   (import "http_handler" "set_status_code" (func $set_status_code (param i32)))
///   (memory (export "memory") 1)
///   (func (export "handle_request") (result i64) (call $set_status_code (i32.const 404)) (i64.const 0))
///   (func (export "handle_response") (param i32 i32)))"#)?;
/// let outcome = futures_executor::block_on(guest.handle_request(MyHost::get("/")));
/// assert!(matches!(outcome, Ok(Outcome::Respond(host)) if host.status == 404));
/// # Ok::<(), http_wasm_host::LoadError>(())
/// ```
pub trait LocalHost: 'static {
    /// A copy of one message's head: everything that these methods can change except the body.
    type Head: Send + 'static;

    /// Whether the server determines the length of a response's body itself, and declares it where necessary. A
    /// response that a guest has written then has no `content-length` header; one from the next handler always keeps
    /// its own, corrected if necessary.
    const SENDER_DECLARES_LENGTH: bool = false;

    /// Whether the server can send a response while a guest writes it: whether [`split`](Self::split) splits responses.
    /// If not, guests that [stream](crate::Stream) them can't be loaded for it.
    const STREAMS: bool = false;

    /// The same for requests.
    const STREAMS_REQUESTS: bool = false;

    /// Copies a message's head, for a guest that [fails open](crate::OnFailure::Open).
    fn save_head(&self, message: BodyKind) -> Self::Head;

    /// Restores a head that was saved.
    fn restore_head(&mut self, head: Self::Head);

    /// Returns the request's method, as received by the server or changed by a guest.
    ///
    /// *get_method*: "GET", "POST" and so on, in the case in which the client sent it.
    fn method(&self) -> &[u8];

    /// Returns the request's path and query.
    ///
    /// *get_uri*: as on the wire, percent-encoding included; "/" when there is none, `*` for `OPTIONS *`.
    fn uri(&self) -> &[u8];

    /// Returns the request's protocol version.
    ///
    /// *get_protocol_version*: "HTTP/1.0", "HTTP/1.1", "HTTP/2.0" or "HTTP/3.0".
    fn protocol_version(&self) -> &'static str;

    /// Returns the client's address, or `None`, the default, if the server doesn't know it.
    ///
    /// *get_source_addr*: "ip:port" of the client, IPv6 addresses in brackets; the core formats it.
    fn source_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Changes a part of the request's or the response's head other than its headers.
    ///
    /// *set_uri*: replaces path and query together, and keeps scheme and authority. *set_header_value* of `host`: takes
    /// effect on what the next handler sees, in HTTP/1.1 and HTTP/2 alike. *set_status_code*: the last final status
    /// wins; the core keeps those that are set before the next handler is called.
    ///
    /// # Errors
    /// If this request can't have such a part. For example, a CONNECT request has no path. An error for a status is
    /// ignored.
    fn change_head(&mut self, change: HeadChange<'_>) -> Result<(), Refused>;

    /// Returns the response's status.
    ///
    /// *get_status_code*: after the next handler, the status of its response, whether that is buffered or not.
    fn status(&self) -> u16;

    /// Sends an informational response (a status of 100 or 102 to 199) with these headers or, if `None`, those of the
    /// response. By default it is dropped.
    ///
    /// *set_status_code*: an informational status may be set several times before the final one. It is sent at once if
    /// the server can send it, and dropped otherwise.
    fn inform(&mut self, status: u16, headers: Option<&Fields>) {
        let _ = (status, headers);
    }

    /// Visits the names of a message's headers. A request's include `host`, whatever the protocol version.
    ///
    /// *get_header_names*: lower case, once each, in the order received.
    fn header_names<'a>(&'a self, message: BodyKind, visit: impl FnMut(&'a [u8]));

    /// Visits the values of the header `name`, in the order received.
    ///
    /// *get_header_values*: a header with an empty value has one value of length 0; an absent header has none.
    fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], visit: impl FnMut(&'a [u8]));

    /// Changes the headers named `name`.
    ///
    /// *set_header_value* replaces all values, *add_header_value* appends one, *remove_header* removes all.
    ///
    /// # Errors
    /// If the server can't hold more headers.
    fn change_header(
        &mut self,
        message: BodyKind,
        name: &[u8],
        change: HeaderChange<'_>,
    ) -> Result<(), Refused>;

    /// Returns the next piece of a message's body as it was received, `None` at its end. Must register the waker when
    /// it returns [`Poll::Pending`].
    ///
    /// *read_body*: repeated reads continue where the last one stopped. The core fills the guest's buffer, and keeps
    /// what must be replayed.
    fn poll_body(&mut self, message: BodyKind, cx: &mut Context<'_>)
    -> Poll<Option<Result<Frame, BoxError>>>;

    /// Returns how much of a message's body is left. A guest that will not have to wait for it is called in a cheaper
    /// way.
    ///
    /// *read_body*: a body shorter than the guest's buffer is returned with EOF in the same call.
    fn body_state(&self, message: BodyKind) -> BodyState;

    /// Returns how many bytes of the body are left, if that is known. Returns `None`, the default, if it isn't, or if
    /// trailers are known to follow, because a message with a length can't have them.
    ///
    /// *write_body*: the framing follows the body that is actually sent.
    fn body_remaining(&self, message: BodyKind) -> Option<u64> {
        let _ = message;
        None
    }

    /// Returns the account in which the bodies of this request are counted: the one that is kept with the message, or a
    /// new one that is then kept there for the guests that follow, so that all of them hold bytes as one request. By
    /// default, nothing is kept, and each guest counts separately.
    fn body_account(
        &mut self,
        message: BodyKind,
        open: impl FnOnce() -> Option<BodyAccount>,
    ) -> Option<BodyAccount> {
        let _ = message;
        open()
    }

    /// Returns the number by which a [`Tracer`](crate::Tracer) recognises the exchange; 0, the default, if none needs
    /// to.
    fn trace_id(&self) -> u64 {
        0
    }

    /// Returns whether the request is refused before others when memory for instances runs short. The last quarter of
    /// the engine's [memory budget](crate::EngineBuilder::memory_budget) is reserved for requests that aren't
    /// sheddable, so that a client that sends many requests at once can't use up everything. Defaults to `false`.
    fn is_sheddable(&self) -> bool {
        false
    }

    /// Replaces a message's body with `body`, which may continue with the unread rest of the current one. The framing
    /// headers are already correct, or are left to the server (see
    /// [`SENDER_DECLARES_LENGTH`](Self::SENDER_DECLARES_LENGTH)).
    ///
    /// *write_body*: the first write of a phase starts a new body, later ones append to it. The core collects them and
    /// calls this once, when the phase ends.
    ///
    /// A guest whose [bodies are decoded](crate::Bodies::Decoded) may need the body to be decoded or encoded while it
    /// is sent: [`Outgoing::decode`](crate::Outgoing::decode) and [`Outgoing::encode`](crate::Outgoing::encode).
    fn set_body(&mut self, message: BodyKind, body: Outgoing);

    /// Splits off a message, for a guest that [streams](crate::Stream) and begins to write it: returns a host that has
    /// its head, and gets its body with the next call of [`set_body`](Self::set_body), as [`Rest::Streamed`]. What
    /// remains here is a copy of the head for the guest to read, and the unread rest of the body. For a request, the
    /// returned host is that of [`Outcome::Streams`](crate::Outcome::Streams), from which the next handler gets the
    /// request.
    ///
    /// Returns `None` if the server can't send such a message while it is being written, which is the default.
    ///
    /// *write_body* of such a guest: the head is final with the first byte, and what is written is sent as it is
    /// written.
    ///
    /// [`Rest::Streamed`]: crate::Rest::Streamed
    fn split(&mut self, message: BodyKind) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = message;
        None
    }

    /// Releases everything in the server that the host refers to: from then on it works on copies, and any thread may
    /// use it.
    ///
    /// It is called on the thread that drives the exchange, before a guest that computes for a long time yields, before
    /// an instance whose start-up runs the guest's code is created, and before a clean-up call for a request without a
    /// response is queued. Each of these may continue on another thread. Hosts without such references keep the
    /// default, which does nothing.
    fn detach(&mut self) {}
}
