//! The rules of the ABI: what a guest may do with a request and its response, and when.
//!
//! Host functions decode their arguments and call an [`Exchange`], which checks them and accesses the data through the
//! [`Host`]. Adapters therefore implement no rules.

mod accessed;
mod body;
mod budget;
mod coded;
mod content_coding;
mod decoding;
mod finish;
mod framing;
mod head;
mod headers;
mod join;
mod message_state;
mod original;
mod phases;
mod retention;
mod stream;
mod streaming;
mod undo;
mod waits;

use std::ops::{Deref, DerefMut};

pub(crate) use self::content_coding::DecodedBodies;
pub(crate) use self::headers::{can_be_name, has_no_effect};
pub(crate) use self::phases::allows;
pub(crate) use self::streaming::Committed;
pub(crate) use self::waits::Waits;

use self::budget::Budget;
use self::content_coding::ContentCoding;
use self::message_state::MessageState;
use self::original::Originals;
use self::streaming::Streaming;
use crate::abi::{BodyKind, Features, Phase};
use crate::error::Reason;
use crate::failure::OnFailure;
use crate::host::Host;
use crate::limits::Limits;
use crate::message::Fields;
use crate::message::body_budget::BodyAccount;
use crate::runtime::Background;

/// A request and its response, pinned to one instance.
///
/// An instance has one of these, which it uses for its exchanges one after the other: moving a new one into place for
/// each request would cost more than most guests' calls. Between exchanges it has no host.
pub(crate) struct Exchange<H: Host> {
    pub(crate) host: Held<H>,
    phase: Phase,
    features: Features,
    budget: Budget,
    /// Counts the memory of bodies that are held. `None` until there is something to count.
    account: Option<BodyAccount>,
    early: Early,
    request: MessageState,
    response: MessageState,
    /// The original messages, if the guest fails open.
    originals: Option<Box<Originals<H>>>,
    /// Set if the guest gets decoded bodies.
    coding: Option<Box<ContentCoding>>,
    /// For a guest that may write messages while they are sent.
    streaming: Option<Box<Streaming<H>>>,
    /// Whether the client's method was HEAD, even if the guest has changed it.
    client_sent_head: bool,
    /// Whether the client's method was CONNECT.
    client_sent_connect: bool,
    /// Whether the next handler's response can't have had a body, so that its framing says nothing about one.
    next_was_bodyless: bool,
    /// Whether the next handler gave a response.
    answered: bool,
}

/// A value that an exchange holds until it ends. It can be taken out without moving the rest.
pub(crate) struct Held<H>(Option<H>);

impl<H> Held<H> {
    const PRESENT: &str = "the host is present until the exchange ends";

    /// Takes the host out. This is the last use of the exchange.
    #[inline]
    fn take(&mut self) -> Option<H> {
        self.0.take()
    }
}

impl<H> Deref for Held<H> {
    type Target = H;

    #[inline]
    fn deref(&self) -> &H {
        self.0.as_ref().expect(Self::PRESENT)
    }
}

impl<H> DerefMut for Held<H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut H {
        self.0.as_mut().expect(Self::PRESENT)
    }
}

/// The response as the guest has set it before the next handler's call.
#[derive(Default)]
struct Early {
    status: Option<u16>,
    headers: Fields,
}

impl Early {
    #[inline]
    fn clear(&mut self) {
        self.status = None;
        if !self.headers.is_empty() {
            self.headers = Fields::default();
        }
    }
}

