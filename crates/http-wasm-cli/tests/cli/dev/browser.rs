//! The page in a real browser, driven over its DevTools protocol.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::chromium::browser_or_skip;
use super::exchanges::filter;
use super::{Dev, answers};

/// Starting a browser may take a while if other tests are running, but not this long.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    to: File,
    messages: Receiver<Value>,
    next: u64,
    session: Option<String>,
    /// Messages and errors in the page's console.
    console: Vec<Value>,
    _directory: TempDir,
}

impl Browser {
    pub(crate) fn start(name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [to, from] = ["to", "from"].map(|pipe| directory.path().join(pipe));
        let made = Command::new("mkfifo").args([&to, &from]).status().expect("mkfifo runs");
        assert!(made.success());
        let command = format!(
            "exec {name} --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe \
             --user-data-dir=\"$1/profile\" about:blank 3<\"$1/to\" 4>\"$1/from\""
        );
        let child = Command::new("sh")
            .args(["-c", &command, "sh"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let to = OpenOptions::new().write(true).open(to).expect("the browser reads");
        let from = File::open(from).expect("the browser writes");
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in BufReader::new(from).split(0) {
                let message = message.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
                if message.is_none_or(|message| sender.send(message).is_err()) {
                    return;
                }
            }
        });
        let mut browser =
            Self { child, to, messages, next: 0, session: None, console: Vec::new(), _directory: directory };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.call(domain, json!({}));
        }
        browser
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser reads");
        loop {
            let message = self.messages.recv_timeout(TIMEOUT).expect("the browser answers");
            match message["method"].as_str() {
                Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded") => {
                    self.console.push(message);
                }
                Some(_) => {}
                None if message["id"] == id => {
                    assert!(message["error"].is_null(), "{method}: {message}");
                    return message["result"].clone();
                }
                None => {}
            }
        }
    }

    pub(crate) fn evaluate(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{script}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until this is true in the page.
    pub(crate) fn wait_for(&mut self, condition: &str) {
        let start = Instant::now();
        while self.evaluate(condition) != true {
            if start.elapsed() > TIMEOUT {
                let page = self.evaluate("document.body.innerText");
                panic!("never true: {condition}\n{page}\n{:#?}", self.console);
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Goes to this URL.
    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({}).innerText", json!(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // This ends all of its processes, unlike killing it.
        let message = json!({ "id": 0, "method": "Browser.close" });
        let _ = self.to.write_all(format!("{message}\0").as_bytes());
        let start = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if start.elapsed() > Duration::from_secs(10) {
                let _ = self.child.kill();
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// Runs `with` with a browser that shows the page, on a thread that may block.
async fn show(dev: &Dev, name: &'static str, with: impl FnOnce(&mut Browser) + Send + 'static) {
    let url = format!("http://{}/", dev.page);
    let run = move || {
        let mut browser = Browser::start(name);
        browser.open(&url);
        with(&mut browser);
        assert!(browser.console.is_empty(), "{:#?}", browser.console);
    };
    tokio::task::spawn_blocking(run).await.expect("the browser shows what it should");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_an_exchange_and_sends_its_request_again_with_one_click() {
    let Some(name) = browser_or_skip() else { return };
    let project = filter();
    let dev = Dev::of(&project, &[]);
    let hostile = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>";
    dev.send(&format!("POST /a?b HTTP/1.1\r\nx-own: {hostile}"), hostile).await;
    show(&dev, name, move |browser| {
        browser.wait_for("document.querySelectorAll('#exchanges tbody tr').length === 1");
        assert_eq!(browser.text("#phase"), "running");
        browser.evaluate("document.querySelector('#exchanges button').click()");
        browser.wait_for("!document.querySelector('#detail').hidden");
        let (request, response) = (browser.text("#request"), browser.text("#response"));
        // Input from clients is shown as text.
        assert_eq!(request.matches(hostile).count(), 4, "{request}");
        assert!(request.contains("x-user: <i>ann</i>"), "{request}");
        assert!(
            response.contains("As the next handler gave it") && response.contains("x-checked: <i>ann</i>")
        );
        assert_eq!(browser.evaluate("document.querySelectorAll('#request .changed').length"), 1, "{request}");
        assert_eq!(browser.evaluate("document.querySelectorAll('i, img').length"), 0);
        let trace = browser.text("#trace");
        for part in
            ["handle_request()", "get_uri(buf: 100 bytes) = \"/a?b\"", "stderr: a line", "next handler"]
        {
            assert!(trace.contains(part), "{part:?} is not in {trace}");
        }

        browser.evaluate("document.querySelector('#replay').click()");
        browser.wait_for("document.querySelector('#replayed').textContent === 'Sent again as exchange 2.'");
        browser.wait_for("document.querySelectorAll('#exchanges tbody tr').length === 2");
        assert_eq!(browser.text("#detail-title").to_lowercase(), "exchange 2");
        assert!(browser.text("#exchanges").contains("again #1"));
        assert_eq!(browser.evaluate("document.title"), "http-wasm dev");
    })
    .await;
    let again = dev.exchange(2).await;
    assert_eq!((&again["replay_of"], &again["client"]["request"]["body"]), (&1.into(), &hostile.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_a_failed_build_a_trap_and_a_guest_that_works_again() {
    let Some(name) = browser_or_skip() else { return };
    let project = filter();
    let dev = Dev::of(&project, &[]);
    dev.send("GET /trap HTTP/1.1", "").await;
    project.write("src/broken", "");
    dev.phase("failed").await;
    show(&dev, name, move |browser| {
        browser.wait_for("document.querySelector('#failure')?.hidden === false");
        let failure = browser.text("#failure");
        assert!(
            failure.contains("The previous guest keeps running: the build failed: exit status: 3"),
            "{failure}"
        );
        assert!(failure.contains("guest.c:1: error: <b>broken</b>"), "{failure}");
        assert!(browser.text("#exchanges").contains("guest failed"));
        browser.evaluate("document.querySelector('#exchanges button').click()");
        browser.wait_for("document.querySelector('#error .banner') !== null");
        let error = browser.text("#error");
        assert!(error.contains("unreachable") && error.contains("stderr:\na line"), "{error}");
        assert!(browser.text("#request").contains("The next handler got no request."));

        std::fs::remove_file(project.path("src/broken")).expect("it is there");
        project.write("src/guest.wat", &answers(200));
        browser.wait_for("document.querySelector('#phase').textContent === 'running'");
        assert_eq!(browser.evaluate("document.querySelector('#failure').hidden"), true);
    })
    .await;
}
