//! Content coding: which messages are decoded for a guest, what the guest sees of the coding, and which headers
//! describe a body that the guest has changed.
//!
//! Source: RFC 9110, sections 7.7, 8.4, 8.8.3 and 12.5.5; RFC 9530.

use std::sync::Arc;

use super::Exchange;
use super::coded::Coded;
use super::content_coding::{ContentCoding, DecodedBodies, MessageCoding};
use crate::abi::{BodyKind, Features, HeaderKind, Phase};
use crate::bodies::Undecodable;
use crate::coding::{self, Acceptable, Codings, Encoder, List};
use crate::error::Reason;
use crate::host::{BodyState, Host};
use crate::message::{HeaderChange, Outgoing, Recode, Rest};
use crate::text::is_bodyless;

const PASSED_UNDECODED: u8 = 1;
const SIGNED: u8 = 2;

const CONTENT_ENCODING: &[u8] = b"content-encoding";
const CONTENT_LENGTH: &[u8] = b"content-length";

/// Headers with digests of a body's bytes. They are wrong once the bytes change.
const DIGESTS: [&[u8]; 4] = [b"content-digest", b"repr-digest", b"digest", b"content-md5"];

fn is_hidden(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(CONTENT_ENCODING) || name.eq_ignore_ascii_case(CONTENT_LENGTH)
}

impl<H: Host> Exchange<H> {
    /// Enables decoded bodies for the guest.
    pub(crate) fn decode_bodies(&mut self, guest: &Arc<DecodedBodies>) {
        let mut accepts = Vec::new();
        self.host.header_values(BodyKind::Request, b"accept-encoding", |value| accepts.push(value));
        self.coding = Some(Box::new(ContentCoding {
            guest: guest.clone(),
            accepts: Acceptable::parse(accepts),
            request: MessageCoding::default(),
            response: MessageCoding::default(),
        }));
        self.inspect_coding(BodyKind::Request);
    }

    /// Inspects the next handler's response, before what the guest has set is merged into it.
    pub(super) fn inspect_response_coding(&mut self) -> Result<(), Reason> {
        let Some(coding) = &self.coding else { return Ok(()) };
        let guest = coding.guest.clone();
        let writes_first = self.response.is_written();
        let may_change = writes_first || self.features.contains(Features::BUFFER_RESPONSE);
        // The response to HEAD has the headers of a response to GET.
        if !may_change || self.is_upgrade() || is_bodyless(self.host.status()) {
            return Ok(());
        }
        self.inspect_coding(BodyKind::Response);
        match self.undecodable(BodyKind::Response) {
            // The guest's content would precede the coded body.
            Some(why) if writes_first && guest.settings.undecodable == Undecodable::Refuse => {
                Err(Reason::Undecodable { kind: BodyKind::Response, why })
            }
            _ => Ok(()),
        }
    }

    fn inspect_coding(&mut self, kind: BodyKind) {
        let values = |name| {
            let mut values: Vec<&[u8]> = Vec::new();
            self.host.header_values(kind, name, |value| values.push(value));
            values
        };
        let mut message = MessageCoding {
            no_transform: values(b"cache-control").iter().any(|value| has_directive(value, b"no-transform")),
            ..MessageCoding::default()
        };
        let is_partial =
            kind == BodyKind::Response && (self.host.status() == 206 || !values(b"content-range").is_empty());
        match Codings::parse(values(CONTENT_ENCODING)) {
            _ if is_partial => message.undecodable = Some("it is only a part of the content"),
            Codings::Identity => {}
            Codings::Unknown => {
                message.undecodable =
                    Some("its content-encoding has an unknown coding, or more than 5 codings");
            }
            Codings::Known(codings) => message.codings = Some(codings),
        }
        if let [etag] = values(b"etag")[..] {
            message.etag = Some(etag.into());
        }
        if message.undecodable.is_some() {
            message.received = values(CONTENT_ENCODING).join(&b","[..]);
        }
        if let Some(codings) = message.codings {
            self.state_mut(kind).access().coded = Some(Box::new(Coded::new(codings)));
        }
        if let Some(coding) = &mut self.coding {
            *coding.message_mut(kind) = message;
        }
    }

    /// Whether the guest gets decoded bodies.
    pub(super) fn is_decoding(&self) -> bool {
        self.coding.is_some()
    }

    /// Whether the message's coding is hidden from the guest.
    fn is_decoded(&self, kind: BodyKind) -> bool {
        self.coding.as_ref().is_some_and(|coding| coding.message(kind).codings.is_some())
    }

