//! A no-op host, to measure the cost of the core by itself.

use std::hint::black_box;
use std::task::{Context, Poll};

use http_wasm_host::{
    BodyKind, BodyState, BoxError, Frame, Guest, HeadChange, HeaderChange, LocalHost, Outcome, Outgoing,
    Refused,
};

use crate::support::result;

/// A GET of "/" and a response, both without headers or body.
pub(crate) struct Nothing {
    status: u16,
}

/// One request through a guest that proceeds.
pub(crate) fn exchange(guest: &Guest<Nothing>) {
    let outcome = result(guest.handle_request(Nothing { status: 200 })).expect("the guest doesn't fail");
    let Outcome::Next(mut pinned) = outcome else { panic!("the guest proceeds") };
    pinned.host_mut().status = 404;
    let handled = result(pinned.handle_response()).expect("the guest doesn't fail");
    black_box(handled.host.status);
}

impl LocalHost for Nothing {
    type Head = ();

    fn save_head(&self, _: BodyKind) {}

    fn restore_head(&mut self, (): ()) {}

    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn uri(&self) -> &[u8] {
        b"/"
    }

    fn change_head(&mut self, change: HeadChange<'_>) -> Result<(), Refused> {
        if let HeadChange::Status(status) = change {
            self.status = status;
        }
        Ok(())
    }

    fn protocol_version(&self) -> &'static str {
        "HTTP/1.1"
    }

    fn status(&self) -> u16 {
        self.status
    }

    fn header_names<'a>(&'a self, _: BodyKind, _: impl FnMut(&'a [u8])) {}

    fn header_values<'a>(&'a self, _: BodyKind, _: &[u8], _: impl FnMut(&'a [u8])) {}

    fn change_header(&mut self, _: BodyKind, _: &[u8], _: HeaderChange<'_>) -> Result<(), Refused> {
        Ok(())
    }

    fn poll_body(&mut self, _: BodyKind, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BoxError>>> {
        Poll::Ready(None)
    }

    fn body_state(&self, _: BodyKind) -> BodyState {
        BodyState::Ended
    }

    fn body_remaining(&self, _: BodyKind) -> Option<u64> {
        Some(0)
    }

    fn set_body(&mut self, _: BodyKind, _: Outgoing) {}
}
