//! What an HTTP server shows to a guest.

mod body;
mod detach;
mod http;
mod in_memory;
mod names;

use std::net::SocketAddr;
use std::task::{Context, Poll};

pub use self::body::Body;
pub use self::detach::{Detach, Detachable};
pub use self::http::{HttpHost, Inform};
pub use self::in_memory::{Feed, InMemoryHead, InMemoryHost, Message};
use crate::abi::BodyKind;
use crate::error::{BoxError, Refused};
use crate::message::body_budget::BodyAccount;
use crate::message::{Fields, Frame, Outgoing};

/// What guests run on: a [`LocalHost`] that may be sent to another thread. Every [`LocalHost`] that is [`Send`] is one.
///
/// A host that is bound to its server's thread becomes one inside [`Detachable`].
pub trait Host: LocalHost + Send {}

impl<H: LocalHost + Send> Host for H {}

/// One request/response pair of an HTTP server, as plain data; the core enforces the rules of the ABI.
///
/// Implementations may hold references into the server that are bound to a thread; see [`Host`].
///
/// The core has checked everything it passes in: methods, header names and values are legal, URIs are in origin
/// form or `*`, and nothing comes out of phase. A request is there when the exchange starts; the response once the
/// next handler has given one (before that, the core keeps what the guest sets). Trailers come as the last
/// [`Frame`] of a body and go out with an [`Outgoing`] one.
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

    /// The request's method.
    fn method(&self) -> &[u8];

    /// Sets the method.
    fn set_method(&mut self, method: &[u8]);

    /// Path and query as on the wire; "/" when there is none.
    fn uri(&self) -> &[u8];

    /// Replaces path and query, keeping scheme and authority.
    ///
    /// # Errors
    /// When this request can have no path, as a CONNECT to an authority.
    fn set_uri(&mut self, uri: &[u8]) -> Result<(), Refused>;

    /// Sets the request's authority wherever the server keeps it, the `host` header included.
    fn set_authority(&mut self, authority: &[u8]);

    /// "HTTP/1.0", "HTTP/1.1", "HTTP/2.0" or "HTTP/3.0".
    fn protocol_version(&self) -> &'static str;

    /// The client's address, if known.
    fn source_addr(&self) -> Option<SocketAddr>;

    /// The response's status.
    fn status(&self) -> u16;

    /// Sets the response's status, 100 to 999.
    fn set_status(&mut self, status: u16);

    /// Sends an informational response at once, where the server can; dropped by default.
    fn inform(&mut self, status: u16) {
        let _ = status;
    }

    /// The same before there is a response, with the headers that the guest has set for it so far.
    fn inform_early(&mut self, status: u16, headers: &Fields) {
        let _ = headers;
        self.inform(status);
    }

    /// Visits each header name once, lower case, in the order received. `host` is among a request's, whatever
    /// the protocol version.
    fn header_names<'a>(&'a self, message: BodyKind, visit: impl FnMut(&'a [u8]));

    /// Visits the values under `name`, compared without case as in all methods, in the order received.
    fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], visit: impl FnMut(&'a [u8]));

    /// Sets `name` to the one `value`.
    ///
    /// # Errors
    /// When the server can hold no more headers.
    fn set_header(&mut self, message: BodyKind, name: &[u8], value: &[u8]) -> Result<(), Refused>;

    /// Adds `value` under `name`.
    ///
    /// # Errors
    /// When the server can hold no more headers.
    fn add_header(&mut self, message: BodyKind, name: &[u8], value: &[u8]) -> Result<(), Refused>;

    /// Removes all values under `name`.
    fn remove_header(&mut self, message: BodyKind, name: &[u8]);

    /// The next piece of a message's body as it was received, `None` at its end. Must register the waker when
    /// it answers [`Poll::Pending`].
    fn poll_body(&mut self, message: BodyKind, cx: &mut Context<'_>)
    -> Poll<Option<Result<Frame, BoxError>>>;

    /// Whether [`LocalHost::poll_body`] would answer `None` at once. `false` may also mean that it is not known yet.
    fn body_ended(&self, message: BodyKind) -> bool;

    /// Whether [`LocalHost::poll_body`] will answer at once until it has answered `None`: the guest then can't have to
    /// wait, and is called in a cheaper way. `false` may also mean that it is not known.
    fn body_ready(&self, message: BodyKind) -> bool {
        self.body_ended(message)
    }

    /// How many bytes of the body are still to come, if known. `None` where trailers follow, if that is known:
    /// a message with a length has no place for them.
    fn body_remaining(&self, message: BodyKind) -> Option<u64>;

    /// The account in which bodies of this request are counted, if another guest has opened one already.
    fn body_account(&self, message: BodyKind) -> Option<BodyAccount> {
        let _ = message;
        None
    }

    /// Keeps the account with the message for the next guest on its way, so that all of them hold bytes as one request.
    /// If it is dropped, each of them counts separately.
    fn set_body_account(&mut self, message: BodyKind, account: &BodyAccount) {
        let _ = (message, account);
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
