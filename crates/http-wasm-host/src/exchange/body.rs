//! Reads and writes of bodies, and how much of what is read is kept.

use std::task::{Context, Poll, ready};

use super::Exchange;
use super::message_state::{AT_END, Written};
use super::phases::{self, Readable};
use super::retention::{Retention, reserve};
use crate::abi::{BodyKind, EofLen, Features, HeaderKind, Phase};
use crate::error::Reason;
use crate::host::{BodyState, Host};
use crate::message::body_budget::{BodyAccount, BodyBudget, NoBodyMemory, Reservation};

impl<H: Host> Exchange<H> {
    /// The same as [`read_body`](Self::read_body) for the next bytes of a piece that the guest is reading, if there is
    /// nothing else to do for them.
    #[inline]
    pub(crate) fn read_on(&mut self, kind: BodyKind, buf: &mut [u8]) -> Option<EofLen> {
        self.check_memory().ok()?;
        let Self { request, response, budget, .. } = self;
        let state = if kind == BodyKind::Request { request } else { response };
        state.accessed.as_mut()?.read_on(budget, buf)
    }

    /// Continues where the last read of this body stopped, until `buf` is full or the body has ended.
    pub(crate) fn read_body(
        &mut self,
        kind: BodyKind,
        buf: &mut [u8],
        memory: &BodyBudget,
        cx: &mut Context<'_>,
    ) -> Poll<Result<EofLen, Reason>> {
        match phases::check_read(self.phase, kind, self.features).map_err(Reason::WrongPhase)? {
            Readable::Own => return Poll::Ready(Ok(self.response.read_own(buf))),
            Readable::Nothing => return Poll::Ready(Ok(AT_END)),
            Readable::Received if kind == BodyKind::Response && self.is_upgrade() => {
                return Poll::Ready(Ok(AT_END));
            }
            Readable::Received if self.streaming.is_some() && self.is_closed(kind) => {
                return Poll::Ready(Ok(AT_END));
            }
            Readable::Received => {}
        }
        if self.coding.is_some() {
            self.check_readable(kind)?;
        }
        let (keep, at_once) = (self.keep(kind), self.reads_at_once(kind));
        // The memory of a decoder counts too.
        let is_counted = keep != Retention::Nothing || self.state_mut(kind).is_coded();
        if is_counted {
            self.reserve_for_body(kind, keep, memory)?;
        }
        let Self { host, request, response, budget, account, .. } = self;
        let state = if kind == BodyKind::Request { request } else { response };
        let account = account.as_ref().filter(|_| is_counted);
        state.access().read(&mut **host, kind, keep, budget, account, (buf, at_once), cx)
    }

    /// Before the first bytes of a body are kept, reserves room for its length if it is known, up to the maximum that
    /// may be kept.
    fn reserve_for_body(
        &mut self,
        kind: BodyKind,
        keep: Retention,
        memory: &BodyBudget,
    ) -> Result<(), Reason> {
        if !memory.is_limited() {
            return Ok(());
        }
        let accessed = self.state_mut(kind).access();
        let was_attempted = std::mem::replace(&mut accessed.reservation_attempted, true);
        let state = self.host.body_state(kind);
        if was_attempted || state == BodyState::Ended {
            return self.check_memory();
        }
        let is_coded = self.state_mut(kind).is_coded();
        if let Some(account) = self.account(memory)
            && state == BodyState::Arriving
            && !is_coded
            && let Some(length) = self.host.body_remaining(kind)
        {
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(self.budget.kept_limit());
            match account.reserve(length) {
                Ok(ahead) => self.state_mut(kind).access().ahead = ahead,
                Err(NoBodyMemory) if keep == Retention::Undo => {
                    self.state_mut(kind).access().undo_reservation_failed = true
                }
                Err(none) => return Err(none.into()),
            }
        }
        self.check_memory()
    }

    /// The account of the request. If an earlier guest has opened one for the same message, it is shared.
    #[inline]
    pub(super) fn account(&mut self, memory: &BodyBudget) -> Option<BodyAccount> {
        if memory.is_limited() { self.open_account(memory) } else { None }
    }

    fn open_account(&mut self, memory: &BodyBudget) -> Option<BodyAccount> {
        let message = self.phase.message();
        if self.account.is_none() {
            self.account = self.host.body_account(message, || memory.open());
        }
        self.account.clone()
    }

