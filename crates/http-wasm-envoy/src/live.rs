//! An Envoy stream as a host for guests: heads are in Envoy's maps, bodies are taken out of its buffers.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_wasm_host::{
    BodyAccount, BodyKind, BodyState, BoxError, Detach, Detachable, Frame, HeadChange, HeaderChange,
    InMemoryHead, InMemoryHost, LocalHost, Message, Outgoing, Refused,
};

use crate::ffi::{Attribute, Map};
use crate::filter::Filter;
use crate::heads::{self, RequestHead, ResponseHead};
use crate::link::Link;

/// The host of a guest's call.
pub(crate) type Host = Detachable<Live>;

/// Where a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadLocation {
    /// In Envoy's map.
    Envoy,
    /// In [`Live::memory`]: a copy, or a response that Envoy doesn't have yet.
    Memory,
}

/// A request and its response, on the stream's worker.
pub(crate) struct Live {
    link: Rc<Link>,
    pub(crate) request: HeadLocation,
    pub(crate) response: HeadLocation,
    /// The bodies, and the heads that aren't in Envoy. Boxed, since hosts are moved often.
    pub(crate) memory: Box<InMemoryHost>,
}

impl Live {
    /// A host for the stream's request with this body, and without a response.
    pub(crate) fn new(link: Rc<Link>, request: Message) -> Self {
        let mut memory = Box::new(InMemoryHost::new("", ""));
        memory.request = request;
        Self { link, request: HeadLocation::Envoy, response: HeadLocation::Memory, memory }
    }

    /// A host that was detached before, after the changes in its copies have been applied to Envoy's maps.
    pub(crate) fn attach(link: Rc<Link>, memory: InMemoryHost) -> Self {
        let memory = Box::new(memory);
        Self { link, request: HeadLocation::Memory, response: HeadLocation::Memory, memory }
    }

    /// Saves the request as it is now, before Envoy changes it.
    pub(crate) fn save_request(&mut self) {
        if self.request == HeadLocation::Envoy {
            self.copy_request();
            self.request = HeadLocation::Memory;
        }
    }

    fn copy_request(&mut self) -> RequestHead {
        let head = RequestHead::of(&self.link.filter);
        head.clone().put_into(&mut self.memory);
        self.memory.protocol_version = protocol_version(&self.link.filter);
        self.memory.source_addr = source_addr(&self.link.filter);
        head
    }

    fn copy_response(&mut self) -> ResponseHead {
        let head = ResponseHead::of(&self.link.filter);
        head.clone().put_into(&mut self.memory);
        head
    }

    fn location(&self, message: BodyKind) -> HeadLocation {
        match message {
            BodyKind::Request => self.request,
            BodyKind::Response => self.response,
        }
    }
}

/// The map of a message's headers.
fn map(message: BodyKind) -> Map {
    match message {
        BodyKind::Request => Map::Request,
        BodyKind::Response => Map::Response,
    }
}

