//! A guest in front of a gRPC service: `cargo run -p http-wasm-tower --example tonic`.
//!
//! The service is written by hand where `tonic-prost-build` would generate it from a .proto file, so that this example
//! needs no protoc. The guest is a layer of the server like any other.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _};
use http_wasm_tower::{BoxError, Engine, Guest, HttpWasmLayer};
use tonic::codegen::BoxFuture;
use tonic::server::{Grpc, NamedService};
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// Refuses calls without an `authorization`, in gRPC's terms, and signs the others' trailers.
pub(crate) const GUEST: &str = r#"(module
    (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
    (import "http_handler" "get_header_values" (func $get_header_values (param i32 i32 i32 i32 i32) (result i64)))
    (import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "authorization")
    (data (i32.const 32) "content-type")
    (data (i32.const 64) "application/grpc")
    (data (i32.const 96) "grpc-status")
    (data (i32.const 128) "16")
    (data (i32.const 160) "x-guest")
    (data (i32.const 192) "was here")
    (func $start (drop (call $enable_features (i32.const 6))))  ;; buffer_response and trailers
    (start $start)
    (func (export "handle_request") (result i64)
        (if (i64.eqz (call $get_header_values
                (i32.const 0) (i32.const 0) (i32.const 13) (i32.const 1024) (i32.const 0)))
            (then
                (call $set_header_value (i32.const 1) (i32.const 32) (i32.const 12) (i32.const 64) (i32.const 16))
                (call $set_header_value (i32.const 1) (i32.const 96) (i32.const 11) (i32.const 128) (i32.const 2))
                (return (i64.const 0))))
        (i64.const 1))
    (func (export "handle_response") (param i32 i32)
        (call $set_header_value (i32.const 3) (i32.const 160) (i32.const 7) (i32.const 192) (i32.const 8))))"#;

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Text {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

/// `rpc Shout(Text) returns (Text)` and `rpc Chat(stream Text) returns (stream Text)`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk;

fn shout(text: Text) -> Result<Text, Status> {
    match text.text.as_str() {
        "" => Err(Status::invalid_argument("nothing to shout")),
        text => Ok(Text { text: text.to_uppercase() }),
    }
}

impl tonic::server::UnaryService<Text> for Talk {
    type Response = Text;
    type Future = BoxFuture<Response<Text>, Status>;

    fn call(&mut self, request: Request<Text>) -> Self::Future {
        Box::pin(async { shout(request.into_inner()).map(Response::new) })
    }
}

impl tonic::server::StreamingService<Text> for Talk {
    type Response = Text;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Text, Status>> + Send>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Text>>) -> Self::Future {
        let answers = request.into_inner().map(|text| text.and_then(shout));
        Box::pin(async { Ok(Response::new(Box::pin(answers) as Self::ResponseStream)) })
    }
}

impl NamedService for Talk {
    const NAME: &'static str = "example.Talk";
}

impl tower::Service<http::Request<tonic::body::Body>> for Talk {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(match request.uri().path() {
                "/example.Talk/Shout" => grpc.unary(service, request).await,
                "/example.Talk/Chat" => grpc.streaming(service, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

pub(crate) async fn serve(listener: tokio::net::TcpListener) -> Result<(), BoxError> {
    // On a thread of its own, as compiling takes up to seconds.
    let guest = Guest::builder(&Engine::new()?).name("sign").load_async(GUEST).await?;
    let layer = HttpWasmLayer::new(guest)
        .source_addr(|extensions| extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr));
    let connections = futures_util::stream::unfold(listener, |listener| async {
        Some((listener.accept().await.map(|(connection, _)| connection), listener))
    });
    tonic::transport::Server::builder()
        .layer(layer)
        .add_service(Talk)
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Guests' logs, and the reasons of their failures, go where `RUST_LOG` lets them.
    tracing_subscriber::fmt::init();
    serve(tokio::net::TcpListener::bind("127.0.0.1:50051").await?).await
}
