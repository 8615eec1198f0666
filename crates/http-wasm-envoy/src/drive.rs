//! Runs the calls of guests.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_wasm_host::{Error, Progress};

use crate::compute::{CallHandle, begin_slice, has_overrun};
use crate::failure::Failure;
use crate::process::process;

/// Waits for a guest's call: on the worker until the call has used up a time slice, then on the threads for long
/// computations.
pub(crate) async fn drive<T: Send + 'static>(progress: Progress<Result<T, Error>>) -> Result<T, Failure> {
    let mut call = match progress.done() {
        Ok(result) => return result.map_err(Failure::Guest),
        Err(progress) => Call::Here(progress),
    };
    poll_fn(move |cx| call.poll(cx)).await
}

enum Call<T> {
    Here(Progress<Result<T, Error>>),
    Elsewhere(CallHandle<Result<T, Error>>),
    /// While it moves to the other threads.
    Between,
}

impl<T: Send + 'static> Call<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Failure>> {
        if let Self::Here(progress) = self {
            begin_slice();
            if let Poll::Ready(result) = Pin::new(progress).poll(cx) {
                return Poll::Ready(result.map_err(Failure::Guest));
            }
            if !has_overrun() {
                return Poll::Pending;
            }
            if let Self::Here(progress) = std::mem::replace(self, Self::Between) {
                match process().threads.run(progress) {
                    Some(remote) => *self = Self::Elsewhere(remote),
                    None => return Poll::Ready(Err(Failure::Busy)),
                }
            }
        }
        match self {
            Self::Elsewhere(remote) => Pin::new(remote).poll(cx).map(|result| match result {
                Some(result) => result.map_err(Failure::Guest),
                None => Err(Failure::Panicked),
            }),
            Self::Here(_) | Self::Between => Poll::Pending,
        }
    }
}
