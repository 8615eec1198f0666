//! The rules of the ABI: what a guest may do to one request/response pair, and when.
//!
//! Host functions decode their arguments and call an [`Exchange`]; it checks, and turns to the [`Host`] for the
//! plain data. No adapter repeats a rule of this module.

mod body;
#[cfg(feature = "mutations")]
mod broken;
mod budget;
mod framing;
mod head;
mod headers;
mod original;

use std::ops::{Deref, DerefMut};

pub(crate) use self::budget::Budget;

pub(crate) use self::headers::{Change, can_be_name};

use self::body::Side;
use self::original::Originals;
use crate::abi::{BodyKind, Features, Phase};
use crate::engine::Engine;
use crate::error::Reason;
use crate::failure::OnFailure;
use crate::host::Host;
use crate::message::Fields;
use crate::message::body_budget::BodyAccount;
use crate::run::instance::Waits;

/// One request/response pair, pinned to one instance.
pub(crate) struct Exchange<H: Host> {
    pub(crate) host: Held<H>,
    phase: Phase,
    features: Features,
    budget: Budget,
    /// What is counted of the bodies that are held; there is none until there is something to count.
    account: Option<BodyAccount>,
    early: Early,
    request: Side,
    response: Side,
    /// What a guest that fails open must leave as it was.
    originals: Option<Box<Originals<H>>>,
    /// The client's method was HEAD, whatever the guest made of it.
    client_sent_head: bool,
    /// The client's method was CONNECT.
    client_sent_connect: bool,
    /// The next handler's response can't have had a body, so its framing says nothing about one.
    next_was_bodyless: bool,
    /// The next handler gave a response.
    answered: bool,
    #[cfg(feature = "mutations")]
    pub(crate) mutation: Option<crate::mutation::Mutation>,
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
            request: Side::default(),
            response: Side::default(),
            originals,
            client_sent_head,
            client_sent_connect,
            next_was_bodyless: false,
            answered: false,
            #[cfg(feature = "mutations")]
            mutation: None,
        }
    }

    /// Adds to this request's features. In `handle_response` it is too late: nothing changes.
    pub(crate) fn enable_features(&mut self, features: Features) {
        if self.phase == Phase::Request {
            self.features = self.features | features;
        }
    }

    /// The next handler gave no response: the guest sees what it has set itself.
    pub(crate) fn join_error(&mut self) -> Result<(), Reason> {
        // There may have been a response that nobody waited for.
        self.answered = false;
        framing::forget_length(self);
        self.begin_response()
    }

    /// Whether a call into the guest in this phase could have to wait for a body or its trailers.
    pub(crate) fn may_wait(&self, waits: Waits) -> bool {
        match self.phase {
            Phase::Request => {
                let reads_on = waits.for_bodies
                    || waits.enables_features
                    || self.features.contains(Features::BUFFER_REQUEST);
                reads_on && !self.host.body_ready(BodyKind::Request)
            }
            // Features are fixed by now, so a guest that may not read the response can't wait for it.
            Phase::Response => {
                self.features.contains(Features::BUFFER_RESPONSE) && !self.host.body_ready(BodyKind::Response)
            }
        }
    }

    /// Bytes of the phase's own message that the guest has read and that are kept for whoever gets it next.
    pub(crate) fn replayed_bytes(&self, phase: Phase) -> usize {
        match phase {
            Phase::Request => self.request.replayed_bytes(),
            Phase::Response => self.response.replayed_bytes(),
        }
    }

    /// The guest proceeds: makes the host's request the one for the next handler.
    #[inline]
    pub(crate) fn finish_request(&mut self, engine: &Engine) {
        #[cfg(feature = "mutations")]
        let length = broken::before_finish(self, BodyKind::Request);
        framing::finish_request(self, engine);
        self.release_ahead();
        #[cfg(feature = "mutations")]
        broken::after_finish(self, BodyKind::Request, length);
    }

    /// The guest stops: makes the host's response what the guest has set.
    #[inline]
    pub(crate) fn respond(&mut self, engine: &Engine) -> Result<(), Reason> {
        // What it has written is all of the body, and not the beginning.
        self.apply_early(true)?;
        self.finish_response(engine);
        Ok(())
    }

    /// The next handler's response is in the host: joins what the guest set before it. The next handler's
    /// headers replace those of the same name (its cookies follow the guest's), its status wins, its body follows.
    #[inline]
    pub(crate) fn join_response(&mut self) -> Result<(), Reason> {
        self.answered = true;
        #[cfg(feature = "mutations")]
        broken::before_join(self);
        self.early.status = None;
        self.next_was_bodyless = framing::is_bodyless(self.host.status()) || self.host.method() == b"HEAD";
        self.begin_response()
    }

    #[inline]
    fn begin_response(&mut self) -> Result<(), Reason> {
        self.apply_early(false)?;
        self.response.begin_response();
        Ok(())
    }

    /// Applies the head that the guest has set before there was a response; `alone`, if there is none.
    #[inline]
    fn apply_early(&mut self, alone: bool) -> Result<(), Reason> {
        self.phase = Phase::Response;
        self.save_response();
        if let Some(status) = self.early.status {
            self.host.set_status(status);
        }
        if !self.early.headers.is_empty() {
            self.join_early(alone)?;
        }
        Ok(())
    }

    /// What the guest set before there was a response, and that has not. Cookies go before those of the response.
    fn join_early(&mut self, alone: bool) -> Result<(), Reason> {
        const RESPONSE: BodyKind = BodyKind::Response;
        let early = std::mem::take(&mut self.early.headers);
        let host = &mut *self.host;
        if alone {
            let mut fields = early.iter();
            return fields
                .try_for_each(|(name, value)| host.add_header(RESPONSE, name, value))
                .map_err(Reason::refused);
        }
        for name in early.names() {
            let mut nexts: Vec<Vec<u8>> = Vec::new();
            let is_cookie = name == b"set-cookie";
            let mut taken = false;
            host.header_values(RESPONSE, name, |value| {
                taken = true;
                if is_cookie {
                    nexts.push(value.to_vec());
                }
            });
            if taken && !is_cookie {
                continue;
            }
            let mut values = early.values(name).chain(nexts.iter().map(Vec::as_slice));
            // The first takes the place of what is there, and all that follows stands in its order.
            let first = values.next().map_or(Ok(()), |first| host.set_header(RESPONSE, name, first));
            first
                .and_then(|()| values.try_for_each(|value| host.add_header(RESPONSE, name, value)))
                .map_err(Reason::refused)?;
        }
        Ok(())
    }

    /// `handle_response` has returned: makes the host's response the one for the client.
    #[inline]
    pub(crate) fn finish_response(&mut self, engine: &Engine) {
        #[cfg(feature = "mutations")]
        let length = broken::before_finish(self, BodyKind::Response);
        framing::finish_response(self, engine);
        self.release_ahead();
        #[cfg(feature = "mutations")]
        broken::after_finish(self, BodyKind::Response, length);
    }

    fn side_mut(&mut self, kind: BodyKind) -> &mut Side {
        match kind {
            BodyKind::Request => &mut self.request,
            BodyKind::Response => &mut self.response,
        }
    }

    // The phase rules. What may be read when is in `body` for bodies; all else can always be read.

    /// Whether the guest may change this message now.
    fn check_mutable(&self, message: BodyKind) -> Result<(), Reason> {
        match (self.phase, message) {
            (Phase::Request, _) => Ok(()),
            (Phase::Response, BodyKind::Request) => Err(Reason::WrongPhase(
                "the request has gone to the next handler and can't be changed in handle_response",
            )),
            (Phase::Response, BodyKind::Response) if self.features.contains(Features::BUFFER_RESPONSE) => {
                Ok(())
            }
            (Phase::Response, BodyKind::Response) => Err(Reason::WrongPhase(
                "the response can be changed in handle_response only with the feature buffer_response",
            )),
        }
    }

    /// Whether the guest may change this message's status or body now.
    fn check_content_mutable(&self, message: BodyKind) -> Result<(), Reason> {
        self.check_mutable(message)?;
        if message == BodyKind::Response && self.is_upgrade() {
            return Err(Reason::WrongPhase(
                "the next handler switched protocols (101, or a tunnel for CONNECT): status and body of its response are final",
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
