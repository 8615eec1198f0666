//! Hosts that are bound to their server's thread until they let go of it.

use std::fmt;
use std::mem::replace;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use send_wrapper::SendWrapper;

use super::{BodyState, HeadChange, Host, LocalHost};
use crate::abi::BodyKind;
use crate::error::{BoxError, Refused};
use crate::message::body_budget::BodyAccount;
use crate::message::{Fields, Frame, HeaderChange, Outgoing};

/// A host that refers to its server's own data, and can be exchanged for one that holds copies of it.
///
/// The references may be bound to a thread, as those of an [`Rc`](std::rc::Rc) are: guests run on the host inside
/// [`Detachable`].
///
/// A server with an event loop implements [`LocalHost`] for a type that reads and writes the server's own message, and
/// this trait to hand over copies, for instance in an [`InMemoryHost`](crate::InMemoryHost). When the guest has
/// finished, [`Detachable::into_inner`] returns one or the other: changes to the copies have to be applied to the
/// server's message.
///
/// # Example
/// A server on one thread, whose connections are counted with an [`Rc`](std::rc::Rc):
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
///
/// use http_wasm_host::{Detach, Detachable, Engine, Fields, Guest, InMemoryHost, LocalHost, Outcome};
/// # use std::task::{Context, Poll};
/// # use http_wasm_host::{
/// #     BodyKind, BodyState, BoxError, Frame, HeadChange, HeaderChange, LoadError, Outgoing, Refused,
/// # };
///
/// #[derive(Default)]
/// struct Connection {
///     sent: RefCell<Vec<u16>>,
/// }
///
/// /// A request that has arrived on a connection.
/// struct Live {
///     connection: Rc<Connection>,
///     message: InMemoryHost,
/// }
///
/// impl LocalHost for Live {
///     type Head = <InMemoryHost as LocalHost>::Head;
///
///     // Needs the connection. After `into_detached`, informational responses are dropped.
///     fn inform(&mut self, status: u16, _headers: Option<&Fields>) {
///         self.connection.sent.borrow_mut().push(status);
///     }
///
///     fn uri(&self) -> &[u8] {
///         self.message.uri()
///     }
///     // The other methods access the message in the same way.
/// #   fn save_head(&self, message: BodyKind) -> Self::Head { self.message.save_head(message) }
/// #   fn restore_head(&mut self, head: Self::Head) { self.message.restore_head(head) }
/// #   fn method(&self) -> &[u8] { self.message.method() }
/// #   fn protocol_version(&self) -> &'static str { self.message.protocol_version() }
/// #   fn change_head(&mut self, change: HeadChange<'_>) -> Result<(), Refused> { self.message.change_head(change) }
/// #   fn status(&self) -> u16 { self.message.status() }
/// #   fn header_names<'a>(&'a self, message: BodyKind, visit: impl FnMut(&'a [u8])) {
/// #       self.message.header_names(message, visit)
/// #   }
/// #   fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], visit: impl FnMut(&'a [u8])) {
/// #       self.message.header_values(message, name, visit)
/// #   }
/// #   fn change_header(&mut self, message: BodyKind, name: &[u8], change: HeaderChange<'_>) -> Result<(), Refused> {
/// #       self.message.change_header(message, name, change)
/// #   }
/// #   fn poll_body(&mut self, message: BodyKind, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BoxError>>> {
/// #       self.message.poll_body(message, cx)
/// #   }
/// #   fn body_state(&self, message: BodyKind) -> BodyState { self.message.body_state(message) }
/// #   fn set_body(&mut self, message: BodyKind, body: Outgoing) { self.message.set_body(message, body) }
/// }
///
/// impl Detach for Live {
///     type Detached = InMemoryHost;
///
///     fn into_detached(self) -> InMemoryHost {
///         self.message
///     }
/// }
///
/// // A guest that sends 103 Early Hints, and then responds.
/// let guest = Guest::<Detachable<Live>>::load(&Engine::new()?, br#"(module
///   (import "http_handler" "set_status_code" (func $set_status_code (param i32)))
///   (memory (export "memory") 1)
///   (func (export "handle_request") (result i64)
///     (call $set_status_code (i32.const 103)) (call $set_status_code (i32.const 200)) (i64.const 0))
///   (func (export "handle_response") (param i32 i32)))"#)?;
///
/// let connection = Rc::new(Connection::default());
/// let live = Live { connection: connection.clone(), message: InMemoryHost::new("GET", "/") };
/// let outcome = futures_executor::block_on(guest.handle_request(Detachable::new(live)));
/// let Ok(Outcome::Respond(host)) = outcome else { panic!("the guest responds") };
/// // The guest was quick, so the host wasn't detached: nothing has to be copied to the server's message.
/// assert!(matches!(host.into_inner(), Ok(live) if live.message.status == 200));
/// assert_eq!(*connection.sent.borrow(), [103]);
/// # Ok::<(), LoadError>(())
/// ```
pub trait Detach: LocalHost {
    /// The type of the host that holds copies.
    type Detached: Host<Head = Self::Head>;

