//! The examples.

use futures_util::{StreamExt as _, stream};
use http::Request;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::support::*;

#[allow(dead_code)]
#[path = "../../examples/axum.rs"]
mod axum;

#[allow(dead_code)]
#[path = "../../examples/hyper.rs"]
mod hyper;

#[allow(dead_code)]
#[path = "../../examples/tonic.rs"]
mod talk;

use talk::Text;

#[tokio::test]
async fn the_guest_of_the_axum_example_rewrites_rejects_and_answers() {
    let addr = serve(axum::app().await.unwrap()).await;
    for mut client in Client::both(addr).await {
        let response = client.send(get("/v1/books")).await;
        assert_eq!(header(&response, "x-guest"), "welcome");
        assert_eq!(text(response.into_body()).await, "Dune, Solaris\n");
        assert_eq!(client.send(get("/admin")).await.status(), 401);
        assert_eq!(text(client.send(get("/hello")).await.into_body()).await, "hello from the guest\n");
        assert_eq!(client.send(get("/nothing")).await.status(), 404);
    }
}

#[tokio::test]
async fn the_guest_of_the_hyper_example_reports_the_client_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async { hyper::serve(listener).await.map_err(drop) });
    for mut client in Client::both(addr).await {
        let response = client.send(get("/")).await;
        assert!(header(&response, "x-client").starts_with("127.0.0.1:"), "{response:?}");
        assert_eq!(text(response.into_body()).await, "hello world\n");
    }
}

async fn talk() -> (std::net::SocketAddr, Grpc<Channel>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async { talk::serve(listener).await.map_err(drop) });
    let channel = Channel::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap();
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    (addr, client)
}

fn authorized<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", "me".parse().unwrap());
    request
}

async fn shout(
    client: &mut Grpc<Channel>,
    request: tonic::Request<Text>,
) -> Result<tonic::Response<Text>, Status> {
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/example.Talk/Shout");
    soon(client.unary(request, path, ProstCodec::default())).await
}

#[tokio::test]
async fn a_unary_grpc_call_passes_the_guest_of_the_tonic_example() {
    let (_, mut client) = talk().await;
    let response = shout(&mut client, authorized(Text { text: "hello".into() })).await.unwrap();
    assert_eq!(response.get_ref().text, "HELLO");
    // For a client, metadata are the headers and, for unary calls, the trailers.
    assert_eq!(response.metadata().get("x-guest").unwrap(), "was here");
}

#[tokio::test]
async fn a_grpc_status_passes_the_guest_of_the_tonic_example() {
    let (_, mut client) = talk().await;
    let status = shout(&mut client, authorized(Text::default())).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "nothing to shout"));
    let status = shout(&mut client, tonic::Request::new(Text::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "the guest's own");
}

#[tokio::test]
async fn a_bidirectional_grpc_stream_passes_the_tonic_examples_guest_message_by_message() {
    let (_, mut client) = talk().await;
    let (feed, messages) = tokio::sync::mpsc::unbounded_channel();
    let messages =
        stream::unfold(messages, |mut messages| async { Some((messages.recv().await?, messages)) });
    let path = PathAndQuery::from_static("/example.Talk/Chat");
    let response =
        soon(client.streaming(authorized(messages), path, ProstCodec::<Text, Text>::default())).await;
    let mut answers = response.unwrap().into_inner();
    for text in ["one", "two", "three"] {
        feed.send(Text { text: text.into() }).unwrap();
        assert_eq!(soon(answers.next()).await.unwrap().unwrap().text, text.to_uppercase());
    }
    drop(feed);
    assert!(soon(answers.next()).await.is_none());
    let trailers = answers.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("x-guest").unwrap(), "was here");
}

#[tokio::test]
async fn the_grpc_status_of_the_tonic_example_is_in_the_trailers_on_the_wire() {
    let (addr, _) = talk().await;
    let message = [&[0, 0, 0, 0, 4, 0x0a, 2][..], b"hi"].concat();
    let request = Request::post("/example.Talk/Shout")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", "me")
        .body(message.into_body())
        .unwrap();
    let answer: http_body_util::Collected<bytes::Bytes> =
        gather(Client::http2(addr).await.send(request).await.into_body()).await;
    assert_eq!(answer.trailers(), Some(&fields(&[("grpc-status", "0"), ("x-guest", "was here")])));
    assert_eq!(&answer.to_bytes()[5..], b"\x0a\x02HI");
}