    /// Releases the memory that was reserved for the guest, but not used, once the guest has finished with a message.
    #[inline]
    pub(super) fn release_ahead(&mut self) {
        if self.account.is_some() {
            self.release_reserved();
        }
    }

    fn release_reserved(&mut self) {
        for state in [&mut self.request, &mut self.response] {
            state.written.iter_mut().for_each(|written| written.ahead = Reservation::default());
            state.accessed.iter_mut().for_each(|accessed| accessed.ahead = Reservation::default());
        }
    }

    /// Checks that the exchange hasn't lost the memory that it holds to others.
    #[inline]
    pub(super) fn check_memory(&self) -> Result<(), Reason> {
        match &self.account {
            None => Ok(()),
            Some(account) => Ok(account.check()?),
        }
    }

    /// Why the next bytes that the guest reads of a message are kept.
    fn keep(&self, message: BodyKind) -> Retention {
        let state = match message {
            BodyKind::Request => &self.request,
            BodyKind::Response => &self.response,
        };
        // Once the guest has written, the original isn't forwarded.
        if self.features.contains(Features::buffering(message)) && !state.is_written() {
            Retention::Replay
        } else if self.is_undoable(message) {
            Retention::Undo
        } else {
            Retention::Nothing
        }
    }

    /// Appends to the outgoing body. The first write of a phase starts a new one.
    pub(crate) fn write_body(
        &mut self,
        kind: BodyKind,
        data: &[u8],
        memory: &BodyBudget,
    ) -> Result<(), Reason> {
        self.check_content_mutable(kind)?;
        self.check_transformable(kind)?;
        self.budget.spend_written(data.len())?;
        let undoable = self.is_undoable(kind);
        let account = if data.is_empty() { None } else { self.account(memory) };
        let state = self.state_mut(kind);
        if let Some(accessed) = &mut state.accessed {
            accessed.stop_replay(undoable);
        }
        // A first write of length 0 empties the body. Later ones, which end copy loops, append nothing.
        let written = state.written.get_or_insert_default();
        match account {
            None => written.bytes.extend_from_slice(data),
            Some(account) => {
                account.moved(data.len());
                let reserved = reserve(&mut written.ahead, &account, data.len())?;
                written.bytes.extend_reserved(data, reserved);
            }
        }
        Ok(())
    }

    /// Empties the outgoing body.
    pub(crate) fn empty_body(&mut self, kind: BodyKind) -> Result<(), Reason> {
        self.check_content_mutable(kind)?;
        self.check_transformable(kind)?;
        let undoable = self.is_undoable(kind);
        let state = self.state_mut(kind);
        if let Some(accessed) = &mut state.accessed {
            accessed.stop_replay(undoable);
            accessed.own_read = 0;
        }
        state.written = Some(Written::default());
        Ok(())
    }

    /// Waits until the trailers are known, if the guest may do so, by reading the rest of the body, which is kept for
    /// replay. Without the feature that allows this, trailers that haven't arrived read as empty.
    pub(crate) fn await_trailers(
        &mut self,
        kind: HeaderKind,
        memory: &BodyBudget,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Reason>> {
        let message = kind.message();
        // Only trailers of the phase's own message may still arrive.
        let may_arrive = match (self.phase, kind) {
            (Phase::Request, HeaderKind::RequestTrailers) => true,
            (Phase::Response, HeaderKind::ResponseTrailers) => !self.is_upgrade(),
            _ => false,
        };
        if !may_arrive || !self.features.contains(Features::buffering(message)) {
            return Poll::Ready(Ok(()));
        }
        if self.streaming.is_some() && self.is_closed(message) {
            return Poll::Ready(Ok(()));
        }
        let ended = self.state_mut(message).accessed.as_ref().is_some_and(|accessed| accessed.ended);
        if ended || self.host.body_state(message) == BodyState::Ended {
            return Poll::Ready(Ok(()));
        }
        self.reserve_for_body(message, Retention::Replay, memory)?;
        let Self { host, request, response, budget, account, .. } = self;
        let state = if message == BodyKind::Request { request } else { response };
        let accessed = state.access();
        while ready!(accessed.receive(&mut **host, message, Retention::Replay, budget, account.as_ref(), cx))?
        {
            accessed.reserve(Retention::Replay, budget, message, accessed.unread_len())?;
        }
        Poll::Ready(Ok(()))
    }
}
