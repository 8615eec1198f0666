//! A host that breaks one rule, for rules that can be broken between the core and an HTTP server.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use http_wasm_host::{
    BodyAccount, BodyKind, BodyState, BoxError, Chunks, Fields, Frame, HeadChange, HeaderChange, Host,
    HttpHost, LocalHost, Outgoing, Refused, Rest, Trailers,
};
use http_wasm_tower::Body;
use hyper::{Request, Response};

use crate::mutation::Mutation;
use crate::streams::Streaming;

/// A host that delegates everything except what its mutation breaks.
pub(crate) struct Broken<H = HttpHost> {
    pub(crate) inner: H,
    mutation: Option<Mutation>,
    /// The message whose `content-encoding` can't be removed.
    keeps_coding_of: Option<BodyKind>,
    pub(crate) seen: ReceivedRequest,
}

/// What has happened in this exchange.
#[derive(Default)]
pub(crate) struct ReceivedRequest {
    /// Whether the next handler has responded.
    pub(crate) answered: bool,
    /// Features that the guest has enabled.
    pub(crate) features: u32,
    /// Whether features were enabled after the next handler had responded.
    pub(crate) late_features: bool,
    pub(crate) sticky_applied: bool,
    /// The status that the guest has set before the next handler responded.
    pub(crate) early_status: Option<u16>,
    pub(crate) early_names: Vec<Vec<u8>>,
    pub(crate) early_body: usize,
    /// The guest's accesses to each message; for the response, only those of this phase.
    pub(crate) request: OfMessage,
    pub(crate) response: OfMessage,
    /// Whether the core is merging early changes with the response.
    joining: bool,
    next_cookies: Vec<Vec<u8>>,
}

#[derive(Default)]
pub(crate) struct OfMessage {
    pub(crate) is_written: bool,
    pub(crate) has_edited_trailers: bool,
    /// Bytes that were read with the buffering feature enabled.
    pub(crate) read: usize,
    pub(crate) last_read: usize,
}

const RESPONSE: BodyKind = BodyKind::Response;

impl Broken {
    pub(crate) fn new(request: Request<Body>, client: SocketAddr, mutation: Option<Mutation>) -> Self {
        Self {
            inner: HttpHost::new(request, Some(client)),
            mutation,
            keeps_coding_of: None,
            seen: ReceivedRequest::default(),
        }
    }

    /// The same for a host that streams.
    pub(crate) fn streaming(mut self, streaming: Option<Streaming>) -> Self {
        self.keeps_coding_of = streaming.and_then(Streaming::keeps_coding_of);
        self
    }

    /// Whether the guest has begun to write the message of this kind in its phase.
    pub(crate) fn is_late(&self, kind: BodyKind) -> bool {
        self.seen.answered == (kind == RESPONSE) && self.of(kind).is_written
    }

    /// Whether the next handler has responded.
    pub(crate) fn set_response(&mut self, response: Response<Body>) {
        self.inner.set_response(response);
        self.seen.answered = true;
        self.seen.joining = true;
        let has_edited_trailers = self.seen.response.has_edited_trailers;
        self.seen.response = OfMessage { has_edited_trailers, ..OfMessage::default() };
        match self.mutation {
            Some(Mutation::EarlyStatusWins) => {
                if let Some(status) = self.seen.early_status {
                    let _ = self.inner.change_head(HeadChange::Status(status));
                }
            }
            Some(Mutation::EarlyHeadersWin) => {
                for name in self.seen.early_names.iter().filter(|name| *name != b"set-cookie") {
                    remove(&mut self.inner, RESPONSE, name);
                }
            }
            _ => {}
        }
        self.seen.early_status = None;
        self.seen.next_cookies = self.cookies();
    }

