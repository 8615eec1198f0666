//! The outcome of upgrade requests.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use http::{Method, StatusCode};

/// Whether the connection is handed over to another protocol. The code that responds to the request sets this, and the
/// reader of the connection checks it.
#[derive(Debug, Default)]
pub(in crate::listener) struct Upgrade {
    state: AtomicU8,
    reader: AtomicWaker,
}

const UNDECIDED: u8 = 0;
const DECLINED: u8 = 1;
const ACCEPTED: u8 = 2;

impl Upgrade {
    /// Records that an upgrade request is forwarded.
    pub(super) fn requested(&self) {
        self.state.store(UNDECIDED, Ordering::Release);
    }

    /// Records the status of the response to a request with this method.
    pub(in crate::listener) fn answered(&self, method: &Method, status: StatusCode) {
        let accepted =
            status == StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status.is_success());
        self.state.store(if accepted { ACCEPTED } else { DECLINED }, Ordering::Release);
        self.reader.wake();
    }

    /// Whether the connection now belongs to the other protocol.
    pub(super) fn poll_decided(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.reader.register(cx.waker());
        match self.state.load(Ordering::Acquire) {
            UNDECIDED => Poll::Pending,
            state => Poll::Ready(state == ACCEPTED),
        }
    }
}