fn protocol_version(filter: &Filter) -> &'static str {
    match filter.attribute(Attribute::Protocol).as_deref() {
        Some(b"HTTP/1.0") => "HTTP/1.0",
        Some(version) if version.starts_with(b"HTTP/2") => "HTTP/2.0",
        Some(version) if version.starts_with(b"HTTP/3") => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

fn source_addr(filter: &Filter) -> Option<SocketAddr> {
    let text = filter.attribute(Attribute::SourceAddress)?;
    str::from_utf8(&text).ok()?.parse().ok()
}

/// Envoy rejects a field only if the map doesn't exist.
const NO_MAP: Refused = Refused("can't be set: the stream has ended");

impl Detach for Live {
    type Detached = InMemoryHost;

    fn into_detached(mut self) -> InMemoryHost {
        let mut left = heads::DetachedHeads::default();
        // If the stream has ended, there is nothing to copy, and changes have no effect.
        if !self.link.filter.has_ended() {
            if self.request == HeadLocation::Envoy {
                left.request = Some(self.copy_request());
            }
            if self.response == HeadLocation::Envoy {
                left.response = Some(self.copy_response());
            }
        }
        // A guest that streams only has copies. Another guest of the same stream may be detached at the same time.
        if left.request.is_some() || left.response.is_some() {
            self.link.detached(left);
        }
        *self.memory
    }
}

impl LocalHost for Live {
    type Head = <InMemoryHost as LocalHost>::Head;

    // Envoy declares the length of responses that it gets as a whole.
    const SENDER_DECLARES_LENGTH: bool = true;
    const STREAMS: bool = true;
    const STREAMS_REQUESTS: bool = true;

    fn save_head(&self, message: BodyKind) -> Self::Head {
        if self.location(message) == HeadLocation::Memory {
            return self.memory.save_head(message);
        }
        let mut copy = InMemoryHost::new("", "");
        match message {
            BodyKind::Request => RequestHead::of(&self.link.filter).put_into(&mut copy),
            BodyKind::Response => ResponseHead::of(&self.link.filter).put_into(&mut copy),
        }
        copy.save_head(message)
    }

    fn restore_head(&mut self, head: Self::Head) {
        match head {
            InMemoryHead::Request(method, uri, headers) => {
                let saved = RequestHead { method, uri, headers };
                match self.request {
                    HeadLocation::Memory => saved.put_into(&mut self.memory),
                    HeadLocation::Envoy => {
                        if self.link.applied(|filter| RequestHead::of(filter).apply(&saved, filter)) {
                            self.link.route_changes();
                        }
                    }
                }
            }
            InMemoryHead::Response(status, headers) => {
                let saved = ResponseHead { status, headers };
                match self.response {
                    HeadLocation::Memory => saved.put_into(&mut self.memory),
                    HeadLocation::Envoy => {
                        self.link.applied(|filter| ResponseHead::of(filter).apply(&saved, filter))
                    }
                }
            }
        }
    }

    fn method(&self) -> &[u8] {
        match self.request {
            HeadLocation::Envoy => self.link.method(),
            HeadLocation::Memory => self.memory.method(),
        }
    }

    fn uri(&self) -> &[u8] {
        match self.request {
            HeadLocation::Envoy => {
                let path = self.link.filter.header(Map::Request, b":path").unwrap_or_default();
                if path.is_empty() { b"/" } else { path }
            }
            HeadLocation::Memory => self.memory.uri(),
        }
    }

    fn change_head(&mut self, change: HeadChange<'_>) -> Result<(), Refused> {
        let location = match change {
            HeadChange::Status(_) => self.response,
            HeadChange::Method(_) | HeadChange::Uri(_) | HeadChange::Authority(_) => self.request,
        };
        if location == HeadLocation::Memory {
            return self.memory.change_head(change);
        }
        let filter = &self.link.filter;
        let (name, value) = match change {
            HeadChange::Method(method) => (&b":method"[..], method),
            HeadChange::Uri(_) if filter.header(Map::Request, b":path").is_none() => {
                return Err(Refused("can't be set: a CONNECT request has no path"));
            }
            HeadChange::Uri(uri) => (&b":path"[..], uri),
            HeadChange::Authority(authority) => (&b"host"[..], authority),
            HeadChange::Status(status) => {
                self.link.set_status(status);
                return Ok(());
            }
        };
        filter.set_header(Map::Request, name, value);
        if let HeadChange::Method(method) = change {
            self.link.method_is(method);
        }
        self.link.route_changes();
        Ok(())
    }

    fn protocol_version(&self) -> &'static str {
        match self.request {
            HeadLocation::Envoy => protocol_version(&self.link.filter),
            HeadLocation::Memory => self.memory.protocol_version,
        }
    }

    fn source_addr(&self) -> Option<SocketAddr> {
        match self.request {
            HeadLocation::Envoy => source_addr(&self.link.filter),
            HeadLocation::Memory => self.memory.source_addr,
        }
    }

    fn status(&self) -> u16 {
        match self.response {
            HeadLocation::Envoy => self.link.status(),
            HeadLocation::Memory => self.memory.status,
        }
    }

    fn header_names<'a>(&'a self, message: BodyKind, visit: impl FnMut(&'a [u8])) {
        match self.location(message) {
            HeadLocation::Envoy => heads::names(&self.link.filter, map(message), visit),
            HeadLocation::Memory => self.memory.header_names(message, visit),
        }
    }

    #[inline]
    fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], visit: impl FnMut(&'a [u8])) {
        match self.location(message) {
            HeadLocation::Envoy => self.link.filter.header_values(map(message), name, visit),
            HeadLocation::Memory => self.memory.header_values(message, name, visit),
        }
    }

    #[inline]
    fn change_header(
        &mut self,
        message: BodyKind,
        name: &[u8],
        change: HeaderChange<'_>,
    ) -> Result<(), Refused> {
        if self.location(message) == HeadLocation::Memory {
            return self.memory.change_header(message, name, change);
        }
        let (filter, map) = (&self.link.filter, map(message));
        let fits = match change {
            HeaderChange::Set(value) => filter.set_header(map, name, value),
            HeaderChange::Add(value) => filter.add_header(map, name, value),
            HeaderChange::Remove => {
                filter.remove_header(map, name);
                true
            }
        };
        if fits { Ok(()) } else { Err(NO_MAP) }
    }

    fn poll_body(
        &mut self,
        message: BodyKind,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BoxError>>> {
        self.memory.poll_body(message, cx)
    }

    fn body_state(&self, message: BodyKind) -> BodyState {
        self.memory.body_state(message)
    }

    fn body_remaining(&self, message: BodyKind) -> Option<u64> {
        self.memory.body_remaining(message)
    }

    fn body_account(
        &mut self,
        _: BodyKind,
        open: impl FnOnce() -> Option<BodyAccount>,
    ) -> Option<BodyAccount> {
        self.link.filter.memory.account(open).cloned()
    }

    fn set_body(&mut self, message: BodyKind, body: Outgoing) {
        self.memory.set_body(message, body);
    }

    fn split(&mut self, message: BodyKind) -> Option<Self> {
        let (mut request, mut response) = (HeadLocation::Memory, HeadLocation::Memory);
        match message {
            BodyKind::Request => request = self.request,
            BodyKind::Response => response = std::mem::replace(&mut self.response, HeadLocation::Memory),
        }
        self.save_request();
        if response == HeadLocation::Envoy {
            self.copy_response();
        }
        let memory = Box::new(self.memory.split(message)?);
        Some(Self { link: self.link.clone(), request, response, memory })
    }
}
