//! The page for operators in a real browser.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::admin::CONFIG;
use crate::admin_listeners::{TLS_CONFIG, certificates};
use crate::browser::browser_or_skip;
use crate::served::Served;

/// Starting a browser may take a while if other tests are running, but not this long.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The page's document after a few seconds, and the errors in the console. The browser writes its own files to
/// `directory`.
fn load(browser: &str, directory: &Path, url: &str) -> (String, String) {
    let mut profile = OsStr::new("--user-data-dir=").to_owned();
    profile.push(directory);
    let [document, complaints] = ["document", "complaints"].map(|name| directory.join(name));
    let file = |path| File::create(path).expect("a file of ours");
    fs::create_dir(directory).expect("a directory of ours");
    let mut running = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=7000", "--dump-dom"])
        .args([profile.as_os_str(), OsStr::new(url)])
        .stdout(file(&document))
        .stderr(file(&complaints))
        .spawn()
        .expect("the browser runs");
    let start = Instant::now();
    while running.try_wait().expect("it can be waited for").is_none() {
        if start.elapsed() > TIMEOUT {
            running.kill().expect("it can be ended");
            panic!("the browser takes too long: {}", read(&complaints));
        }
        sleep(Duration::from_millis(50));
    }
    (read(&document), read(&complaints))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The document of this gateway's page, and the messages in the browser's console.
async fn shown(browser: &'static str, served: &Served) -> (String, Vec<String>) {
    let url = format!("http://{}/", served.admin.expect("an [admin] section"));
    let profile = served.files.path("profile");
    let loading = tokio::task::spawn_blocking(move || load(browser, &profile, &url));
    let (document, complaints) = loading.await.expect("the browser runs");
    let console = complaints.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    (document, console)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_guests_charts_and_errors_without_console_errors() {
    let Some(browser) = browser_or_skip() else { return };
    let served = Served::start(CONFIG).await;
    for path in ["/x", "/a", "/trap"] {
        served.get(path).await;
    }
    served.status_with(|status| status["guests"][0]["failures"]["trap"] == 1).await;
    let (document, console) = shown(browser, &served).await;
    for part in [
        r#"<span id="stage" class="pill good" role="status">ready</span>"#,
        "<h3>judge</h3>",
        "<dt>Loaded</dt>",
        r#">HTTP/1.1, HTTP/2</td>"#,
        r#"<h3>missing</h3><span class="pill bad">not loaded</span>"#,
        "trap 1",
        "<svg class=\"chart\"",
        r#"aria-label="Durations of handle_request: half within"#,
        "<th scope=\"row\">main</th>",
        "connect 1",
        "unreachable",
        r#"<span>http://127.0.0.1:1</span><span class="pill good">healthy</span>"#,
        "0 in flight, 1 failed",
    ] {
        assert!(document.contains(part), "{part:?} is not in:\n{document}");
    }
    assert!(console.is_empty(), "{console:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_marks_expiring_certificates_and_shows_the_error_of_a_failed_reload() {
    let Some(browser) = browser_or_skip() else { return };
    let served = Served::start_in(certificates(&[5, 100]), TLS_CONFIG, |gateway, files| {
        gateway.with_file(files.config_file())
    })
    .await;
    served.files.write("gateway.toml", "listen = ['127.0.0.1:0']\n<b>nonsense</b> = 1\n");
    served.ask(http::Method::POST, "/reload").await;
    let (document, console) = shown(browser, &served).await;
    for part in [
        r#"<span>in5.example</span><span class="pill bad""#,
        ">expires in 4 d ",
        r#"<span>in100.example</span><span class="pill good""#,
        ">expires in 99 d ",
        "The configuration was not reloaded",
        "&lt;b&gt;nonsense&lt;/b&gt;",
    ] {
        assert!(document.contains(part), "{part:?} is not in:\n{document}");
    }
    assert!(!document.contains(r#"role="alert" hidden"#), "{document}");
    assert!(console.is_empty(), "{console:#?}");
}
