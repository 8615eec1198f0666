//! Runs an exchange: passes a request through the guest to the next handler, and the response back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use http_wasm_tower::{Body, Chain, Engine, Error, Guest, Phase};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::filter::LevelFilter;

use super::entry::EntryKind;
use super::next::Next;
use super::notes;
use super::recorder::Recorder;
use super::request::SampleRequest;
use super::result::ExchangeResult;
use super::seen::{SeenRequest, SeenResponse};
use crate::args::GuestSpec;
use crate::failure::{Failure, plain};
use crate::guest;

/// The client's address, unless the request specifies another.
pub(crate) const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 54_321);

/// How long a clean-up call may take.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// A loaded guest whose exchanges are recorded.
pub(crate) struct Runner {
    guest: Guest,
    chain: Chain,
    recorder: Recorder,
    runtime: Runtime,
}

impl Runner {
    /// Loads the guest. Lines that it logs at `level` and above are recorded.
    ///
    /// # Errors
    /// If it can't be loaded.
    pub(crate) fn load(spec: &GuestSpec, recorder: Recorder) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| Failure::Other(format!("cannot start the runtime: {}", plain(&error))))?;
        let engine = Engine::new()?;
        let guest = guest::builder(&engine, spec).trace(recorder.tracer()).load_file(&spec.path)?;
        Ok(Self { chain: Chain::new([guest.clone()]), guest, recorder, runtime })
    }

    /// The recorder of this process.
    ///
    /// # Errors
    /// If there is one already.
    pub(crate) fn recorder(level: LevelFilter) -> Result<Recorder, Failure> {
        let recorder = Recorder::new();
        recorder.subscribe(level)?;
        Ok(recorder)
    }

    pub(crate) fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Passes a request from `client` through the guest to `next`. The result includes what was recorded before.
    pub(crate) fn run(&self, request: &SampleRequest, client: SocketAddr, next: &Next) -> ExchangeResult {
        let seen = Arc::new(Mutex::new(None));
        let mut result = self.runtime.block_on(async {
            let (keep, recorder, next) = (seen.clone(), self.recorder.clone(), next.clone());
            let handler = async move |request: Request<Body>| {
                recorder.add(EntryKind::Next, None);
                let request = SeenRequest::of(request).await;
                let response = next.respond(&request).await;
                *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
                let status = response.as_ref().ok().map(|response| response.status().as_u16());
                recorder.add(EntryKind::Answered { status }, None);
                response
            };
            let answer = self.chain.call_observed(request.build(), Some(client), (), handler).await;
            match answer {
                Ok(mut response) => {
                    let error = response.extensions_mut().remove::<Arc<Error>>();
                    let response = Some(SeenResponse::of(response).await);
                    ExchangeResult { entries: Vec::new(), request: None, response, next_error: None, error }
                }
                Err(error) => {
                    self.wait_for_clean_up().await;
                    let next_error = Some(error.to_string());
                    ExchangeResult {
                        entries: Vec::new(),
                        request: None,
                        response: None,
                        next_error,
                        error: None,
                    }
                }
            }
        });
        if let Some(error) = result.error.as_mut().and_then(Arc::get_mut) {
            error.locate();
        }
        result.request = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.entries = self.recorder.take();
        notes::add(&mut result);
        result
    }

    /// If the next handler fails, the guest's clean-up call runs off the request path.
    async fn wait_for_clean_up(&self) {
        let returned = |kind: &EntryKind| matches!(kind, EntryKind::Returned { phase: Phase::Response, .. });
        let limit = Instant::now() + CLEAN_UP;
        while !self.recorder.any(returned) && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
