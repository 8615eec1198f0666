//! What a guest may do with bodies: the phase rules of reading and writing, and how much of what it reads is kept.

use std::task::{Context, Poll, ready};

use super::Exchange;
use super::side::{AT_END, Keep, reserve};
use crate::abi::{BodyKind, EofLen, Features, HeaderKind, Phase};
use crate::error::Reason;
use crate::host::Host;
use crate::message::body_budget::{BodyAccount, BodyBudget, NoBodyMemory, Reservation};

impl<H: Host> Exchange<H> {
    /// Reads on where the last read of this body stopped, until `buf` is full or the body has ended.
    pub(crate) fn read_body(
        &mut self,
        kind: BodyKind,
        buf: &mut [u8],
        memory: &BodyBudget,
        cx: &mut Context<'_>,
    ) -> Poll<Result<EofLen, Reason>> {
        match (self.phase, kind) {
            (Phase::Request, BodyKind::Response) => return Poll::Ready(Ok(self.response.read_own(buf))),
            (Phase::Response, BodyKind::Request) if self.features.contains(Features::BUFFER_REQUEST) => {
                return Poll::Ready(Ok(AT_END));
            }
            (Phase::Response, BodyKind::Request) => {
                return Poll::Ready(Err(Reason::WrongPhase(
                    "the request body can be read in handle_response only with the feature buffer_request, which is \
                     enabled when the guest starts, or in handle_request",
                )));
            }
            (Phase::Response, BodyKind::Response) if !self.features.contains(Features::BUFFER_RESPONSE) => {
                return Poll::Ready(Err(Reason::WrongPhase(
                    "the response body can be read in handle_response only with the feature buffer_response, which is \
                     enabled when the guest starts, or in handle_request",
                )));
            }
            (Phase::Response, BodyKind::Response) if self.is_upgrade() => {
                return Poll::Ready(Ok(AT_END));
            }
            (Phase::Request, BodyKind::Request) | (Phase::Response, BodyKind::Response) => {}
        }
        let keep = self.keep(kind);
        if keep != Keep::Nothing {
            self.reserve_for_body(kind, keep, memory)?;
        }
        let Self { host, request, response, budget, account, .. } = self;
        let side = if kind == BodyKind::Request { request } else { response };
        let account = account.as_ref().filter(|_| keep != Keep::Nothing);
        side.touch().read(&mut **host, kind, keep, budget, account, buf, cx)
    }

    /// Before bytes of a body are kept, its length is reserved once if it is known, up to the maximum that may be kept.
    fn reserve_for_body(&mut self, kind: BodyKind, keep: Keep, memory: &BodyBudget) -> Result<(), Reason> {
        if !memory.is_limited() {
            return Ok(());
        }
        let touched = self.side_mut(kind).touch();
        let asked = std::mem::replace(&mut touched.asked_for_room, true);
        if asked || self.host.body_ended(kind) {
            return self.check_memory();
        }
        if let Some(account) = self.account(memory)
            && !self.host.body_ready(kind)
            && let Some(length) = self.host.body_remaining(kind)
        {
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(self.budget.kept_limit());
            match account.reserve(length) {
                Ok(ahead) => self.side_mut(kind).touch().ahead = ahead,
                Err(NoBodyMemory) if keep == Keep::Undo => {
                    self.side_mut(kind).touch().no_room_for_undo = true
                }
                Err(none) => return Err(none.into()),
            }
        }
        self.check_memory()
    }

    /// The account of the request, which may be that of another guest on its way already.
    fn account(&mut self, memory: &BodyBudget) -> Option<BodyAccount> {
        let message = match self.phase {
            Phase::Request => BodyKind::Request,
            Phase::Response => BodyKind::Response,
        };
        if self.account.is_none() {
            self.account = self.host.body_account(message);
        }
        if self.account.is_none() {
            self.account = memory.open();
            if let Some(account) = &self.account {
                self.host.set_body_account(message, account);
            }
        }
        self.account.clone()
    }

