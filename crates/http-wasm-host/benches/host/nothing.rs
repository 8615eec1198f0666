//! A host that holds nothing, to see what the core costs by itself.

use std::hint::black_box;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use http_wasm_host::{BodyKind, BoxError, Frame, Guest, LocalHost, Outcome, Outgoing, Refused};

use crate::support::now;

/// A GET of "/" and a response, both without headers or body.
pub(crate) struct Nothing {
    status: u16,
}

/// One request through a guest that proceeds.
pub(crate) fn exchange(guest: &Guest<Nothing>) {
    let outcome = now(guest.handle_request(Nothing { status: 200 })).expect("the guest doesn't fail");
    let Outcome::Next(mut pinned) = outcome else { panic!("the guest proceeds") };
    pinned.host_mut().status = 404;
    let handled = now(pinned.handle_response()).expect("the guest doesn't fail");
    black_box(handled.host.status);
}

impl LocalHost for Nothing {
    type Head = ();

    fn save_head(&self, _: BodyKind) {}

    fn restore_head(&mut self, (): ()) {}

    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn set_method(&mut self, _: &[u8]) {}

    fn uri(&self) -> &[u8] {
        b"/"
    }

    fn set_uri(&mut self, _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn set_authority(&mut self, _: &[u8]) {}

    fn protocol_version(&self) -> &'static str {
        "HTTP/1.1"
    }

    fn source_addr(&self) -> Option<SocketAddr> {
        None
    }

    fn status(&self) -> u16 {
        self.status
    }

    fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    fn header_names<'a>(&'a self, _: BodyKind, _: impl FnMut(&'a [u8])) {}

    fn header_values<'a>(&'a self, _: BodyKind, _: &[u8], _: impl FnMut(&'a [u8])) {}

    fn set_header(&mut self, _: BodyKind, _: &[u8], _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn add_header(&mut self, _: BodyKind, _: &[u8], _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn remove_header(&mut self, _: BodyKind, _: &[u8]) {}

    fn poll_body(&mut self, _: BodyKind, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BoxError>>> {
        Poll::Ready(None)
    }

    fn body_ended(&self, _: BodyKind) -> bool {
        true
    }

    fn body_remaining(&self, _: BodyKind) -> Option<u64> {
        Some(0)
    }

    fn set_body(&mut self, _: BodyKind, _: Outgoing) {}
}