impl<H: Host> Exchange<H> {
    /// Creates the one of an instance, before its first exchange.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            host: Held(None),
            phase: Phase::Request,
            features: Features::default(),
            budget: Budget::new(limits),
            account: None,
            early: Early::default(),
            request: MessageState::default(),
            response: MessageState::default(),
            originals: None,
            coding: None,
            streaming: None,
            client_sent_head: false,
            client_sent_connect: false,
            next_was_bodyless: false,
            answered: false,
        }
    }

    /// Begins an exchange. The previous one must have ended.
    #[inline]
    pub(crate) fn begin(&mut self, host: H, features: Features, on_failure: OnFailure) {
        let method = host.method();
        (self.client_sent_head, self.client_sent_connect) = (method == b"HEAD", method == b"CONNECT");
        if on_failure == OnFailure::Open {
            self.originals = Some(Box::new(Originals::new(&host)));
        }
        self.budget.renew();
        self.features = features;
        self.phase = Phase::Request;
        (self.next_was_bodyless, self.answered) = (false, false);
        self.host.0 = Some(host);
    }

    /// Ends the exchange, and returns its host, if there is one.
    #[inline]
    pub(crate) fn end(&mut self) -> Option<H> {
        let host = self.host.take();
        // The fields that `begin` sets are named too, so that a new field can't be forgotten.
        let Self {
            host: _,
            phase: _,
            features: _,
            budget: _,
            account,
            early,
            request,
            response,
            originals,
            coding,
            streaming,
            client_sent_head: _,
            client_sent_connect: _,
            next_was_bodyless: _,
            answered: _,
        } = self;
        (*account, *originals, *coding, *streaming) = (None, None, None, None);
        early.clear();
        request.clear();
        response.clear();
        host
    }

    /// Returns this if there is an exchange.
    #[inline]
    pub(crate) fn ongoing(&self) -> Option<&Self> {
        self.host.0.is_some().then_some(self)
    }

    /// Returns this if there is an exchange.
    #[inline]
    pub(crate) fn ongoing_mut(&mut self) -> Option<&mut Self> {
        if self.host.0.is_some() { Some(self) } else { None }
    }

    /// The guest's function for the current phase has returned: makes the phase's message ready to continue. In
    /// `handle_request`, the guest `proceeds` or responds itself.
    #[inline(always)]
    pub(crate) fn finish(&mut self, proceeds: bool, background: &Background) -> Result<(), Reason> {
        self.check_memory()?;
        match self.phase {
            Phase::Request if proceeds => self.finish_request(background),
            Phase::Request => self.respond(background)?,
            Phase::Response => self.finish_response(background),
        }
        Ok(())
    }

    /// Adds features for this request. Returns `false` in `handle_response`, where it is too late.
    pub(crate) fn enable_features(&mut self, features: Features) -> bool {
        let is_early = self.phase == Phase::Request;
        if is_early {
            self.features = self.features | features;
        }
        is_early
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// The bytes of the phase's own message that the guest has read and that are kept for its next recipient.
    pub(crate) fn replayed_bytes(&self, phase: Phase) -> usize {
        match phase {
            Phase::Request => self.request.replayed_bytes(),
            Phase::Response => self.response.replayed_bytes(),
        }
    }

    fn state_mut(&mut self, kind: BodyKind) -> &mut MessageState {
        match kind {
            BodyKind::Request => &mut self.request,
            BodyKind::Response => &mut self.response,
        }
    }

    /// Whether the guest may change this message now.
    fn check_mutable(&self, message: BodyKind) -> Result<(), Reason> {
        phases::check_change(self.phase, message, self.features).map_err(Reason::WrongPhase)
    }

    /// Whether the guest may change this message's status or body now.
    fn check_content_mutable(&self, message: BodyKind) -> Result<(), Reason> {
        self.check_mutable(message)?;
        if message == BodyKind::Response && self.is_upgrade() {
            return Err(Reason::WrongPhase(
                "the next handler switched protocols (101, or a tunnel for CONNECT): status and body of its response \
                 are final",
            ));
        }
        Ok(())
    }

    /// Whether the next handler responded with 101, or opened the tunnel that CONNECT requests. What follows the head
    /// isn't an HTTP body then.
    #[inline]
    fn is_upgrade(&self) -> bool {
        if !self.answered {
            return false;
        }
        let status = self.host.status();
        status == 101 || self.client_sent_connect && (200..300).contains(&status)
    }
}