    /// Copies what the exchange may still need: everything that the methods of [`LocalHost`] return. That includes the
    /// heads of the request and of the response, once the server has one, the unread rest of their bodies, the protocol
    /// version, and the client's address. Called once, on the host's own thread.
    fn into_detached(self) -> Self::Detached;
}

/// A host that is bound to the thread on which it was created until it is [detached](LocalHost::detach).
///
/// ```
/// use http_wasm_host::{Detachable, LocalHost};
///
/// fn is_send<T: Send>(_: &T) {}
/// # fn check<L: http_wasm_host::Detach>(live: L) {
/// // Wrapped in this, guests accept it, whatever `live` holds.
/// let mut host = Detachable::new(live);
/// is_send(&host);
/// assert!(host.attached_mut().is_some());
/// // On the same thread; from then on, any thread may use it.
/// host.detach();
/// assert!(host.attached_mut().is_none());
/// # }
/// ```
///
/// # Panics
/// Its methods panic on another thread while it is attached. Dropped there, the attached host is leaked.
pub struct Detachable<L: Detach>(State<L>);

enum State<L: Detach> {
    Attached(Bound<L>),
    /// Boxed, as a host is moved a lot, and copies are larger than references.
    Detached(Box<L::Detached>),
    /// Taken out while it changes from one to the other.
    Taken,
}

const NOT_TAKEN: &str = "a host is attached or detached between calls";

/// A host that may be used and dropped on its own thread only, which is checked. `None` once it has been taken out.
struct Bound<L>(Option<SendWrapper<L>>);

impl<L> Bound<L> {
    #[inline]
    fn get(&self) -> &L {
        self.0.as_ref().expect(NOT_TAKEN)
    }

    #[inline]
    fn get_mut(&mut self) -> &mut L {
        self.0.as_mut().expect(NOT_TAKEN)
    }

    fn take(mut self) -> L {
        self.0.take().expect(NOT_TAKEN).take()
    }
}

impl<L> Drop for Bound<L> {
    fn drop(&mut self) {
        if let Some(live) = self.0.take()
            && !live.valid()
        {
            tracing::error!("a host was dropped on another thread before it was detached; it is leaked");
            std::mem::forget(live);
        }
    }
}

impl<L: Detach> Detachable<L> {
    /// Creates a host that is bound to the current thread.
    pub fn new(attached: L) -> Self {
        Self(State::Attached(Bound(Some(SendWrapper::new(attached)))))
    }

    /// Creates a host that is already detached.
    pub fn detached(detached: L::Detached) -> Self {
        Self(State::Detached(Box::new(detached)))
    }

    /// Returns whether this is still the original host.
    #[inline]
    pub fn is_attached(&self) -> bool {
        matches!(self.0, State::Attached(_))
    }

    /// Returns the original host, unless it has been detached.
    #[inline]
    pub fn attached_mut(&mut self) -> Option<&mut L> {
        match &mut self.0 {
            State::Attached(live) => Some(live.get_mut()),
            _ => None,
        }
    }

    /// Returns the host with the copies, if it has been detached.
    pub fn detached_mut(&mut self) -> Option<&mut L::Detached> {
        match &mut self.0 {
            State::Detached(copy) => Some(copy),
            _ => None,
        }
    }

    /// Returns the original host.
    ///
    /// # Errors
    /// Returns the host with the copies if it has been detached.
    pub fn into_inner(self) -> Result<L, L::Detached> {
        match self.0 {
            State::Attached(live) => Ok(live.take()),
            State::Detached(copy) => Err(*copy),
            State::Taken => unreachable!("{NOT_TAKEN}"),
        }
    }
}