    /// Records that early changes have been merged with the response.
    pub(crate) fn joined(&mut self) {
        if !std::mem::take(&mut self.seen.joining) {
            return;
        }
        let nexts = std::mem::take(&mut self.seen.next_cookies);
        match self.mutation {
            Some(Mutation::EarlyCookiesReplaced) if !nexts.is_empty() => self.set_cookies(&nexts),
            Some(Mutation::EarlyCookiesLast) => {
                let all = self.cookies();
                let early = &all[..all.len() - nexts.len()];
                self.set_cookies(&[&nexts, early].concat());
            }
            _ => {}
        }
    }

    /// The response for a client.
    pub(crate) fn into_response(mut self, is_head: bool) -> Response<Body> {
        self.joined();
        if is_head && self.mutation == Some(Mutation::HeadLengthDropped) {
            remove(&mut self.inner, RESPONSE, b"content-length");
        }
        self.inner.into_response()
    }

    fn cookies(&self) -> Vec<Vec<u8>> {
        let mut cookies = Vec::new();
        self.inner.header_values(RESPONSE, b"set-cookie", |value| cookies.push(value.to_vec()));
        cookies
    }

    fn set_cookies(&mut self, cookies: &[Vec<u8>]) {
        remove(&mut self.inner, RESPONSE, b"set-cookie");
        for cookie in cookies {
            let _fits = self.inner.change_header(RESPONSE, b"set-cookie", HeaderChange::Add(cookie));
        }
    }
}

impl<H: Host> Broken<H> {
    /// A host for one message of this one.
    fn part(&self, inner: H) -> Self {
        let Self { mutation, keeps_coding_of, .. } = *self;
        Self { inner, mutation, keeps_coding_of, seen: ReceivedRequest::default() }
    }

    fn breaks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether a change of this header gets lost.
    fn loses(&self, message: BodyKind, name: &[u8]) -> bool {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        let has_length = || {
            let mut found = false;
            self.inner.header_values(message, b"content-length", |_| found = true);
            found
        };
        self.breaks(Mutation::LengthKept) && is(b"content-length") && has_length()
            || self.breaks(Mutation::EarlyHeadersLost)
                && self.seen.joining
                && message == RESPONSE
                && self.seen.early_names.iter().any(|early| is(early))
    }

    /// Whether this is the `trailer` header, and stays as received.
    fn keeps_announcement(&self, name: &[u8]) -> bool {
        self.breaks(Mutation::AnnouncementKept) && name == b"trailer"
    }

    /// Adds names to the `trailer` header.
    fn announce(&mut self, message: BodyKind, list: &[u8]) -> Result<(), Refused> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut add = |list: &[u8]| {
            for name in list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_vec());
                }
            }
        };
        self.inner.header_values(message, b"trailer", &mut add);
        add(list);
        self.inner.change_header(message, b"trailer", HeaderChange::Set(&names.join(&b", "[..])))
    }

    /// How many bytes get lost at the start of a body that isn't replaced.
    fn lost(&self, message: BodyKind) -> usize {
        let of = self.of(message);
        match self.mutation {
            Some(Mutation::RequestConsumed) if message == BodyKind::Request => of.read,
            Some(Mutation::LastReadOnly) => of.read - of.last_read,
            Some(Mutation::EarlyBodyLost) if message == RESPONSE && self.seen.answered => {
                self.seen.early_body
            }
            _ => 0,
        }
    }

    pub(crate) fn of_mut(&mut self, message: BodyKind) -> &mut OfMessage {
        match message {
            BodyKind::Request => &mut self.seen.request,
            BodyKind::Response => &mut self.seen.response,
        }
    }

    fn of(&self, message: BodyKind) -> &OfMessage {
        match message {
            BodyKind::Request => &self.seen.request,
            BodyKind::Response => &self.seen.response,
        }
    }
}

fn remove(host: &mut impl LocalHost, message: BodyKind, name: &[u8]) {
    // There is always room for fewer headers.
    let _fits = host.change_header(message, name, HeaderChange::Remove);
}

/// The rest of `chunks` after `lost` bytes.
fn without(mut lost: usize, mut chunks: Chunks) -> Chunks {
    let mut left = Chunks::default();
    while let Some(mut piece) = chunks.pop() {
        let gone = lost.min(piece.len());
        lost -= gone;
        left.push(piece.split_off(gone));
    }
    left
}

