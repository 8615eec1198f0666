//! Invalid configurations.

use crate::support::{Settings, Upstream, Wat, program};

#[test]
fn a_wrong_configuration_is_refused_and_the_log_says_why() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let outside = tempfile::NamedTempFile::new().unwrap();
    let path = outside.path().display();
    for (config, reason) in [
        (format!(r#"{{"guests": {{"a": {{"path": "{path}"}}}}}}"#), "HTTP_WASM_ALLOWED_PATHS"),
        (r#"{"guests": {"a": {"pth": "x"}}}"#.to_owned(), "pth"),
        (r#"{"guest": {}}"#.to_owned(), "unknown setting `guest`"),
    ] {
        let (valid, log) = Settings::new(upstream.addr).filter(&config).validate(&program);
        assert!(!valid && log.contains(reason), "{config}: {log}");
    }
}

#[test]
fn a_guest_with_a_different_sha256_than_pinned_is_refused() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let settings = Settings::new(upstream.addr);
    let guest = settings.guest("a", &Wat::new(), &format!(r#""sha256": "{}""#, "0".repeat(64)));
    let (valid, log) = settings.filter(&format!(r#"{{"guests": {{"a": {guest}}}}}"#)).validate(&program);
    assert!(!valid && log.contains("different SHA-256"), "{log}");
}

#[test]
fn every_supported_envoy_loads_the_module_without_a_warning() {
    let upstream = Upstream::says("ok");
    for program in crate::support::programs() {
        let settings = Settings::new(upstream.addr);
        let guest = settings.guest("a", &Wat::new(), "");
        let (valid, log) = settings.filter(&format!(r#"{{"guests": {{"a": {guest}}}}}"#)).validate(&program);
        assert!(valid && !log.contains("[warning]"), "{}: {log}", program.display());
    }
}
