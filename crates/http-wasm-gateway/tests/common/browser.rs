//! The browser for tests of pages.

use std::process::Command;

/// A browser with a headless mode, found by its usual names.
fn browser() -> Option<&'static str> {
    let there = |name: &&str| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(there)
}

/// The same. Without one, the test is skipped, or fails if this run requires a browser.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn browser_or_skip() -> Option<&'static str> {
    let found = browser();
    if found.is_none() {
        assert!(
            std::env::var_os("HTTP_WASM_BROWSER").is_none(),
            "there is no chromium, but this run requires one"
        );
        eprintln!("SKIPPED: there is no chromium; install one to have the page tested");
    }
    found
}
