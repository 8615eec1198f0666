//! Clients that close their side of a connection, or all of it, before they have the response.

use tokio::net::TcpListener;

use crate::support::{Raw, Server, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A gateway, a client, and the connection on which the upstream got the client's request.
async fn asked(timeout: &str) -> (Server, Raw, Raw) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("there are ports");
    let config = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\nlimits = {{ half_close_timeout = '{timeout}' }}\n\
         [upstreams.u]\naddresses = ['http://{}']\n[[routes]]\nupstream = 'u'\n",
        upstream.local_addr().expect("it has an address")
    );
    let server = Server::start(&config).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    let mut upstream = Raw(soon(upstream.accept()).await.expect("the gateway connects").0);
    upstream.read_until("\r\n\r\n").await;
    (server, client, upstream)
}

async fn close_one_direction(client: &mut Raw) {
    tokio::io::AsyncWriteExt::shutdown(&mut client.0).await.expect("it is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_half_closed_its_connection_gets_its_response() {
    let (_server, mut client, mut upstream) = asked("1h").await;
    close_one_direction(&mut client).await;
    // Long enough for the gateway to notice.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let body = "x".repeat(1_000_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    upstream.send(answer).await;
    let all = client.read_to_end().await;
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with(&body), "{} bytes", all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_cancelled_if_its_client_stays_half_closed_past_the_timeout() {
    for timeout in ["300ms", "0s"] {
        let (_server, mut client, mut upstream) = asked(timeout).await;
        close_one_direction(&mut client).await;
        assert_eq!(upstream.read_to_end().await, "", "the upstream sees it");
        assert_eq!(client.read_to_end().await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_cancelled_if_its_client_closes_or_resets_the_connection() {
    let (_server, client, mut upstream) = asked("300ms").await;
    drop(client);
    assert_eq!(upstream.read_to_end().await, "");

    let (_server, client, mut upstream) = asked("1h").await;
    client.0.set_zero_linger().expect("it is open");
    drop(client);
    assert_eq!(upstream.read_to_end().await, "", "at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_arrives_together_with_a_half_close_is_answered() {
    let server = Server::echo("").await;
    for request in [GET, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"] {
        for _ in 0..30 {
            let mut client = server.connect().await;
            client.send(request).await;
            close_one_direction(&mut client).await;
            let answer = client.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        }
    }
}
