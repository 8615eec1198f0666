//! Guests for an Envoy: the gateway as its external processor, over gRPC.
//!
//! Envoy opens a stream for each request. The guests see the request and the response as if they passed through here;
//! what they change goes back as changes. Bodies come in pieces, in the mode `FULL_DUPLEX_STREAMED`.

mod body;
mod exchange;
mod head;
mod output;
mod processor;
mod wire;

use std::fmt;
use std::future::ready;
use std::sync::Arc;

use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use http::{Request, Response};
use http_wasm_tower::Chain;
use tokio::sync::mpsc;
use tonic::codec::Streaming;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;
use tower::service_fn;

use self::output::Output;
use self::processor::Processor;
use self::wire::{HealthCheckRequest, HealthCheckResponse, ProcessingRequest, ProcessingResponse, SERVING};
use crate::body::{BoxBody, boxed};
use crate::config;

/// Runs guests for an Envoy.
#[derive(Clone)]
pub(crate) struct ExtProc(Arc<Processor>);

/// The longest message that is accepted. Envoy's buffers, and so its pieces of bodies, are smaller.
const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// Answers that may wait for Envoy to read them.
const ANSWERS: usize = 4;

impl ExtProc {
    pub(crate) fn new(chain: Chain, settings: &config::ExtProc) -> Self {
        Self(Arc::new(Processor::new(chain, settings)))
    }

    /// The response to a call.
    pub(crate) async fn respond(&self, request: Request<BoxBody>) -> Response<BoxBody> {
        let response = match request.uri().path() {
            "/envoy.service.ext_proc.v3.ExternalProcessor/Process" => {
                let codec = ProstCodec::<ProcessingResponse, ProcessingRequest>::default();
                let processor = self.0.clone();
                let process = service_fn(move |messages: tonic::Request<Streaming<ProcessingRequest>>| {
                    let answers = answers(processor.clone(), messages.into_inner());
                    ready(Ok::<_, tonic::Status>(tonic::Response::new(answers)))
                });
                let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES);
                grpc.streaming(process, request).await
            }
            "/grpc.health.v1.Health/Check" => {
                let codec = ProstCodec::<HealthCheckResponse, HealthCheckRequest>::default();
                Grpc::new(codec).unary(Healthy, request).await
            }
            _ => tonic::Status::unimplemented("the services are ExternalProcessor and Health/Check")
                .into_http(),
        };
        response.map(boxed)
    }
}

/// The answers to a stream of Envoy's. If they are dropped, so is the exchange.
fn answers(
    processor: Arc<Processor>,
    messages: Streaming<ProcessingRequest>,
) -> impl Stream<Item = Result<ProcessingResponse, tonic::Status>> + Send {
    let (sender, receiver) = mpsc::channel(ANSWERS);
    let run = async move { exchange::run(&processor, messages, Output::new(sender)).await };
    let end = run.into_stream().filter_map(|result| ready(result.err().map(Err)));
    let answers = stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|answer| (Ok(answer), receiver))
    });
    // Answers that were given before an error are sent before it.
    stream::select_with_strategy(answers, end, |(): &mut ()| stream::PollNext::Left)
}

/// Answers health checks for as long as connections are accepted.
struct Healthy;

impl UnaryService<HealthCheckRequest> for Healthy {
    type Response = HealthCheckResponse;
    type Future = std::future::Ready<Result<tonic::Response<HealthCheckResponse>, tonic::Status>>;

    fn call(&mut self, _: tonic::Request<HealthCheckRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new(HealthCheckResponse { status: SERVING })))
    }
}

impl fmt::Debug for ExtProc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtProc").field("chain", &self.0.chain).finish_non_exhaustive()
    }
}
