//! The page's server: access control, and sending requests again.

use super::exchanges::filter;
use super::{Dev, status};
use crate::support::exchange;

#[tokio::test]
async fn the_page_answers_only_under_names_of_this_machine() {
    let project = filter();
    let dev = Dev::of(&project, &[]);
    for (host, expected) in [
        ("127.0.0.1", 200),
        ("localhost:1", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("10.0.0.1", 421),
    ] {
        for path in ["/", "/state", "/script.js"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            assert_eq!(status(&exchange(dev.page, request).await), expected, "{host} {path}");
        }
    }
    let page = dev.ask_page("GET / HTTP/1.1").await.to_ascii_lowercase();
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'",
        "x-frame-options: deny",
        "cross-origin-resource-policy: same-origin",
        "cache-control: no-store",
    ] {
        assert!(page.contains(header), "{header} is not in {page}");
    }
    assert!(!page.contains("access-control-allow"), "{page}");
}

#[tokio::test]
async fn requests_are_sent_again_only_with_the_token_of_this_start() {
    let project = filter();
    let dev = Dev::of(&project, &[]);
    dev.send("POST /deny?1 HTTP/1.1\r\nx-own: 1", "unread").await;
    dev.exchange(1).await;
    let replay = async |head: &str, host: &str| {
        exchange(dev.page, format!("{head}\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await
    };
    let token = dev.token().await;
    assert_eq!(token.len(), 32);
    for (head, host, expected) in [
        ("POST /replay/1 HTTP/1.1".to_owned(), "localhost", 403),
        (format!("POST /replay/1 HTTP/1.1\r\nx-dev-token: {}", "0".repeat(32)), "localhost", 403),
        (format!("POST /replay/1?token={token} HTTP/1.1"), "localhost", 403),
        (format!("GET /replay/1 HTTP/1.1\r\nx-dev-token: {token}"), "localhost", 405),
        (format!("POST /replay/1 HTTP/1.1\r\nx-dev-token: {token}"), "evil.example", 421),
        (format!("POST /replay/9 HTTP/1.1\r\nx-dev-token: {token}"), "localhost", 409),
        (format!("POST /replay/x HTTP/1.1\r\nx-dev-token: {token}"), "localhost", 404),
    ] {
        assert_eq!(status(&replay(&head, host).await), expected, "{head}");
    }
    assert_eq!(dev.json("/state").await["exchanges"].as_array().unwrap().len(), 1, "nothing was sent");

    let head = format!("POST /replay/1 HTTP/1.1\r\nx-dev-token: {token}");
    let answer = replay(&head, "localhost").await;
    assert!(status(&answer) == 200 && answer.ends_with("{\"id\":2}"), "{answer}");
    let (first, again) = (dev.exchange(1).await, dev.exchange(2).await);
    assert_eq!(again["replay_of"], 1);
    assert_eq!(again["status"], 403);
    // This includes the body, which the guest hasn't read.
    assert_eq!(again["client"]["request"]["body"], "unread");
    assert_eq!(first["client"]["request"]["line"], again["client"]["request"]["line"]);
    let sorted = |exchange: &serde_json::Value| {
        let headers = exchange["client"]["request"]["headers"].as_array().unwrap().clone();
        let mut headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
        headers.retain(|header| !header.starts_with("[\"connection\""));
        headers.sort();
        headers
    };
    assert_eq!(sorted(&first), sorted(&again));
}

#[tokio::test]
async fn a_request_over_http_2_is_sent_again_over_http_2() {
    use http_body_util::{BodyExt as _, Full};

    let project = filter();
    let dev = Dev::of(&project, &[]);
    let mut client = crate::support::http2(dev.server.addr).await;
    let body = Full::from("some").boxed_unsync();
    let request = http::Request::post("http://a.example/a?b").body(body).unwrap();
    let response = crate::support::soon(client.send_request(request)).await.unwrap();
    crate::support::soon(response.into_body().collect()).await.unwrap();
    dev.exchange(1).await;
    let token = dev.token().await;
    let head = format!("POST /replay/1 HTTP/1.1\r\nx-dev-token: {token}");
    let answer = dev.ask_page(&head).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let again = dev.exchange(2).await;
    let request = &again["client"]["request"];
    assert_eq!((&request["line"], &request["body"]), (&"POST /a?b HTTP/2.0".into(), &"some".into()));
    assert!(
        request["headers"].as_array().unwrap().contains(&serde_json::json!(["host", "a.example"])),
        "{request}"
    );
}

#[tokio::test]
async fn a_request_whose_body_is_not_known_completely_is_not_sent_again() {
    let project = filter();
    let dev = Dev::of(&project, &[]);
    dev.send("POST /a HTTP/1.1", &"x".repeat(100_000)).await;
    dev.exchange(1).await;
    let token = dev.token().await;
    let answer = dev.ask_page(&format!("POST /replay/1 HTTP/1.1\r\nx-dev-token: {token}")).await;
    assert!(status(&answer) == 409 && answer.contains("100000 bytes of it arrived"), "{answer}");
}
