//! What an HTTP server shows to a guest.

mod body;
mod change;
mod detach;
mod http;
mod in_memory;
mod names;

use std::net::SocketAddr;
use std::task::{Context, Poll};

pub use self::body::Body;
pub use self::change::{BodyState, RequestChange};
pub use self::detach::{Detach, Detachable};
pub use self::http::{HttpHost, Inform};
pub use self::in_memory::{Feed, InMemoryHead, InMemoryHost, Message};
use crate::abi::BodyKind;
use crate::error::{BoxError, Refused};
use crate::message::body_budget::BodyAccount;
use crate::message::{Fields, Frame, HeaderChange, Outgoing};

/// What guests run on: a [`LocalHost`] that may be sent to another thread. Every [`LocalHost`] that is [`Send`] is one.
///
/// A host that is bound to its server's thread becomes one inside [`Detachable`].
pub trait Host: LocalHost + Send {}

impl<H: LocalHost + Send> Host for H {}

/// One request/response pair of an HTTP server, as plain data; the core enforces the rules of the ABI.
///
/// Implementations may hold references into the server that are bound to a thread; see [`Host`].
///
/// The core has checked everything it passes in: methods, header names and values are legal, URIs are in origin form or
/// `*`, and nothing comes out of phase. The request is there when the exchange starts, the response once the next
/// handler has given one; before that, the core keeps what the guest sets. Trailers come as the last [`Frame`] of a
/// body and go out with an [`Outgoing`] one. Header names match case-insensitively in all methods.
///
/// Each method quotes the rule of the [ABI](https://http-wasm.io/http-handler-abi/) that it serves, with the function
/// that the rule is about.
///
/// # Example
/// A server whose messages are in memory, and have no trailers:
///
/// ```
/// use std::task::{Context, Poll};
///
/// use http_wasm_host::{
///     BodyKind, BodyState, BoxError, Chunks, Engine, Fields, Frame, Guest, HeaderChange, LocalHost, Outcome, Outgoing,
///     Refused, RequestChange, Rest,
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
///     fn change_request(&mut self, change: RequestChange<'_>) -> Result<(), Refused> {
///         match change {
///             RequestChange::Method(method) => self.method = method.into(),
///             RequestChange::Uri(path) => self.path = path.into(),
///             // This server keeps the authority nowhere else.
///             RequestChange::Authority(host) => self.messages[0].headers.set(b"host", host),
///         }
///         Ok(())
///     }
///
///     fn status(&self) -> u16 {
///         self.status
///     }
///
///     fn set_status(&mut self, status: u16) {
///         self.status = status;
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
    /// A copy of one message's head: all that the methods here can change of it but the body.
    type Head: Send + 'static;

    /// Whether the sender of a response determines the length of its body itself, and declares it where needed. A
    /// response that a guest has made then has no `content-length` header; one from the next handler always keeps its
    /// own, corrected if necessary.
    const SENDER_DECLARES_LENGTH: bool = false;

    /// Copies a message's head, for a guest that [fails open](crate::OnFailure::Open).
    fn save_head(&self, message: BodyKind) -> Self::Head;

    /// Makes the head of the message that was saved what it was then.
    fn restore_head(&mut self, head: Self::Head);

    /// The request's method, as the server received it or the guest has changed it.
    ///
    /// *get_method*: "GET", "POST" and so on, in the case in which the client sent it.
    fn method(&self) -> &[u8];

    /// The request's path and query.
    ///
    /// *get_uri*: as on the wire, percent-encoding included; "/" when there is none, `*` for `OPTIONS *`.
    fn uri(&self) -> &[u8];

    /// The protocol of the request.
    ///
    /// *get_protocol_version*: "HTTP/1.0", "HTTP/1.1", "HTTP/2.0" or "HTTP/3.0".
    fn protocol_version(&self) -> &'static str;

    /// The client's address; `None`, the default, where the server doesn't know it.
    ///
    /// *get_source_addr*: "ip:port" of the client, IPv6 addresses in brackets; the core formats it.
    fn source_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Changes a part of the request's head.
    ///
    /// *set_uri*: replaces path and query together, and keeps scheme and authority. *set_header_value* of `host`: takes
    /// effect on what the next handler sees, in HTTP/1.1 and HTTP/2 alike.
    ///
    /// # Errors
    /// When this request can't have such a part, as the CONNECT to an authority can have no path.
    fn change_request(&mut self, change: RequestChange<'_>) -> Result<(), Refused>;

    /// The response's status.
    ///
    /// *get_status_code*: after the next handler, the status of its response, whether that is buffered or not.
    fn status(&self) -> u16;

    /// Sets the response's status, 200 to 999.
    ///
    /// *set_status_code*: the last final status counts. The core keeps those that are set before the next handler.
    fn set_status(&mut self, status: u16);

    /// Sends an informational response (a status of 100 or 102 to 199), with these headers, or, if `None`, those of the
    /// response. Dropped by default.
    ///
    /// *set_status_code*: an informational status may be set several times before the final one. It goes out at once
    /// where the server can send it, else it is dropped.
    fn inform(&mut self, status: u16, headers: Option<&Fields>) {
        let _ = (status, headers);
    }

    /// Visits the names of a message's headers; `host` is among a request's, whatever the protocol version.
    ///
    /// *get_header_names*: lower case, once each, in the order received.
    fn header_names<'a>(&'a self, message: BodyKind, visit: impl FnMut(&'a [u8]));

    /// Visits the values under `name`, in the order received.
    ///
    /// *get_header_values*: a header with an empty value gives one value of length 0; without the header there is none.
    fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], visit: impl FnMut(&'a [u8]));

    /// Changes the headers under `name`.
    ///
    /// *set_header_value* replaces all values, *add_header_value* appends one, *remove_header* removes all.
    ///
    /// # Errors
    /// When the server can hold no more headers.
    fn change_header(
        &mut self,
        message: BodyKind,
        name: &[u8],
        change: HeaderChange<'_>,
    ) -> Result<(), Refused>;

    /// The next piece of a message's body as it was received, `None` at its end. Must register the waker when it
    /// returns [`Poll::Pending`].
    ///
    /// *read_body*: repeated reads go on where the last one stopped. The core fills the guest's buffer and keeps for
    /// replay what is needed.
    fn poll_body(&mut self, message: BodyKind, cx: &mut Context<'_>)
    -> Poll<Option<Result<Frame, BoxError>>>;

    /// How much of a message's body is left. A guest that can't have to wait for it is called in a cheaper way.
    ///
    /// *read_body*: a body shorter than the guest's buffer comes back with EOF in the same call.
    fn body_state(&self, message: BodyKind) -> BodyState;

    /// How many bytes of the body are still to come, if known. `None` where trailers follow, if that is known: a
    /// message with a length has no place for them.
    ///
    /// *write_body*: framing follows the body that really goes out.
    fn body_remaining(&self, message: BodyKind) -> Option<u64>;

    /// The account in which bodies of this request are counted: the one that is kept with the message, or else one that
    /// is opened now and kept there for the next guest on the message's way, so that all of them hold bytes as one
    /// request. By default, nothing is kept, and each guest counts separately.
    fn body_account(
        &mut self,
        message: BodyKind,
        open: impl FnOnce() -> Option<BodyAccount>,
    ) -> Option<BodyAccount> {
        let _ = message;
        open()
    }

    /// Whether the request is refused before others when memory for instances runs short. The last quarter of the
    /// engine's [memory budget](crate::EngineBuilder::memory_budget) is reserved for requests that aren't, so that
    /// whoever sends many requests at once can't use up everything. `false` by default.
    fn is_sheddable(&self) -> bool {
        false
    }

    /// Replaces a message's body by `body`, which may go on with the unread rest of the current one. The headers that
    /// frame it are already right, or are left to its sender (see
    /// [`SENDER_DECLARES_LENGTH`](Self::SENDER_DECLARES_LENGTH)).
    ///
    /// *write_body*: the first write of a phase starts a new body in place of the old one, later ones append. The core
    /// collects them; this is called once, when the phase ends.
    fn set_body(&mut self, message: BodyKind, body: Outgoing);

    /// Lets go of everything in the server that the host refers to: from now on it works on copies, and any thread may
    /// use it.
    ///
    /// It is called on the thread that drives the exchange, before a guest that computes for long yields, before an
    /// instance is made whose start-up runs code of the guest, and before a clean-up call for a request without a
    /// response is queued. Each of these may continue on another thread. Hosts that hold no such reference keep the
    /// default, which does nothing.
    fn detach(&mut self) {}
}