    fn undecodable(&self, kind: BodyKind) -> Option<&'static str> {
        self.coding.as_ref()?.message(kind).undecodable
    }

    /// Checks whether the guest may read a body that can't be decoded.
    pub(super) fn check_readable(&self, kind: BodyKind) -> Result<(), Reason> {
        let Some(coding) = &self.coding else { return Ok(()) };
        let Some(why) = coding.message(kind).undecodable else { return Ok(()) };
        if self.host.body_state(kind) == BodyState::Ended {
            return Ok(());
        }
        match coding.guest.settings.undecodable {
            Undecodable::Refuse => Err(Reason::Undecodable { kind, why }),
            Undecodable::Pass => {
                coding.guest.warn_once(PASSED_UNDECODED, || {
                    let kind = kind.name();
                    format!(
                        "the guest reads a {kind} body that isn't decoded, because {why}; this is logged once"
                    )
                });
                Ok(())
            }
        }
    }

    /// Checks whether the guest may replace a received body.
    #[inline]
    pub(super) fn check_transformable(&self, kind: BodyKind) -> Result<(), Reason> {
        let Some(coding) = &self.coding else { return Ok(()) };
        if coding.message(kind).no_transform && !coding.guest.settings.ignore_no_transform {
            return Err(Reason::WrongPhase(
                "the message's cache-control says no-transform, so its body can't be changed unless the guest's \
                 setting `ignore_no_transform` is on",
            ));
        }
        Ok(())
    }

    /// Visits the names of the headers that the guest sees.
    #[cold]
    pub(super) fn visible_header_names<'a>(&'a self, kind: BodyKind, mut visit: impl FnMut(&'a [u8])) {
        if !self.is_decoded(kind) {
            return self.host.header_names(kind, visit);
        }
        self.host.header_names(kind, |name| {
            if !is_hidden(name) {
                visit(name);
            }
        });
        if let Some(coding) = &self.coding {
            coding.message(kind).own.names().for_each(visit);
        }
    }

    /// Visits the values under `name` that the guest sees.
    #[cold]
    pub(super) fn visible_header_values<'a>(
        &'a self,
        kind: BodyKind,
        name: &[u8],
        visit: impl FnMut(&'a [u8]),
    ) {
        match &self.coding {
            Some(coding) if self.is_decoded(kind) && is_hidden(name) => {
                coding.message(kind).own.values(name).for_each(visit);
            }
            _ => self.host.header_values(kind, name, visit),
        }
    }

    /// Whether a change of this header describes a body that the guest may write. The change is then kept until it
    /// does.
    pub(super) fn keeps_own_coding(
        &mut self,
        kind: HeaderKind,
        name: &[u8],
        change: HeaderChange<'_>,
    ) -> bool {
        let message = kind.message();
        let is_own = !kind.is_trailers()
            && (self.phase == Phase::Response || message == BodyKind::Request)
            && name.eq_ignore_ascii_case(CONTENT_ENCODING)
            && self.is_decoded(message);
        if is_own && let Some(coding) = &mut self.coding {
            coding.message_mut(message).own.change(name, change);
        }
        is_own
    }

    /// Changes the request for the next handler so that the guest can decode the response.
    pub(super) fn request_decodable(&mut self) {
        const REQUEST: BodyKind = BodyKind::Request;
        if self.coding.is_none() || !self.features.contains(Features::BUFFER_RESPONSE) {
            return;
        }
        let mut accepted: Vec<&[u8]> = Vec::new();
        self.host.header_values(REQUEST, b"accept-encoding", |value| accepted.push(value));
        let reduced = coding::reduce(accepted.iter().copied());
        if let Some(reduced) = reduced {
            let _fits = self.host.change_header(REQUEST, b"accept-encoding", HeaderChange::Set(&reduced));
        }
        for name in [&b"range"[..], b"if-range"] {
            remove(&mut *self.host, REQUEST, name);
        }
    }

    /// Removes trailers that are wrong after the guest has changed the body, before they are announced.
    pub(super) fn remove_digest_trailers(&mut self, kind: BodyKind) {
        if self.coding.is_none() || !self.state_mut(kind).is_changed() || !self.is_received(kind) {
            return;
        }
        let mut announced: Vec<u8> = Vec::new();
        self.host.header_values(kind, b"trailer", |value| {
            announced.extend_from_slice(value);
            announced.push(b',');
        });
        for name in DIGESTS {
            let is_announced = has_directive(&announced, name);
            let state = self.state_mut(kind);
            if is_announced || state.trailers().contains(name) {
                state.trailers_mut().change(name, HeaderChange::Remove);
            }
        }
    }

    /// Updates the headers that describe a body after the guest has changed it. The body is encoded again if the client
    /// prefers that.
    pub(super) fn describe_changed(&mut self, kind: BodyKind, body: Option<&mut Outgoing>) {
        if self.coding.is_none() || !self.is_received(kind) {
            return;
        }
        let signed =
            [&b"signature"[..], b"signature-input"].into_iter().any(|name| has(&*self.host, kind, name));
        let codings = self.coding.as_ref().and_then(|coding| coding.message(kind).codings);
        match codings {
            Some(codings) => self.describe_coding(kind, &codings, body),
            None => self.forget_coding(kind),
        }
        DIGESTS.into_iter().for_each(|name| remove(&mut *self.host, kind, name));
        if kind == BodyKind::Response {
            remove(&mut *self.host, kind, b"accept-ranges");
            self.weaken_etag();
            add_vary(&mut *self.host);
        }
        if let Some(coding) = self.coding.as_ref().filter(|_| signed) {
            coding.guest.warn_once(SIGNED, || {
                let kind = kind.name();
                format!("the guest changes the body of a {kind} whose `signature` may cover it; this is logged once")
            });
        }
    }

    /// Updates the coding of a body that was decoded and changed.
    fn describe_coding(&mut self, kind: BodyKind, codings: &List, body: Option<&mut Outgoing>) {
        let Some(coding) = &mut self.coding else { return };
        let own = std::mem::take(&mut coding.message_mut(kind).own);
        let (accepts, settings) = (coding.accepts, coding.guest.settings);
        remove(&mut *self.host, kind, CONTENT_ENCODING);
        if !own.is_empty() {
            // The guest has encoded its body itself.
            for value in own.values(CONTENT_ENCODING) {
                let _fits = self.host.change_header(kind, CONTENT_ENCODING, HeaderChange::Add(value));
            }
            return;
        }
        // An empty body is sent without a coding, since some clients fail otherwise.
        let is_empty = |body: &Outgoing| {
            body.first.is_empty() && body.decode.is_none() && !matches!(body.rest, Rest::Streamed(_))
        };
        if kind == BodyKind::Request || !settings.recompress || body.as_deref().is_some_and(is_empty) {
            return;
        }
        let Some(original) = codings.as_slice().last() else { return };
        let Some(best) = accepts.best(*original) else { return };
        if let Some(body) = body {
            let room = self.account.as_ref().map(|account| account.reserve(Encoder::MEMORY)).transpose();
            // Without room for an encoder, the body is sent without a coding.
            let Ok(room) = room else { return };
            body.encode = Some(Box::new(Recode::encoder(Encoder::new(best), room.unwrap_or_default())));
        }
        let name = best.name().as_bytes();
        let _fits = self.host.change_header(kind, CONTENT_ENCODING, HeaderChange::Set(name));
    }

    /// Removes the coding of a body that the guest couldn't read and has replaced, unless the guest has set its own.
    fn forget_coding(&mut self, kind: BodyKind) {
        let Some(coding) = &self.coding else { return };
        let message = coding.message(kind);
        if message.undecodable.is_none() || coding.guest.settings.undecodable == Undecodable::Pass {
            return;
        }
        let mut values: Vec<&[u8]> = Vec::new();
        self.host.header_values(kind, CONTENT_ENCODING, |value| values.push(value));
        if values.join(&b","[..]) == message.received {
            remove(&mut *self.host, kind, CONTENT_ENCODING);
        }
    }

    /// Weakens the `etag` of the received bytes, since other bytes are sent. One that the guest has set stays.
    fn weaken_etag(&mut self) {
        const RESPONSE: BodyKind = BodyKind::Response;
        let mut tags: Vec<&[u8]> = Vec::new();
        self.host.header_values(RESPONSE, b"etag", |value| tags.push(value));
        let Some(coding) = &self.coding else { return };
        let weak = match tags[..] {
            [tag] if tag.starts_with(b"\"") && coding.response.etag.as_deref() == Some(tag) => {
                [b"W/", tag].concat()
            }
            _ => return,
        };
        let _fits = self.host.change_header(RESPONSE, b"etag", HeaderChange::Set(&weak));
    }

    /// Whether a message was received, and not made by the guest.
    fn is_received(&self, kind: BodyKind) -> bool {
        kind == BodyKind::Request || self.answered
    }
}

fn add_vary<H: Host>(host: &mut H) {
    const RESPONSE: BodyKind = BodyKind::Response;
    let mut all: Vec<&[u8]> = Vec::new();
    host.header_values(RESPONSE, b"vary", |value| all.push(value.trim_ascii()));
    all.retain(|value| !value.is_empty());
    if all.iter().any(|value| has_directive(value, b"accept-encoding") || has_directive(value, b"*")) {
        return;
    }
    all.push(b"Accept-Encoding");
    let list = all.join(&b", "[..]);
    let _fits = host.change_header(RESPONSE, b"vary", HeaderChange::Set(&list));
}

/// Whether a comma-separated list has this element, without an argument.
fn has_directive(list: &[u8], name: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|element| element.trim_ascii().eq_ignore_ascii_case(name))
}

fn has<H: Host>(host: &H, kind: BodyKind, name: &[u8]) -> bool {
    let mut found = false;
    host.header_values(kind, name, |_| found = true);
    found
}

fn remove<H: Host>(host: &mut H, kind: BodyKind, name: &[u8]) {
    // Removing a header can't exceed the server's capacity.
    let _fits = host.change_header(kind, name, HeaderChange::Remove);
}