impl<H: Host> LocalHost for Broken<H> {
    type Head = H::Head;

    const SENDER_DECLARES_LENGTH: bool = H::SENDER_DECLARES_LENGTH;
    const STREAMS: bool = H::STREAMS;
    const STREAMS_REQUESTS: bool = H::STREAMS_REQUESTS;

    fn save_head(&self, message: BodyKind) -> H::Head {
        self.inner.save_head(message)
    }

    fn restore_head(&mut self, head: H::Head) {
        self.inner.restore_head(head);
    }

    fn method(&self) -> &[u8] {
        self.inner.method()
    }

    fn uri(&self) -> &[u8] {
        self.inner.uri()
    }

    fn change_head(&mut self, change: HeadChange<'_>) -> Result<(), Refused> {
        self.inner.change_head(change)
    }

    fn protocol_version(&self) -> &'static str {
        self.inner.protocol_version()
    }

    fn source_addr(&self) -> Option<SocketAddr> {
        self.inner.source_addr()
    }

    fn status(&self) -> u16 {
        self.inner.status()
    }

    fn inform(&mut self, status: u16, headers: Option<&Fields>) {
        self.inner.inform(status, headers);
    }

    fn header_names<'a>(&'a self, message: BodyKind, visit: impl FnMut(&'a [u8])) {
        self.inner.header_names(message, visit);
    }

    fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], visit: impl FnMut(&'a [u8])) {
        self.inner.header_values(message, name, visit);
    }

    fn change_header(
        &mut self,
        message: BodyKind,
        name: &[u8],
        change: HeaderChange<'_>,
    ) -> Result<(), Refused> {
        if self.loses(message, name) {
            return Ok(());
        }
        if matches!(change, HeaderChange::Remove)
            && self.keeps_coding_of == Some(message)
            && name.eq_ignore_ascii_case(b"content-encoding")
        {
            return Ok(());
        }
        match change {
            HeaderChange::Set(value) if self.keeps_announcement(name) => self.announce(message, value),
            HeaderChange::Remove if self.keeps_announcement(name) => Ok(()),
            _ => self.inner.change_header(message, name, change),
        }
    }

    fn poll_body(
        &mut self,
        message: BodyKind,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BoxError>>> {
        self.inner.poll_body(message, cx)
    }

    fn body_state(&self, message: BodyKind) -> BodyState {
        self.inner.body_state(message)
    }

    fn body_remaining(&self, message: BodyKind) -> Option<u64> {
        self.inner.body_remaining(message)
    }

    fn body_account(
        &mut self,
        message: BodyKind,
        open: impl FnOnce() -> Option<BodyAccount>,
    ) -> Option<BodyAccount> {
        self.inner.body_account(message, open)
    }

    fn is_sheddable(&self) -> bool {
        self.inner.is_sheddable()
    }

    fn split(&mut self, message: BodyKind) -> Option<Self> {
        let inner = self.inner.split(message)?;
        Some(self.part(inner))
    }

    fn set_body(&mut self, message: BodyKind, mut body: Outgoing) {
        let OfMessage { is_written, has_edited_trailers, .. } = *self.of(message);
        let lost = if is_written { 0 } else { self.lost(message) };
        if lost > 0 {
            body.first = without(lost, body.first);
            remove(&mut self.inner, message, b"content-length");
        }
        match self.mutation {
            Some(Mutation::TrailersLost) if has_edited_trailers => body.trailers = Trailers::default(),
            Some(Mutation::ReplacedBodyTrailersLost) if matches!(body.rest, Rest::Discarded(_)) => {
                body.rest = Rest::Dropped;
            }
            Some(Mutation::ContentTypeInvented) if message == RESPONSE && is_written => {
                let kind = HeaderChange::Set(b"text/plain; charset=utf-8");
                let _fits = self.inner.change_header(message, b"content-type", kind);
            }
            _ => {}
        }
        self.inner.set_body(message, body);
    }
}
