//! What operators see of reloads: metrics, the access log and the admin listener.

use std::fs;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::net::TcpStream;

use super::{Served, TIMEOUT, ask, begin, connect, finish, one_guest, until};

/// The response of `[admin]` at this address.
async fn operators(addr: SocketAddr, request: http::request::Builder) -> Response<Bytes> {
    let mut client = connect(addr).await;
    let mut request = request.body(Full::default().boxed()).unwrap();
    request.headers_mut().entry("host").or_insert(HeaderValue::from_static("localhost"));
    let (head, body) = client.send_request(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_removed_items_are_kept_until_their_requests_end_and_they_were_scraped() {
    let named = |route: &str, guest: &str, upstream: &str| {
        format!(
            "listen = [\"127.0.0.1:0\"]\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [guests.{guest}]\npath = \"guest.wat\"\n[upstreams.{upstream}]\naddresses = [\"http://127.0.0.1:1\"]\n\
             [[routes]]\npath = \"/down\"\nname = \"{route}-down\"\nupstream = \"{upstream}\"\n\
             [[routes]]\nname = \"{route}\"\nguests = [\"{guest}\"]\nbackend = \"echo\"\n"
        )
    };
    let served = Served::start(&named("old-route", "old-guest", "old-upstream")).await;
    let monitor = served.bound.core.generation().observers.monitor.clone().expect("an [admin] section");
    let mut client = connect(served.addr()).await;
    ask(&mut client).await.unwrap();
    let request = Request::get("/down").header("host", "h").body(Full::default().boxed()).unwrap();
    client.ready().await.unwrap();
    let down = client.send_request(request).await.unwrap();
    assert_eq!(down.status(), StatusCode::BAD_GATEWAY);
    down.into_body().collect().await.unwrap();
    let (sender, answer) = begin(&served).await;

    served.reload(&named("new-route", "new-guest", "new-upstream")).await;
    let old = [
        "route=\"old-route\"",
        "route=\"old-route-down\"",
        "guest=\"old-guest\"",
        "upstream=\"old-upstream\"",
    ];
    let metrics = monitor.metrics.encode_later();
    for name in old {
        assert!(metrics.contains(name), "a request is not over: {name}\n{metrics}");
    }
    finish(sender, answer).await;
    let counted = "http_wasm_requests_total{route=\"old-route\",code=\"2xx\"} 2";
    until("the last request is counted", || monitor.metrics.encode().contains(counted)).await;
    until("the old series end", || {
        let metrics = monitor.metrics.encode_later();
        old.iter().all(|name| !metrics.contains(name))
    })
    .await;
    let metrics = monitor.metrics.encode_later();
    assert!(metrics.contains("guest=\"new-guest\"") && !metrics.contains("old-"), "{metrics}");

    // Names that return start from zero, and stay.
    served.reload(&named("old-route", "old-guest", "old-upstream")).await;
    ask(&mut connect(served.addr()).await).await.unwrap();
    let counted = "http_wasm_requests_total{route=\"old-route\",code=\"2xx\"} 1";
    until("it is counted", || monitor.metrics.encode_later().contains(counted)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_access_log_and_request_ids() {
    let with = |settings: &str| format!("{}{settings}\n", one_guest("1"));
    let served = Served::start(&with("[access_log]\nfile = \"old.log\"")).await;
    let lines = |name: &str| {
        let text = fs::read_to_string(served.directory.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    ask(&mut connect(served.addr()).await).await.unwrap();
    until("the line is written", || lines("old.log").len() == 1).await;
    let (sender, answer) = begin(&served).await;

    let combined = "[access_log]\nfile = \"new.log\"\nformat = \"combined\"\n[request_id]\nrespond = true";
    assert_eq!(served.reload(&with(combined)).await.at_next_start, [""; 0]);
    let mut client = connect(served.addr()).await;
    let request = Request::get("/new").header("host", "h").body(Full::default().boxed()).unwrap();
    let new = client.send_request(request).await.unwrap();
    assert!(new.headers().contains_key("x-request-id"));
    new.into_body().collect().await.unwrap();
    until("the line is written", || lines("new.log").len() == 1).await;
    assert!(lines("new.log")[0].contains("\"GET /new HTTP/1.1\" 200"), "{:?}", lines("new.log"));

    served.reload(&with(combined)).await;
    assert_eq!(served.bound.core.earlier_count(), 1, "a request needs the first one, nobody the second");

    let old = finish(sender, answer).await;
    assert!(!old.headers().contains_key("x-request-id"), "it ends as it began");
    until("the old log is closed", || served.bound.core.earlier_count() == 0).await;
    until("the line is written", || lines("old.log").len() == 2).await;
    assert!(lines("old.log")[1].contains("\"target\":\"/half\""), "{:?}", lines("old.log"));

    served.reload(&one_guest("1")).await;
    let mut client = connect(served.addr()).await;
    ask(&mut client).await.unwrap();
    served.bound.core.flush().await;
    assert_eq!((lines("old.log").len(), lines("new.log").len()), (2, 1), "there is no log now");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_opened_changes_nothing() {
    let served = Served::start(&one_guest("old")).await;
    std::os::unix::fs::symlink("no/such", served.directory.path().join("link.log")).unwrap();
    served.write(&format!("{}[access_log]\nfile = \"link.log\"\n", one_guest("new")));
    let error = served.bound.reloader().reload().await.expect_err("it leads nowhere").to_string();
    assert!(error.contains("cannot open the access log") && error.contains("link.log"), "{error}");
    assert_eq!(ask(&mut connect(served.addr()).await).await.unwrap(), "old");
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_can_add_move_and_remove_the_admin_listener() {
    let with = |host: &str| format!("{}[admin]\naddress = \"{host}:0\"\n", one_guest("1"));
    let served = Served::start(&one_guest("1")).await;
    assert_eq!(served.bound.admin_address(), None);
    let summary = served.reload(&with("127.0.0.1")).await;
    assert_eq!(summary.guests_kept, 0, "nothing has observed them yet");
    let first = served.bound.admin_address().expect("it is listened on");
    assert_eq!(operators(first, Request::get("/readyz")).await.status(), StatusCode::OK);
    ask(&mut connect(served.addr()).await).await.unwrap();
    assert_eq!(served.reload(&with("127.0.0.1")).await.guests_kept, 1);
    assert_eq!(served.bound.admin_address(), Some(first), "it stays");

    // It accepts the host names in the latest configuration.
    let named = |path| Request::get(path).header("host", "gateway.internal:1");
    assert_eq!(operators(first, named("/status")).await.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(operators(first, named("/readyz")).await.status(), StatusCode::OK);
    served.reload(&format!("{}hosts = [\"gateway.internal\"]\n", with("127.0.0.1"))).await;
    assert_eq!(served.bound.admin_address(), Some(first), "it stays");
    assert_eq!(operators(first, named("/status")).await.status(), StatusCode::OK);

    // A request that moves the listener gets its response at the old address.
    served.write(&with("localhost"));
    let answer = operators(first, Request::post("/reload")).await;
    assert_eq!(answer.status(), StatusCode::OK, "{:?}", answer.body());
    let second = served.bound.admin_address().expect("it is listened on");
    assert_ne!(first, second);
    let status = operators(second, Request::get("/status")).await;
    let status: serde_json::Value = serde_json::from_slice(status.body()).unwrap();
    assert_eq!(status["guests"][0]["calls"]["request"]["count"], 1, "what was counted goes on");
    let refused = async { while TcpStream::connect(first).await.is_ok() {} };
    assert!(tokio::time::timeout(TIMEOUT, refused).await.is_ok(), "nobody listens there any more");

    served.write(&format!("{}[admin]\naddress = \"{}\"\n", one_guest("1"), served.addr()));
    let error = served.bound.reloader().reload().await.expect_err("it is taken").to_string();
    assert!(error.contains("the port is in use"), "{error}");
    assert_eq!(served.bound.admin_address(), Some(second));
    served.reload(&one_guest("1")).await;
    assert_eq!(served.bound.admin_address(), None);
    let refused = async { while TcpStream::connect(second).await.is_ok() {} };
    assert!(tokio::time::timeout(TIMEOUT, refused).await.is_ok(), "nobody listens there any more");
}
