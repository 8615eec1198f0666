//! The page for operators in a real browser.

use std::ffi::OsStr;
use std::process::Command;

use crate::served::Served;

const CONFIG: &str = r#"
[admin]
address = "127.0.0.1:0"
[guests.judge]
path = "judges.wat"
[upstreams.app]
addresses = ["http://127.0.0.1:1"]
retries = 0
[[routes]]
name = "main"
guests = ["judge"]
upstream = "app"
"#;

/// A browser that can do without a screen, by its usual names.
fn browser() -> Option<&'static str> {
    let there = |name: &&str| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(there)
}

/// The page's document as the browser has it after a few seconds, and what it complained of.
fn load(browser: &str, profile: &OsStr, url: &str) -> (String, String) {
    let mut profile_argument = OsStr::new("--user-data-dir=").to_owned();
    profile_argument.push(profile);
    let output = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
        ])
        .args([
            profile_argument.as_os_str(),
            OsStr::new("--virtual-time-budget=7000"),
            OsStr::new("--dump-dom"),
        ])
        .arg(url)
        .output()
        .expect("the browser runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
async fn a_browser_shows_guests_charts_and_errors_and_has_nothing_to_complain_of() {
    let Some(browser) = browser() else {
        eprintln!("SKIPPED: there is no chromium; install one to have the page tested");
        return;
    };
    let served = Served::start(CONFIG).await;
    for path in ["/x", "/a", "/trap"] {
        served.get(path).await;
    }
    served.status_with(|status| status["guests"][0]["failures"]["trap"] == 1).await;
    let url = format!("http://{}/", served.admin.expect("an [admin] section"));
    let profile = served.files.path("profile");
    let loading = tokio::task::spawn_blocking(move || load(browser, profile.as_os_str(), &url));
    let (document, complaints) = loading.await.expect("the browser runs");
    for part in [
        r#"<span id="stage" class="pill good" role="status">ready</span>"#,
        "<h3>judge</h3>",
        "trap 1",
        "<svg class=\"chart\"",
        r#"aria-label="Durations of handle_request: half within"#,
        "<th scope=\"row\">main</th>",
        "connect 1",
        "unreachable",
    ] {
        assert!(document.contains(part), "{part:?} is not in:\n{document}");
    }
    let console: Vec<&str> = complaints.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{console:#?}");
}