/// Forwards a call to the current host.
macro_rules! either {
    ($self:ident.$($call:tt)*) => {
        match &$self.0 {
            State::Attached(live) => live.get().$($call)*,
            State::Detached(copy) => copy.$($call)*,
            State::Taken => unreachable!("{NOT_TAKEN}"),
        }
    };
    (mut $self:ident.$($call:tt)*) => {
        match &mut $self.0 {
            State::Attached(live) => live.get_mut().$($call)*,
            State::Detached(copy) => copy.$($call)*,
            State::Taken => unreachable!("{NOT_TAKEN}"),
        }
    };
}

impl<L: Detach> LocalHost for Detachable<L> {
    type Head = L::Head;

    const SENDER_DECLARES_LENGTH: bool = L::SENDER_DECLARES_LENGTH;
    const STREAMS: bool = L::STREAMS && L::Detached::STREAMS;
    const STREAMS_REQUESTS: bool = L::STREAMS_REQUESTS && L::Detached::STREAMS_REQUESTS;

    fn save_head(&self, message: BodyKind) -> L::Head {
        either!(self.save_head(message))
    }

    fn restore_head(&mut self, head: L::Head) {
        either!(mut self.restore_head(head))
    }

    #[inline]
    fn method(&self) -> &[u8] {
        either!(self.method())
    }

    #[inline]
    fn uri(&self) -> &[u8] {
        either!(self.uri())
    }

    fn change_head(&mut self, change: HeadChange<'_>) -> Result<(), Refused> {
        either!(mut self.change_head(change))
    }

    fn protocol_version(&self) -> &'static str {
        either!(self.protocol_version())
    }

    fn source_addr(&self) -> Option<SocketAddr> {
        either!(self.source_addr())
    }

    fn status(&self) -> u16 {
        either!(self.status())
    }

    fn inform(&mut self, status: u16, headers: Option<&Fields>) {
        either!(mut self.inform(status, headers))
    }

    #[inline]
    fn header_names<'a>(&'a self, message: BodyKind, visit: impl FnMut(&'a [u8])) {
        either!(self.header_names(message, visit))
    }

    #[inline]
    fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], visit: impl FnMut(&'a [u8])) {
        either!(self.header_values(message, name, visit))
    }

    #[inline]
    fn change_header(
        &mut self,
        message: BodyKind,
        name: &[u8],
        change: HeaderChange<'_>,
    ) -> Result<(), Refused> {
        either!(mut self.change_header(message, name, change))
    }

    fn poll_body(
        &mut self,
        message: BodyKind,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BoxError>>> {
        either!(mut self.poll_body(message, cx))
    }

    fn body_state(&self, message: BodyKind) -> BodyState {
        either!(self.body_state(message))
    }

    fn body_remaining(&self, message: BodyKind) -> Option<u64> {
        either!(self.body_remaining(message))
    }

    fn body_account(
        &mut self,
        message: BodyKind,
        open: impl FnOnce() -> Option<BodyAccount>,
    ) -> Option<BodyAccount> {
        either!(mut self.body_account(message, open))
    }

    fn trace_id(&self) -> u64 {
        either!(self.trace_id())
    }

    fn is_sheddable(&self) -> bool {
        either!(self.is_sheddable())
    }

    fn set_body(&mut self, message: BodyKind, body: Outgoing) {
        either!(mut self.set_body(message, body))
    }

    /// From then on, the guest works on copies: it runs on the thread that sends the response, or apart from the
    /// receiver of the request.
    fn split(&mut self, message: BodyKind) -> Option<Self> {
        let split = match &mut self.0 {
            State::Attached(live) => Self::new(live.get_mut().split(message)?),
            State::Detached(copy) => Self::detached(copy.split(message)?),
            State::Taken => unreachable!("{NOT_TAKEN}"),
        };
        self.detach();
        Some(split)
    }

    fn detach(&mut self) {
        self.0 = match replace(&mut self.0, State::Taken) {
            State::Attached(live) => State::Detached(Box::new(live.take().into_detached())),
            other => other,
        };
    }
}

impl<L: Detach> fmt::Debug for Detachable<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Attached(_) => "Detachable::Attached",
            State::Detached(_) => "Detachable::Detached",
            State::Taken => "Detachable::Taken",
        })
    }
}
