//! Runs the calls of guests.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_wasm_host::{Error, Progress};

use crate::compute::{begin_slice, has_overrun};
use crate::failure::Failure;
use crate::placement::Placement;

/// Waits for a guest's call: on the worker until the call has used up a time slice, then on the threads for long
/// computations.
pub(crate) async fn drive<T: Send + 'static>(progress: Progress<Result<T, Error>>) -> Result<T, Failure> {
    let mut call = match progress.done() {
        Ok(result) => return result.map_err(Failure::Guest),
        Err(progress) => Placement::OnWorker(progress),
    };
    poll_fn(move |cx| poll(&mut call, cx)).await
}

fn poll<T: Send + 'static>(
    call: &mut Placement<Progress<Result<T, Error>>, Result<T, Error>>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, Failure>> {
    if let Placement::OnWorker(progress) = call {
        begin_slice();
        if let Poll::Ready(result) = Pin::new(progress).poll(cx) {
            return Poll::Ready(result.map_err(Failure::Guest));
        }
        if !has_overrun() {
            return Poll::Pending;
        }
        call.move_to_thread(|progress| progress);
    }
    let Placement::OnThread(running) = call else { return Poll::Ready(Err(Failure::Busy)) };
    Pin::new(running).poll(cx).map(|result| match result {
        Some(result) => result.map_err(Failure::Guest),
        None => Err(Failure::Panicked),
    })
}
