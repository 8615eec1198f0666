//! A browser's `EventSource` behind a guest that streams.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::events::SECRET;
use super::upstream::read_head;
use super::{gateway, guests};
use crate::dev::browser::Browser;
use crate::dev::chromium::browser_or_skip;

/// Acknowledges each event, so that the upstream sends the next, and keeps all of them.
const PAGE: &str = r#"<!DOCTYPE html><link rel="icon" href="data:,"><title>events</title><script>
  window.received = [];
  window.opened = 0;
  const source = new EventSource("/events");
  source.onopen = () => { window.opened += 1; };
  source.onmessage = event => {
    window.received.push({ id: event.lastEventId, data: event.data });
    if (window.received.length === 9) source.close();
    fetch("/ack/" + event.lastEventId);
  };
</script>"#;

/// What the upstream has seen.
#[derive(Default)]
struct Seen {
    /// Events that the page has acknowledged.
    acks: Mutex<Vec<usize>>,
    acked: Notify,
    /// The `Last-Event-ID` of each request for events.
    resumed: Mutex<Vec<Option<usize>>>,
}

async fn serve(socket: TcpStream, seen: Arc<Seen>) -> std::io::Result<()> {
    let mut stream = BufReader::new(socket);
    let Some(head) = read_head(&mut stream).await? else { return Ok(()) };
    let path = head.split(' ').nth(1).unwrap_or_default();
    if let Some(id) = path.strip_prefix("/ack/") {
        seen.acks.lock().unwrap().push(id.parse().expect("a number"));
        seen.acked.notify_waiters();
        return stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    }
    if path == "/events" {
        return send_events(stream, &head, &seen).await;
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close";
    stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{PAGE}", PAGE.len()).as_bytes()).await
}

/// Sends three events, each after the previous one was acknowledged, and aborts.
async fn send_events(mut stream: BufReader<TcpStream>, head: &str, seen: &Seen) -> std::io::Result<()> {
    let lower = head.to_ascii_lowercase();
    let last = lower.split("last-event-id: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
    seen.resumed.lock().unwrap().push(last);
    let first = last.map_or(0, |last: usize| last + 1);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\
        transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for id in first..first + 3 {
        let retry = if id == first { "retry: 50\n" } else { "" };
        let event = format!("{retry}id: {id}\ndata: {{\"n\":{id},\"ssn\":\"{SECRET}-{id}\"}}\n\n");
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        loop {
            let acked = seen.acked.notified();
            if seen.acks.lock().unwrap().contains(&id) {
                break;
            }
            if tokio::time::timeout(Duration::from_secs(60), acked).await.is_err() {
                return Ok(());
            }
        }
    }
    // Without the last chunk, so the stream is aborted.
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browsers_event_source_gets_each_event_and_reconnects_with_the_last_ones_id() {
    let Some(name) = browser_or_skip() else { return };
    let Some(guest) = guests().into_iter().next() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let upstream = listener.local_addr().expect("a bound listener has an address");
    let seen = Arc::<Seen>::default();
    let serves = seen.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let seen = serves.clone();
            tokio::spawn(async move { serve(socket, seen).await.ok() });
        }
    });
    let gateway = gateway(&guest, upstream, true);
    let url = format!("http://{}/", gateway.addr);
    let (received, opened) = tokio::task::spawn_blocking(move || {
        let mut browser = Browser::start(name);
        browser.open(&url);
        browser.wait_for("window.received && window.received.length === 9");
        (browser.evaluate("window.received"), browser.evaluate("window.opened"))
    })
    .await
    .expect("the browser shows what it should");
    let expected: Vec<_> = (0..9)
        .map(|id| serde_json::json!({ "id": id.to_string(), "data": format!(r#"{{"n":{id},"ssn":"***"}}"#) }))
        .collect();
    assert_eq!(received, serde_json::Value::from(expected));
    assert_eq!(opened, 3);
    assert_eq!(*seen.resumed.lock().unwrap(), [None, Some(2), Some(5)]);
}
