//! Reloads of a gateway that is serving.

#[cfg(unix)]
mod files;
mod operators;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Channel, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::config::ConfigFile;
use crate::signals::ReloadSignal;
use crate::{Bound, Gateway};

/// Adds its configuration to the response as the header `x-config`.
const SAYS_CONFIG: &str = r#"(module
  (import "http_handler" "get_config" (func $get_config (param i32 i32) (result i32)))
  (import "http_handler" "add_header_value" (func $add (param i32 i32 i32 i32 i32)))
  (import "http_handler" "enable_features" (func $enable (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-config")
  (func (export "handle_request") (result i64) (drop (call $enable (i32.const 2))) i64.const 1)
  (func (export "handle_response") (param i32 i32)
    (call $add (i32.const 1) (i32.const 0) (i32.const 8)
      (i32.const 64) (call $get_config (i32.const 64) (i32.const 1024)))))"#;

/// A timeout for everything in these tests: longer waits are failures.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A gateway with a configuration file, in a directory with a guest.
struct Served {
    directory: TempDir,
    bound: Bound,
}

impl Served {
    async fn start(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("guest.wat"), SAYS_CONFIG).unwrap();
        let file = directory.path().join("gateway.toml");
        fs::write(&file, text).unwrap();
        let (config, file) = ConfigFile::load(&file).unwrap_or_else(|faults| panic!("{faults}"));
        let gateway = Gateway::build(config).await.unwrap().with_file(file);
        Self { directory, bound: gateway.bind().await.unwrap() }
    }

    fn write(&self, text: &str) -> PathBuf {
        let file = self.directory.path().join("gateway.toml");
        fs::write(&file, text).unwrap();
        file
    }

    async fn reload(&self, text: &str) -> super::Summary {
        self.write(text);
        self.bound.reloader().reload().await.unwrap_or_else(|error| panic!("{error}"))
    }

    fn addr(&self) -> SocketAddr {
        self.bound.addresses().unwrap()[0].addr
    }

    fn guest_memory(&self) -> usize {
        self.bound.reloader.0.process_state.engine.memory_in_use()
    }
}

/// A gateway configuration with one guest, whose own configuration is `config`, in front of an echo.
fn one_guest(config: &str) -> String {
    format!(
        "listen = [\"127.0.0.1:0\"]\n[guests.a]\npath = \"guest.wat\"\nconfig = \"{config}\"\n\
         [[routes]]\nguests = [\"a\"]\nbackend = \"echo\"\n"
    )
}

type Client = SendRequest<BoxBody<Bytes, std::convert::Infallible>>;

async fn connect(addr: SocketAddr) -> Client {
    let stream = TcpStream::connect(addr).await.expect("the gateway accepts");
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The value that the guest `SAYS_CONFIG` has added.
async fn ask(client: &mut Client) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    client.ready().await?;
    let request = Request::post("/").header("host", "h").body(Full::from("body").boxed())?;
    let response = client.send_request(request).await?;
    let said = response.headers().get("x-config").map(|value| value.to_str().map(ToOwned::to_owned));
    if response.status() != 200 {
        return Err(response.status().to_string().into());
    }
    let body = response.into_body().collect().await?.to_bytes();
    if !body.windows(13).any(|window| window == b"\"body\":\"body\"") {
        return Err(format!("{body:?}").into());
    }
    Ok(said.transpose()?.unwrap_or_default())
}

type Sender = http_body_util::channel::Sender<Bytes, std::convert::Infallible>;
type Answer = tokio::task::JoinHandle<hyper::Result<Response<Incoming>>>;

/// Sends a request with half of its body.
async fn begin(served: &Served) -> (Sender, Answer) {
    let generation = served.bound.core.generation();
    let before = Arc::strong_count(&generation);
    let mut client = connect(served.addr()).await;
    let (mut sender, body) = Channel::<Bytes, std::convert::Infallible>::new(1);
    let request = Request::post("/half").header("host", "h").body(BoxBody::new(body)).unwrap();
    let answer = tokio::spawn(client.send_request(request));
    sender.send_data("bo".into()).await.unwrap();
    until("the request is there", || Arc::strong_count(&generation) > before).await;
    (sender, answer)
}

/// Sends the other half of the body, and reads the response.
async fn finish(mut sender: Sender, answer: Answer) -> Response<Bytes> {
    sender.send_data("dy".into()).await.unwrap();
    drop(sender);
    let (head, body) = answer.await.unwrap().unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let reached = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(TIMEOUT, reached).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_under_load_fail_no_request_and_leave_no_old_guest() {
    let served = Served::start(&one_guest("0")).await;
    let memory = served.guest_memory();
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (addr, stop, answered) = (served.addr(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                let mut client = connect(addr).await;
                while !stop.load(Ordering::Relaxed) {
                    ask(&mut client).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        })
        .collect();

    let mut old = vec![Arc::downgrade(&served.bound.core.generation())];
    let mut fresh = connect(served.addr()).await;
    let (mut rss_early, mut resident) = (0, 0);
    for number in 1..=100 {
        let seen = answered.load(Ordering::Relaxed);
        let summary = served.reload(&one_guest(&number.to_string())).await;
        assert_eq!((summary.guests, summary.guests_kept), (1, 0));
        assert_eq!(ask(&mut fresh).await.unwrap(), number.to_string(), "a reload that is over holds");
        old.push(Arc::downgrade(&served.bound.core.generation()));
        until("requests are answered between reloads", || answered.load(Ordering::Relaxed) > seen).await;
        resident = rss();
        if number == 20 {
            rss_early = resident;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap().expect("no request fails");
    }
    // The load hasn't reached this guest, so it has the one instance that it was loaded with.
    served.reload(&one_guest("last")).await;
    until("old generations are gone", || old.iter().all(|old| old.strong_count() == 0)).await;
    until("instances of old guests are gone", || served.guest_memory() == memory).await;
    #[expect(
        clippy::print_stderr,
        reason = "a figure for people: what else runs in this process makes it no rule"
    )]
    {
        eprintln!(
            "{} requests, 100 reloads; resident after 20: {rss_early} KiB, after 100: {resident} KiB",
            answered.load(Ordering::Relaxed)
        );
    }
}

/// The resident memory of this process in KiB. 0 if the system doesn't report it.
fn rss() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_finishes_with_the_guest_it_started_with() {
    let served = Served::start(&one_guest("old")).await;
    let old = Arc::downgrade(&served.bound.core.generation());
    let (sender, answer) = begin(&served).await;

    served.reload(&one_guest("new")).await;
    assert_eq!(ask(&mut connect(served.addr()).await).await.unwrap(), "new");
    assert_eq!(finish(sender, answer).await.headers()["x-config"], "old");
    until("the old generation is gone", || old.strong_count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_changes_nothing_and_is_reported() {
    let served = Served::start(&one_guest("old")).await;
    let before = Arc::downgrade(&served.bound.core.generation());
    for (wrong, reason) in [
        ("listen = 1".to_owned(), "expected a list, found the number 1"),
        (one_guest("x").replace("guest.wat", "none.wat"), "none.wat: no such file"),
        (one_guest("x").replace("guest.wat", "gateway.toml"), "guest a"),
        (one_guest("x").replace("127.0.0.1:0", "192.0.2.1:1"), "cannot listen on 192.0.2.1:1"),
    ] {
        served.write(&wrong);
        let error = served.bound.reloader().reload().await.expect_err("this one is wrong").to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(ask(&mut connect(served.addr()).await).await.unwrap(), "old");
    }
    assert!(before.strong_count() > 0, "it is the same generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_a_loaded_optional_guest_that_now_fails_and_can_add_a_missing_one() {
    let optional = one_guest("1").replace("config =", "optional = true\nconfig =");
    let served = Served::start(&optional).await;
    let guest = served.directory.path().join("guest.wat");
    fs::write(&guest, "no guest").unwrap();
    assert!(served.bound.reloader().reload().await.is_err());
    assert_eq!(ask(&mut connect(served.addr()).await).await.unwrap(), "1");

    let other = format!("{optional}[guests.b]\npath = \"b.wat\"\noptional = true\n");
    let other = other.replace("guests = [\"a\"]", "guests = [\"b\"]");
    fs::write(&guest, SAYS_CONFIG).unwrap();
    fs::write(served.directory.path().join("b.wat"), "no guest").unwrap();
    served.reload(&other).await;
    assert_eq!(
        ask(&mut connect(served.addr()).await).await.unwrap_err().to_string(),
        "503 Service Unavailable"
    );
    fs::write(served.directory.path().join("b.wat"), SAYS_CONFIG).unwrap();
    served.reload(&other).await;
    assert_eq!(ask(&mut connect(served.addr()).await).await.unwrap(), "");
}

/// Changes each of the two kinds of files between the start's read and the gateway's first check.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_start_up_is_detected() {
    for (changed, content, expected) in
        [("gateway.toml", one_guest("2"), "2"), ("config.txt", "2".to_owned(), "2")]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("guest.wat"), SAYS_CONFIG).unwrap();
        fs::write(path("config.txt"), "1").unwrap();
        let text = one_guest("1").replace("config = \"1\"", "config_file = \"config.txt\"");
        fs::write(path("gateway.toml"), text).unwrap();
        let (config, file) =
            ConfigFile::load(&path("gateway.toml")).unwrap_or_else(|faults| panic!("{faults}"));
        let gateway = Gateway::build(config).await.unwrap().with_file(file);
        fs::write(path(changed), content).unwrap();
        let bound = gateway.bind().await.unwrap();
        let addr = bound.addresses().unwrap()[0].addr;
        let comes = async { while ask(&mut connect(addr).await).await.unwrap() != expected {} };
        tokio::select! {
            came = tokio::time::timeout(TIMEOUT, comes) => came.expect("the change is seen"),
            () = super::follow(&bound.reloader, ReloadSignal::install().unwrap()) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_changed_guests_are_reloaded() {
    let two = |a: &str, b: &str| {
        format!("{}[guests.b]\npath = \"guest.wat\"\nenv = {{ B = \"{b}\" }}\n", one_guest(a))
    };
    let served = Served::start(&two("1", "1")).await;
    let kept = async |text: &str| served.reload(text).await.guests_kept;
    assert_eq!(kept(&two("1", "1")).await, 2);
    assert_eq!(kept(&two("2", "1")).await, 1);
    assert_eq!(kept(&two("2", "2")).await, 1);
    assert_eq!(kept(&two("2", "2").replace("guests = [\"a\"]", "guests = [\"b\"]")).await, 2);
    fs::write(served.directory.path().join("guest.wat"), format!("{SAYS_CONFIG} ")).unwrap();
    assert_eq!(kept(&two("2", "2")).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_are_added_and_removed_while_others_keep_their_connections() {
    let served = Served::start(&one_guest("1")).await;
    let stays = served.addr();
    let mut kept = connect(stays).await;
    ask(&mut kept).await.unwrap();

    let both = one_guest("1").replace("listen = [", "listen = [\"127.0.0.1:0\", ");
    let summary = served.reload(&both).await;
    assert_eq!((summary.opened, summary.closed), (1, 0));
    let addresses = served.bound.addresses().unwrap();
    assert_eq!(addresses[0].addr, stays);
    let mut goes = connect(addresses[1].addr).await;
    ask(&mut goes).await.unwrap();

    // With other settings and the same socket, no connection is refused, and existing ones finish.
    let other = one_guest("1")
        .replace("[\"127.0.0.1:0\"]", "[{ address = \"127.0.0.1:0\", limits = { max_headers = 50 } }]");
    let summary = served.reload(&other).await;
    assert_eq!((summary.opened, summary.closed), (0, 1));
    assert_eq!(served.addr(), stays);
    ask(&mut connect(stays).await).await.unwrap();
    until("the connection to the address that is gone ends", || goes.is_closed()).await;
    until("the one with the old settings ends", || kept.is_closed()).await;
    let refused = async { while TcpStream::connect(addresses[1].addr).await.is_ok() {} };
    assert!(tokio::time::timeout(TIMEOUT, refused).await.is_ok(), "nobody listens there any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_reloads_run_one_after_the_other() {
    let served = Served::start(&one_guest("1")).await;
    served.write(&one_guest("2"));
    let ask = || {
        let reloader = served.bound.reloader();
        tokio::spawn(async move { reloader.reload().await })
    };
    let (a, b) = (ask(), ask());
    let kept = [a.await.unwrap().unwrap().guests_kept, b.await.unwrap().unwrap().guests_kept];
    assert_eq!(kept.iter().sum::<usize>(), 1, "one loads it, the other finds it loaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_settings_that_need_a_restart_are_named() {
    let served = Served::start(&one_guest("1")).await;
    let other =
        "[log]\nformat = \"json\"\n[server]\nguest_memory_budget = \"1GiB\"\ncode_cache = \"cache\"\n";
    let summary = served.reload(&format!("{}{other}", one_guest("1"))).await;
    assert_eq!(summary.at_next_start, ["server.guest_memory_budget", "server.code_cache", "log"]);
    let note =
        "; changes to server.guest_memory_budget, server.code_cache, log take effect only after a restart";
    assert!(summary.to_string().ends_with(note), "{summary}");
    assert_eq!(served.reload(&one_guest("1")).await.at_next_start, [""; 0]);
}
