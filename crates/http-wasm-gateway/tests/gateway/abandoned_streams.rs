//! Requests that a guest has answered while a guest behind it was still writing them: the call of that guest continues,
//! and still counts against limits.

use std::fs;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::files::Files;
use crate::request_streams::{REDACTS, accept, bind};
use crate::support::{Server, eventually, get, soon};

/// Starts a gateway with these settings of its listener and its route, and sends a request through three guests that
/// stream. The second one responds in the middle, and the response passes the first one, which streams it. The third
/// one computes from then on until its deadline; it responds to a request without a body. Returns once the client has
/// received the response.
async fn outlived_by_a_call(listen: &str, route: &str) -> (Server, SendRequest<Bytes>) {
    let files = Files::new();
    files.write("first.wat", &REDACTS.replace("0x3f", "0x7e"));
    let body = "(call $write_body (i32.const 1) (i32.const 0) (i32.const 5)) (call $set_status_code";
    files.write(
        "responds.wat",
        &REDACTS.replace("(call $set_status_code (i32.const 403", &format!("{body} (i32.const 403")),
    );
    files.write(
        "computes.wat",
        &REDACTS.replace(
            "    (i64.const 1))",
            "    (if (i32.load8_u (i32.const 0)) (then (loop $forever (br $forever)))) (i64.const 0))",
        ),
    );
    let upstream = bind().await;
    let config = format!(
        "listen = [{{ address = '127.0.0.1:0', limits = {{ {listen} }} }}]\naccess_log.file = 'access.log'\n\
         [guests.first]\npath = 'first.wat'\nstream = 'both'\n\
         [guests.responds]\npath = 'responds.wat'\nstream = 'request'\n\
         [guests.computes]\npath = 'computes.wat'\nstream = 'request'\nlimits.deadline = '3s'\n\
         [upstreams.u]\naddresses = ['http://{}']\n\
         [[routes]]\nguests = ['first', 'responds', 'computes']\nupstream = 'u'\n{route}\n",
        upstream.local_addr().expect("it is bound")
    );
    let server = Server::start_with(files, &config).await;
    let stream = TcpStream::connect(server.addr).await.expect("the server accepts");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let request = Request::post("http://h/").body(()).expect("it is valid");
    let (response, mut upload) = client.send_request(request, false).expect("it is sent");
    upload.send_data("42".into(), false).expect("it is sent");
    // The guests have begun to write it.
    let mut upstream = accept(&upstream).await;
    upstream.read_until("##\r\n").await;
    upload.send_data("stop?".into(), true).expect("it is sent");
    let mut response = soon(response).await.expect("a response");
    assert_eq!(response.status(), 403);
    while let Some(data) = soon(response.body_mut().data()).await {
        data.expect("the response is complete");
    }
    (server, client)
}

/// Sends another request. Returns `None` if the server refuses it.
async fn another(client: &SendRequest<Bytes>) -> Option<()> {
    let mut client = soon(client.clone().ready()).await.expect("the connection is open");
    let request = Request::get("http://h/").body(()).expect("it is valid");
    let (response, _) = client.send_request(request, true).expect("it is sent");
    match soon(response).await {
        Ok(_) => Some(()),
        Err(error) => {
            assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM), "{error}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlives_its_request_counts_against_the_limit_of_streams() {
    let (_server, client) = outlived_by_a_call("max_http2_streams = 1", "").await;
    assert!(another(&client).await.is_none());
    eventually(async || another(&client).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlives_its_request_holds_the_permit_of_its_route() {
    let (server, _client) = outlived_by_a_call("", "concurrency = { max = 1, queue = 0 }").await;
    assert!(get(server.addr, "/").await.starts_with("HTTP/1.1 503 "));
    eventually(async || (!get(server.addr, "/").await.starts_with("HTTP/1.1 503 ")).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_guest_whose_call_outlives_its_request() {
    let (server, _client) = outlived_by_a_call("", "").await;
    let line = eventually(async || {
        let text = fs::read_to_string(server.files.path("access.log")).unwrap_or_default();
        text.ends_with('\n').then_some(text)
    })
    .await;
    let line: Value = serde_json::from_str(&line).expect("one line of JSON");
    let guests: Vec<_> = line["guests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|guest| (guest["name"].as_str().expect("a name"), guest["failure"].as_str()))
        .collect();
    assert_eq!(guests, [("first", None), ("responds", None), ("computes", Some("abandoned"))]);
    // Its failure isn't why the client got this response.
    assert_eq!((&line["status"], &line["outcome"]), (&403.into(), &"complete".into()), "{line}");
}
