//! Runs guests for Envoy: the gateway as Envoy's external processor, over gRPC.
//!
//! Envoy opens a stream for each request. Guests see the request and the response as if these passed through the
//! gateway; their changes are returned to Envoy as mutations. Bodies are transferred in pieces, in the mode
//! `FULL_DUPLEX_STREAMED`.

mod body;
mod exchange;
mod head;
mod output;
mod processor;
mod wire;

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::Response;
use http_wasm_tower::Chain;
use tonic::Status;
use tonic::codec::Streaming;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;
use tower::service_fn;

use self::output::Output;
use self::processor::Processor;
use self::wire::{
    HealthCheckRequest, HealthCheckResponse, NOT_SERVING, ProcessingRequest, ProcessingResponse, SERVING,
};
use crate::body::{BoxBody, boxed};
use crate::config;
use crate::exchange::Inbound;
use crate::stage::{CurrentStage, Stage};

/// Runs guests for Envoy.
#[derive(Clone)]
pub(crate) struct ExtProc(Arc<Processor>);

/// The largest message that is accepted. Envoy's buffers, and therefore the pieces of bodies, are smaller.
const MAX_MESSAGE_BYTES: usize = 32 << 20;

impl ExtProc {
    /// `max_body` limits the bytes of a client's request body.
    pub(crate) fn new(
        chain: Chain,
        settings: &config::ExtProc,
        max_body: Option<u64>,
        stage: CurrentStage,
    ) -> Self {
        Self(Arc::new(Processor::new(chain, settings, max_body, stage)))
    }

    /// Responds to a gRPC call.
    pub(crate) async fn respond(&self, inbound: &mut Inbound) -> Response<BoxBody> {
        let max_body = inbound.lift_body_limit().into_iter().chain(self.0.max_body).min();
        let request = inbound.take();
        let response = match request.uri().path() {
            "/envoy.service.ext_proc.v3.ExternalProcessor/Process" => {
                let codec = ProstCodec::<ProcessingResponse, ProcessingRequest>::default();
                let processor = self.0.clone();
                let process = service_fn(move |messages: tonic::Request<Streaming<ProcessingRequest>>| {
                    let answers = Answers::new(processor.clone(), messages.into_inner(), max_body);
                    ready(Ok::<_, Status>(tonic::Response::new(answers)))
                });
                let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES);
                grpc.streaming(process, request).await
            }
            "/grpc.health.v1.Health/Check" => {
                let codec = ProstCodec::<HealthCheckResponse, HealthCheckRequest>::default();
                Grpc::new(codec).unary(Health(&self.0.stage), request).await
            }
            _ => Status::unimplemented("unknown service; available are ExternalProcessor and Health/Check")
                .into_http(),
        };
        response.map(boxed)
    }
}

/// The stream of answers to Envoy. Dropping it drops the exchange.
struct Answers {
    /// The exchange, until it ends. Boxed because the future is large and would be moved several times.
    exchange: Option<BoxFuture<'static, Result<(), Status>>>,
    output: Output,
}

impl Answers {
    fn new(processor: Arc<Processor>, messages: Streaming<ProcessingRequest>, max_body: Option<u64>) -> Self {
        let output = Output::new();
        let to_envoy = output.clone();
        let exchange = async move { exchange::run(&processor, messages, max_body, to_envoy).await };
        Self { exchange: Some(Box::pin(exchange)), output }
    }
}

impl Stream for Answers {
    type Item = Result<ProcessingResponse, Status>;

    /// An answer is sent before the error that follows it.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut failure = None;
        if !this.output.is_full()
            && let Some(exchange) = &mut this.exchange
            && let Poll::Ready(result) = exchange.as_mut().poll(cx)
        {
            this.exchange = None;
            failure = result.err();
        }
        match (this.output.take(failure), &this.exchange) {
            (Some(answer), _) => Poll::Ready(Some(answer)),
            (None, Some(_)) => Poll::Pending,
            (None, None) => Poll::Ready(None),
        }
    }
}

/// Responds to health checks. The gateway is serving until it starts to drain.
struct Health<'a>(&'a CurrentStage);

impl UnaryService<HealthCheckRequest> for Health<'_> {
    type Response = HealthCheckResponse;
    type Future = std::future::Ready<Result<tonic::Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, _: tonic::Request<HealthCheckRequest>) -> Self::Future {
        let status = if self.0.get() == Stage::Draining { NOT_SERVING } else { SERVING };
        ready(Ok(tonic::Response::new(HealthCheckResponse { status })))
    }
}

impl fmt::Debug for ExtProc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtProc").field("chain", &self.0.chain).finish_non_exhaustive()
    }
}
