//! The rules of the ABI: what a guest may do to one request/response pair, and when.
//!
//! Host functions decode their arguments and call an [`Exchange`]; it checks, and turns to the [`Host`] for the
//! plain data. No adapter repeats a rule of this module.

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
mod undo;
mod waits;

use std::ops::{Deref, DerefMut};

pub(crate) use self::budget::Budget;
pub(crate) use self::content_coding::DecodedBodies;
pub(crate) use self::headers::{can_be_name, has_no_effect};
pub(crate) use self::phases::allows;
pub(crate) use self::waits::Waits;

use self::content_coding::ContentCoding;
use self::message_state::MessageState;
use self::original::Originals;
use crate::abi::{BodyKind, Features, Phase};
use crate::error::Reason;
use crate::failure::OnFailure;
use crate::host::Host;
use crate::message::Fields;
use crate::message::body_budget::BodyAccount;

/// One request/response pair, pinned to one instance.
pub(crate) struct Exchange<H: Host> {
    pub(crate) host: Held<H>,
    phase: Phase,
    features: Features,
    budget: Budget,
    /// What is counted of the bodies that are held; there is none until there is something to count.
    account: Option<BodyAccount>,
    early: Early,
    request: MessageState,
    response: MessageState,
    /// What a guest that fails open must leave as it was.
    originals: Option<Box<Originals<H>>>,
    /// For a guest whose bodies are decoded.
    coding: Option<Box<ContentCoding>>,
    /// The client's method was HEAD, whatever the guest made of it.
    client_sent_head: bool,
    /// The client's method was CONNECT.
    client_sent_connect: bool,
    /// The next handler's response can't have had a body, so its framing says nothing about one.
    next_was_bodyless: bool,
    /// The next handler gave a response.
    answered: bool,
}

/// What an exchange holds until it ends. It can be taken out without moving all the rest.
pub(crate) struct Held<H>(Option<H>);

impl<H> Held<H> {
    const TAKEN: &str = "the host is there until the exchange ends";

    /// The host, as the last thing that happens to the exchange.
    #[inline]
    pub(crate) fn take(&mut self) -> H {
        self.0.take().expect(Self::TAKEN)
    }
}

impl<H> Deref for Held<H> {
    type Target = H;

    #[inline]
    fn deref(&self) -> &H {
        self.0.as_ref().expect(Self::TAKEN)
    }
}

impl<H> DerefMut for Held<H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut H {
        self.0.as_mut().expect(Self::TAKEN)
    }
}

/// The response as the guest has set it before the next handler was called.
#[derive(Default)]
struct Early {
    status: Option<u16>,
    headers: Fields,
}

impl<H: Host> Exchange<H> {
    #[inline]
    pub(crate) fn new(host: H, features: Features, budget: Budget, on_failure: OnFailure) -> Self {
        let method = host.method();
        let (client_sent_head, client_sent_connect) = (method == b"HEAD", method == b"CONNECT");
        let originals = match on_failure {
            OnFailure::Closed => None,
            OnFailure::Open => Some(Box::new(Originals::new(&host))),
        };
        Self {
            host: Held(Some(host)),
            phase: Phase::Request,
            features,
            budget,
            account: None,
            early: Early::default(),
            request: MessageState::default(),
            response: MessageState::default(),
            originals,
            coding: None,
            client_sent_head,
            client_sent_connect,
            next_was_bodyless: false,
            answered: false,
        }
    }

    /// Adds to this request's features, and returns whether it did: in `handle_response` it is too late.
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

    /// Bytes of the phase's own message that the guest has read and that are kept for its next recipient.
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

    /// The next handler answered 101, or opened the tunnel that CONNECT asks for: what follows its head is no
    /// HTTP body.
    #[inline]
    fn is_upgrade(&self) -> bool {
        if !self.answered {
            return false;
        }
        let status = self.host.status();
        status == 101 || self.client_sent_connect && (200..300).contains(&status)
    }
}