    /// The guest has done its part in a message: what it might have held beyond what it holds is for others.
    pub(super) fn release_ahead(&mut self) {
        if self.account.is_some() {
            for side in [&mut self.request, &mut self.response] {
                side.written.iter_mut().for_each(|written| written.ahead = Reservation::default());
                side.touched.iter_mut().for_each(|touched| touched.ahead = Reservation::default());
            }
        }
    }

    /// Whether what is held for the exchange has not been given to others.
    pub(crate) fn check_memory(&self) -> Result<(), Reason> {
        match &self.account {
            None => Ok(()),
            Some(account) => Ok(account.check()?),
        }
    }

    /// Why what the guest reads of a message now is kept.
    fn keep(&self, message: BodyKind) -> Keep {
        let (feature, side) = match message {
            BodyKind::Request => (Features::BUFFER_REQUEST, &self.request),
            BodyKind::Response => (Features::BUFFER_RESPONSE, &self.response),
        };
        // Once the guest has written, the original goes nowhere.
        if self.features.contains(feature) && !side.is_written() {
            Keep::Replay
        } else if self.is_undoable() {
            Keep::Undo
        } else {
            Keep::Nothing
        }
    }

    /// Appends to the body that goes out; the first write of a phase starts a new one.
    pub(crate) fn write_body(
        &mut self,
        kind: BodyKind,
        data: &[u8],
        memory: &BodyBudget,
    ) -> Result<(), Reason> {
        self.check_content_mutable(kind)?;
        self.budget.spend_written(data.len())?;
        let undoable = self.is_undoable();
        let account = if data.is_empty() { None } else { self.account(memory) };
        let side = self.side_mut(kind);
        if let Some(touched) = &mut side.touched {
            touched.stop_replay(undoable);
        }
        // A first write of length 0 makes the body empty; a later one, as copy loops end with, appends nothing.
        let written = side.written.get_or_insert_default();
        let reserved = match account {
            None => Reservation::default(),
            Some(account) => {
                account.moved(data.len());
                reserve(&mut written.ahead, &account, data.len())?
            }
        };
        written.bytes.extend_reserved(data, reserved);
        Ok(())
    }

    /// Makes the body that goes out empty.
    pub(crate) fn empty_body(&mut self, kind: BodyKind) -> Result<(), Reason> {
        self.check_content_mutable(kind)?;
        let undoable = self.is_undoable();
        let side = self.side_mut(kind);
        if let Some(touched) = &mut side.touched {
            touched.stop_replay(undoable);
            touched.own_read = 0;
        }
        side.written = Some(Box::default());
        Ok(())
    }

    /// Waits until trailers are known, as far as this guest may: pulls the rest of the body, which is kept for
    /// replay. Without the feature that allows that, trailers that have not arrived read as empty.
    pub(crate) fn await_trailers(
        &mut self,
        kind: HeaderKind,
        memory: &BodyBudget,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Reason>> {
        let message = kind.message();
        let feature = match (self.phase, kind) {
            (Phase::Request, HeaderKind::RequestTrailers) => Features::BUFFER_REQUEST,
            (Phase::Response, HeaderKind::ResponseTrailers) if !self.is_upgrade() => {
                Features::BUFFER_RESPONSE
            }
            _ => return Poll::Ready(Ok(())),
        };
        if !self.features.contains(feature) {
            return Poll::Ready(Ok(()));
        }
        let ended = self.side_mut(message).touched.as_ref().is_some_and(|touched| touched.ended);
        if ended || self.host.body_ended(message) {
            return Poll::Ready(Ok(()));
        }
        self.reserve_for_body(message, Keep::Replay, memory)?;
        let Self { host, request, response, budget, account, .. } = self;
        let side = if message == BodyKind::Request { request } else { response };
        let touched = side.touch();
        while ready!(touched.receive(&mut **host, message, Keep::Replay, account.as_ref(), cx))? {
            touched.make_room(Keep::Replay, budget, message, touched.unread.len())?;
        }
        Poll::Ready(Ok(()))
    }
}
